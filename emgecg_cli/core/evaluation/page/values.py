"""Scores as HTML: what was scored, the table with intervals, paired tests, values item by item, signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from emgecg_cli.core.evaluation.about import head_rows
from emgecg_cli.core.evaluation.comparison import best_of, p_value

_BOLD = " Bold is what the paired tests support: better than the first system, or the first where it beats all others."


def head_of(scores: Mapping[str, Any]) -> str:
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


def scores_of(scores: Mapping[str, Any]) -> str:
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


def tables_of(scores: Mapping[str, Any], charts: Sequence[str]) -> str:
    """The charts of the values item by item, and all of them in tables, folded; whose they are where there are tables
    of several systems."""
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
    drawn = f"<div class=charts>{''.join(charts)}</div>" if charts else ""
    return f"<section><h2>Item by item</h2>{drawn}{''.join(found)}</section>" if found else ""


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


def signatures_of(scores: Mapping[str, Any]) -> str:
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
