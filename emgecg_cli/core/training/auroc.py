"""The area under the ROC curve of one code, and the mean over codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata


def auroc(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """Chance that a record with the code scores higher than one without, ties counted half; scores and bool truth (n).

    From the ranks of the scores (Mann and Whitney). None where no record has the code, or all have it.
    """
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    ranks = rankdata(scores)[truth]
    return float((ranks.sum() - positives * (positives + 1) / 2) / (positives * negatives))


def macro(values: Mapping[str, float | None]) -> float | None:
    """The mean of those that are known; None if none is."""
    known = [value for value in values.values() if value is not None]
    return sum(known) / len(known) if known else None
