"""White noise at a ratio that is not in decibels, as MEIT's paper prints its levels: 0.05 means noise twenty times as
strong as the signal."""

from __future__ import annotations

import math

import numpy as np

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.perturbations.gaussian import gaussian


def gaussian_ratio(signal: np.ndarray, fs: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """`gaussian` at P_signal / P_noise = `ratio` in every lead; raises MedReportError unless it is more than 0, and
    beyond ±100 dB."""
    if not ratio > 0:
        raise MedReportError(f"a ratio of {ratio:g}", "give signal power over noise power, more than 0")
    return gaussian(signal, fs, 10 * math.log10(ratio), rng)
