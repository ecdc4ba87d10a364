"""What `generate` was asked for: run, store and instructions, opened and checked before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation.job import (
    OTHER_STORE,
    Job,
    Limit,
    check_fits,
    check_signal,
    limit_of,
    plan_job,
    settings_of,
)
from emgecg_cli.core.generation.reports import Reporter
from emgecg_cli.core.inputs.records import Inputs, open_inputs, references_input
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.instructions.conversations import records_asked
from emgecg_cli.core.instructions.turns import turn_of
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    hashes_of,
    input_of,
    input_path,
    package_versions,
    path_at,
    read_manifest,
)
from emgecg_cli.core.models.backbones import machine_at_hand
from emgecg_cli.core.models.run_files import check_moved, load_run, load_tokenizer
from emgecg_cli.core.store import Store, open_store


@dataclass(frozen=True)
class Places:
    """Where a run's inputs are, if not where the run says: the store, the instructions, another hospital's references
    in place of the store's, or of those it was trained with, and the folder of the backbone, if it was moved.
    `download` allows to fetch a backbone that the run names from the hub."""

    store: Path | None = None
    instructions: Path | None = None
    references: Path | None = None
    backbone: Path | None = None
    download: bool = False


RUNS_OWN = Places()


@dataclass(frozen=True)
class Task:
    """What was asked for, opened and checked, before a model is loaded."""

    run: Path
    store: Store
    instructions: Instructions
    config: GenerateConfig
    shown: Inputs
    inputs: dict[str, dict[str, str]]
    plan: dict[str, Any]
    limit: Limit
    places: Places

    def job(self) -> Job:
        """Records and chunks; the tokenizer alone decides them."""
        tokenizer, model = load_tokenizer(self.run), read_manifest(self.run, "run").details["model"]
        shown = self.shown.naming_items(tokenizer) if model.get("value_identity") == "item" else self.shown
        return plan_job(shown, tokenizer, self.config)

    def reporter(self, job: Job) -> Reporter:
        """Load the model; the reporter's own job says how long its reports may be."""
        machine = self.plan["machine"]
        device = torch.device(machine["device"])
        dtype = torch.bfloat16 if machine["precision"] == "bf16" else torch.float32
        model, tokenizer, manifest = load_run(self.run, device, dtype, self.places.backbone, self.places.download)
        longest = max(map(len, job.prompts(job.chunks[-1], tokenizer, model.placeholders)))  # sorted by length
        new = self.limit.within(model.backbone, longest, model.encoder_decoder)
        return Reporter(model, tokenizer, turn_of(manifest.details, tokenizer),
                        replace(job, config=replace(job.config, max_new_tokens=new)), device)


def open_task(run: Path, out: Path | None, config: GenerateConfig, places: Places = RUNS_OWN) -> Task:
    """Open run, store and instructions; raises MedReportError when they do not fit each other.

    The task's config is the one given with its `max_new_tokens` resolved, and its `signal` in the shortest words.
    """
    manifest = read_manifest(run, "run", made_by="train")
    check_files(run, manifest, but=".safetensors")  # the weights when they are loaded
    if places.backbone:
        check_moved(run, manifest, places.backbone)
    limit = limit_of(run, manifest, config.max_new_tokens)
    config = replace(config, max_new_tokens=limit.tokens)
    store = open_store(places.store or input_path(run, manifest, "store"))
    instructions = open_instructions(places.instructions or input_path(run, manifest, "instructions"))
    store = records_asked(store, instructions)
    check_fits(run, manifest, store, instructions, config)
    made_from = {"run": run, "store": store.path, "instructions": instructions.path}
    inputs = {role: input_of(path, out or Path()) for role, path in made_from.items()}
    file = places.references or (_trained_with(run, manifest) if places.store is None else None)
    if file:
        inputs["references"] = references_input(file, out or Path())
    shown = _shown(store, instructions, manifest, config, file)
    config = replace(config, signal=check_signal(run, shown, config))
    plan = {"settings": settings_of(config), "inputs": hashes_of(inputs), "machine": machine_at_hand(),
            "versions": package_versions()}
    return Task(run, store, instructions, config, shown, inputs, plan, limit, places)


def _shown(store: Store, instructions: Instructions, manifest: Manifest, config: GenerateConfig,
           file: Path | None) -> Inputs:
    """The records as the run was shown them; values of tables beside the references of `file`, if given."""
    model, tables = manifest.details["model"], manifest.details.get("tables") or {}
    return open_inputs(store, instructions, encoder=model["encoder"], hints=OTHER_STORE, references=file,
                       mode=model.get("values", "encoder"), random_seed=tables.get("random_seed"),
                       hidden=config.signal == "none", settings=model, sizes=model.get("sizes"))


def _trained_with(run: Path, manifest: Manifest) -> Path | None:
    """Another hospital's references that the run was trained with; raises MedReportError when they have changed."""
    named = manifest.inputs.get("references")
    if named is None:
        return None
    file = path_at(run, named["path"])
    if references_input(file, run)["hash"] != named["hash"]:
        raise MedReportError(f"{file}: not the references that {run} was trained with",
                             "put the old file back, or give one with --references")
    return file
