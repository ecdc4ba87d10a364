"""`medreport train`: instructions in, a run out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from emgecg_cli.commands import console
from emgecg_cli.commands.options import (
    BackboneOpt,
    EncoderOpt,
    FusionOpt,
    InstructionsArg,
    JsonOpt,
    OutOpt,
    StoreOpt,
    complete,
    find_one,
    words,
)
from emgecg_cli.core import names
from emgecg_cli.core.config import RECIPES, RUNS, SCHEDULES, TOKEN_NORMS, resolve_train_config


def _option(name: str, type_: Any, text: str, **more: Any) -> Any:
    """An option whose default is the recipe's."""
    metavar = {int: "N", float: "X", str: "NAME"}.get(type_)
    return Annotated[type_ | None, typer.Option(name, help=text, show_default=False, metavar=metavar, **more)]


RecipeOpt = _option("--recipe", str, f"{' or '.join(RECIPES)}; by the backbone if not given.",
                    autocompletion=words(*RECIPES))
TuningOpt = _option("--tuning", str, "The backbone's: lora, full or frozen.",
                    autocompletion=words("lora", "full", "frozen"))
TokensOpt = _option("--signal-tokens", int, "Signal tokens N (MEIT: 1).")
NormOpt = _option("--token-norm", str, "Length of a signal token: unit (MEIT) or rms (sqrt of its width).",
                    autocompletion=words(*TOKEN_NORMS))
RankOpt = _option("--lora-rank", int, "LoRA rank r (paper: 128).")
AlphaOpt = _option("--lora-alpha", int, "LoRA alpha (paper: 64).")
DropoutOpt = _option("--lora-dropout", float, "LoRA dropout (paper: 0.1).")
EpochsOpt = _option("--epochs", float, "Passes over the training records (paper: 5).")
StepsOpt = _option("--steps", int, "Optimiser steps, instead of --epochs.")
BatchOpt = _option("--batch-size", int, "Records in a batch.")
AccumulationOpt = _option("--gradient-accumulation", int, "Batches in a step.")
RateOpt = _option("--learning-rate", float, "Peak learning rate.")
EncoderRateOpt = _option("--encoder-learning-rate", float, "Another one for encoder and projector.")
DecayOpt = _option("--weight-decay", float, "AdamW's weight decay.")
BetaOpt = _option("--adam-beta2", float, "AdamW's second beta.")
ScheduleOpt = _option("--schedule", str, "linear or cosine.",
                    autocompletion=words(*SCHEDULES))
WarmupOpt = _option("--warmup", float, "Share of the steps that warm up (paper: 0.03).")
ClipOpt = _option("--max-grad-norm", float, "Clip gradients at this norm; 0 does not.")
LengthOpt = _option("--max-length", int, "Longest prompt and report, in tokens (paper: 256).")
EncoderLossOpt = _option("--encoder-loss", str, "Supervise the encoder directly: none, codes or words.",
                    autocompletion=words("none", "codes", "words"))
ProjectorOpt = _option("--projector", str, f"{' or '.join(names.choices('projector'))}.",
                       autocompletion=complete("projector"))
EncoderWeightOpt = _option("--encoder-loss-weight", float, "Weight of that loss.")
EosOpt = _option("--eos-loss-weight", float, "Weight of the token that ends a report.")
AugmentOpt = _option("--augment", str, "none, or any of roll,gain,noise.",
                    autocompletion=words("none", "roll,gain,noise"))
PrecisionOpt = _option("--precision", str, "auto, fp32 or bf16.",
                    autocompletion=words("auto", "fp32", "bf16"))
CheckpointingOpt = _option("--gradient-checkpointing", bool, "Trade time for memory.")
EveryOpt = _option("--checkpoint-every", int, "Steps between checkpoints.")
WorkersOpt = _option("--workers", int, "Loader processes.")
SeedOpt = _option("--seed", int, "Seed of every random choice.")


def train(backbone: BackboneOpt, instructions: InstructionsArg = None, store: StoreOpt = None,
          recipe: RecipeOpt = None, tuning: TuningOpt = None, encoder: EncoderOpt = None,
          projector: ProjectorOpt = None, fusion: FusionOpt = None, signal_tokens: TokensOpt = None,
          token_norm: NormOpt = None, lora_rank: RankOpt = None, lora_alpha: AlphaOpt = None,
          lora_dropout: DropoutOpt = None, epochs: EpochsOpt = None, steps: StepsOpt = None,
          batch_size: BatchOpt = None, gradient_accumulation: AccumulationOpt = None,
          learning_rate: RateOpt = None, encoder_learning_rate: EncoderRateOpt = None,
          weight_decay: DecayOpt = None, adam_beta2: BetaOpt = None, schedule: ScheduleOpt = None,
          warmup: WarmupOpt = None, max_grad_norm: ClipOpt = None, max_length: LengthOpt = None,
          encoder_loss: EncoderLossOpt = None, encoder_loss_weight: EncoderWeightOpt = None,
          eos_loss_weight: EosOpt = None, augment: AugmentOpt = None, precision: PrecisionOpt = None,
          gradient_checkpointing: CheckpointingOpt = None, checkpoint_every: EveryOpt = None,
          workers: WorkersOpt = None, seed: SeedOpt = None, out: OutOpt = None, as_json: JsonOpt = False) -> None:
    """Train encoder, projector and backbone to write reports. Killed and run again, it goes on where it stopped."""
    given = {key: value for key, value in locals().items()
             if key not in ("instructions", "store", "recipe", "out", "as_json")}
    config = resolve_train_config(recipe, **given)
    instructions = instructions or find_one("instructions")
    from emgecg_cli.core.training.run import train as train_run

    path = out or Path(RUNS) / f"{Path(backbone).name}-{instructions.resolve().name}"
    with console.progress("train", unit="steps") as progress:
        result = train_run(instructions, path, config, store_path=store, on_start=_show_parts, progress=progress)
    if result.loop is None:
        console.note(f"{path.as_posix()} is finished already")
    if as_json:
        console.print_json(result)
        return
    loop = result.loop
    speed = [f"{loop.loss:.4f}", f"{loop.records_per_s:.1f}", f"{loop.data_wait:.1%}"] if loop else [""] * 3
    console.table(["run", "recipe", "steps", "loss", "records/s", "data wait"],
                  [[path.as_posix(), config.recipe, result.counts["steps"], *speed]])
    if result.counts["truncated"]:
        console.warn(f"{result.counts['truncated']} reports were cut at --max-length {config.max_length}")
    console.next_step("generate", path)


def _show_parts(rows: list[Any], resuming: bool) -> None:
    """Say what trains, before the first step."""
    console.table(["part", "tuning", "parameters", "trainable", "share"],
                  [[row.part, row.tuning, f"{row.parameters:,}", f"{row.trainable:,}",
                    f"{row.trainable / max(1, row.parameters):.1%}"] for row in rows], talk=True)
    if resuming:
        console.note("going on from the newest checkpoint")
