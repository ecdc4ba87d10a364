"""`medreport verify`: is every file of an artefact what was written?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import JsonOpt
from emgecg_cli.core.errors import MedReportError

if TYPE_CHECKING:
    from emgecg_cli.core.verify import Verified

SHOWN = 20

PathsArg = Annotated[list[Path] | None, typer.Argument(
    metavar="PATH…", show_default=False, help="Stores, instructions, encoders, runs, predictions or scores; all in "
                                              "their default places if not given.")]


def verify(paths: PathsArg = None, as_json: JsonOpt = False) -> None:
    """Read every file of finished artefacts and compare it with the hashes that were written with it; exit 1 if any was
    changed."""
    from emgecg_cli.core.verify import finished_artefacts

    paths = paths or finished_artefacts()
    if not paths:
        raise MedReportError("no finished artefact in its default place", "name one: `medreport verify PATH`")
    results = verified(paths)
    if as_json:
        console.print_json(results)
    else:
        show(results)
    if any(result.damaged for result in results):
        raise typer.Exit(1)


def verified(paths: Sequence[Path]) -> list[Verified]:
    """What was found in each artefact."""
    from emgecg_cli.core.verify import verify_artefact

    with console.progress("verify", "files") as progress:
        return [verify_artefact(path, progress) for path in paths]


def show(results: Sequence[Verified]) -> None:
    """A table of what was read, then what is damaged in it, and what no hash covers."""
    console.table(["artefact", "kind", "files", "MB", "found"],
                  [[one.path, one.kind, one.files, f"{one.bytes / 1e6:.1f}",
                    f"{len(one.damaged)} damaged" if one.damaged else "as written"] for one in results])
    for one in results:
        for damage in one.damaged[:SHOWN]:
            console.warn(f"{damage.file}: {damage.what}" if damage.file not in damage.what else damage.what)
        if len(one.damaged) > SHOWN:
            console.warn(f"{one.path}: and {len(one.damaged) - SHOWN} more")
        if one.note:
            console.note(f"{one.path}: {one.note}")
        if one.other:
            more = f" and {len(one.other) - 3} more" if len(one.other) > 3 else ""
            console.note(f"{one.path}: no hash covers {', '.join(one.other[:3])}{more}")
