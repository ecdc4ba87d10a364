"""Confidence intervals by the percentile bootstrap (Efron 1979), from column sums.

Records of one patient are not independent: rows are summed within their cluster first, and clusters are drawn.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

_ROWS_AT_ONCE = 50


def cluster_sums(statistics: np.ndarray, clusters: Sequence[Hashable]) -> np.ndarray:
    """Sum (n, k) statistics within clusters, (C, k), in the order in which the clusters appear."""
    index: dict[Hashable, int] = {}
    owner = np.array([index.setdefault(cluster, len(index)) for cluster in clusters], dtype=np.int64)
    sums = np.zeros((len(index), statistics.shape[1]))
    np.add.at(sums, owner, statistics)
    return sums


def resample_sums(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Column sums of `resamples` draws of C clusters with replacement, (resamples, k), from (C, k)."""
    rng = np.random.default_rng(seed)
    n_clusters = len(sums)
    drawn = np.empty((resamples, sums.shape[1]))
    for start in range(0, resamples, _ROWS_AT_ONCE):
        n_rows = min(_ROWS_AT_ONCE, resamples - start)
        picks = rng.integers(0, n_clusters, size=(n_rows, n_clusters))
        picks += np.arange(n_rows)[:, None] * n_clusters
        copies = np.bincount(picks.ravel(), minlength=n_rows * n_clusters).reshape(n_rows, n_clusters)
        drawn[start:start + n_rows] = copies.astype(np.float64) @ sums
    return drawn


def percentile_interval(values: np.ndarray, coverage: float = 0.95) -> tuple[float, float] | None:
    """Lower and upper bound of resampled values, (resamples,); undefined ones (NaN) are left out, None if all are."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)
