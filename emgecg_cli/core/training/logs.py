"""What a training writes down while it runs: a line a step, and how long it waited for data."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import named
from emgecg_cli.core.training.objective import Losses
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.tracking import Tracker


@dataclass
class StepLog:
    """`metrics.jsonl`: one line a step, written in groups; cut back to the checkpoint on resuming.

    It holds nothing that depends on the machine's speed, so that an interrupted run writes the same bytes. The main
    process writes it, and tells the trackers.
    """

    path: Path
    parallel: Parallel
    tracker: Tracker | None = None
    waiting: list[tuple[dict[str, Any], Tensor]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    last_loss: float = math.nan

    def resume_at(self, step: int) -> None:
        """Drop the lines after `step`, by cutting the file there: a kill meanwhile loses none before it."""
        if self.parallel.is_main:
            with self.path.open("ab+") as stream:
                stream.seek(0)
                size, count, line = 0, 0, b""
                for line in islice(stream, step):
                    size, count = size + len(line), count + line.endswith(b"\n")
                if count != step:
                    raise MedReportError(f"{self.path}: holds {count} of the {step} steps that were trained",
                                         "it was damaged; remove the run and train again")
                stream.truncate(size)
                if line:
                    row = json.loads(line)
                    self.last_loss = row.get("report", row["total"])

    def add(self, step: int, epoch: float, losses: list[Losses], learning_rate: float) -> None:
        """Remember a step; its losses stay on the device."""
        self.names = ["total", *losses[0].parts]
        shares = torch.stack([torch.stack([loss.total.detach(), *loss.parts.values()]) for loss in losses]).sum(0)
        self.waiting.append(({"step": step, "epoch": epoch, "learning_rate": learning_rate}, shares))

    def flush(self) -> None:
        """Write what waits (collective). Raises MedReportError when the loss is no longer a number."""
        if not self.waiting:
            return
        values = self._summed(torch.stack([shares for _, shares in self.waiting])).tolist()
        rows = [row | dict(zip(self.names, numbers, strict=True))
                for (row, _), numbers in zip(self.waiting, values, strict=True)]
        self.waiting.clear()
        if self.parallel.is_main:
            with named(self.path), self.path.open("a") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in rows)
        for row in rows:
            if self.tracker:
                self.tracker.log(row["step"], {f"train/{name}": value for name, value in row.items() if name != "step"})
            self.last_loss = row.get("report", row["total"])
            if not math.isfinite(row["total"]):
                raise MedReportError(f"the loss is {row['total']} at step {row['step']}",
                                     "lower --learning-rate, or train with --precision fp32, with another --out")

    def _summed(self, own: Tensor) -> Tensor:
        """The sum over processes, always in their order: how many steps wait depends on the clock, and must not decide
        the last digit."""
        if self.parallel.world == 1:
            return own
        rows = own.new_zeros(self.parallel.world, *own.shape)
        rows[self.parallel.rank] = own
        first, *others = self.parallel.sum(rows)
        for other in others:
            first = first + other
        return first

    def close(self) -> None:
        """Have the trackers write out what waits."""
        if self.tracker:
            self.tracker.close()


@dataclass
class Clock:
    """How long the loop waited for data, and how fast records pass."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    records: int = 0

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches, with the wait for each counted."""
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - before
            if batch is None:
                return
            self.records += len(batch.indices)
            yield batch

    @property
    def seconds(self) -> float:
        """Since the loop began."""
        return time.perf_counter() - self.started

    @property
    def speed(self) -> float:
        """Records of this process a second."""
        return self.records / self.seconds

    @property
    def data_wait(self) -> float:
        """Share of the time that went into waiting for data."""
        return self.waited / self.seconds
