"""What the commands that train share: several processes on this machine, what is about to be done, and Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.console import Progress
from emgecg_cli.core import launch
from emgecg_cli.core.accelerate_file import started_by_accelerate
from emgecg_cli.core.errors import MedReportError


def run_in_group(processes: int) -> None:
    """Run what was typed in a group of processes instead, and end as it ends; in a process of a group, do nothing.

    Raises MedReportError where another launcher started another number of processes.
    """
    if (launch.launched() or started_by_accelerate()) and processes not in (1, launch.world()):
        raise MedReportError(f"--num-processes {processes} contradicts the launcher, which started {launch.world()}",
                             "leave the option out")
    if processes == 1 or launch.launched():
        return
    try:
        status = launch.launch_group(sys.argv[1:], processes)
    except KeyboardInterrupt as error:
        error.add_note("run the same command again: it goes on from the newest checkpoint, or begins again where there "
                       "is none")
        raise typer.Abort from error
    if status > 128:
        raise MedReportError(f"a process of the group was killed by signal {status - 128}",
                             "run the same command again: it goes on where it stopped; if memory ran out, with a "
                             "smaller batch and another --out")
    raise typer.Exit(status)


@contextmanager
def watched(description: str) -> Iterator[Progress]:
    """The progress of a training; typer would make a plain status of Ctrl-C, which then says where it goes on."""
    try:
        with console.progress(description, unit="steps") as progress:
            yield progress
    except KeyboardInterrupt as error:
        raise typer.Abort from error


def say_interrupted() -> None:
    """Say what the first Ctrl-C does."""
    if launch.is_main():
        console.note("interrupted: after this step a checkpoint is written; Ctrl-C again stops at once")


def show_plan(start: Any) -> None:
    """Say how many steps there will be, and warn if they are few."""
    passes = start.steps * start.step_records / max(1, start.records)
    console.note(f"{start.steps:,} steps of {start.step_records:,} records, {passes:.3g} times the {start.records:,} "
                 "train records")
    if start.few:
        console.warn(f"{start.steps} steps are few to learn from; more --epochs, a smaller --gradient-accumulation or "
                     "--batch-size give more")
    if start.resuming:
        console.note("going on from the newest checkpoint")
