"""How far two judges agree, from the table of their scores: (..., L, L) counts, rows the first, columns the second."""

from __future__ import annotations

import numpy as np


def weighted_kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights (Cohen 1968), (...); nan where both always give one and the same score."""
    counts, n = _with_total(counts)
    levels = np.arange(counts.shape[-1])
    weights = np.square(levels[:, None] - levels[None, :])
    expected = counts.sum(-1)[..., :, None] * counts.sum(-2)[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1 - n * (weights * counts).sum((-2, -1)) / (weights * expected).sum((-2, -1))


def spearman(counts: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation, equal scores with their mean rank, (...); nan where one judge never varies."""
    counts, n = _with_total(counts)
    ranks = []
    for own in (counts.sum(-1), counts.sum(-2)):
        ranks.append(np.cumsum(own, -1) - own / 2 + 0.5 - (n[..., None] + 1) / 2)
    first, second = ranks
    both = (counts * first[..., :, None] * second[..., None, :]).sum((-2, -1))
    spread = (counts.sum(-1) * first**2).sum(-1) * (counts.sum(-2) * second**2).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, both / np.sqrt(spread), np.nan)


def _with_total(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    counts = np.asarray(counts, float)
    return counts, counts.sum((-2, -1))
