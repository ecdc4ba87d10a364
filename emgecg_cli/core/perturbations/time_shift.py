"""Time shift: a recording that was started a little later."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_range


def time_shift(signal: np.ndarray, fs: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Move all leads `seconds` to the left, or to the right where it is negative; what comes in is missing.

    `signal` is float32 microvolts (12, L), missing samples = NaN; a sample that was missing stays so, too. Raises
    MedReportError beyond ±60 s.
    """
    check_range(seconds, -60, 60, "a shift in seconds")
    by, length = round(seconds * fs), signal.shape[1]
    after = np.full_like(signal, np.nan)
    if abs(by) < length:
        after[:, max(-by, 0):length - max(by, 0)] = signal[:, max(by, 0):length - max(-by, 0)]
    after[np.isnan(signal)] = np.nan
    return after
