"""`medreport train`: instructions in, a run out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands.group import run_in_group, say_interrupted, show_plan, watched
from emgecg_cli.commands.options import InstructionsArg, JsonOpt, OutOpt, StoreOpt, find_one
from emgecg_cli.commands.settings import ConfigOpt, takes_settings
from emgecg_cli.core import launch
from emgecg_cli.core.config import RUNS, TrainConfig
from emgecg_cli.core.config.train import MACHINE, usual_run_name
from emgecg_cli.core.pages.training import training_lines
from emgecg_cli.core.recipes import parse_options, resolve_train_config

ProcessesOpt = Annotated[int, typer.Option("--num-processes", min=1, metavar="N", rich_help_panel=MACHINE,
                                           help="Processes to start on this machine, one a GPU. On several machines: "
                                                "`accelerate launch -m emgecg_cli train …`.")]

@takes_settings(TrainConfig)
def train(instructions: InstructionsArg = None, store: StoreOpt = None, config: ConfigOpt = None, out: OutOpt = None,
          as_json: JsonOpt = False, num_processes: ProcessesOpt = 1, **given: Any) -> None:
    """Train encoder, projector and backbone to write reports. Killed and run again, it goes on where it stopped."""
    given["template_options"] = parse_options(given["template_options"] or []) or None
    settings = resolve_train_config(file=config, **given)
    instructions = instructions or find_one("instructions")
    path = out or Path(RUNS) / usual_run_name(settings, instructions)
    run_in_group(num_processes)
    from emgecg_cli.core.models.backbones import slow_here
    from emgecg_cli.core.training.run import train as train_run
    slow = slow_here(settings.precision)
    if slow and launch.is_main():
        console.warn(slow)

    with watched("train") as progress:
        result = train_run(instructions, path, settings, store_path=store, on_start=_show_start, progress=progress,
                           on_interrupt=say_interrupted, say=console.note)
    if not launch.is_main():
        return
    if result.loop is None:
        console.note(f"{path.as_posix()} is finished already")
    if as_json:
        console.print_json(result)
        return
    loop = result.loop
    speed = [f"{loop.loss:.4f}", f"{loop.records_per_s:.1f}", f"{loop.data_wait:.1%}"] if loop else [""] * 3
    kept = [result.kept_step, f"{result.validation['report']:.4f}" if result.validation else ""]
    console.table(["run", "recipe", "steps", "loss", "kept step", "val loss", "records/s", "data wait"],
                  [[path.as_posix(), settings.recipe, result.counts["steps"], speed[0], *kept, *speed[1:]]])
    for line in training_lines(path):
        console.note(line)
    if result.counts["truncated"]:
        console.warn(f"{result.counts['truncated']} reports were cut at --max-length {settings.max_length}")
    next_steps.after_train(path)


def _show_start(start: Any) -> None:
    """Say what trains, and for how long, before the first step."""
    console.table(["part", "tuning", "parameters", "trainable", "share"],
                  [[row.part, row.tuning, f"{row.parameters:,}", f"{row.trainable:,}",
                    f"{row.trainable / max(1, row.parameters):.1%}"] for row in start.trains], talk=True)
    show_plan(start)
    if start.whole_logits:
        console.note("the logits of a batch are held whole: the output head of this backbone cannot be called for some "
                     "tokens at a time")
    if start.end:
        console.note(f"reports end with {start.end}, as turns of the chat template do")
