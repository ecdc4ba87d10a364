"""Resampling error: a recording whose rate is not the one its file says, so that all intervals and the heart rate are
wrong."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_range


def resampling_error(signal: np.ndarray, fs: int, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Play all leads `percent` too fast, or too slow where it is negative, by linear interpolation; where the recording
    ends before its time, samples are missing.

    `signal` is float32 microvolts (12, L), missing samples = NaN; a sample that was missing stays so, too. Raises
    MedReportError beyond ±50 %.
    """
    check_range(percent, -50, 50, "an error in percent")
    length = signal.shape[1]
    at = np.arange(length) * (1 + percent / 100)
    before = np.minimum(np.floor(at).astype(int), length - 1)
    after, share = np.minimum(before + 1, length - 1), (at - before).astype(np.float32)
    # a sample on the grid takes nothing of its neighbour, which may be missing
    played = np.where(share == 0, signal[:, before], signal[:, before] * (1 - share) + signal[:, after] * share)
    played[:, at > length - 1] = np.nan
    played[np.isnan(signal)] = np.nan
    return played.astype(np.float32)
