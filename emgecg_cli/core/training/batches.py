"""Which records make the m-th batch: a pure function of seed and position, so that a sampler's state is one number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from emgecg_cli.core.errors import MedReportError

BUCKET = 16  # batches whose records are sorted by length together


class Lengths(Protocol):
    """An array of lengths, or what is asked for some of them like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, numbers: np.ndarray, /) -> Any: ...


@dataclass
class BatchPlan:
    """Length-bucketed batches of indices into `lengths`, epoch after epoch. A length is asked for when the first batch
    of its bucket is: it may have to be found out.

    `batch_size` counts the records of all `processes` together; each takes its part of a batch. A leftover of fewer
    records than processes, or than `smallest`, joins the batch before it: none may be empty, and BatchNorm cannot train
    on one record. The batches of each step, `accumulation` of them, come so many steps in a row as `repeats` says.
    """

    lengths: Lengths | Sequence[int]
    batch_size: int
    seed: int
    processes: int = 1
    smallest: int = 2
    repeats: int = 1
    accumulation: int = 1
    _epoch: int = field(default=-1, init=False)
    _order: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), init=False)
    _places: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), init=False)
    _sorted: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.lengths, Sequence):
            self.lengths = np.array(self.lengths)
        if self.batch_size < self.smallest or len(self.lengths) < self.least:
            raise MedReportError(f"{len(self.lengths)} training records in batches of {self.batch_size}",
                                 f"BatchNorm needs two records in a batch, each process one; at least {self.least}")

    @property
    def least(self) -> int:
        """The fewest records a batch may have."""
        return max(self.smallest, self.processes)

    @property
    def per_epoch(self) -> int:
        """Number of batches in an epoch, those that come again too."""
        return self._different * self.repeats

    @property
    def _different(self) -> int:
        full, rest = divmod(len(self.lengths), self.batch_size)
        return full + (rest >= self.least or full == 0)

    def batch(self, position: int) -> np.ndarray:
        """Indices of the batch at this position, counted over all epochs."""
        step, place = divmod(position, self.accumulation)
        epoch, within = divmod(step // self.repeats * self.accumulation + place, self._different)
        if epoch != self._epoch:
            self._begin(epoch)
        place = int(self._places[within])
        last = place == self._different - 1  # which takes in what is left over
        stop = len(self.lengths) if last else (place + 1) * self.batch_size
        return self._ordered(place * self.batch_size, stop)

    def _begin(self, epoch: int) -> None:
        rng = np.random.default_rng([self.seed, epoch])
        self._order = rng.permutation(len(self.lengths))
        self._places, self._epoch = rng.permutation(self._different), epoch
        self._sorted.clear()

    def _ordered(self, start: int, stop: int) -> np.ndarray:
        """The records from one place to another in the order of an epoch, in which each bucket is sorted by length."""
        size = self.batch_size * BUCKET
        buckets = range(start // size, -(-stop // size))
        for bucket in buckets:
            if bucket not in self._sorted:
                part = self._order[bucket * size:(bucket + 1) * size]
                lengths: Any = self.lengths
                self._sorted[bucket] = part[np.argsort(lengths[part], kind="stable")]
        found = np.concatenate([self._sorted[bucket] for bucket in buckets])
        return found[start - buckets.start * size:stop - buckets.start * size]


@dataclass(frozen=True)
class BatchSampler:
    """One process's part of the batches of a plan from position `start` to `stop`, as torch's loader wants them."""

    plan: BatchPlan
    start: int
    stop: int
    rank: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for position in range(self.start, self.stop):
            # Every n-th record of a batch that is sorted by length, so that all processes pad alike.
            yield self.plan.batch(position)[self.rank::self.plan.processes].tolist()


@dataclass(frozen=True)
class VisitSampler:
    """As `BatchSampler`, each record with the epoch of the visit."""

    batches: BatchSampler

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for position, numbers in enumerate(self.batches, self.batches.start):
            yield [(number, position // self.batches.plan.per_epoch) for number in numbers]


@dataclass(frozen=True)
class Visited:
    """Records that each visit shows otherwise, as a loader asks for them."""

    records: Any

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, visit: tuple[int, int]) -> Any:
        return self.records.visit(*visit)
