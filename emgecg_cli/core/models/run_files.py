"""The weights of a run on disk: adapter or backbone, signal weights, tokenizer. Written and read by the same file.

A LoRA run holds an adapter and names its backbone; a fully tuned one holds the backbone itself; an exported one holds
it merged, in Hugging Face's format at its root. Only safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, GenerationConfig

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import made_aside, write_atomically
from emgecg_cli.core.manifest import Manifest, check_files, path_at, read_manifest
from emgecg_cli.core.models.backbones import fingerprint, grow_embeddings, load_backbone, load_model
from emgecg_cli.core.models.builders import SETTINGS, build_report_model
from emgecg_cli.core.models.hub import cached, locate, not_asked_for
from emgecg_cli.core.models.report_model import OWN_WEIGHTS, ReportModel
from emgecg_cli.core.models.token_length import match
from emgecg_cli.core.models.tuning import ADAPTED, base_of, embeddings

SIGNAL_FILE = "signal.safetensors"
SUBJECTS_FILE = "train_subjects.txt"
ADAPTER_FILE = "adapter/adapter_model.safetensors"
EMBEDDINGS_FILE = "embeddings.safetensors"
MERGED = "merged"  # the tuning an exported run names
# Where weights of runs that had one encoder, and no towers, lie now; `{}` is what the encoder reads
NAMED_BEFORE = {"encoder.": "towers.{}.encoder.", "projector.": "towers.{}.projector."}
LOADING = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)


def save_run_files(run: Path, model: ReportModel, tokenizer: Any, tuning: str, subjects: Iterable[str],
                   weights: Mapping[str, Tensor] | None = None) -> list[str]:
    """Write what `load_run` needs besides the manifest, and whom the run was trained on, as hashes of patients.

    `weights` are the trained parameters and the buffers by name, for a model that does not hold them whole itself.
    All of it is written aside and then moved, so that a kill leaves nothing half. Returns the names of the files.
    """
    weights = model.state_dict() if weights is None else weights
    backbone: Any = model.backbone
    own = {name.removeprefix("backbone."): t for name, t in weights.items() if name.startswith("backbone.")}
    with made_aside(run / ".files.tmp") as aside:
        (aside / SUBJECTS_FILE).write_text("".join(f"{subject}\n" for subject in sorted(subjects)))
        _save({name: t for name, t in weights.items() if name.startswith(OWN_WEIGHTS)}, aside / SIGNAL_FILE)
        tokenizer.save_pretrained(aside / "tokenizer")
        if tuning in ADAPTED:
            # peft would ask the hub whether the vocabulary has grown, to save embeddings that we save ourselves.
            backbone.save_pretrained(aside / "adapter", state_dict=own, save_embedding_layers=False)
            _sort_lists(aside / "adapter" / "adapter_config.json")
        elif tuning == "full":
            backbone.save_pretrained(aside / "backbone", state_dict=own)
        if tuning != "full" and (trained := _trained_embeddings(backbone)):
            _save({key: own[name] for key, name in trained.items()}, aside / EMBEDDINGS_FILE)
        return [path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()]


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, path)


def _trained_embeddings(backbone: Any) -> dict[str, str]:
    """Which embeddings train although the rest does not, by the names of their parameters."""
    named = {id(parameter): name for name, parameter in backbone.named_parameters()}
    return {key: named[id(weight)] for key, weight in embeddings(backbone).items() if weight.requires_grad}


def train_subjects(run: Path) -> set[str]:
    """Hashes of the patients a run was trained on, as `store.subject_hashes` makes them."""
    return set((run / SUBJECTS_FILE).read_text().split())


def _sort_lists(config: Path) -> None:
    """peft writes its sets in hash order, which differs between processes; a run's bytes must not."""
    values = {key: sorted(value) if isinstance(value, list) else value
              for key, value in json.loads(config.read_text()).items()}
    write_atomically(config, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode())


def load_run(run: Path, device: torch.device, dtype: torch.dtype = torch.float32,
             moved: Path | None = None, download: bool = False) -> tuple[ReportModel, Any, Manifest]:
    """Model (in evaluation mode, on `device`), tokenizer and manifest of a finished run, exported or not.

    `moved` is where the folder of the backbone lies now, if no longer where the run says. A backbone that was trained
    in 4 bits (qlora) is loaded in 4 bits again, computing in `dtype`: its adapter corrects what quantising does to it.
    A backbone that only the hub has is not fetched unless `download` allows it: a run may come from anybody.
    Raises MedReportError when a file is missing or does not fit the others.
    """
    manifest = read_manifest(run, "run", made_by="train")
    check_files(run, manifest)
    settings = manifest.details["model"]
    try:
        tokenizer = load_tokenizer(run)
        backbone = load_run_backbone(run, manifest, tokenizer, dtype, device, moved=moved, download=download)
        model = build_report_model(backbone, **{key: settings[key] for key in SETTINGS if key in settings},
                                   sizes=settings.get("sizes"), seed=0)
        if settings["token_norm"] == "matched":
            match(model, settings["token_lengths"])
        weights = as_named_now(load_file(run / SIGNAL_FILE), settings["encoder"])
        expected = model.own_weights()
        wrong = sorted(set(weights) ^ set(expected)) or \
            [name for name in weights if weights[name].shape != expected[name].shape]
        if wrong:
            raise MedReportError(f"{run / SIGNAL_FILE}: does not fit encoder {settings['encoder']} ({wrong[0]})",
                                 "train the run again")
        model.load_state_dict(weights, strict=False)
    except LOADING as error:
        raise cannot_load(run, error) from None
    for part in (model.towers, model.fusion):
        if isinstance(part, nn.Module):
            part.to(device, torch.float32)
    backbone.to(device)
    return model.eval(), tokenizer, manifest


def as_named_now(weights: Mapping[str, Tensor], encoder: str) -> dict[str, Tensor]:
    """The weights of `signal.safetensors` by the names of today; `encoder` is the run's."""
    reads = next(iter(names.encoders_of(encoder)))
    return {next((now.format(reads) + name.removeprefix(before) for before, now in NAMED_BEFORE.items()
                  if name.startswith(before)), name): tensor for name, tensor in weights.items()}


def load_tokenizer(run: Path) -> Any:
    """The tokenizer of a run, without its model. Raises MedReportError when it cannot be loaded."""
    try:
        folder = run if (run / "tokenizer_config.json").is_file() else _folder(run / "tokenizer")
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exception
        raise cannot_load(run, error) from None


def load_run_backbone(run: Path, manifest: Manifest, tokenizer: Any, dtype: torch.dtype,
                      device: torch.device | None = None, dequantised: bool = False, moved: Path | None = None,
                      download: bool = False) -> Any:
    """The backbone of a run as it was trained, with its adapter beside the weights, if it has one.

    `moved` is the folder of the backbone, if it is no longer where the run says. `dequantised` gives a backbone that
    was trained in 4 bits the same weights in `dtype`, so that they can be merged. `download` allows to fetch a backbone
    that the run names from the hub.
    """
    settings = manifest.details["model"]
    if settings["tuning"] == MERGED:
        backbone = load_model(run, dtype, device=device)
    elif settings["tuning"] == "full":
        backbone = load_model(_folder(run / "backbone"), dtype, device=device)
    else:
        backbone, before = load_backbone(backbone_name(run, manifest, moved), dtype, revision=settings["revision"],
                                         four_bit=settings["tuning"] == "qlora", device=device, download=download)
        if dequantised and settings["tuning"] == "qlora":
            backbone = backbone.dequantize()
        grow_embeddings(backbone, len(before), len(tokenizer))
        if settings["tuning"] in ADAPTED:
            if not (run / ADAPTER_FILE).is_file():  # peft would look for a pickle, or on the hub
                raise FileNotFoundError(f"{ADAPTER_FILE} is missing")
            from peft import PeftModel  # seconds, which a run without LoRA does not take

            backbone = PeftModel.from_pretrained(backbone, run / "adapter", local_files_only=True)
        if (run / EMBEDDINGS_FILE).is_file():
            saved = load_file(run / EMBEDDINGS_FILE)
            for key, weight in embeddings(backbone).items():
                weight.data.copy_(saved[key])
    for holder in {backbone, base_of(backbone)}:
        # Many checkpoints bring sampling or penalties, which would fill in whatever generate is not told.
        start = getattr(backbone.config, "decoder_start_token_id", None)
        holder.generation_config = GenerationConfig(decoder_start_token_id=start)
    return backbone


def cannot_load(run: Path, error: Exception) -> MedReportError:
    """The error for a run whose files are there and unchanged, but cannot be used."""
    return MedReportError(f"{run}: cannot be loaded: {' '.join(str(error).split())[:300]}",
                          "a file of the run is missing or damaged; train it again")


def backbone_name(run: Path, manifest: Manifest, moved: Path | None = None) -> str:
    """The name or hub id of the backbone a run was trained on, or its folder: the same, not a namesake.

    `moved` is where the folder lies now. Raises MedReportError when it is not there, or not the one.
    """
    named = manifest.inputs.get("backbone")
    if moved is not None:
        check_moved(run, manifest, moved)
        return f"./{moved}" if not moved.is_absolute() else str(moved)
    if named is None:
        return manifest.details["model"]["backbone"]
    folder = path_at(run, named["path"])
    if not folder.is_dir():
        raise MedReportError(f"{run}: its backbone {folder} is not there",
                             "put the folder back, or say where it is now: --backbone FOLDER")
    if fingerprint(folder) != named["hash"]:
        raise MedReportError(f"{run}: its backbone {folder} has changed since",
                             "put the old one back, give its place with --backbone FOLDER, or train again")
    return f"./{folder}" if not folder.is_absolute() else str(folder)


def check_there(run: Path, manifest: Manifest, moved: Path | None, download: bool) -> None:
    """Raise MedReportError when the backbone of a run is on the hub alone and nobody allowed to `download` it, or when
    its folder is not there."""
    settings = manifest.details["model"]
    if moved:
        check_moved(run, manifest, moved)
    if moved or download or settings["tuning"] in ("full", MERGED):
        return
    place = locate(backbone_name(run, manifest), settings["revision"])
    if place.folder is None and cached(place) is None:
        raise not_asked_for(place)


def check_moved(run: Path, manifest: Manifest, moved: Path) -> None:
    """Raise MedReportError unless the folder `moved` is the backbone a run was trained on, by its hash."""
    settings, named = manifest.details["model"], manifest.inputs.get("backbone")
    if settings["tuning"] in ("full", MERGED):
        raise MedReportError(f"--backbone {moved}: {run} holds its backbone itself", "leave --backbone out")
    if named is None:
        raise MedReportError(f"--backbone {moved}: {run} was trained on {settings['backbone']} of the hub, not on a "
                             "folder", "leave --backbone out: what the cache holds is used without a network")
    if not moved.is_dir():
        raise MedReportError(f"--backbone {moved}: {'not a' if moved.exists() else 'no such'} folder",
                             f"give the folder that {settings['backbone']} was moved to")
    if fingerprint(moved) != named["hash"]:
        raise MedReportError(f"--backbone {moved}: not the backbone that {run} was trained on "
                             f"({settings['backbone']}), by its hash", "give that one's folder, unchanged")


def _folder(path: Path) -> Path:
    """The folder, if it is one: a missing one must not be taken for a name on the hub."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path.name}/ is missing")
    return path
