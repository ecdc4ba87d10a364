"""`medreport train`: instructions in, a run out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emgecg_cli.commands import console, next_steps
from emgecg_cli.commands import train_options as options
from emgecg_cli.commands.group import run_in_group, say_interrupted, show_plan, watched
from emgecg_cli.commands.options import BackboneOpt, InstructionsArg, JsonOpt, OutOpt, StoreOpt, find_one
from emgecg_cli.core import launch
from emgecg_cli.core.config import RUNS
from emgecg_cli.core.names import split_revision
from emgecg_cli.core.recipes import parse_options, resolve_train_config


def train(backbone: BackboneOpt, instructions: InstructionsArg = None, store: StoreOpt = None,
          recipe: options.RecipeOpt = None, out: OutOpt = None, as_json: JsonOpt = False,
          encoder: options.EncoderOpt = None, encoder_weights: options.EncoderWeightsOpt = None,
          projector: options.ProjectorOpt = None, fusion: options.FusionOpt = None,
          fusion_layers: options.FusionLayersOpt = None, signal_tokens: options.TokensOpt = None,
          tokens_from: options.TokensFromOpt = None, token_norm: options.NormOpt = None,
          tuning: options.TuningOpt = None, lora_rank: options.RankOpt = None, lora_alpha: options.AlphaOpt = None,
          lora_dropout: options.DropoutOpt = None, lora_targets: options.TargetsOpt = None,
          new_tokens: options.NewTokensOpt = None, chat_template: options.TemplateOpt = None,
          template_option: options.TemplateOptionOpt = None, system: options.SystemOpt = None,
          values: options.ValuesOpt = None, references: options.ReferencesOpt = None,
          random_references: options.RandomReferencesOpt = None, stage1_steps: options.Stage1Opt = None,
          stage1_tasks: options.TasksOpt = None, freeze_encoder: options.FreezeOpt = None,
          emg_reshape: options.ReshapeOpt = None, emg_dropout: options.EmgDropoutOpt = None,
          epochs: options.EpochsOpt = None, steps: options.StepsOpt = None,
          batch_size: options.BatchOpt = None, gradient_accumulation: options.AccumulationOpt = None,
          learning_rate: options.RateOpt = None, encoder_learning_rate: options.EncoderRateOpt = None,
          weight_decay: options.DecayOpt = None, adam_beta2: options.BetaOpt = None,
          schedule: options.ScheduleOpt = None, warmup: options.WarmupOpt = None, max_grad_norm: options.ClipOpt = None,
          seed: options.SeedOpt = None, max_length: options.LengthOpt = None, eos_loss_weight: options.EosOpt = None,
          encoder_loss: options.EncoderLossOpt = None, encoder_loss_weight: options.EncoderWeightOpt = None,
          augment: options.AugmentOpt = None, precision: options.PrecisionOpt = None,
          gradient_checkpointing: options.CheckpointingOpt = None, compile: options.CompileOpt = None,
          parallel: options.ParallelOpt = None, num_processes: options.ProcessesOpt = 1,
          workers: options.WorkersOpt = None, checkpoint_every: options.EveryOpt = None,
          checkpoint_minutes: options.MinutesOpt = None, evaluate_every: options.EvaluateOpt = None,
          val_limit: options.ValLimitOpt = None, select: options.SelectOpt = None,
          track: options.TrackOpt = None) -> None:
    """Train encoder, projector and backbone to write reports. Killed and run again, it goes on where it stopped."""
    given = {key: value for key, value in locals().items()
             if key not in ("instructions", "store", "recipe", "out", "as_json", "num_processes", "template_option")}
    config = resolve_train_config(recipe, template_options=parse_options(template_option or []) or None, **given)
    instructions = instructions or find_one("instructions")
    path = out or Path(RUNS) / f"{Path(split_revision(backbone)[0]).name}-{instructions.resolve().name}"
    run_in_group(num_processes)
    from emgecg_cli.core.models.backbones import slow_here
    from emgecg_cli.core.training.run import train as train_run
    slow = slow_here(config.precision)
    if slow and launch.is_main():
        console.warn(slow)

    with watched("train") as progress:
        result = train_run(instructions, path, config, store_path=store, on_start=_show_start, progress=progress,
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
                  [[path.as_posix(), config.recipe, result.counts["steps"], speed[0], *kept, *speed[1:]]])
    if result.counts["truncated"]:
        console.warn(f"{result.counts['truncated']} reports were cut at --max-length {config.max_length}")
    next_steps.after_train(path)


def _show_start(start: Any) -> None:
    """Say what trains, and for how long, before the first step."""
    console.table(["part", "tuning", "parameters", "trainable", "share"],
                  [[row.part, row.tuning, f"{row.parameters:,}", f"{row.trainable:,}",
                    f"{row.trainable / max(1, row.parameters):.1%}"] for row in start.trains], talk=True)
    show_plan(start)
    if start.end:
        console.note(f"reports end with {start.end}, as turns of the chat template do")
