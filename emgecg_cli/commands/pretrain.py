"""`medreport pretrain`: a store in, an encoder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands import train_options as options
from emgecg_cli.commands.group import run_in_group, say_interrupted, show_plan, watched
from emgecg_cli.commands.options import JsonOpt, OutOpt, StoreArg, find_one
from emgecg_cli.core import launch, names
from emgecg_cli.core.config import ENCODERS, PRETRAIN_OBJECTIVES, PretrainConfig
from emgecg_cli.core.recipes import resolve_pretrain_config

DEFAULTS = PretrainConfig()


def _option(group: str, name: str, type_: Any, text: str, known: tuple[str, ...] = (), **more: Any) -> Any:
    """An option that names its default."""
    default = getattr(DEFAULTS, name.removeprefix("--").replace("-", "_"))
    return options.recipe_option(group, name, type_, f"{text} (default: {default})", known, **more)


SIGNAL_ENCODERS = [name for name in names.choices("encoder") if name not in names.TABLE_ENCODERS]
EncoderOpt = _option(options.MODEL, "--encoder", str, f"{', '.join(SIGNAL_ENCODERS)}.",
                     autocompletion=options.words(*SIGNAL_ENCODERS))
ObjectiveOpt = _option(options.MODEL, "--objective", str, "supervised (the store's codes) or masked (guess hidden "
                       "patches; a ViT only).", PRETRAIN_OBJECTIVES)
EpochsOpt = _option(options.OPTIMISATION, "--epochs", float, "Passes over the training records.")
BatchOpt = _option(options.OPTIMISATION, "--batch-size", int, "Records in a batch of one process.")
RateOpt = _option(options.OPTIMISATION, "--learning-rate", float, "Peak learning rate.")
WarmupOpt = _option(options.OPTIMISATION, "--warmup", float, "Share of the steps that warm up.")
RatioOpt = _option(options.LOSS, "--mask-ratio", float, "masked: share of the patches to hide.")
AugmentOpt = _option(options.LOSS, "--augment", str, "none, or any of roll,gain,noise.", ("none", "roll,gain,noise"))
ProcessesOpt = Annotated[int, typer.Option("--num-processes", min=1, metavar="N", rich_help_panel=options.MACHINE,
                                           help="Processes to start on this machine, one a GPU.")]


def pretrain(store: StoreArg = None, objective: ObjectiveOpt = None, encoder: EncoderOpt = None,
             out: OutOpt = None, as_json: JsonOpt = False, epochs: EpochsOpt = None,
             steps: options.StepsOpt = None, batch_size: BatchOpt = None,
             gradient_accumulation: options.AccumulationOpt = None, learning_rate: RateOpt = None,
             weight_decay: options.DecayOpt = None, adam_beta2: options.BetaOpt = None,
             schedule: options.ScheduleOpt = None, warmup: WarmupOpt = None,
             max_grad_norm: options.ClipOpt = None, seed: options.SeedOpt = None, mask_ratio: RatioOpt = None,
             augment: AugmentOpt = None, precision: options.PrecisionOpt = None,
             parallel: options.ParallelOpt = None, num_processes: ProcessesOpt = 1,
             workers: options.WorkersOpt = None, checkpoint_every: options.EveryOpt = None,
             checkpoint_minutes: options.MinutesOpt = None) -> None:
    """Train an encoder alone, for `train --encoder-weights`. Killed and run again, it goes on where it stopped."""
    given = {key: value for key, value in locals().items() if key not in ("store", "out", "as_json", "num_processes")}
    config = resolve_pretrain_config(**given)
    store = store or find_one("store")
    path = out or Path(ENCODERS) / f"{config.encoder}-{config.objective}-{store.resolve().name}"
    run_in_group(num_processes)
    from emgecg_cli.core.models.backbones import slow_here
    from emgecg_cli.core.training.pretrain import pretrain as pretrain_encoder
    slow = slow_here(config.precision)
    if slow and launch.is_main():
        console.warn(slow)

    with watched("pretrain") as progress:
        result = pretrain_encoder(store, path, config, on_start=_show_start, progress=progress,
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
    shown = {"macro_auroc": "val AUROC", "explained": "val explained"}
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
