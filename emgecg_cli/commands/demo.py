"""`medreport demo`: all six stages on a simulated cohort, one table and one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import JsonOpt, OutOpt, SeedOpt
from emgecg_cli.core.config import DemoDefaults

RecordsOpt = Annotated[int, typer.Option("--records", metavar="N", help="Records to simulate.")]
StepsOpt = Annotated[int, typer.Option("--steps", metavar="N", help="Training steps.")]


def demo(records: RecordsOpt = DemoDefaults.records, steps: StepsOpt = DemoDefaults.steps, seed: SeedOpt = 0,
         out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Run the whole pipeline on simulated ECGs: a model that reads them, and what is left without the signal."""
    from emgecg_cli.core.evaluation.tasks import headlines
    from emgecg_cli.core.studies.demo import run_demo

    result = run_demo(out or Path("demo"), records=records, steps=steps, seed=seed, stage=console.stage)
    if as_json:
        console.print_json(result)
        return
    there = {value.name for system in result.scores.systems for value in system.values if value.value is not None}
    shown = {name: meaning for name, meaning in headlines().items() if name in there}
    console.table(["reports written from", *shown],
                  [[system.name, *(_cell(system, name) for name in shown)] for system in result.scores.systems],
                  title=f"{result.scores.n} reports of held-out patients")
    for name, meaning in shown.items():
        if meaning:
            console.note(f"{name}: {meaning}")
    console.note(f"all scores: {result.scores_path.as_posix()}")
    console.note(f"the page: {result.page.as_posix()}")
    console.next_step("report", result.page.parent / "runs/tiny", "FILE")


def _cell(system: Any, name: str) -> str:
    value = next((v for v in system.values if v.name == name), None)
    return "-" if value is None or value.value is None else f"{value.value:.3f}"
