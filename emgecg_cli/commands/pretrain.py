"""`medreport pretrain`: a store in, an encoder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.group import run_in_group, say_interrupted, show_plan, watched
from emgecg_cli.commands.options import JsonOpt, OutOpt, StoreArg, find_one
from emgecg_cli.commands.settings import ConfigOpt, takes_settings
from emgecg_cli.core import launch
from emgecg_cli.core.config import ENCODERS, PretrainConfig
from emgecg_cli.core.config.train import MACHINE
from emgecg_cli.core.recipes import resolve_pretrain_config

ProcessesOpt = Annotated[int, typer.Option("--num-processes", min=1, metavar="N", rich_help_panel=MACHINE,
                                           help="Processes to start on this machine, one a GPU.")]


@takes_settings(PretrainConfig, shows_defaults=True)
def pretrain(store: StoreArg = None, config: ConfigOpt = None, out: OutOpt = None, as_json: JsonOpt = False,
             num_processes: ProcessesOpt = 1, **given: Any) -> None:
    """Train an encoder alone, for `train --encoder-weights`. Killed and run again, it goes on where it stopped."""
    settings = resolve_pretrain_config(file=config, **given)
    store = store or find_one("store")
    path = out or Path(ENCODERS) / f"{settings.encoder}-{settings.objective}-{store.resolve().name}"
    run_in_group(num_processes)
    from emgecg_cli.core.models.backbones import slow_here
    from emgecg_cli.core.training.pretrain import pretrain as pretrain_encoder
    slow = slow_here(settings.precision)
    if slow and launch.is_main():
        console.warn(slow)

    with watched("pretrain") as progress:
        result = pretrain_encoder(store, path, settings, on_start=_show_start, progress=progress,
                                  on_interrupt=say_interrupted)
    if not launch.is_main():
        return
    if result.loop is None:
        console.note(f"{path.as_posix()} is finished already")
    if as_json:
        console.print_json(result)
        return
    _show(result)


def _show(result: Any) -> None:
    """The result in a table, and the codes in another."""
    validation, loop = result.validation, result.loop
    speed = [f"{loop.loss:.4f}", f"{loop.records_per_s:.1f}", f"{loop.data_wait:.1%}"] if loop else [""] * 3
    shown = {"macro_auroc": "val AUROC", "explained": "val explained", "recall_at_1": "val recall@1",
             "recall_at_5": "val recall@5"}
    measured = {label: "-" if validation[key] is None else f"{validation[key]:.4f}"
                for key, label in shown.items() if key in validation}
    console.table(["encoder", "objective", "steps", "loss", *measured, "records/s", "data wait"],
                  [[result.path.as_posix(), result.config.objective, result.counts["steps"], speed[0],
                    *measured.values(), *speed[1:]]])
    if codes := validation.get("auroc"):
        console.table(["code", "val AUROC"],
                      [[code, "-" if value is None else f"{value:.4f}"] for code, value in codes.items()])
    if not validation:
        console.warn("no record in the val split: nothing says how good the encoder is")
    if result.left_out:
        console.warn(f"{len(result.left_out)} codes were left out, too rare or in every record: "
                     f"{', '.join(list(result.left_out)[:12])}{', …' if len(result.left_out) > 12 else ''}")
    console.note(f"to start from it: medreport train --encoder {result.config.encoder} --encoder-weights "
                 f"{result.path.as_posix()} …")


def _show_start(start: Any) -> None:
    """Say what trains, and for how long, before the first step."""
    console.table(["part", "parameters"], [[row.part, f"{row.parameters:,}"] for row in start.trains], talk=True)
    show_plan(start)
