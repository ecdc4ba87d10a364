"""Drafts as a page: HTML that loads nothing, one article a recording, and what could not be read at the end."""

from __future__ import annotations

from html import escape

from emgecg_cli.core.drafting.draft import INTERVALS, NOT_A_DIAGNOSIS, Draft
from emgecg_cli.core.drafting.run import Drafted
from emgecg_cli.core.evaluation.page import kept_text
from emgecg_cli.core.evaluation.page.browser import facts_list, figure, tables_shown
from emgecg_cli.core.pages import document
from emgecg_cli.core.pages.printable import steerless

_STYLE = """
header .warning, article .warning { margin-bottom: 1rem; }
"""


def drafts_page(drafted: Drafted) -> bytes:
    """The page; the same drafts give the same bytes."""
    n = len(drafted.drafts)
    title = "Draft report (not a diagnosis)" if n == 1 else f"{n} draft reports (not diagnoses)"
    body = "".join(map(_article, drafted.drafts)) + _refused(drafted) + \
        f"<p class=key>Written by the run {escape(drafted.run)}.</p>"
    page = document(title, body, style=kept_text("score_page.css") + _STYLE)
    return page.encode("utf-8", "backslashreplace")


def drafts_fragment(drafted: Drafted) -> str:
    """The drafts as a part of another page, a notebook, with its own look."""
    return steerless("".join(map(_article, drafted.drafts)) + _refused(drafted))


def _article(draft: Draft) -> str:
    cut = "<p class=key>Cut at the longest that was allowed.</p>" if draft.truncated else ""
    text = f"<p class=report>{escape(draft.text.strip()) or '<i>(empty)</i>'}</p>"
    facts = facts_list(draft.facts)
    held = f"<div><h4>Held against the {draft.source}</h4>{facts}</div>" if facts else ""
    checks = f"<p class=key>Checks: {escape('; '.join(draft.checks))}</p>" if draft.checks else ""
    samples, shown = draft.samples(), draft.tables
    drawn = figure(samples, draft.fs, f"12-lead ECG of {draft.file}", draft.lanes)
    tables = tables_shown(shown.tables, shown.ranges, shown.n_outside, shown.n_judged) if shown else ""
    name = escape(draft.file) if draft.record_id in draft.file else f"{escape(draft.file)}: {escape(draft.record_id)}"
    return (f"<article><h3>{name} <small>{escape(draft.about)}</small></h3>"
            f"<p class=warning><b>{NOT_A_DIAGNOSIS}.</b> A physician has to read the {draft.source}.</p>"
            f"<div class=texts><div><h4>Draft</h4>{text}{cut}</div>{_measured(draft)}{held}</div>{drawn}{tables}"
            f"{checks}</article>")


def _measured(draft: Draft) -> str:
    """The intervals with how well each was measured."""
    found = draft.measurements
    if found is None:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{name}</th><td class=number>{'–' if value is None else f'{value:.0f}'} {unit}</td>"
        f"<td>{escape(getattr(found, quality) or 'not detected')}</td></tr>"
        for name, measure, unit, quality in INTERVALS for value in (getattr(found, measure),))
    return f"<div><h4>Measured</h4><table class=facts><tbody>{rows}</tbody></table></div>"


def _refused(drafted: Drafted) -> str:
    rows = "".join(f"<li>{escape(one.file)}: {escape(one.why)}</li>" for one in drafted.refused)
    return f"<section><h2>Not read</h2><ul class=notes>{rows}</ul></section>" if rows else ""
