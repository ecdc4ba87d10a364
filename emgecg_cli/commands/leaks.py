"""`medreport leaks`: do test and training data share patients or recordings?"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import JsonOpt, find_one

if TYPE_CHECKING:
    from emgecg_cli.core.leaks import Leak

SHOWN = 20

StoresArg = Annotated[list[Path] | None, typer.Argument(
    metavar="STORE…", show_default=False, help="Stores to compare; the only one under stores/ if not given.")]


def leaks(stores: StoresArg = None, as_json: JsonOpt = False) -> None:
    """Find patients and recordings that train shares with val or test, within and across stores; exit 1 if any."""
    from emgecg_cli.core.leaks import find_leaks

    with console.progress("compare signals", "pairs") as progress:
        report = find_leaks(stores or [find_one("store")], progress)
    if as_json:
        console.print_json(report)
    else:
        _show(report.leaks, report.counts["train"], report.counts["val"] + report.counts["test"])
        for note in report.notes[:SHOWN]:
            console.note(f"{note.kind}, no leak by itself: {_record(note.store_a, note.record_a)} ({note.split_a}) and "
                         f"{_record(note.store_b, note.record_b)} ({note.split_b})")
        if len(report.notes) > SHOWN:
            console.note(f"… and {len(report.notes) - SHOWN} more such texts")
    if report.counts["without_fingerprint"]:
        console.note(f"{report.counts['without_fingerprint']} records have no fingerprint (flat, or too few leads): "
                     "only equal ones are found among them")
    if report.leaks:
        raise typer.Exit(1)


def _show(found: list[Leak], n_train: int, n_held_out: int) -> None:
    """The first leaks of each kind as a table, or that there is none."""
    if not found and not (n_train and n_held_out):
        console.warn(f"nothing to compare: {n_train} train records, {n_held_out} val and test records")
        return
    if not found:
        console.note(f"no leaks: {n_train} train records share no patient and no recording with {n_held_out} val and "
                     "test records")
        return
    rows: list[list[str]] = []
    for kind, group in groupby(found, key=lambda leak: leak.kind):
        of_kind = list(group)
        rows += [[kind, _record(leak.store_a, leak.record_a), leak.split_a, _record(leak.store_b, leak.record_b),
                  leak.split_b, leak.evidence] for leak in of_kind[:SHOWN]]
        if len(of_kind) > SHOWN:
            rows.append([kind, f"… and {len(of_kind) - SHOWN} more", "", "", "", ""])
    console.table(["kind", "record", "split", "shared with", "split", "evidence"], rows)


def _record(store: str, record_id: str) -> str:
    return f"{store}:{record_id}"
