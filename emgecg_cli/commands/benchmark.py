"""`medreport benchmark`: a task of MEIT's paper over a grid of models, and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.endpoint_options import (
    JudgeOpt,
    JudgeUrlOpt,
    PricesInOpt,
    PricesOutOpt,
    RequestsOpt,
    panel,
    say_spent,
)
from emgecg_cli.commands.options import JsonOpt, OutOpt, words
from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.names import BENCHMARK_TASKS

TaskArg = Annotated[str, typer.Argument(metavar="|".join(BENCHMARK_TASKS), autocompletion=words(*BENCHMARK_TASKS),
                                        help="quality: of reports on held-out patients. zero-shot: on all of a source "
                                             "the model was not trained on. robustness: on noisy recordings. "
                                             "alignment: with the reports of experts, by a judge.")]
ConfigOpt = Annotated[Path, typer.Option("--config", metavar="FILE", show_default=False,
                                         help="YAML: sources, backbones, encoders, prompts … (docs/benchmark.md).")]
TablesOpt = Annotated[bool, typer.Option("--tables-only", help="Make nothing; write the tables of what is finished.")]


def benchmark(task: TaskArg, config: ConfigOpt, tables_only: TablesOpt = False, judge: JudgeOpt = None,
              base_url: JudgeUrlOpt = None, requests_at_once: RequestsOpt = None, price_in: PricesInOpt = None,
              price_out: PricesOutOpt = None, out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Run a task of MEIT's paper over a grid of models, from preparing to scoring, and write its tables beside the
    published numbers. Killed and run again, it goes on where it stopped."""
    if task not in BENCHMARK_TASKS:
        raise names.unknown_name("task", task, BENCHMARK_TASKS)
    if judge and task != "alignment":
        raise MedReportError(f"--judge has no effect on {task}", "leave it out; alignment asks a judge")
    from emgecg_cli.core.studies.benchmark.config import read_benchmark
    from emgecg_cli.core.studies.benchmark.run import Bench, run_benchmark, write_tables

    folder = out or Path("benchmark") / config.stem
    asked = read_benchmark(config)
    judges = panel(judge, base_url, folder / "scores" / ".judge.jsonl", requests_at_once, price_in, price_out)
    bench = Bench(task, folder, asked, console.stage, judges)
    made = write_tables(bench) if tables_only else run_benchmark(bench)
    if as_json:
        console.print_json(made)
    else:
        for table in made:
            console.table(table.head(), table.cells(), title=table.title)
            for note in table.said():
                console.note(note)
    for one in judges.judges if judges else ():
        say_spent(one.client)
    place = (folder / "tables").as_posix()
    console.note(f"wrote {place}/{task} and {place}/{task}-cost, each as .md, .csv, .tex and .html")
