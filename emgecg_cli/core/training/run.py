"""`train`: store and instructions in, a run out. Killed at any moment and run again, it ends with the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed

from emgecg_cli.core.claims import Claim, claim, confirm_finished
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.manifest import (
    Manifest,
    check_folder_name,
    file_hashes,
    hashes_of,
    input_of,
    input_path,
    is_finished,
    package_versions,
    path_from,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.backbones import fingerprint
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.run_files import save_run_files
from emgecg_cli.core.models.tuning import PartRow, table_of_what_trains
from emgecg_cli.core.store import Store, open_store, subject_hashes
from emgecg_cli.core.training.augment import parse_augmentations
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.checkpoint import CHECKPOINTS
from emgecg_cli.core.training.data import TrainingRecords, render_split
from emgecg_cli.core.training.encoder_targets import encoder_targets
from emgecg_cli.core.training.loop import LoopResult, Progress, run_loop
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.setup import make_backbone, make_model, make_optimizer, resolve_machine

OnStart = Callable[[list[PartRow], bool], None]


@dataclass(frozen=True)
class TrainResult:
    """A finished run; `loop` is None when it had been finished before."""

    path: Path
    config: TrainConfig
    trains: list[PartRow]
    loop: LoopResult | None
    counts: dict[str, int]


def train(instructions_path: Path, out: Path, config: TrainConfig, *, store_path: Path | None = None,
          on_start: OnStart | None = None, progress: Progress | None = None) -> TrainResult:
    """Train a model and write the run `out`.

    The store is the one the instructions were built from; `store_path` names it where it has moved. `on_start(rows,
    resuming)` is called with the table of what trains before the first step. Raises MedReportError when inputs do not
    fit, when `out` belongs to other settings, or when the backbone cannot be had.
    """
    machine = resolve_machine(config.precision)
    instructions = open_instructions(instructions_path)
    store = open_store(store_path or input_path(instructions_path, instructions.manifest, "store"))
    inputs = {"store": input_of(store.path, out), "instructions": input_of(instructions_path, out)}
    folder = Path(config.backbone)
    if config.backbone != "tiny" and folder.is_dir():
        inputs["backbone"] = {"path": path_from(folder, out), "hash": fingerprint(folder)}
    if instructions.manifest.inputs["store"]["hash"] != inputs["store"]["hash"]:
        raise MedReportError(f"{instructions_path}: built from another store than {store.path}",
                             f"run `medreport build-instructions {store.path}`")
    plan = {"settings": asdict(config), "inputs": hashes_of(inputs), "machine": machine,
            "versions": package_versions()}
    check_folder_name(out)
    if is_finished(out):
        return _finished(out, plan)
    with claim(out, plan) as claimed:
        result = _train(claimed, inputs, store, instructions, out, config, on_start, progress)
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
        claimed.finish()
    return result


def _train(claimed: Claim, inputs: dict[str, dict[str, str]], store: Store, instructions: Instructions, out: Path,
           config: TrainConfig, on_start: OnStart | None, progress: Progress | None) -> TrainResult:
    """All that can be refused first, then the loop, then the files of the run, its manifest last."""
    machine = claimed.plan["machine"]
    accelerator = Accelerator(mixed_precision="bf16" if machine["precision"] == "bf16" else "no")
    augmentations = parse_augmentations(config.augment)
    set_seed(config.seed)
    backbone, tokenizer = make_backbone(config, machine, store, instructions)
    rendered = render_split(store, instructions, tokenizer, config.max_length)
    targets = encoder_targets(config.encoder_loss, store, rendered)
    model = make_model(backbone, config)
    rows = table_of_what_trains({"encoder": (model.encoder, "full"), "projector": (model.projector, "full"),
                                 "backbone": (model.backbone, config.tuning)})
    objective = Objective(model, targets.shares, weight=config.encoder_loss_weight, eos=tokenizer.eos_token_id,
                          eos_weight=config.eos_loss_weight)
    records = TrainingRecords(store, rendered, targets.matrix)
    plan = BatchPlan(rendered.lengths, config.batch_size, config.seed)
    claimed.begin()
    if on_start:
        on_start(rows, claimed.resuming)
    loop = run_loop(accelerator, objective, make_optimizer(objective, config), records, plan, tokenizer.pad_token_id,
                    config, augmentations, out, progress)
    counts = {"train_records": len(records), "steps": loop.steps, "truncated": rendered.truncated}
    saved = save_run_files(out, model, tokenizer, config.tuning, subject_hashes(store, "train"))
    details = {
        "recipe": config.recipe, "dataset": store.dataset, "fs": store.fs, "sig_len": store.sig_len,
        "machine": machine, "encoder_targets": targets.names, "model": _model_details(config, model),
        "trains": [asdict(row) for row in rows], "files": file_hashes(out, [*saved, "metrics.jsonl"])}
    write_manifest(out, Manifest("run", "train", asdict(config), config.seed, counts, inputs, details))
    return TrainResult(out, config, rows, loop, counts)


def _model_details(config: TrainConfig, model: ReportModel) -> dict[str, Any]:
    """What `load_run` builds the model from."""
    chosen = ("backbone", "tuning", "encoder", "projector", "fusion", "signal_tokens", "token_norm")
    revision = getattr(model.backbone.config, "_commit_hash", None)  # of a hub model, so that it stays the same one
    return {key: getattr(config, key) for key in chosen} | {"revision": revision}


def _finished(out: Path, plan: dict[str, Any]) -> TrainResult:
    manifest = read_manifest(out, "run", made_by="train")
    confirm_finished(out, manifest, plan)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    config = TrainConfig(**manifest.arguments)
    return TrainResult(out, config, [PartRow(**row) for row in manifest.details["trains"]], None, manifest.counts)
