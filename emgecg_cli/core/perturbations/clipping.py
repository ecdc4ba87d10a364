"""Clipping: a recorder at the end of its scale."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_range


def clipping(signal: np.ndarray, fs: int, limit_mv: float, rng: np.random.Generator) -> np.ndarray:
    """Hold every lead within ± `limit_mv` millivolts.

    `signal` is float32 microvolts (12, L), missing samples = NaN. Raises MedReportError unless the limit is 0.01 to 32.
    """
    check_range(limit_mv, 0.01, 32, "a limit")
    return np.clip(signal, np.float32(-1000 * limit_mv), np.float32(1000 * limit_mv))
