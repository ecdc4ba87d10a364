"""The records of a page as HTML: list and filters that the script fills, and one article for each record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from emgecg_cli.core.evaluation.page.examples import REFERENCE, WORST, Examples, PageExample, Shown
from emgecg_cli.core.evaluation.page.reading import BY_SENTENCE, Reading, Said
from emgecg_cli.core.evidence.checked import Checked
from emgecg_cli.core.signals.paper import lay_out, page_svg

_MARK = {"contradicted": "✗", "supported": "✓", "not measurable": "?", "not mentioned": "…"}
_KEYS = "j and k, or the arrow keys in the list, go from record to record; / searches."


def browser(examples: Examples) -> str:
    """The section of the records; without scripts all of them stand below each other."""
    if not examples.shown:
        return ""
    systems = list(examples.shown[0].hypotheses)
    articles = "".join(_article(one, examples.reading) for one in examples.shown)
    return (f"<section class=browser tabindex=-1><h2>Reports</h2><p class=key>{_how_many(examples)} {_marks(examples)}"
            f"</p>{_controls(examples, systems)}<div class=panes><div class=list hidden><ol role=listbox tabindex=0 "
            f"aria-label=Records></ol></div><div class=records>{articles}</div></div></section>")


def _how_many(examples: Examples) -> str:
    n, worst = len(examples.shown), sum(one.why == WORST for one in examples.shown)
    if n == examples.n:
        return f"All {n} records." if n > 1 else "The only record."
    return f"{n} of {examples.n:,} records: the {worst} worst and {n - worst} drawn at random." if worst else \
        f"{n} of {examples.n:,} records, drawn at random."


def _marks(examples: Examples) -> str:
    what = "a sentence" if examples.reading is BY_SENTENCE else "a statement"
    return (f"Marked sentences hold {what} that <mark class=missing>only the reference</mark> or "
            f"<mark class=extra>only the generated report</mark> makes.")


def _controls(examples: Examples, systems: Sequence[str]) -> str:
    """Search and filters, hidden until a script is there to use them."""
    said = Counter(key for one in examples.shown for key in {key for each in one.said.values() for key in each.stated})
    statements = "".join(f'<option value="{escape(key)}">{escape(_label(key, examples.reading))} ({count})</option>'
                         for key, count in sorted(said.items(), key=lambda each: (-each[1], each[0])))
    scores = dict.fromkeys(name for one in examples.shown for values in one.scores.values() for name in values)
    sorts = [("", "order of the page"), ("differs", "most differences"), ("contradicted", "most contradictions"),
             *((f"score:{name}", f"lowest {name}") for name in scores)]
    several = _select("system", "system", [(name, name) for name in systems]) if len(systems) > 1 else ""
    where = [("any", "said by either"), ("missing", "only in the reference"), ("extra", "only generated"),
             ("both", "said by both")]
    only = [("", "all records"), ("contradicted", "with a contradicted fact"), ("differs", "with a difference")]
    by_statement = (f'<label>statement <select name=statement><option value="">any</option>{statements}</select>'
                    f'</label>{_select("where", "which is", where)}') if said else ""
    return (f"<form class=controls hidden><label>search <input type=search name=q placeholder=\"/\" "
            f"autocomplete=off></label>{several}{by_statement}{_select('only', 'show', only)}"
            f"{_select('sort', 'sort by', sorts)}<p class=key><output></output> {_KEYS}</p></form>")


def _select(name: str, label: str, options: Sequence[tuple[str, str]]) -> str:
    return (f"<label>{label} <select name={name}>"
            + "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
            + "</select></label>")


def record_data(example: PageExample) -> dict[str, object]:
    """What the script knows of a record beside its texts: by system the statements of both, of one alone, how many
    facts are contradicted, and scores."""
    reference = example.said.get(REFERENCE)
    systems = {}
    for name in example.hypotheses:
        own = example.said.get(name)
        pair = (reference, own) if reference and own else None
        systems[name] = {
            "both": [key for key in pair[0].stated if key in pair[1].stated] if pair else [],
            "missing": pair[0].without(pair[1]) if pair else [], "extra": pair[1].without(pair[0]) if pair else [],
            "differs": _n_different(example, name),
            "contradicted": sum(one.verdict == "contradicted" for one in example.checked.get(name, ())),
            "scores": {key: round(value, 4) for key, value in example.scores.get(name, {}).items()}}
    return {"id": example.record_id, "worst": example.why == WORST, "systems": systems}


def _n_different(example: PageExample, name: str) -> int:
    reference, own = _pair(example, name)
    return len(reference.without(own)) + len(own.without(reference))


def _pair(example: PageExample, name: str) -> tuple[Said, Said]:
    """What the reference and a system state; by sentences where no reader found anything in the reference."""
    if example.said.get(REFERENCE) and name in example.said:
        return example.said[REFERENCE], example.said[name]
    return BY_SENTENCE.read(example.reference, None), BY_SENTENCE.read(example.hypotheses[name], None)


def _article(example: PageExample, reading: Reading) -> str:
    data = escape(json.dumps(record_data(example), ensure_ascii=False, separators=(",", ":")))
    first = next(iter(example.hypotheses), None)
    texts = [_text(REFERENCE, _marked(*_pair(example, first), "missing") if first else escape(example.reference),
                   facts_list(example.checked.get(REFERENCE, ())))]
    for name in example.hypotheses:
        reference, own = _pair(example, name)
        below = _statements(example, name, reading) if example.said else ""
        below += facts_list(example.checked.get(name, ()))
        texts.append(_text(name, _marked(own, reference, "extra"), below)
                     + _was_shown(name, example.shown.get(name), example.fs))
    why = f" <small>{example.why}</small>" if example.why else ""
    perturbed = f"<p class=key>perturbed: {escape(example.perturbed)}</p>" if example.perturbed else ""
    drawn = figure(example.signal, example.fs, f"12-lead ECG of record {example.record_id}", example.lanes)
    if any(one.signal is not None for one in example.shown.values()):
        drawn = f"<h4>The record's own ECG</h4>{drawn}"
    shown = example.tables
    tables = tables_shown(shown.tables, shown.ranges, shown.n_outside, shown.n_judged) if shown else ""
    return (f'<article data-record="{data}"><h3>Record {escape(example.record_id)}{why}</h3>{perturbed}'
            f"<div class=texts>{''.join(texts)}</div>{drawn}{tables}</article>")


def _marked(own: Said, other: Said, kind: str) -> str:
    """A text whose sentences are marked where they state what the other does not."""
    parts = []
    for piece, keys in own.pieces:
        words = piece.rstrip()
        alone = sorted(key for key in keys if key not in other.stated)
        marked = f'<mark class={kind}>{escape(words)}</mark>' if alone and words else escape(words)
        parts.append(marked + piece[len(words):])
    return "".join(parts)


def _text(name: str, words: str, below: str) -> str:
    return f"<div><h4>{escape(name)}</h4><p class=report>{words.strip() or '<i>(empty)</i>'}</p>{below}</div>"


def _label(key: str, reading: Reading) -> str:
    words = reading.words(key)
    return words if words == key else f"{key} {words}"


def _in_words(key: str, reading: Reading) -> str:
    words = reading.words(key)
    return "" if words == key else f" <small>{escape(words)}</small>"


def _statements(example: PageExample, name: str, reading: Reading) -> str:
    """What both state and what one states alone, in the words of the vocabulary."""
    reference, own = example.said[REFERENCE], example.said[name]
    both = [key for key in reference.stated if key in own.stated]
    parts = [(kind, title, keys) for kind, title, keys in (
        ("missing", "only in the reference", reference.without(own)), ("extra", "only here", own.without(reference)),
        ("both", "in both", both)) if keys]
    rows = "".join(f"<dt>{title}</dt><dd>" + "".join(
        f"<span class={kind}>{escape(_sure(key, kind, reference, own))}{_in_words(key, reading)}</span>"
        for key in keys) + "</dd>" for kind, title, keys in parts)
    return f"<dl class=statements>{rows}</dl>" if rows else "<p class=key>no statement was read</p>"


def _sure(key: str, kind: str, reference: Said, own: Said) -> str:
    """A statement, and how sure it is where that is not plain or differs."""
    grades = (reference.stated.get(key, ""), own.stated.get(key, ""))
    if kind == "both" and grades[0] != grades[1]:
        return f"{key} ({' / '.join(grade or 'not said' for grade in grades)})"
    grade = grades[0] or grades[1]
    return key if grade in ("", "present") else f"{key} ({grade})"


def facts_list(found: Sequence[Checked]) -> str:
    """Claims held against the record, with what was measured."""
    rows = "".join(f"<li class={one.verdict.split()[-1]}><b aria-label=\"{one.verdict}\">{_MARK[one.verdict]}</b> "
                   f"{escape(one.claim)} <small>{one.verdict}{_measured(one)}</small></li>" for one in found)
    return f"<ul class=claims>{rows}</ul>" if rows else ""


def _measured(one: Checked) -> str:
    return f": {escape(one.measured)}" if one.measured else ""


def _was_shown(name: str, shown: Shown | None, fs: int) -> str:
    if shown is None:
        return ""
    return (f"<div class=shown><p class=warning>{escape(name)} was shown {escape(shown.what)}</p>"
            f"{figure(shown.signal, fs, shown.what, {})}</div>")


def figure(signal: np.ndarray | None, fs: int, label: str, lanes: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A recording on ECG paper, nothing where there is none."""
    if signal is None:
        return ""
    return f"<figure tabindex=0>{page_svg(lay_out(signal, fs, lanes=lanes), label)}</figure>"


def tables_shown(tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]],
                 limits: Mapping[str, Sequence[Sequence[str]]], n_outside: int, n_judged: int) -> str:
    """The tables of an examination; below a value stands its reference range, and one outside of it stands out;
    empty columns are left out."""
    parts = [f"<p class=key>{n_outside} of {n_judged} values that have a reference range lie outside it: "
             "<b class=outside>H</b> above, <b class=outside>L</b> below.</p>"]
    for title, head, rows in tables:
        used = [column for column in range(len(head)) if any(row[column] for row in rows)]
        cells = "".join(f"<th scope=col>{escape(head[column])}</th>" for column in used)
        ranges = limits.get(title) or [[""] * len(head)] * len(rows)
        body = "".join("<tr>" + "".join(_cell(row[column], own[column]) for column in used) + "</tr>"
                       for row, own in zip(rows, ranges, strict=True))
        parts.append(f"<div class=scroll tabindex=0><table class=values><caption>{escape(title)}</caption><thead><tr>"
                     f"{cells}</tr></thead><tbody>{body}</tbody></table></div>")
    return "".join(parts)


def _cell(text: str, limits: str) -> str:
    outside = " class=outside" if text.endswith((" H", " L")) else ""
    return f"<td{outside}>{escape(text)}{f'<small>{escape(limits)}</small>' if limits else ''}</td>"
