"""Lead swap: leads that stand in each other's place, as in a file whose signals are in another order."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_whole


def lead_swap(signal: np.ndarray, fs: int, swaps: float, rng: np.random.Generator) -> np.ndarray:
    """Exchange so many random pairs of leads, of those that have samples, no lead twice.

    `signal` is float32 microvolts (12, L), missing samples = NaN. Raises MedReportError unless `swaps` is 1 to 6.
    """
    number = check_whole(swaps, 1, 6, "a number of swaps")
    drawn = rng.permutation(np.flatnonzero(np.isfinite(signal).any(axis=1)))
    number = min(number, len(drawn) // 2)
    one, other = drawn[:number], drawn[number:2 * number]
    after = signal.copy()
    after[one], after[other] = signal[other], signal[one]
    return after
