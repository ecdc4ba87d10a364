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

    A leftover single record joins the batch before it, since BatchNorm cannot train on one.
    """

    lengths: Sequence[int] | np.ndarray
    batch_size: int
    seed: int
    _epoch: int = field(default=-1, init=False)
    _batches: list[np.ndarray] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.batch_size < 2 or len(self.lengths) < 2:
            raise MedReportError(f"{len(self.lengths)} training records in batches of {self.batch_size}",
                                 "BatchNorm needs at least two records in a batch")

    @property
    def per_epoch(self) -> int:
        """Number of batches in an epoch."""
        full, rest = divmod(len(self.lengths), self.batch_size)
        return full + (rest > 1 or full == 0)

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
    """The batches of a plan from position `start` to `stop`, as torch's loader wants them."""

    plan: BatchPlan
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for position in range(self.start, self.stop):
            yield self.plan.batch(position).tolist()
