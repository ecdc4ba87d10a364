"""The report page: scores, and a few ECGs on paper beside what was written about them. One HTML file, nothing loaded.

The page works without scripts, prints, and escapes every text. It begins with what was scored. Each score is
shown with its own value, confidence interval and signature.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.evaluation.about import head_rows
from emgecg_cli.core.evaluation.comparison import best_of, p_value
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.pages import DISCLAIMER, POLICY, document
from emgecg_cli.core.reports.scripts import around_words
from emgecg_cli.core.signals.paper import draw_ecg

_BOLD = " Bold is what the paired tests support: better than the first system, or the first where it beats all others."

__all__ = ["DISCLAIMER", "POLICY", "PageExample", "Shown", "compare_words", "write_page"]


@dataclass(frozen=True)
class Shown:
    """What a report was written from, in words, and its recording as int16 microvolts (12, L) if it has one."""

    what: str
    signal: np.ndarray | None = None


@dataclass(frozen=True)
class PageExample:
    """One recording on the page: int16 microvolts (12, L) at `fs` Hz, its report, and what each system wrote. `signal`
    is None for a record without a recording.

    `hypotheses` maps the name of a system ("real signal", "shuffled signal", …) to its report, in the order shown;
    `shown` what a system was shown, where that was not this recording. `perturbed` says what was done to it.
    """

    record_id: str
    signal: np.ndarray | None
    fs: int
    reference: str
    hypotheses: Mapping[str, str]
    shown: Mapping[str, Shown] = field(default_factory=dict)
    perturbed: str | None = None


def write_page(path: Path, *, examples: Sequence[PageExample], scores: Mapping[str, Any],
               title: str = "medreport: scores and examples") -> None:
    """Write the page, atomically; the same input gives the same bytes.

    `scores` is what `scores.json` holds: `systems`, each a `name` and `values` of `name`, `value` (None: could not be
    computed), `ci_low`, `ci_high`, `signature`, `n`, `lower_is_better`; `tables`; `about`, what was scored; `caveats`
    and `notes`, lists of sentences.
    """
    body = "\n".join([_head(scores), _scores(scores), _tables(scores), _examples(examples), _signatures(scores)])
    page = document(title, body)
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


def _head(scores: Mapping[str, Any]) -> str:
    """What was scored, a banner where the signal was not the record's own, and what limits the scores."""
    about: Mapping[str, Any] = scores.get("about") or {}
    facts = "".join(f"<tr><th scope=row>{word}</th><td>{escape(fact)}</td></tr>" for word, fact in head_rows(about))
    banner = f"<p class=warning><b>{escape(str(about['banner']))}</b></p>" if about.get("banner") else ""
    caveats = "".join(f"<li>{escape(str(caveat))}</li>" for caveat in scores.get("caveats") or [])
    caveats = f"<ul class=caveats>{caveats}</ul>" if caveats else ""
    if not facts + caveats:
        return ""
    table = f"<table class=\"facts record\"><tbody>{facts}</tbody></table>" if facts else ""
    return f"<section><h2>What was scored</h2>{banner}{table}{caveats}</section>"


def _scores(scores: Mapping[str, Any]) -> str:
    """The table, scores down and systems across, then the notes."""
    systems: Sequence[Mapping[str, Any]] = scores.get("systems", [])
    if not systems:
        return ""
    best = best_of(scores)
    by_system = [{value["name"]: value for value in system["values"]} for system in systems]
    rows = []
    for name in dict.fromkeys(name for values in by_system for name in values):
        cells = "".join(_cell(values.get(name, {}), system["name"] in best.get(name, ()))
                        for system, values in zip(systems, by_system, strict=True))
        rows.append(f"<tr><th scope=row>{escape(name)}</th>{cells}</tr>")
    head = "".join(f"<th scope=col>{escape(str(system['name']))}</th>" for system in systems)
    notes = "".join(f"<li>{escape(str(note))}</li>" for note in scores.get("notes", []))
    return ("<section><h2>Scores</h2><div class=scroll tabindex=0><table>"
            f"<thead><tr><th scope=col>score</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
            f"<p class=key>Below each value stands its confidence interval.{_BOLD if best else ''}</p>"
            f"{_tests(scores)}"
            f"{f'<ul class=notes>{notes}</ul>' if notes else ''}</section>")


def _tables(scores: Mapping[str, Any]) -> str:
    """Values item by item, folded; whose they are where there are tables of several systems."""
    tables: Sequence[Mapping[str, Any]] = [table for table in scores.get("tables") or [] if table["rows"]]
    several = len({table["system"] for table in tables}) > 1
    found = []
    for table in tables:
        counts, values = (list(dict.fromkeys(name for row in table["rows"] for name in row[part]))
                          for part in ("counts", "values"))
        head = "".join(f"<th scope=col>{escape(name)}</th>" for name in [*counts, *values])
        rows = "".join(f"<tr><th scope=row>{escape(' '.join(filter(None, (row['item'], row['meaning']))))}</th>"
                       + "".join(f"<td>{row['counts'][name]}</td>" for name in counts)
                       + "".join(_cell(row["values"][name], False) for name in values) + "</tr>"
                       for row in table["rows"])
        title = f"{table['title']}, {table['system']}" if several else table["title"]
        found.append(f"<details><summary>{escape(title)}</summary><div class=scroll tabindex=0><table><thead><tr>"
                     f"<th scope=col>{escape(table['name'])}</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
                     "</details>")
    return f"<section><h2>Item by item</h2>{''.join(found)}</section>" if found else ""


def _tests(scores: Mapping[str, Any]) -> str:
    """The paired tests, folded."""
    comparison = scores.get("comparison")
    if not comparison:
        return ""
    columns = ("score", "system", "difference", "p, paired bootstrap", "p, randomisation", "p, Holm-corrected")
    head = "".join(f"<th scope=col>{escape(name)}</th>" for name in columns)
    rows = "".join(f"<tr><th scope=row>{escape(test['name'])}</th><td>{escape(test['system'])}</td>"
                   + _cell(test | {"value": test["difference"]}, test["better"] is not None)
                   + "".join(f"<td>{p_value(test[name])}</td>" for name in ("p_bootstrap", "p", "p_holm")) + "</tr>"
                   for test in comparison["tests"])
    title = f"Paired tests against {comparison['against']}"
    return (f"<details><summary>{escape(title)}</summary><div class=scroll tabindex=0><table><thead><tr>{head}</tr>"
            f"</thead><tbody>{rows}</tbody></table></div></details>")


def _cell(value: Mapping[str, Any], bold: bool) -> str:
    """One score with its interval under it; a dash where there is none."""
    if value.get("value") is None:
        return "<td class=none>–</td>"
    number = _number(value["value"])
    shown = f"<b>{number}</b>" if bold else number
    low, high = value.get("ci_low"), value.get("ci_high")
    interval = "" if low is None or high is None else f"<small>{_number(low)} – {_number(high)}</small>"
    return f"<td>{shown}{interval}</td>"


def _number(value: float) -> str:
    """Three decimals below ten, one above: 0.853, 45.2."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _signatures(scores: Mapping[str, Any]) -> str:
    """Under which conditions the numbers hold: every signature once, with the scores it belongs to."""
    names: dict[str, list[str]] = {}
    for system in scores.get("systems", []):
        for value in system["values"]:
            known = names.setdefault(str(value.get("signature") or ""), [])
            if value["name"] not in known:
                known.append(value["name"])
    lines = "".join(f"<dt>{escape(', '.join(found))}</dt><dd>{escape(signature)}</dd>"
                    for signature, found in names.items() if signature)
    return f"<section><h2>Signatures</h2><dl>{lines}</dl></section>" if lines else ""


def _examples(examples: Sequence[PageExample]) -> str:
    """Each recording on paper, with the report and what was generated below it."""
    if not examples:
        return ""
    return ("<section><h2>Examples</h2><p class=key><mark class=missing>in the reference only</mark> "
            "<mark class=extra>in the generated report only</mark></p>"
            + "".join(map(_example, examples)) + "</section>")


def _example(example: PageExample) -> str:
    perturbed = f"<p class=key>perturbed: {escape(example.perturbed)}</p>" if example.perturbed else ""
    figure = perturbed + _figure(example.signal, example.fs, f"12-lead ECG of record {example.record_id}")
    texts = [_text("reference", _reference(example.reference, example.hypotheses))]
    for name, hypothesis in example.hypotheses.items():
        texts.append(_text(name, compare_words(example.reference, hypothesis)[1]))
        if (shown := example.shown.get(name)) is not None:
            texts[-1] += (f"<div class=shown><p class=warning>{escape(name)} was shown {escape(shown.what)}</p>"
                          f"{_figure(shown.signal, example.fs, shown.what)}</div>")
    return (f"<article><h3>Record {escape(example.record_id)}</h3>{figure}"
            f"<div class=texts>{''.join(texts)}</div></article>")


def _figure(signal: np.ndarray | None, fs: int, label: str) -> str:
    return "" if signal is None else f"<figure>{draw_ecg(signal, fs, label=label)}</figure>"


def _reference(reference: str, hypotheses: Mapping[str, str]) -> str:
    """The reference with the words the first system left out."""
    first = next(iter(hypotheses.values()), None)
    return escape(reference) if first is None else compare_words(reference, first)[0]


def _text(name: str, words: str) -> str:
    return f"<div><h4>{escape(name)}</h4><p>{words or '<i>(empty)</i>'}</p></div>"


def compare_words(reference: str, hypothesis: str) -> tuple[str, str]:
    """Both texts as HTML: words only the reference has marked `missing`, words only the hypothesis has marked `extra`.

    Words are aligned in order by their longest common runs, regardless of case and of punctuation at their ends.
    """
    ours, theirs = reference.split(), hypothesis.split()
    matcher = difflib.SequenceMatcher(None, [_bare(word) for word in ours], [_bare(word) for word in theirs], False)
    left, right = [], []
    for tag, i, j, k, m in matcher.get_opcodes():
        left.append(_marked(ours[i:j], "" if tag == "equal" else "missing"))
        right.append(_marked(theirs[k:m], "" if tag == "equal" else "extra"))
    return " ".join(filter(None, left)), " ".join(filter(None, right))


def _bare(word: str) -> str:
    """A word as it is compared; a token of punctuation alone stays as it is."""
    return around_words().sub("", word.lower()) or word


def _marked(words: Sequence[str], kind: str) -> str:
    text = escape(" ".join(words))
    return f"<mark class={kind}>{text}</mark>" if kind and text else text
