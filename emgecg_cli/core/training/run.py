"""`train`: store and instructions in, a run out. Killed at any moment and run again, it ends with the same bytes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from emgecg_cli.core.artifacts import write_atomically
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.instructions.render import IGNORE_INDEX, text_of
from emgecg_cli.core.manifest import (
    Manifest,
    input_of,
    input_path,
    is_finished,
    json_hash,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.backbones import build_tiny_llama, load_backbone, train_tokenizer
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.run_files import save_run_files
from emgecg_cli.core.models.tuning import PartRow, table_of_what_trains, tune_backbone
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.training.data import TrainingRecords, render_split
from emgecg_cli.core.training.encoder_targets import encoder_targets
from emgecg_cli.core.training.loop import LoopResult, Progress, run_loop
from emgecg_cli.core.training.objective import Objective


@dataclass(frozen=True)
class TrainResult:
    """A finished run; `loop` is None when it had been finished before."""

    path: Path
    config: TrainConfig
    trains: list[PartRow]
    loop: LoopResult | None
    counts: dict[str, int]


def train(instructions_path: Path, out: Path, config: TrainConfig, *, store_path: Path | None = None,
          on_start: Callable[[list[PartRow], bool], None] | None = None,
          progress: Progress | None = None) -> TrainResult:
    """Train a model and write the run `out`.

    The store is the one the instructions were built from; `store_path` names it where it has moved. `on_start(rows,
    resuming)` is called with the table of what trains before the first step. Raises MedReportError when inputs do not
    fit, when `out` belongs to other settings, or when the backbone cannot be had.
    """
    instructions = open_instructions(instructions_path)
    store = open_store(store_path or input_path(instructions.manifest, "store"))
    inputs = {"store": input_of(store.path), "instructions": input_of(instructions_path)}
    if instructions.manifest.inputs["store"]["hash"] != inputs["store"]["hash"]:
        raise MedReportError(f"{instructions_path}: built from another store than {store.path}",
                             f"run `medreport build-instructions {store.path}`")
    if is_finished(out):
        return _finished(out, config, inputs)
    _claim(out, {"settings": asdict(config), "inputs": inputs})
    accelerator = Accelerator(mixed_precision=_precision(config.precision))
    if accelerator.num_processes > 1:
        raise MedReportError(f"train was started in {accelerator.num_processes} processes, it runs in one",
                             "start it without a launcher")
    set_seed(config.seed)
    backbone, tokenizer = _backbone(config, store, instructions)
    indices, rendered = render_split(store, instructions, tokenizer, config.max_length)
    codes = store.records["codes"].to_list()
    names, targets = encoder_targets(config.encoder_loss, [codes[i] for i in indices],
                                     [[t for t in r.labels if t != IGNORE_INDEX] for r in rendered])
    model = _model(backbone, config)
    rows = table_of_what_trains({"encoder": (model.encoder, "full"), "projector": (model.projector, "full"),
                                 "backbone": (model.backbone, config.tuning)})
    if on_start:
        on_start(rows, (out / "checkpoints").is_dir())
    objective = Objective(model, torch.from_numpy(targets.mean(0)), weight=config.encoder_loss_weight,
                          eos=tokenizer.eos_token_id, eos_weight=config.eos_loss_weight)
    optimizer = _optimizer(objective, config)
    loop = run_loop(accelerator, objective, optimizer, TrainingRecords(store, indices, rendered, targets),
                    tokenizer.pad_token_id, config, out, progress)
    counts = {"train_records": len(indices), "steps": loop.steps, "truncated": sum(r.truncated for r in rendered)}
    save_run_files(out, model, tokenizer, config.tuning)
    write_manifest(out, _manifest(config, store, model, rows, names, counts, inputs))
    _clear(out)
    return TrainResult(out, config, rows, loop, counts)


def _manifest(config: TrainConfig, store: Store, model: ReportModel, rows: list[PartRow], targets: list[str],
              counts: dict[str, int], inputs: dict[str, dict[str, str]]) -> Manifest:
    details = {
        "recipe": config.recipe, "dataset": store.dataset, "fs": store.fs, "sig_len": store.sig_len,
        "split_hash": store.manifest.details["split_hash"], "encoder_targets": targets,
        "model": {"backbone": config.backbone, "tuning": config.tuning, "encoder": config.encoder,
                  "fusion": config.fusion, "signal_tokens": config.signal_tokens,
                  "token_norm": config.token_norm, "dim": model.fusion.dim},
        "trains": [asdict(row) for row in rows]}
    return Manifest("run", "train", asdict(config), config.seed, counts, inputs, details)


def _finished(out: Path, config: TrainConfig, inputs: dict[str, dict[str, str]]) -> TrainResult:
    manifest = read_manifest(out, "run", made_by="train")
    if manifest.arguments != asdict(config) or manifest.inputs != inputs:
        raise _other_settings(out, manifest.arguments, asdict(config))
    _clear(out)
    return TrainResult(out, config, [PartRow(**row) for row in manifest.details["trains"]], None, manifest.counts)


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Mark the folder as this run's, or raise when it is another's."""
    path = out / "plan.json"
    text = json_hash(plan)
    if path.exists() and path.read_text().split() != [text]:
        raise _other_settings(out, {}, {})
    if not path.exists() and out.exists() and any(out.iterdir()):
        raise MedReportError(f"{out}: not empty and not a run", "give another --out")
    write_atomically(path, f"{text}\n".encode())


def _other_settings(out: Path, old: dict[str, Any], new: dict[str, Any]) -> MedReportError:
    changed = ", ".join(f"{key} {old[key]} -> {new[key]}" for key in old if key in new and old[key] != new[key])
    return MedReportError(f"{out}: holds a run with other settings or inputs{f' ({changed})' if changed else ''}",
                          "give another --out, or remove that folder")


def _clear(out: Path) -> None:
    """A finished run needs neither checkpoints nor the mark of an unfinished one."""
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    (out / "plan.json").unlink(missing_ok=True)


def _precision(name: str) -> str:
    """"auto", "fp32" or "bf16" -> Accelerate's name."""
    if name not in ("auto", "fp32", "bf16"):
        raise MedReportError(f"no precision '{name}'", "available: auto, fp32, bf16")
    automatic = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bf16" if name == "bf16" or (name == "auto" and automatic) else "no"


def _backbone(config: TrainConfig, store: Store, instructions: Instructions) -> tuple[Any, Any]:
    if config.backbone != "tiny":
        frozen_on_gpu = config.tuning != "full" and _precision(config.precision) == "bf16"
        return load_backbone(config.backbone, torch.bfloat16 if frozen_on_gpu else torch.float32)
    if config.tuning != "full":
        raise MedReportError(f"--tuning {config.tuning} with --backbone tiny: its random weights would stay random",
                             "use --tuning full")
    ids = store.records["record_id"].to_list()
    texts = Counter(text_of(message["content"]) for i in store.indices("train")
                    for message in instructions.rows[ids[i]].messages)
    tokenizer = train_tokenizer(sorted(texts.elements()))
    return build_tiny_llama(tokenizer, config.seed), tokenizer


def _model(backbone: Any, config: TrainConfig) -> ReportModel:
    tuned = tune_backbone(backbone, config.tuning, rank=config.lora_rank, alpha=config.lora_alpha,
                          dropout=config.lora_dropout)
    if config.gradient_checkpointing:
        tuned.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return build_report_model(tuned, encoder=config.encoder, fusion=config.fusion, signal_tokens=config.signal_tokens,
                              token_norm=config.token_norm, seed=config.seed)


def _optimizer(objective: Objective, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over what trains, the signal side with its own learning rate if one is given."""
    backbone = [p for p in objective.model.backbone.parameters() if p.requires_grad]
    taken = {id(p) for p in backbone}
    signal = [p for p in objective.parameters() if p.requires_grad and id(p) not in taken]
    rate = config.learning_rate
    groups = [{"params": signal, "lr": config.encoder_learning_rate or rate}]
    if backbone:
        groups.insert(0, {"params": backbone, "lr": rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, betas=(0.9, config.adam_beta2))
