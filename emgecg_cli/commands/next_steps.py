"""The next command to type, suggested when a command is done: one that works on what was made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emgecg_cli.commands import console
from emgecg_cli.core import names
from emgecg_cli.core.config import RUNS
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, is_finished, manifest_path, path_at, read_manifest
from emgecg_cli.core.recipes import RECIPES, default_recipe

TINY = "tiny"


def after_instructions(store_path: Path, instructions: Path, references: Path | None = None) -> None:
    """Train on them, with the backbone at hand; for a store with nothing to train on, write reports. `references` are
    those of tables that they were built with, where these are not the store's."""
    from emgecg_cli.core.store import open_store

    store = open_store(store_path)
    count = len(store.reported("train"))
    other = ["--references", references] if references else []
    if not count:
        _generate(store_path, "--store", store_path, "--instructions", instructions, *other)
        return
    if count < store.kind.fewest:
        console.note("one record in train is too few to train on: BatchNorm needs two")
        return
    backbone = _backbone_at_hand(store.manifest)
    words: list[object] = ["train", instructions, "--backbone", backbone]
    recipe = default_recipe(backbone)
    if store.kind.recipe:
        recipe = store.kind.recipe if backbone != TINY else f"{store.kind.recipe}-tiny"
        words += ["--recipe", store.kind.recipe, *other]
        if not other and not store.manifest.details.get("references", {}).get("items"):
            words += ["--stage1-steps", 0]  # which draws values beside their ranges
    if read_manifest(instructions, "instructions").details.get("form") == "conversations":
        words += ["--max-length", max(1024, RECIPES[recipe].get("max_length", 0))]
    if RECIPES[recipe].get("select", "best") == "best" and not len(store.reported("val")):
        words += ["--select", "last"]
    console.next_step(*words)
    if backbone == TINY:
        console.note("tiny is small and starts from nothing, for a CPU and a first look; --backbone takes a pretrained "
                     "one as well: a name, a folder or an id of the Hugging Face hub")


def after_train(run: Path) -> None:
    """Write reports, for a split that has records."""
    named = read_manifest(run, "run").inputs.get("store")
    store = path_at(run, named["path"]) if named else None
    counts = read_manifest(store, "store").counts if store and is_finished(store) else {}
    console.next_step("generate", run, *_split(counts))


def after_perturb(store: Path) -> None:
    """Write reports on the noisy signals."""
    _generate(store, "--store", store)


def after_generate(predictions: Path) -> None:
    """Score them, where there is something to score them against."""
    from emgecg_cli.core.evaluation.audit import check_rows, check_tokens
    from emgecg_cli.core.predictions import read_predictions

    rows = [row for row in read_predictions(predictions).rows if row.reference is not None]
    if not rows:
        console.note("the records have no reports of their own, so that there is nothing to score these against")
        return
    words: list[object] = ["score", predictions]
    try:
        checked = check_rows(rows, None)
    except MedReportError as error:
        console.note(f"these cannot be scored: {error.message}")
        return
    try:
        check_tokens(checked, None)
    except MedReportError:
        words += ["--segmentation", "char"]
    console.next_step(*words)


def _generate(store_path: Path, *words: object) -> None:
    """`generate` with the newest run that reads such records, or what to put in its place."""
    store = read_manifest(store_path, "store")
    run = next((path for path, manifest in _runs() if _reads(manifest, store)), None)
    console.next_step("generate", run or "RUN", *words, *_split(store.counts))
    if run is None:
        from emgecg_cli.core.store import kind_of

        kind = kind_of(store)
        shape = f" of {store.details['fs']} Hz and {store.details['sig_len']} samples" if kind.has_signals else ""
        console.note(f"RUN is a run of `medreport train` on {kind.name}{shape}; there is none under {RUNS}/")


def _split(counts: dict[str, Any]) -> list[str]:
    """The option that names a split with records; none where `test`, the usual one, has some."""
    full = next((split for split in ("test", "val", "train") if counts.get(split)), "test")
    return [] if full == "test" else ["--split", full]


def _runs() -> Iterator[tuple[Path, Manifest]]:
    """The finished runs in their usual place, the newest first."""
    found = [path for path in Path(RUNS).glob("*") if not path.name.startswith(".") and is_finished(path)]
    for path in sorted(found, key=lambda path: manifest_path(path).stat().st_mtime, reverse=True):
        try:
            yield path, read_manifest(path, "run")
        except MedReportError:
            continue


def _reads(run: Manifest, store: Manifest) -> bool:
    """Whether a run was trained on records of this shape."""
    same = all(run.details.get(key) == store.details.get(key) for key in ("fs", "sig_len"))
    return same and _reads_input(run, store)


def _reads_input(run: Manifest, store: Manifest) -> bool:
    """Whether one of a run's encoders reads what a store's records are shown as."""
    from emgecg_cli.core.store import kind_of

    try:
        return kind_of(store).input in names.encoders_of(str(run.details["model"]["encoder"]))
    except MedReportError:  # an encoder that is not there any more
        return False


def _backbone_at_hand(store: Manifest) -> str:
    """That of the newest run on such records; else the largest in the hub's cache that a GPU here takes; else tiny."""
    for _, run in _runs():
        backbone = str(run.arguments.get("backbone", ""))
        if (backbone in names.BACKBONES or Path(backbone).is_dir()) and _reads_input(run, store):
            return backbone
    there = [name for name, backbone in names.BACKBONES.items() if backbone.hub_id and _may_be_cached(backbone.hub_id)]
    if not there or (shutil.which("nvidia-smi") is None and not Path("/dev/nvidia0").exists()):
        return TINY
    import torch

    from emgecg_cli.core.models.capacity import Use, missing_memory
    from emgecg_cli.core.models.hub import cached, locate

    fit = [name for name in there if cached(locate(name)) is not None
           and not missing_memory(names.BACKBONES[name].parameters, Use(torch.bfloat16, tuning="lora"))]
    return max(fit, key=lambda name: names.BACKBONES[name].parameters, default=TINY)


def _may_be_cached(hub_id: str) -> bool:
    """A cheap check, since the hub's own library takes seconds to import."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return (Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{hub_id.replace('/', '--')}").is_dir()
