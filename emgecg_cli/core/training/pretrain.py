"""`pretrain`: a store in, an encoder out. Killed at any moment and run again, it ends with the same bytes.

The weights are those of the last step. The validation split is evaluated once, after it; the test split never.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader

from emgecg_cli.core import names
from emgecg_cli.core.claims import Claim, confirm_finished
from emgecg_cli.core.config import PretrainConfig
from emgecg_cli.core.config.files import CONFIG_FILE, write_config
from emgecg_cli.core.config.settings import settings_of
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import (
    Manifest,
    check_folder_name,
    file_hashes,
    hashes_of,
    input_of,
    is_finished,
    package_versions,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.encoders import ENCODER_FILE, save_encoder_weights
from emgecg_cli.core.models.encoders.vit1d import Vit1d
from emgecg_cli.core.models.preprocessing import Preprocessing, preprocessing_of
from emgecg_cli.core.models.run_files import SUBJECTS_FILE
from emgecg_cli.core.models.tuning import PartRow, table_of_what_trains
from emgecg_cli.core.recipes import to_write
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store import Store, open_store, subject_hashes
from emgecg_cli.core.training.augment import Augmentation, network_input, parse_augmentations
from emgecg_cli.core.training.auroc import auroc, macro
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, telling_where
from emgecg_cli.core.training.coca import CaptionedRecords, Coca, retrieval
from emgecg_cli.core.training.group import as_launched, together
from emgecg_cli.core.training.loop import LoopResult, Progress, Start, Watch, count_steps, run_loop
from emgecg_cli.core.training.memory import explained, probe
from emgecg_cli.core.training.pace import OnInterrupt
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.pretrain_coca import groups_of, open_coca, save_texts
from emgecg_cli.core.training.pretrain_objectives import (
    Masked,
    SignalRecords,
    Supervised,
    code_records,
    learnable_codes,
)
from emgecg_cli.core.training.setup import resolve_machine

VALIDATION_FILE = "validation.json"

OnStart = Callable[[Start], None]


@dataclass(frozen=True)
class PretrainResult:
    """A finished encoder; `loop` is None when it had been finished before. `validation` is what `validation.json` says.

    Supervised: "auroc" by code (None where the val split has only one kind of record) and their mean "macro_auroc".
    Masked: the losses "masked" and "power", and the share of power that was "explained". Coca: "recall_at_1" and
    "recall_at_5" of reports by their recordings. Empty without a val split.
    `left_out` are codes that were not learned, and how many train records have each.
    """

    path: Path
    config: PretrainConfig
    trains: list[PartRow]
    loop: LoopResult | None
    counts: dict[str, int]
    validation: dict[str, Any]
    left_out: dict[str, int]


def pretrain(store_path: Path, out: Path, config: PretrainConfig, *, on_start: OnStart | None = None,
             progress: Progress | None = None, on_interrupt: OnInterrupt | None = None) -> PretrainResult:
    """Pretrain an encoder on a store and write the artefact `out`. Started in several processes, the first one writes.

    `on_start(start)` is called before the first step; `on_interrupt` is as in `train`. Raises MedReportError when the
    store lacks what the objective needs, when the encoder cannot be trained by it, or when `out` belongs to other
    settings.
    """
    config = as_launched(config)
    machine = resolve_machine(config.precision, config.parallel)
    store = open_store(store_path)
    store.check_has_signals()
    inputs = {"store": input_of(store.path, out)}
    plan = {"settings": settings_of(config), "inputs": hashes_of(inputs), "machine": machine,
            "versions": package_versions()}
    check_folder_name(out)
    if is_finished(out):
        return _finished(out, plan)
    with telling_where(out), together(config, out, plan) as (parallel, claimed):
        result = _pretrain(parallel, claimed, inputs, store, out, config, on_start, Watch(progress, on_interrupt))
        if parallel.is_main:
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
            claimed.finish()
    return result


def _pretrain(parallel: Parallel, claimed: Claim, inputs: dict[str, dict[str, str]], store: Store, out: Path,
              config: PretrainConfig, on_start: OnStart | None, watch: Watch) -> PretrainResult:
    """All that can be refused first, then the loop, then the files, the manifest last."""
    augmentations = parse_augmentations(config.augment) if config.objective != "coca" else []
    set_seed(config.seed + parallel.rank)
    codes, left_out = learnable_codes(store) if config.objective == "supervised" else ([], {})
    preprocessing = preprocessing_of(config.encoder)
    objective: nn.Module
    records, val, objective, words = open_coca(store, config, preprocessing) if config.objective == "coca" else \
        _of_signals(store, config, codes, preprocessing, augmentations)
    frozen = {name: part.detach().clone() for name, part in objective.named_parameters() if not part.requires_grad}
    plan = BatchPlan(np.full(len(records), store.sig_len), config.batch_size * parallel.world, config.seed,
                     parallel.world)
    rows = table_of_what_trains({name: (part, "full") for name, part in objective.named_children()})
    if parallel.is_main:
        claimed.begin()
        if on_start:
            on_start(Start(rows, claimed.resuming, count_steps(config, plan),
                           config.batch_size * parallel.world * config.gradient_accumulation, len(records)))
    parallel.barrier()
    with explained(config):
        prepared, optimizer = parallel.prepare(objective, partial(_optimizer, config=config))
        probe(parallel, prepared, records, lambda: np.full(len(records), store.sig_len), config)
        loop = run_loop(parallel, prepared, optimizer, records, plan, config, out, augmentations=augmentations,
                        watch=watch)
    validation = validate(parallel, prepared, val, codes, config)
    counts = {"train_records": len(records), "val_records": len(val), "steps": loop.steps}
    weights, _ = parallel.state(prepared, None)
    if parallel.is_main:
        whole = frozen | weights
        own = {name.removeprefix("encoder."): t for name, t in whole.items() if name.startswith("encoder.")}
        save_encoder_weights(out, config.encoder, own)
        more = save_texts(out, objective, whole, words) if isinstance(objective, Coca) and words else []
        subjects = sorted(subject_hashes(store, "train"))
        write_atomically(out / SUBJECTS_FILE, "".join(f"{subject}\n" for subject in subjects).encode())
        write_atomically(out / VALIDATION_FILE, (json.dumps(validation, indent=2, ensure_ascii=False) + "\n").encode())
        write_config(out / CONFIG_FILE, to_write(config), "pretrain", "encoder")
        details = {"dataset": store.dataset, "fs": store.fs, "sig_len": store.sig_len,
                   "machine": claimed.plan["machine"], "encoder": config.encoder, "codes": codes, "left_out": left_out,
                   "trains": [asdict(row) for row in rows], "validation": validation,
                   "files": file_hashes(out, [ENCODER_FILE, SUBJECTS_FILE, VALIDATION_FILE, CONFIG_FILE,
                                              "metrics.jsonl", *more])}
        write_manifest(out, Manifest("encoder", "pretrain", settings_of(config), config.seed, counts, inputs, details))
    parallel.barrier()
    return PretrainResult(out, config, rows, loop, counts, validation, left_out)


def _of_signals(store: Store, config: PretrainConfig, codes: list[str], preprocessing: Preprocessing,
                augmentations: list[Augmentation]) -> tuple[SignalRecords, SignalRecords, nn.Module, None]:
    """The records of both splits, and the objective, of recordings alone."""
    records = code_records(store, "train", codes, preprocessing)
    if not len(records):
        raise MedReportError(f"{store.path}: no record in the train split", "prepare it with another --split")
    return records, code_records(store, "val", codes, preprocessing), \
        make_objective(config, records, augmentations), None


def make_objective(config: PretrainConfig, records: SignalRecords, augmentations: list[Augmentation]) \
        -> Supervised | Masked:
    """A new encoder in its objective, the weights depending on the seed alone.

    Raises MedReportError for an encoder without patches in masked pre-training, and for recordings of a single one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = names.resolve("encoder", config.encoder)()
        if config.objective == "supervised":
            return Supervised(encoder, torch.from_numpy(records.targets.mean(0, dtype=np.float32)))
        if not isinstance(encoder, Vit1d):
            raise MedReportError(f"encoder {config.encoder} has no patches to hide",
                                 f"--objective masked works with {', '.join(masked_encoders())}")
        if records.store.sig_len <= encoder.patch:
            raise MedReportError(f"{records.store.path}: a recording of {records.store.sig_len} samples is one patch "
                                 f"of encoder {config.encoder}: nothing is left to guess it from",
                                 "choose an encoder with shorter patches, or prepare the store with a higher --fs")
        return Masked(encoder, len(LEADS), config.mask_ratio, augmentations)


def masked_encoders() -> list[str]:
    """Names of the encoders that masked pre-training can train."""
    with torch.device("meta"):
        return [name for name in names.encoders_reading("ecg") if isinstance(names.resolve("encoder", name)(), Vit1d)]


@torch.no_grad()
def validate(parallel: Parallel, objective: nn.Module, records: SignalRecords | CaptionedRecords, codes: list[str],
             config: PretrainConfig) -> dict[str, Any]:
    """How good the encoder is on these records; see `PretrainResult`. Every process evaluates all of them."""
    if not len(records):
        return {}
    objective.eval()
    if isinstance(records, CaptionedRecords):
        return retrieval(parallel, objective, records, config.batch_size)
    totals = records.totals(np.arange(len(records)))
    loader: DataLoader[Any] = DataLoader(records, config.batch_size, collate_fn=records.collate,  # type: ignore[arg-type]
                                         generator=torch.Generator())
    outputs = []
    for batch in loader:
        inputs, on_device = network_input(batch, parallel.device, 0, 0)
        with parallel.autocast():
            outputs.append(objective(inputs, on_device, None if codes else totals))
    if not codes:
        losses = {name: torch.stack([output.parts[name] for output in outputs]).sum().item()
                  for name in outputs[0].parts}
        return losses | {"explained": 1 - losses["masked"] / losses["power"] if losses["power"] else None}
    scores = torch.cat(outputs).cpu().numpy()
    values = {code: auroc(scores[:, k], records.targets[:, k]) for k, code in enumerate(codes)}
    return {"macro_auroc": macro(values), "auroc": values}


def _optimizer(module: nn.Module, config: PretrainConfig) -> torch.optim.AdamW:
    """AdamW; of CoCa as it was published: what is no matrix does not decay."""
    settings: dict[str, Any] = dict(lr=config.learning_rate, betas=(0.9, config.adam_beta2))
    if isinstance(module, Coca):
        return torch.optim.AdamW(groups_of(module, config.weight_decay), eps=1e-6, **settings)
    return torch.optim.AdamW(module.parameters(), weight_decay=config.weight_decay, **settings)


def _finished(out: Path, plan: dict[str, Any]) -> PretrainResult:
    manifest = read_manifest(out, "encoder", made_by="pretrain")
    confirm_finished(out, manifest, plan)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    details = manifest.details
    return PretrainResult(out, PretrainConfig(**manifest.arguments), [PartRow(**row) for row in details["trains"]],
                          None, manifest.counts, details["validation"], details["left_out"])
