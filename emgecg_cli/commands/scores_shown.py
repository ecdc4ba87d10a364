"""Scores on the terminal: what was scored, the table of values, paired tests, values item by item, notes."""

from __future__ import annotations

from typing import Any

from emgecg_cli.commands import console


def show_scores(scores: Any) -> None:
    """Print what was scored and what limits it, the table, values down and systems across, the paired tests, then
    signatures and notes on stderr. A star marks what the tests support."""
    from dataclasses import asdict

    from emgecg_cli.core.evaluation.comparison import best_of

    _show_head(scores)
    best = best_of(asdict(scores))
    names = dict.fromkeys(value.name for system in scores.systems for value in system.values)
    cells = {(system.name, value.name): value for system in scores.systems for value in system.values}
    rows = [[name, *(_cell(cells.get((system.name, name)), system.name in best.get(name, ()))
                     for system in scores.systems)] for name in names]
    console.table(["score", *(system.name for system in scores.systems)], rows, title=f"{scores.n} reports")
    if scores.comparison:
        _show_tests(scores.comparison)
    for table in scores.tables:
        _show_table(table, several=len({one.system for one in scores.tables}) > 1)
    for note in scores.notes:
        console.note(note)
    signatures: dict[str, list[str]] = {}
    for value in scores.systems[0].values:
        signatures.setdefault(value.signature, []).append(value.name)
    for signature, of in signatures.items():
        if signature:
            console.note(f"{', '.join(of)}: {signature}")


def _show_tests(comparison: Any) -> None:
    """Each difference from the first system with its interval, and the p values of both tests."""
    from emgecg_cli.core.evaluation.comparison import p_value
    from emgecg_cli.core.evaluation.compute import Interval

    rows = [[test.name, test.system, _cell(Interval(test.difference, test.ci_low, test.ci_high),
                                           test.better is not None),
             *(p_value(p) for p in (test.p_bootstrap, test.p, test.p_holm))] for test in comparison.tests]
    console.table(["score", "system", "difference", "p bootstrap", "p randomisation", "p Holm"], rows,
                  title=f"against {comparison.against}")


def _show_table(table: Any, several: bool) -> None:
    """Values item by item; whose they are where there are tables of several systems."""
    counts, values = (list(dict.fromkeys(name for row in table.rows for name in getattr(row, part)))
                      for part in ("counts", "values"))
    rows = [[f"{row.item} {row.meaning}".strip(), *(str(row.counts[name]) for name in counts),
             *(_cell(row.values[name]) for name in values)] for row in table.rows]
    if rows:
        console.table([table.name, *counts, *values], rows, title=f"{table.title}{f', {table.system}' * several}")


def _show_head(scores: Any) -> None:
    """What was scored, above the table; a banner first where the signal shown was not the record's own."""
    from dataclasses import asdict

    from emgecg_cli.core.evaluation.about import head_rows

    about = asdict(scores.about) if scores.about else {}
    rows = [["WARNING", about["banner"]]] if about.get("banner") else []
    rows += head_rows(about)
    rows += [["note", caveat] for caveat in scores.caveats]
    if rows:
        console.table(["scored", ""], rows)


def _cell(value: Any, supported: bool = False) -> str:
    from emgecg_cli.core.evaluation.tables import cell_of

    if value is None or value.value is None:
        return "not computed" if getattr(value, "reason", None) else "-"
    star = "" if not supported else " (*)" if value.ci_low is None else " *"
    return cell_of(value) + star
