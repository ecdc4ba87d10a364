"""Gain: a recording whose calibration is wrong, or whose unit was mistaken."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_range


def gain(signal: np.ndarray, fs: int, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply all leads by `factor`.

    `signal` is float32 microvolts (12, L), missing samples = NaN. Raises MedReportError unless `factor` is 0.001 to
    1000; what leaves the int16 scale is clipped, and counted.
    """
    check_range(factor, 1e-3, 1e3, "a factor")
    return (signal.astype(np.float64) * factor).astype(np.float32)
