"""`train`: store and instructions in, a run out. Killed at any moment and run again, it ends with the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from torch import nn

from emgecg_cli.core import names
from emgecg_cli.core.claims import Claim, confirm_finished
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.config.files import CONFIG_FILE, write_config
from emgecg_cli.core.config.settings import settings_of
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.drawn.values import drawn_records
from emgecg_cli.core.inputs.records import Inputs, open_inputs
from emgecg_cli.core.inputs.rendered import lengths_about, words_of
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.instructions.turns import turn_end, without_words
from emgecg_cli.core.manifest import (
    Manifest,
    check_folder_name,
    file_hashes,
    hashes_of,
    input_path,
    is_finished,
    package_versions,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.backbones import end_ids
from emgecg_cli.core.models.builders import SETTINGS
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.run_files import save_run_files
from emgecg_cli.core.models.tuning import PartRow, table_of_what_trains
from emgecg_cli.core.recipes import to_write
from emgecg_cli.core.references.files import hash_of
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.training.augment import parse_augmentations
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.before import drowned, losses_with_and_without, match_tokens
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, STAGE1, telling_where
from emgecg_cli.core.training.encoder_targets import (
    AUTO,
    LEAST_RECORDS,
    choose_loss,
)
from emgecg_cli.core.training.group import as_launched, together
from emgecg_cli.core.training.loop import LoopResult, Progress, Start, Watch, count_steps, run_loop
from emgecg_cli.core.training.made_from import inputs_of, subjects_of
from emgecg_cli.core.training.memory import explained, probe
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.pace import OnInterrupt
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.records import records_of, validation_of
from emgecg_cli.core.training.setup import make_backbone, make_model, optimizer_maker, resolve_machine
from emgecg_cli.core.training.stage1 import run_stage1
from emgecg_cli.core.training.tracking import open_trackers, parse_trackers
from emgecg_cli.core.training.validation import VALIDATION_FILE
from emgecg_cli.core.training.word_stage import STAGE as WORDS
from emgecg_cli.core.training.word_stage import run_word_stage, word_alignment

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
    if config.batch_size * machine["processes"] < 2 and _has_batch_norm(config):
        raise MedReportError("--batch-size is 1: BatchNorm needs two records in a batch", "give 2 or more")
    instructions = open_instructions(instructions_path)
    store = open_store(store_path or input_path(instructions_path, instructions.manifest, "store"))
    open_choice = config.encoder_loss == AUTO
    config = replace(config, encoder_loss=choose_loss(config.encoder_loss, store))
    inputs = inputs_of(store, instructions, config, out)
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
    machine = claimed.plan["machine"]
    augmentations = parse_augmentations(config.augment)
    subjects = subjects_of(store, config)
    shown = _shown(store, instructions, config)
    whole = replace(config, batch_size=config.batch_size * parallel.world)  # stage 1 draws as many as all will see
    first = drawn_records(shown, whole) if shown.values and config.stage1_steps else None
    set_seed(config.seed + parallel.rank)
    backbone, tokenizer = make_backbone(config, machine, shown, first.texts() if first else ())
    turn = turn_end(tokenizer, end_ids(backbone))
    model = make_model(backbone, config)
    rows = table_of_what_trains(_parts(model, config))
    records, targets = records_of(model, tokenizer, store, shown, config, "train", needed=chosen is None)
    turn = without_words(turn, tokenizer.eos_token_id,
                         partial(words_of, records.rendered, store, tokenizer, len(turn.ids)))
    token_lengths = match_tokens(model, records) if config.token_norm == "matched" else None
    alignment = word_alignment(model, records.rendered) if config.word_steps or config.word_loss else None
    validation = validation_of(model, tokenizer, store, shown, config, targets, out,
                             len(records) // (config.batch_size * parallel.world * config.gradient_accumulation))
    objective = Objective(model, targets.shares, weight=config.encoder_loss_weight, end=turn.ids,
                          eos_weight=config.eos_loss_weight, alignment=alignment, word_weight=config.word_loss)
    if parallel.kind == "zero3":  # a call of the head gathers it, and processes may need a different number of calls
        objective.output = None
    plan = BatchPlan(records.rendered.lengths, config.batch_size * parallel.world, config.seed, parallel.world,
                     smallest=2 if _has_batch_norm(config) else 1)
    if parallel.is_main:
        claimed.begin()
        if chosen and config.encoder_loss == "words":
            chosen(_instead_of_codes(len(records), bool(targets.names)))
        if on_start:
            step_records = config.batch_size * parallel.world * config.gradient_accumulation
            on_start(Start(rows, claimed.resuming, count_steps(config, plan), step_records, len(records),
                           turn.shown(tokenizer), objective.output is None))
    parallel.barrier()
    with explained(config):
        if first:
            run_stage1(parallel, model, tokenizer, first, out, config, watch)
        if alignment is not None and config.word_steps:
            run_word_stage(parallel, model, alignment, records, out, config, watch)
        if config.freeze_encoder:
            for name in model.towers:
                model.towers[name].encoder.requires_grad_(False)
        prepared, optimizer = parallel.prepare(objective, optimizer_maker(config))
        probe(parallel, prepared, records, partial(lengths_about, records.rendered, shown), config)
        if len(model.towers):  # in a run that goes on as well: only the main process knows for sure that it does
            warning = drowned(*losses_with_and_without(parallel, prepared, records))
            if warning and parallel.is_main and watch.say and not claimed.resuming:
                watch.say(warning)
        loop = run_loop(parallel, prepared, optimizer, records, plan, config, out, augmentations=augmentations,
                        validation=validation, watch=watch,
                        track=partial(open_trackers, parse_trackers(config.track), out, settings_of(config),
                                      parallel.accelerator))
    counts = {"train_records": len(records), "steps": loop.steps, "truncated": records.rendered.truncated,
              "longest_report_tokens": records.rendered.longest[2]}
    weights, _ = parallel.state(prepared, None)
    if parallel.is_main:
        trained = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
        frozen = model.own_weights() if config.freeze_encoder else {}
        saved = save_run_files(out, model, tokenizer, config.tuning, subjects, frozen | trained)
        evaluated = validation is not None and bool(validation.evaluations)
        if not evaluated:
            (out / VALIDATION_FILE).unlink(missing_ok=True)  # of a tracker that was there when it began
        write_config(out / CONFIG_FILE, to_write(replace(config, encoder_loss=AUTO) if chosen else config), "train",
                     "run")
        logs = ["metrics.jsonl", CONFIG_FILE, *([VALIDATION_FILE] if evaluated else []),
                *([f"{STAGE1}/metrics.jsonl"] if first else []),
                *([f"{WORDS}/metrics.jsonl"] if config.word_steps else [])]
        details = {
            "recipe": config.recipe, "dataset": store.dataset, "fs": store.fs, "sig_len": store.sig_len,
            "machine": machine, "encoder_targets": targets.names, "model": _model_details(config, model, token_lengths),
            "turn": turn.details(),
            "trains": [asdict(row) for row in rows], "kept_step": loop.kept, "validation": loop.validation,
            "files": file_hashes(out, [*saved, *logs])} | _table_details(shown)
        write_manifest(out, Manifest("run", "train", settings_of(config), config.seed, counts, inputs, details))
    parallel.barrier()
    return TrainResult(out, config, rows, loop, counts, loop.kept, loop.validation)


def _nobody(message: str) -> None:
    """Where nobody listens."""


def _instead_of_codes(count: int, has_words: bool) -> str:
    """What supervises the encoder of a store without codes."""
    lacking = f"no code occurs in {LEAST_RECORDS} of the {count} training records"
    return f"{lacking}: the encoder is supervised by the words of their reports (--encoder-loss words)" if has_words \
        else f"{lacking}, and no word of their reports does: the encoder is not supervised directly"


def _shown(store: Store, instructions: Instructions, config: TrainConfig) -> Inputs:
    """The records as the model is to see them."""
    hints = {"values": "give --recipe emgllm", "ecg": "choose an encoder of signals, or leave --recipe out"}
    return open_inputs(store, instructions, encoder=config.encoder, hints=hints, mode=config.values,
                       references=Path(config.references) if config.references else None,
                       random_seed=config.seed if config.random_references else None)


def _has_batch_norm(config: TrainConfig) -> bool:
    """Whether a batch needs two records: only the encoder of values does without BatchNorm."""
    return set(names.encoders_of(config.encoder)) != {"values"}


def _table_details(shown: Inputs) -> dict[str, Any]:
    """How a run is shown the values of tables; nothing where there are none."""
    if shown.values is None:
        return {}
    held = shown.values.references
    return {"tables": {"references": hash_of(held) if held else None, "random_seed": shown.values.random_seed}}


def _parts(model: ReportModel, config: TrainConfig) -> dict[str, Any]:
    """The parts of a model and how each is tuned, for the table of what trains; those of several towers by input."""
    parts: dict[str, Any] = {}
    frozen = ("frozen" if not config.stage1_steps else "stage 1") if config.freeze_encoder else "full"
    for name in model.towers:
        tower, which = model.towers[name], f"{name} " if len(model.towers) > 1 else ""
        parts[f"{which}encoder"] = (tower.encoder, frozen)
        if tower.projector is not None:
            parts[f"{which}projector"] = (tower.projector, "full")
    if isinstance(model.fusion, nn.Module):
        parts["fusion"] = (model.fusion, "full")
    return parts | {"backbone": (model.backbone, config.tuning)}


def _model_details(config: TrainConfig, model: ReportModel, token_lengths: list[float] | None) -> dict[str, Any]:
    """What `load_run` builds the model from."""
    chosen = ("backbone", "tuning", "new_tokens", *SETTINGS)
    revision = getattr(model.backbone.config, "_commit_hash", None)  # of a hub model, so that it stays the same one
    measured = {} if token_lengths is None else {"token_lengths": token_lengths}
    return {key: getattr(config, key) for key in chosen} | {"revision": revision} | measured


def _finished(out: Path, plan: dict[str, Any]) -> TrainResult:
    manifest = read_manifest(out, "run", made_by="train")
    confirm_finished(out, manifest, plan)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    config = TrainConfig(**manifest.arguments)
    details = manifest.details
    return TrainResult(out, config, [PartRow(**row) for row in details["trains"]], None, manifest.counts,
                       details["kept_step"], details["validation"])
