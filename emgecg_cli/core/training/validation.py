"""Evaluation on the validation split while training, and the choice of the weights to keep. Never the test split."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.inputs.batch import Records
from emgecg_cli.core.training.augment import network_input
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, load_state, save_state
from emgecg_cli.core.training.logs import StepLog
from emgecg_cli.core.training.parallel import Parallel

VALIDATION_FILE = "validation.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """The losses on the validation split after a step."""

    step: int
    losses: dict[str, float]


@dataclass
class Validation:
    """Computes the losses of `records` every `every` steps and writes them to `run/validation.jsonl`.

    `shuffled` are the same records in the same order, shown what another patient's show, and their lengths: `paired` is
    then by how many nats a token their reports are less likely at the mean, record by record, and `paired_error` the
    standard error of that.

    Batches hold `batch_size` records of each process. `last` evaluates after the last step whatever its number. With
    `keep` training ends with the weights of the evaluation with the lowest `by`; a copy of the best so far lies beside
    the checkpoints, and so does the one that was best at the newest checkpoint, from where a killed run resumes.
    """

    records: Records
    lengths: np.ndarray
    batch_size: int
    every: int
    keep: bool
    run: Path
    last: bool = True
    by: str = "report"
    shuffled: tuple[Records, np.ndarray] | None = None
    evaluations: list[Evaluation] = field(default_factory=list)
    at_checkpoint: int | None = None

    def resume_at(self, step: int) -> None:
        """Read the evaluations until `step`, drop later ones."""
        path = self.run / VALIDATION_FILE
        rows = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] \
            if path.exists() else []
        self.evaluations = [Evaluation(row.pop("step"), row) for row in rows if row["step"] <= step]
        seen = sum(one.step % self.every == 0 for one in self.evaluations)
        wanted = (step // self.every, (step - 1) // self.every)  # an interrupted run was not evaluated at its last step
        # Without a choice to make they are a log, which a tracker asked for and may have been left out before.
        if self.keep and seen not in wanted:
            raise MedReportError(f"{path}: holds {len(self.evaluations)} of the {step // self.every} evaluations until "
                                 f"step {step}", "it was damaged; remove the run and train again")
        self.at_checkpoint = self.best.step if self.evaluations else None

    @property
    def best(self) -> Evaluation:
        """The evaluation with the lowest loss, the first of equals."""
        return min(self.evaluations, key=lambda one: one.losses[self.by])

    def is_due(self, step: int, steps: int) -> bool:
        """Whether to evaluate after this step."""
        return step % self.every == 0 or (self.last and step == steps)

    def is_missing(self, step: int, steps: int) -> bool:
        """Whether the evaluation after the step of a checkpoint has yet to be made."""
        return step > 0 and self.is_due(step, steps) and step not in [one.step for one in self.evaluations]

    def evaluate(self, step: int, parallel: Parallel, objective: nn.Module, log: StepLog) -> None:
        """Compute the losses now, and keep these weights if they are the best so far (collective)."""
        log.flush()
        losses, real = evaluate(parallel, objective, self.records, self.lengths, self.batch_size)
        if self.shuffled:
            _, others = evaluate(parallel, objective, *self.shuffled, self.batch_size)
            losses |= paired(others - real)
        self.evaluations.append(Evaluation(step, losses))
        if self.keep and self.best.step == step:
            state, _ = parallel.state(objective, None)
            if parallel.is_main:
                save_state(self._weights(step), state)
        if parallel.is_main:
            lines = [json.dumps({"step": one.step, **one.losses}) + "\n" for one in self.evaluations]
            write_atomically(self.run / VALIDATION_FILE, "".join(lines).encode())
            self._drop_older()
            if log.tracker:
                log.tracker.log(step, {f"val/{name}": value for name, value in self.evaluations[-1].losses.items()})

    def checkpointed(self) -> None:
        """Remember what was best at a checkpoint: a killed run resumes from there."""
        self.at_checkpoint = self.best.step if self.evaluations else None

    def keep_best(self, step: int, parallel: Parallel, objective: nn.Module, optimizer: torch.optim.Optimizer) \
            -> Evaluation | None:
        """Load the best weights, if that is asked for, and say what the weights after the last `step` now are; None
        if they were not evaluated (collective)."""
        if not self.keep:
            return self.evaluations[-1] if self.evaluations and self.evaluations[-1].step == step else None
        parallel.barrier()
        if self.best.step != self.evaluations[-1].step:
            if not self._weights(self.best.step).is_file():
                raise MedReportError(f"{self._weights(self.best.step)}: the best weights are not there",
                                     "remove the run and train again, or give --select last")
            parallel.load(objective, optimizer, load_state(self._weights(self.best.step)), {})
        return self.best

    def _weights(self, step: int) -> Path:
        return self.run / CHECKPOINTS / f"best-{step:08d}.safetensors"

    def _drop_older(self) -> None:
        needed = {self._weights(step) for step in (self.best.step, self.at_checkpoint) if step is not None}
        for path in (self.run / CHECKPOINTS).glob("best-*.safetensors"):
            if path not in needed:
                path.unlink()


def paired(differences: np.ndarray) -> dict[str, float]:
    """The mean of differences (n), and its standard error."""
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return {"paired": float(differences.mean()), "paired_error": spread / math.sqrt(len(differences))}


@torch.no_grad()
def evaluate(parallel: Parallel, objective: nn.Module, records: Records, lengths: np.ndarray,
             batch_size: int) -> tuple[dict[str, float], np.ndarray]:
    """The objective's losses over all records, in evaluation mode, and the loss of each report (n), nats a token, zeros
    of an objective without reports (collective)."""
    totals = records.totals(np.arange(len(records)))
    sums: dict[str, torch.Tensor] = {}
    each = torch.zeros(len(records), device=parallel.device)
    training = objective.training
    objective.eval()
    for batch in _batches(parallel, records, lengths, batch_size):
        inputs, on_device = network_input(batch, parallel.device, 0, 0)
        with parallel.autocast():
            losses = objective(inputs, on_device, totals)
        for name, value in {"total": losses.total, **losses.parts}.items():
            sums[name] = sums.get(name, 0) + value.float()
        if losses.each is not None:
            each[torch.tensor(batch.indices)] = losses.each.float()
    objective.train(training)
    values = parallel.sum(torch.stack(list(sums.values()))).tolist()
    return dict(zip(sums, values, strict=True)), parallel.sum(each).cpu().numpy().astype(np.float64)


def _batches(parallel: Parallel, records: Records, lengths: np.ndarray, batch_size: int) -> Iterator[Any]:
    """This process's part of batches that are sorted by length; each process gets as many."""
    order, size = np.argsort(lengths, kind="stable"), batch_size * parallel.world
    if len(order) < parallel.world:
        raise MedReportError(f"{len(order)} records in the val split, fewer than processes", "give --select last")
    count = max(1, len(order) // size + (len(order) % size >= parallel.world))
    parts = [part[parallel.rank::parallel.world].tolist() for part in np.split(order, range(size, size * count, size))]
    return iter(DataLoader(records, batch_sampler=parts, collate_fn=records.collate,  # type: ignore[arg-type]
                           generator=torch.Generator()))
