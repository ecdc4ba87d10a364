"""Tensors in one safetensors file that holds a hash of its own content: what a killed training resumes from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emgecg_cli.core.files import give_usual_modes, reach_the_disk, removed_on_failure, writing

HASH = "sha256"


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors by name, whole or not at all; the bytes, but not yet the name, are on the disk afterwards.

    Raises MedReportError when the disk refuses them.
    """
    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path), removed_on_failure(temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(whole, temporary, {HASH: _digest(whole)})
        give_usual_modes(temporary)
        reach_the_disk(temporary)
        temporary.replace(path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What `save_tensors` wrote, or an older version without a hash; raises ValueError when it was changed since."""
    with safe_open(path, "pt") as header:
        said = header.metadata()
    tensors = load_file(path)
    if said and said.get(HASH) != _digest(tensors):
        raise ValueError("was changed after it was written")
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
