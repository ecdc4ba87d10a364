"""`medreport doctor`: what is missing on this machine, and the command that fixes it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import JsonOpt
from emgecg_cli.core.errors import MedReportError

FolderArg = Annotated[Path, typer.Argument(metavar="DIR", help="The folder whose data/ and disk are examined.")]
MARKS = {"ok": "ok", "missing": "missing", "warning": "warning"}


def doctor(folder: FolderArg = Path("."), as_json: JsonOpt = False) -> None:
    """Say what is missing on this machine (packages, GPU, disk, tokens, data) and the command that fixes it. Exits
    with 1 only where no command can work. Nothing is sent."""
    from emgecg_cli.core.doctor import examine, facts, is_broken

    if not folder.is_dir():
        raise MedReportError(f"{folder}: no such folder", "give the folder you work in, or none")
    findings = examine(folder)
    broken = is_broken(findings)
    if as_json:
        console.print_json({**facts(), "works": not broken, "findings": findings})
    else:
        console.table(["", "what", "state", "here", "to mend it"],
                      [[finding.area if index == 0 or findings[index - 1].area != finding.area else "", finding.name,
                        MARKS[finding.state], finding.detail, finding.remedy]
                       for index, finding in enumerate(findings)])
        counts = Counter(finding.state for finding in findings)
        console.note(f"{counts['ok']} ok, {counts['missing']} missing, {counts['warning']} to mind; what is missing is "
                     "needed only by the commands that use it")
    if broken:
        console.error("a package or version that every command needs is missing", "mend what stands under python first")
        raise typer.Exit(1)
