"""The files of a run, its manifest last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.config.files import CONFIG_FILE, write_config
from emgecg_cli.core.config.settings import settings_of
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.manifest import Manifest, file_hashes, write_manifest
from emgecg_cli.core.models.builders import SETTINGS
from emgecg_cli.core.models.run_files import save_run_files
from emgecg_cli.core.pages.training import PAGE, training_page
from emgecg_cli.core.recipes import to_write
from emgecg_cli.core.references.files import hash_of
from emgecg_cli.core.training.assembly import Assembled
from emgecg_cli.core.training.checkpoint import STAGE1, WORDS
from emgecg_cli.core.training.encoder_targets import AUTO
from emgecg_cli.core.training.loop import LoopResult
from emgecg_cli.core.training.validation import VALIDATION_FILE


def write_run(out: Path, made: Assembled, weights: Mapping[str, Tensor], frozen: Mapping[str, Tensor],
              loop: LoopResult, config: TrainConfig, *, machine: Mapping[str, Any], inputs: dict[str, dict[str, str]],
              counts: dict[str, int], open_choice: bool) -> None:
    """Write a trained run. `weights` are those of the objective by name, whole, and `frozen` those of the model that
    did not train; with `open_choice` its config.yaml leaves open what supervises the encoder."""
    trained = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    saved = save_run_files(out, made.model, made.tokenizer, config.tuning, made.subjects, {**frozen, **trained})
    evaluated = made.validation is not None and bool(made.validation.evaluations)
    if not evaluated:
        (out / VALIDATION_FILE).unlink(missing_ok=True)  # of a tracker that was there when it began
    write_config(out / CONFIG_FILE, to_write(replace(config, encoder_loss=AUTO) if open_choice else config), "train",
                 "run")
    logs = ["metrics.jsonl", CONFIG_FILE, *([VALIDATION_FILE] if evaluated else []),
            *([f"{STAGE1}/metrics.jsonl"] if made.first else []),
            *([f"{WORDS}/metrics.jsonl"] if config.word_steps else [])]
    if page := training_page(out, "Training"):
        write_atomically(out / PAGE, page.encode())
        logs.append(PAGE)
    store = made.shown.store
    details = {
        "recipe": config.recipe, "dataset": store.dataset, "fs": store.fs, "sig_len": store.sig_len,
        "machine": machine, "encoder_targets": made.targets.names, "model": _model_details(config, made),
        "turn": made.turn.details(),
        "trains": [asdict(row) for row in made.trains], "kept_step": loop.kept, "validation": loop.validation,
        "files": file_hashes(out, [*saved, *logs])} | _table_details(made.shown)
    write_manifest(out, Manifest("run", "train", settings_of(config), config.seed, counts, inputs, details))


def _model_details(config: TrainConfig, made: Assembled) -> dict[str, Any]:
    """What `load_run` builds the model from."""
    said = settings_of(config)
    chosen = [key for key in ("backbone", "tuning", "new_tokens", *SETTINGS) if key in said]
    backbone: Any = made.model.backbone
    revision = getattr(backbone.config, "_commit_hash", None)  # of a hub model, so that it stays the same one
    measured = {} if made.token_lengths is None else {"token_lengths": made.token_lengths}
    return {key: getattr(config, key) for key in chosen} | {"revision": revision} | measured | (
        {"sizes": made.sizes} if made.sizes else {})


def _table_details(shown: Inputs) -> dict[str, Any]:
    """How a run is shown the values of tables; nothing where there are none."""
    if shown.values is None:
        return {}
    held = shown.values.references
    return {"tables": {"references": hash_of(held) if held else None, "random_seed": shown.values.random_seed}}
