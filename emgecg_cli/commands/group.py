"""Starting a command in several processes on this machine, and saying how that ended."""

from __future__ import annotations

import sys

import typer

from emgecg_cli.core import launch
from emgecg_cli.core.errors import MedReportError


def run_in_group(processes: int) -> None:
    """Run what was typed in a group of processes instead, and end as it ends; in a process of a group, do nothing."""
    if processes == 1 or launch.launched():
        return
    status = launch.launch_group(sys.argv[1:], processes)
    if status > 128:
        raise MedReportError(f"a process of the group was killed by signal {status - 128}",
                             "run the same command again: it goes on where it stopped; if memory ran out, with a "
                             "smaller batch and another --out")
    raise typer.Exit(status)
