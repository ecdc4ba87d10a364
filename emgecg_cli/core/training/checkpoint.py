"""Step-level checkpoints that resume exactly: trained weights, buffers, optimiser and random state, all safetensors.

The learning rate and the sampler are functions of the step, so the step is all of their state.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError

CHECKPOINTS = "checkpoints"
KEPT = 2


def save_checkpoint(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write `step-00000123`, whole or not at all, and drop all but the newest two."""
    temporary, final = folder / f".step-{step:08d}.tmp", folder / f"step-{step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_model_state(model), temporary / "model.safetensors")
    save_file(_optimizer_state(optimizer), temporary / "optimizer.safetensors")
    save_file(_random_state(), temporary / "random.safetensors")
    (temporary / "state.json").write_text(json.dumps({"step": step}) + "\n")
    for file in temporary.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    temporary.rename(final)
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore the newest checkpoint in place and return its step; 0 when there is none.

    Raises MedReportError when it is damaged or was written by another model.
    """
    found = _checkpoints(folder)
    if not found:
        return 0
    newest = found[-1]
    try:
        state = load_file(newest / "model.safetensors")
        moments = load_file(newest / "optimizer.safetensors")
        random = load_file(newest / "random.safetensors")
        step = int(json.loads((newest / "state.json").read_text())["step"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise MedReportError(f"{newest}: damaged checkpoint ({error})",
                             "remove that folder to go on from the one before") from None
    current = _model_state(model)
    if {name: t.shape for name, t in state.items()} != {name: t.shape for name, t in current.items()}:
        raise MedReportError(f"{newest}: a checkpoint of another model", "remove the run, or give another --out")
    with torch.no_grad():
        for name, tensor in current.items():
            tensor.copy_(state[name])
    _restore_optimizer(optimizer, moments)
    torch.set_rng_state(random["cpu"])
    if "cuda" in random and torch.cuda.is_available():
        torch.cuda.set_rng_state(random["cuda"])
    return step


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _model_state(model: nn.Module) -> dict[str, Tensor]:
    """Everything training changes: trained parameters, and the buffers of modules that hold any (BatchNorm)."""
    state = {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}
    persistent = model.state_dict(keep_vars=True)
    return state | {name: buffer for name, buffer in model.named_buffers() if name in persistent}


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {f"{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
            for index, entry in optimizer.state_dict()["state"].items() for key, value in entry.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in moments.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state
