"""`train`: store and instructions in, a run out. Killed at any moment and run again, it ends with the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from emgecg_cli.core.claims import Claim, confirm_finished
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.config.settings import settings_of
from emgecg_cli.core.config.train import GRPO
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.rendered import lengths_about
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.instructions.conversations import records_asked
from emgecg_cli.core.manifest import (
    check_folder_name,
    hashes_of,
    input_path,
    is_finished,
    package_versions,
    read_manifest,
)
from emgecg_cli.core.models.tuning import PartRow
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.training.assembly import Assembled, assemble, frozen_weights, has_batch_norm
from emgecg_cli.core.training.augment import parse_augmentations
from emgecg_cli.core.training.before import drowned, losses_with_and_without
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, telling_where
from emgecg_cli.core.training.encoder_targets import (
    AUTO,
    LEAST_RECORDS,
    choose_loss,
)
from emgecg_cli.core.training.group import as_launched, together
from emgecg_cli.core.training.grpo.assembly import assemble_grpo
from emgecg_cli.core.training.loop import LoopResult, Progress, Start, Watch, count_steps, run_loop
from emgecg_cli.core.training.made_from import inputs_of
from emgecg_cli.core.training.memory import explained, probe
from emgecg_cli.core.training.pace import OnInterrupt
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.setup import optimizer_maker, resolve_machine
from emgecg_cli.core.training.stage1 import run_stage1
from emgecg_cli.core.training.tracking import open_trackers, parse_trackers
from emgecg_cli.core.training.word_stage import run_word_stage
from emgecg_cli.core.training.write_run import write_run

OnStart = Callable[[Start], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainResult:
    """A finished run; `loop` is None when it had been finished before.

    `kept_step` is the step whose weights it holds, `validation` the losses on the val split there, None without one.
    """

    path: Path
    config: TrainConfig
    trains: list[PartRow]
    loop: LoopResult | None
    counts: dict[str, int]
    kept_step: int
    validation: dict[str, float] | None


def train(instructions_path: Path, out: Path, config: TrainConfig, *, store_path: Path | None = None,
          on_start: OnStart | None = None, progress: Progress | None = None,
          on_interrupt: OnInterrupt | None = None, say: Say | None = None) -> TrainResult:
    """Train a model and write the run `out`. Started in several processes, each calls this and the first one writes.

    The store is the one the instructions were built from; `store_path` names it where it has moved. `on_start(start)`
    is called before the first step, and `say` with what was decided in place of what the recipe would have. With
    `on_interrupt`, which is then called, the first Ctrl-C amid the steps waits for the end of one and a checkpoint; a
    KeyboardInterrupt has a note of where the same command goes on. Raises MedReportError when inputs do not fit, when
    `out` belongs to other settings, or when the backbone cannot be had.
    """
    config = as_launched(config)
    machine = resolve_machine(config.precision, config.parallel)
    parse_trackers(config.track)
    rewarded = config.objective == GRPO   # in which BatchNorms keep their statistics
    if config.batch_size * machine["processes"] < 2 and has_batch_norm(config) and not rewarded:
        raise MedReportError("--batch-size is 1: BatchNorm needs two records in a batch", "give 2 or more")
    instructions = open_instructions(instructions_path)
    store = open_store(store_path or input_path(instructions_path, instructions.manifest, "store"))
    inputs = inputs_of(store, instructions, config, out)
    store = records_asked(store, instructions)
    open_choice = config.encoder_loss == AUTO
    config = replace(config, encoder_loss=choose_loss(config.encoder_loss, store))
    plan = {"settings": settings_of(config), "inputs": hashes_of(inputs), "machine": machine,
            "versions": package_versions()}
    check_folder_name(out)
    if is_finished(out):
        return _finished(out, plan)
    with telling_where(out), together(config, out, plan) as (parallel, claimed):
        result = _train(parallel, claimed, inputs, store, instructions, out, config, on_start,
                        Watch(progress, on_interrupt, say), (say or _nobody) if open_choice else None)
        if parallel.is_main:
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
            claimed.finish()
    return result


def _train(parallel: Parallel, claimed: Claim, inputs: dict[str, dict[str, str]], store: Store,
           instructions: Instructions, out: Path, config: TrainConfig, on_start: OnStart | None,
           watch: Watch, chosen: Say | None) -> TrainResult:
    """All that can be refused first, then the loop, then the files of the run, its manifest last. `chosen` is told
    what the encoder is supervised by, where that was left open."""
    augmentations, machine = parse_augmentations(config.augment), claimed.plan["machine"]
    rewarded = config.objective == GRPO
    made = assemble_grpo(parallel, machine, store, instructions, config) if rewarded else \
        assemble(parallel, machine, store, instructions, out, config, needed=chosen is None)
    records = made.records
    if parallel.is_main:
        claimed.begin()
        if chosen and config.encoder_loss == "words":
            chosen(_instead_of_codes(len(records), bool(made.targets.names)))
        if on_start:
            step_records = config.batch_size * parallel.world * config.gradient_accumulation
            on_start(Start(made.trains, claimed.resuming, count_steps(config, made.plan), step_records, len(records),
                           made.turn.shown(made.tokenizer), made.objective.output is None))
    parallel.barrier()
    with explained(config):
        if not rewarded:
            _train_stages(parallel, made, out, config, watch)
        frozen = frozen_weights(parallel, made.model)  # as the stages left them, before anything is sharded
        prepared, optimizer = parallel.prepare(made.objective, optimizer_maker(config))
        if not rewarded:
            probe(parallel, prepared, records, partial(lengths_about, records.rendered, made.shown), config)
            _look_first(parallel, prepared, made, config, None if claimed.resuming else watch.say)
        loop = run_loop(parallel, prepared, optimizer, records, made.plan, config, out, augmentations=augmentations,
                        validation=made.validation, watch=watch,
                        track=partial(open_trackers, parse_trackers(config.track), out, settings_of(config),
                                      parallel.accelerator))
    counts = {"train_records": len(records), "steps": loop.steps, "truncated": records.rendered.truncated,
              "longest_report_tokens": records.rendered.longest[2]}
    weights, _ = parallel.state(prepared, None)
    if parallel.is_main:
        write_run(out, made, weights, frozen, loop, config, machine=machine, inputs=inputs, counts=counts,
                  open_choice=chosen is not None)
    parallel.barrier()
    return TrainResult(out, config, made.trains, loop, counts, loop.kept, loop.validation)


def _train_stages(parallel: Parallel, made: Assembled, out: Path, config: TrainConfig, watch: Watch) -> None:
    """What comes before the reports: stage 1 of tables, which their encoder may be frozen after, then the words of
    signal tokens."""
    if made.first:
        run_stage1(parallel, made.model, made.tokenizer, made.first, out, config, watch)
    if config.freeze_encoder and "values" in made.model.towers:
        made.model.towers["values"].freeze()
    if made.alignment is not None and config.word_steps:
        run_word_stage(parallel, made.model, made.alignment, made.records, out, config, watch)


def _look_first(parallel: Parallel, prepared: nn.Module, made: Assembled, config: TrainConfig, say: Say | None) -> None:
    """Say where signal tokens drown the text (collective): each process computes the losses, also where the run goes on
    and nothing is said, since only the main one knows that."""
    if not len(made.model.towers):
        return
    warning = drowned(*losses_with_and_without(parallel, prepared, made.records, config.batch_size))
    if warning and parallel.is_main and say:
        say(warning)


def _nobody(message: str) -> None:
    """Where nobody listens."""


def _instead_of_codes(count: int, has_words: bool) -> str:
    """What supervises the encoder of a store without codes."""
    lacking = f"no code occurs in {LEAST_RECORDS} of the {count} training records"
    return f"{lacking}: the encoder is supervised by the words of their reports (--encoder-loss words)" if has_words \
        else f"{lacking}, and no word of their reports does: the encoder is not supervised directly"


def _finished(out: Path, plan: dict[str, Any]) -> TrainResult:
    manifest = read_manifest(out, "run", made_by="train")
    confirm_finished(out, manifest, plan)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    config = TrainConfig(**manifest.arguments)
    details = manifest.details
    return TrainResult(out, config, [PartRow(**row) for row in details["trains"]], None, manifest.counts,
                       details["kept_step"], details["validation"])
