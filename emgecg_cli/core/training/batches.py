"""Which records make the m-th batch: a pure function of seed and position, so that a sampler's state is one number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from emgecg_cli.core.errors import MedReportError

BUCKET = 16  # batches whose records are sorted by length together


@dataclass
class BatchPlan:
    """Length-bucketed batches of indices into `lengths`, epoch after epoch.

    `batch_size` counts the records of all `processes` together; each takes its part of a batch. A leftover of fewer
    records than processes, or than `smallest`, joins the batch before it: none may be empty, and BatchNorm cannot train
    on one record.
    """

    lengths: Sequence[int] | np.ndarray
    batch_size: int
    seed: int
    processes: int = 1
    smallest: int = 2
    _epoch: int = field(default=-1, init=False)
    _batches: list[np.ndarray] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.batch_size < self.smallest or len(self.lengths) < self.least:
            raise MedReportError(f"{len(self.lengths)} training records in batches of {self.batch_size}",
                                 f"BatchNorm needs two records in a batch, each process one; at least {self.least}")

    @property
    def least(self) -> int:
        """The fewest records a batch may have."""
        return max(self.smallest, self.processes)

    @property
    def per_epoch(self) -> int:
        """Number of batches in an epoch."""
        full, rest = divmod(len(self.lengths), self.batch_size)
        return full + (rest >= self.least or full == 0)

    def batch(self, position: int) -> np.ndarray:
        """Indices of the batch at this position, counted over all epochs."""
        epoch, within = divmod(position, self.per_epoch)
        if epoch != self._epoch:
            self._batches, self._epoch = self._make_epoch(epoch), epoch
        return self._batches[within]

    def _make_epoch(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        lengths = np.asarray(self.lengths)
        bucket = self.batch_size * BUCKET
        ordered = np.concatenate([part[np.argsort(lengths[part], kind="stable")]
                                  for part in np.split(order, range(bucket, len(order), bucket))])
        batches = np.split(ordered, range(self.batch_size, self.batch_size * self.per_epoch, self.batch_size))
        return [batches[i] for i in rng.permutation(len(batches))]


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
