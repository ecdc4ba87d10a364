"""Step-level checkpoints that resume exactly: trained weights, buffers, optimiser and random states, all safetensors.

One format for every strategy: full tensors by name, so that a run may go on with another strategy or another number of
processes. The learning rate and the sampler are functions of the step, so the step is all of their state. Every file
holds a hash of its content, and a checkpoint one of the logs so far: training does not resume from what was changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import reach_the_disk, write_atomically, writing
from emgecg_cli.core.manifest import json_hash
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.tensor_files import load_tensors, save_tensors

CHECKPOINTS, STAGE1, WORDS = "checkpoints", "stage1", "words"
STAGES = {STAGE1: "stage 1", WORDS: "the steps on words"}  # in their order
LOGS = ("metrics.jsonl", "validation.jsonl")  # beside the checkpoints' folder
KEPT = 2
DAMAGED = (OSError, ValueError, KeyError, SafetensorError)


def save_checkpoint(folder: Path, step: int, parallel: Parallel, objective: nn.Module, optimizer: Optimizer) -> None:
    """Write `step-00000123`, whole or not at all, and drop all but the newest two (collective; one process writes)."""
    model_state, optimizer_state = parallel.state(objective, optimizer)
    random_states = _gather_random_states(parallel)
    if not parallel.is_main:
        return
    temporary, final = folder / f".step-{step:08d}.tmp", folder / f"step-{step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    states = {"model": model_state, "optimizer": optimizer_state}
    states |= {f"random-{rank}": state for rank, state in enumerate(random_states)}
    try:
        with writing(final):
            temporary.mkdir(parents=True)
            for name, state in states.items():
                save_tensors(state, temporary / f"{name}.safetensors")
            values = {"step": step, "processes": parallel.world, "logs": _logs(folder.parent)}
            text = json.dumps(values | {"hash": json_hash(values)}) + "\n"
            write_atomically(temporary / "state.json", text.encode())
            reach_the_disk(temporary)
            temporary.rename(final)
            reach_the_disk(folder)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in _checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, parallel: Parallel, objective: nn.Module, optimizer: Optimizer) -> int:
    """Restore the newest checkpoint in place and return its step; 0 when there is none (collective).

    In as many processes as wrote it, training resumes exactly; in another number weights, moments and step do, and
    random states are shared out. Raises MedReportError when it or the logs until then are damaged, when it was written
    by another model, or is not the same one for all processes.
    """
    parallel.barrier()  # whoever writes has written
    found = _checkpoints(folder)
    newest = found[-1] if found else None
    check_same(parallel, _step(newest), folder)
    if newest is None:
        return 0
    try:
        model_state = load_tensors(newest / "model.safetensors")
        optimizer_state = load_tensors(newest / "optimizer.safetensors")
        state = _read_state(newest)
        step, processes = int(state["step"]), int(state["processes"])
        random_state = load_tensors(newest / f"random-{parallel.rank % processes}.safetensors")
        cpu_state = random_state["cpu"]
    except DAMAGED as error:
        raise _damaged(newest, error) from None
    _check_logs(folder.parent, state.get("logs", {}))
    if {name: tensor.shape for name, tensor in model_state.items()} != parallel.shapes(objective):
        raise MedReportError(f"{newest}: a checkpoint of another model", "remove the run, or give another --out")
    try:
        parallel.load(objective, optimizer, model_state, optimizer_state)
    except ValueError as error:
        raise _damaged(newest, error) from None
    torch.set_rng_state(cpu_state)
    if "cuda" in random_state and torch.cuda.is_available():
        torch.cuda.set_rng_state(random_state["cuda"])
    return step


def check_same(parallel: Parallel, seen: int, folder: Path) -> None:
    """Raise MedReportError in a process that sees something else in a folder than the others do (collective)."""
    if parallel.sum(torch.tensor([seen], dtype=torch.float64)).item() != seen * parallel.world:
        raise MedReportError(f"{folder}: not all processes see the same checkpoint",
                             "put the run on a file system that all machines share")


@contextmanager
def telling_where(run: Path) -> Iterator[None]:
    """Add a note to a KeyboardInterrupt from inside: where the same command resumes."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(where(run))
        raise


def where(run: Path) -> str:
    """What the same command will do about a run that was interrupted."""
    if found := _checkpoints(run / CHECKPOINTS):
        return f"run the same command again: it goes on from step {_step(found[-1])}"
    for name, said in reversed(STAGES.items()):
        if (run / CHECKPOINTS / f"{name}.safetensors").is_file():
            return f"run the same command again: it goes on from the end of {said}"
        if found := _checkpoints(run / name / CHECKPOINTS):
            return f"run the same command again: it goes on from step {_step(found[-1])} of {said}"
    return "no checkpoint was written yet: the same command begins again"


def save_state(file: Path, tensors: dict[str, Tensor]) -> None:
    """Write the model's part of `Parallel.state`, whole or not at all; only the main process has it."""
    save_tensors(tensors, file)
    reach_the_disk(file.parent)


def load_state(file: Path) -> dict[str, Tensor]:
    """What `save_state` wrote. Raises MedReportError when the file is missing or damaged."""
    try:
        return load_tensors(file)
    except DAMAGED as error:
        raise MedReportError(f"{file}: damaged weights ({error})", "remove the run, and train again") from None


def _damaged(checkpoint: Path, error: Exception) -> MedReportError:
    return MedReportError(f"{checkpoint}: damaged checkpoint ({error})",
                          "remove that folder to go on from the one before")


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-[0-9]*")) if folder.is_dir() else []


def _step(checkpoint: Path | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.name.partition("-")[2])


def _read_state(checkpoint: Path) -> dict[str, Any]:
    """The state of a checkpoint; raises ValueError when it is not what was written. Older ones have no hash."""
    state = json.loads((checkpoint / "state.json").read_bytes())
    if not isinstance(state, dict):
        raise ValueError("state.json holds no state")
    digest = state.pop("hash", None)
    if (digest != json_hash(state) and (digest or set(state) != {"step", "processes"})) \
            or state["step"] != _step(checkpoint):
        raise ValueError("state.json was changed after it was written")
    return state


def _logs(run: Path) -> dict[str, list[Any]]:
    """The length and SHA-256 of each log as it is now, which is on the disk afterwards."""
    found = {}
    for name in LOGS:
        if (run / name).is_file():
            reach_the_disk(run / name)
            data = (run / name).read_bytes()
            found[name] = [len(data), hashlib.sha256(data).hexdigest()]
    return found


def _check_logs(run: Path, logs: dict[str, list[Any]]) -> None:
    """Raise MedReportError when a log does not begin as it was at the checkpoint; one that is cut is seen elsewhere."""
    for name, (length, digest) in logs.items():
        data = (run / name).read_bytes()[:length] if (run / name).is_file() else b""
        if len(data) == length and hashlib.sha256(data).hexdigest() != digest:
            raise MedReportError(f"{run / name}: was changed while the run was made",
                                 "undo the change, or remove the run and train again")


def _gather_random_states(parallel: Parallel) -> list[dict[str, Tensor]]:
    """The random states of all processes in the main one: they need not share a file system to be saved."""
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        own["cuda"] = torch.cuda.get_rng_state()
    if parallel.world == 1:
        return [own]
    states: list[dict[str, Tensor]] = [{} for _ in range(parallel.world)]
    for key, state in own.items():
        # As the sum of what each process puts in a row of its own.
        rows = torch.zeros(parallel.world, len(state), dtype=torch.int32)
        rows[parallel.rank] = state
        for rank, row in enumerate(parallel.sum(rows).cpu().to(torch.uint8)):
            states[rank][key] = row.clone()
    return states
