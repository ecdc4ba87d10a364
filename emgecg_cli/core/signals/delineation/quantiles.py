"""Medians of short arrays, without the half of a tenth of a millisecond that each call of `np.median` takes."""

from __future__ import annotations

import numpy as np


def median(values: np.ndarray) -> float:
    """Median of a (n,) array, n at least 1."""
    ordered = np.sort(values)
    n = len(ordered)
    return 0.5 * (float(ordered[(n - 1) // 2]) + float(ordered[n // 2]))


def medians(columns: np.ndarray) -> np.ndarray:
    """Median over the first axis."""
    ordered = np.sort(columns, axis=0)
    n = len(ordered)
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
