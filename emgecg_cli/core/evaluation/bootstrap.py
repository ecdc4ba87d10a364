"""Confidence intervals by the percentile bootstrap (Efron 1979), from column sums.

Records of one patient are not independent: rows are summed within their cluster first, and clusters are drawn.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np

_ROWS_AT_ONCE = 50
Sums = Any  # (C, k): an array, or a sparse one of scipy


def cluster_sums(statistics: np.ndarray, clusters: Sequence[Hashable], index: np.ndarray | None = None) -> Sums:
    """Sum (m, k) statistics within clusters, (C, k), in the order in which the clusters of all n rows appear; the
    statistics are those of the rows `index`, of all where it is None. Integers, mostly zero, stay sparse."""
    place: dict[Hashable, int] = {}
    owner = np.array([place.setdefault(cluster, len(place)) for cluster in clusters], dtype=np.int64)
    owner = owner if index is None else owner[index]
    if np.issubdtype(statistics.dtype, np.integer):
        from scipy.sparse import csr_array

        joined = csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))), shape=(len(place), len(owner)))
        return joined @ csr_array(statistics, dtype=np.float64)
    sums = np.zeros((len(place), statistics.shape[1]))
    np.add.at(sums, owner, statistics)
    return sums


def resample_sums(sums: Sums, resamples: int, seed: int) -> np.ndarray:
    """Column sums of `resamples` draws of C clusters with replacement, (resamples, k), from (C, k)."""
    return np.concatenate([weights @ sums for weights in cluster_draws(sums.shape[0], resamples, seed)])


def resample_all(sums: Sequence[Sums], resamples: int, seed: int) -> list[np.ndarray]:
    """As `resample_sums` of each, with the same draws for all of them."""
    dense = [block for block in sums if isinstance(block, np.ndarray)]
    together = [np.concatenate(dense, axis=1)] if dense else []
    together += [block for block in sums if not isinstance(block, np.ndarray)]
    drawn = [np.empty((resamples, block.shape[1])) for block in together]
    start = 0
    for weights in cluster_draws(sums[0].shape[0], resamples, seed):
        for found, block in zip(drawn, together, strict=True):
            found[start:start + len(weights)] = weights @ block
        start += len(weights)
    ends = np.cumsum([block.shape[1] for block in dense])[:-1]
    parts = iter(np.split(drawn[0], ends, axis=1) if dense else []), iter(drawn[bool(dense):])
    return [next(parts[0] if isinstance(block, np.ndarray) else parts[1]) for block in sums]


def cluster_draws(n_clusters: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, (a few resamples, C), until there are `resamples`."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _ROWS_AT_ONCE):
        n_rows = min(_ROWS_AT_ONCE, resamples - start)
        picks = rng.integers(0, n_clusters, size=(n_rows, n_clusters))
        picks += np.arange(n_rows)[:, None] * n_clusters
        copies = np.bincount(picks.ravel(), minlength=n_rows * n_clusters).reshape(n_rows, n_clusters)
        yield copies.astype(np.float64)


def percentile_interval(values: np.ndarray, coverage: float = 0.95) -> tuple[float, float] | None:
    """Lower and upper bound of resampled values, (resamples,); undefined ones (NaN) are left out, None if all are."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)
