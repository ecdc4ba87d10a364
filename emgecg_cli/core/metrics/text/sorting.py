"""Stable orders of whole numbers, under n-grams and alignments.

numpy sorts integers many times faster than it finds their order; so number and place are sorted as one integer where
both fit into it.
"""

from __future__ import annotations

import numpy as np


def stable_order(keys: np.ndarray) -> np.ndarray:
    """The order of n integers that are not negative, (n,); of equal ones the first goes first."""
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)) >> 63 - bits:
        return np.argsort(keys, kind="stable")
    return np.sort(keys << bits | np.arange(len(keys))) & (1 << bits) - 1


def dense_numbers(keys: np.ndarray) -> tuple[np.ndarray, int]:
    """Each of n integers that are not negative as its place among the different ones in ascending order, (n,), and how
    many different ones there are."""
    order = stable_order(keys)
    ascending = keys[order]
    place = np.cumsum(np.concatenate([[0], ascending[1:] != ascending[:-1]])) if len(keys) else order
    dense = np.empty(len(keys), np.int64)
    dense[order] = place
    return dense, int(place[-1]) + 1 if len(keys) else 0
