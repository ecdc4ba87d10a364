"""What a run is made from: the artefacts and files its manifest names, and the patients it learns from."""

from __future__ import annotations

from pathlib import Path

from emgecg_cli.core import names
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.records import references_input
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.manifest import file_hashes, input_of, path_from
from emgecg_cli.core.models.backbones import fingerprint
from emgecg_cli.core.models.encoders import ENCODER_FILE
from emgecg_cli.core.models.run_files import SUBJECTS_FILE, train_subjects
from emgecg_cli.core.store import Store, subject_hashes


def inputs_of(store: Store, instructions: Instructions, config: TrainConfig, out: Path) -> dict[str, dict[str, str]]:
    """What the run is made from, by role; checks that the instructions are the store's."""
    inputs = {"store": input_of(store.path, out), "instructions": input_of(instructions.path, out)}
    if instructions.manifest.inputs["store"]["hash"] != inputs["store"]["hash"]:
        raise MedReportError(f"{instructions.path}: built from another store than {store.path}",
                             f"run `medreport build-instructions {store.path}`")
    folder = Path(config.backbone)
    if config.backbone != "tiny" and folder.is_dir():
        inputs["backbone"] = {"path": path_from(folder, out), "hash": fingerprint(folder)}
    if "image" in names.encoders_of(config.encoder) and Path(config.image_tower).is_dir():
        tower = Path(config.image_tower)
        inputs["image_tower"] = {"path": path_from(tower, out), "hash": fingerprint(tower)}
    if config.from_run:
        inputs["run"] = input_of(Path(config.from_run), out)
    if config.references:
        inputs["references"] = references_input(Path(config.references), out)
    if config.encoder_weights:
        weights = Path(config.encoder_weights)
        file = weights / ENCODER_FILE if weights.is_dir() else weights
        if not file.is_file():
            raise MedReportError(f"{file}: no such file", "make one: `medreport pretrain`")
        inputs["encoder"] = {"path": path_from(weights, out), "hash": file_hashes(file.parent, [file.name])[file.name]}
    return inputs


def subjects_of(store: Store, config: TrainConfig) -> set[str]:
    """Hashes of all patients the run learns from, those its encoder was pretrained on, and those of the run it goes on
    from, included.

    Raises MedReportError when they are in another split of the store.
    """
    subjects = subject_hashes(store, "train")
    if config.encoder_weights:
        weights = Path(config.encoder_weights)
        folder = weights if weights.is_dir() else weights.parent
        subjects |= _seen_by(folder, store, "its encoder was pretrained on", "pretrain it on this store, or on other "
                             "patients")
    if config.from_run:
        subjects |= _seen_by(Path(config.from_run), store, "it was trained on", "give a store with the split of the "
                             "one it was trained on, or of other patients")
    return subjects


def _seen_by(folder: Path, store: Store, what: str, hint: str) -> set[str]:
    """Hashes of the patients that weights have seen, none of whom may be in another split of the store."""
    seen = train_subjects(folder) if (folder / SUBJECTS_FILE).is_file() else set()
    for split in ("val", "test"):
        shared = len(seen & subject_hashes(store, split))
        if shared:
            raise MedReportError(f"{folder}: {what} {shared} patients of the {split} split of {store.path}", hint)
    return seen
