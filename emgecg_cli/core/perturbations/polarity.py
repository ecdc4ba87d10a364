"""Polarity: leads that are upside down."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_whole


def polarity(signal: np.ndarray, fs: int, leads: float, rng: np.random.Generator) -> np.ndarray:
    """Turn so many random leads upside down, of those that have samples.

    `signal` is float32 microvolts (12, L), missing samples = NaN. Raises MedReportError unless `leads` is 1 to 12.
    """
    number = check_whole(leads, 1, 12, "a number of leads")
    turned = rng.permutation(np.flatnonzero(np.isfinite(signal).any(axis=1)))[:number]
    after = signal.copy()
    after[turned] *= -1
    return after
