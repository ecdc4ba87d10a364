"""Lead drop: leads that were not recorded, or fell off."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_whole


def lead_drop(signal: np.ndarray, fs: int, leads: float, rng: np.random.Generator) -> np.ndarray:
    """Make all samples of so many random leads missing, of those that have any; one is left at least.

    `signal` is float32 microvolts (12, L), missing samples = NaN. Raises MedReportError unless `leads` is 1 to 11.
    """
    number = check_whole(leads, 1, 11, "a number of leads")
    there = np.flatnonzero(np.isfinite(signal).any(axis=1))
    dropped = rng.permutation(there)[:min(number, max(len(there) - 1, 0))]
    after = signal.copy()
    after[dropped] = np.nan
    return after
