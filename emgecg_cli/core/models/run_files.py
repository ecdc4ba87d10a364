"""The weights of a run on disk: adapter or backbone, signal weights, tokenizer. Written and read by the same file.

A LoRA run holds an adapter and names its backbone; a fully tuned one holds the backbone itself. Only safetensors.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from emgecg_cli.core.artifacts import write_atomically
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, check_files, path_at, read_manifest
from emgecg_cli.core.models.backbones import fingerprint, load_backbone
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.report_model import ReportModel

SIGNAL_FILE = "signal.safetensors"
SUBJECTS_FILE = "train_subjects.txt"
ADAPTER_FILE = "adapter/adapter_model.safetensors"


def save_run_files(run: Path, model: ReportModel, tokenizer: Any, tuning: str, subjects: Iterable[str]) -> list[str]:
    """Write what `load_run` needs besides the manifest, and whom the run was trained on, as hashes of patients.

    All of it is written aside and then moved, so that a kill leaves nothing half. Returns the names of the files.
    """
    aside = run / ".files.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    (aside / SUBJECTS_FILE).write_text("".join(f"{subject}\n" for subject in sorted(subjects)))
    save_file({name: tensor.contiguous().cpu() for name, tensor in model.signal_parts().items()}, aside / SIGNAL_FILE)
    tokenizer.save_pretrained(aside / "tokenizer")
    if tuning == "lora":
        model.backbone.save_pretrained(aside / "adapter")  # type: ignore[operator]
        _sort_lists(aside / "adapter" / "adapter_config.json")
    elif tuning == "full":
        model.backbone.save_pretrained(aside / "backbone")  # type: ignore[operator]
    written = [path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()]
    for made in sorted(aside.iterdir()):
        if (run / made.name).is_dir():
            shutil.rmtree(run / made.name)
        made.rename(run / made.name)
    aside.rmdir()
    return written


def train_subjects(run: Path) -> set[str]:
    """Hashes of the patients a run was trained on, as `store.subject_hashes` makes them."""
    return set((run / SUBJECTS_FILE).read_text().split())


def _sort_lists(config: Path) -> None:
    """peft writes its sets in hash order, which differs between processes; a run's bytes must not."""
    values = {key: sorted(value) if isinstance(value, list) else value
              for key, value in json.loads(config.read_text()).items()}
    write_atomically(config, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def load_run(run: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[ReportModel, Any, Manifest]:
    """Model (in evaluation mode, on `device`), tokenizer and manifest of a finished run.

    Raises MedReportError when a file is missing or does not fit the others.
    """
    manifest = read_manifest(run, "run", made_by="train")
    check_files(run, manifest)
    settings = manifest.details["model"]
    try:
        tokenizer = AutoTokenizer.from_pretrained(_folder(run / "tokenizer"), trust_remote_code=False,
                                                  local_files_only=True)
        backbone = _load_backbone(run, manifest, dtype)
        for holder in {backbone, getattr(backbone, "get_base_model", lambda: backbone)()}:
            # Many checkpoints bring sampling or penalties, which would fill in whatever generate is not told.
            holder.generation_config = GenerationConfig()
        model = build_report_model(backbone, encoder=settings["encoder"], projector=settings["projector"],
                                   fusion=settings["fusion"],
                                   signal_tokens=settings["signal_tokens"], token_norm=settings["token_norm"], seed=0)
        weights = load_file(run / SIGNAL_FILE)
        expected = model.signal_parts()
        wrong = sorted(set(weights) ^ set(expected)) or \
            [name for name in weights if weights[name].shape != expected[name].shape]
        if wrong:
            raise MedReportError(f"{run / SIGNAL_FILE}: does not fit encoder {settings['encoder']} ({wrong[0]})",
                                 "train the run again")
        model.load_state_dict(weights, strict=False)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise MedReportError(f"{run}: cannot be loaded: {' '.join(str(error).split())[:300]}",
                             "a file of the run is missing or damaged; train it again") from None
    model.encoder.to(device, torch.float32)
    model.projector.to(device, torch.float32)
    backbone.to(device)
    return model.eval(), tokenizer, manifest


def _load_backbone(run: Path, manifest: Manifest, dtype: torch.dtype) -> Any:
    settings = manifest.details["model"]
    if settings["tuning"] == "full":
        return AutoModelForCausalLM.from_pretrained(_folder(run / "backbone"), dtype=dtype, use_safetensors=True,
                                                    trust_remote_code=False, local_files_only=True)
    backbone, _ = load_backbone(_backbone_name(run, manifest), dtype, revision=settings["revision"])
    if settings["tuning"] == "lora":
        if not (run / ADAPTER_FILE).is_file():  # peft would look for a pickle, or on the hub
            raise FileNotFoundError(f"{ADAPTER_FILE} is missing")
        return PeftModel.from_pretrained(backbone, run / "adapter", local_files_only=True)
    return backbone


def _backbone_name(run: Path, manifest: Manifest) -> str:
    """The name or hub id of the backbone a run was trained on, or its folder: the same, not a namesake."""
    named = manifest.inputs.get("backbone")
    if named is None:
        return manifest.details["model"]["backbone"]
    folder = path_at(run, named["path"])
    if not folder.is_dir():
        raise MedReportError(f"{run}: its backbone {folder} is not there", "put the folder back")
    if fingerprint(folder) != named["hash"]:
        raise MedReportError(f"{run}: its backbone {folder} has changed since", "put the old one back, or train again")
    return f"./{folder}" if not folder.is_absolute() else str(folder)


def _folder(path: Path) -> Path:
    """The folder, if it is one: a missing one must not be taken for a name on the hub."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path.name}/ is missing")
    return path
