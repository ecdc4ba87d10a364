"""Muscle noise: the electromyogram of a patient who is tense or shivers, in swells."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import add_noise, band_noise
from emgecg_cli.core.perturbations.recorded import excerpts

LOWEST_HZ, HIGHEST_HZ, OF_THE_RATE = 20.0, 150.0, 0.45
_SWELL_HZ = (0.2, 1.0)


def muscle(signal: np.ndarray, fs: int, snr_db: float, rng: np.random.Generator,
           recorded: np.ndarray | None = None) -> np.ndarray:
    """Add noise of 20–150 Hz (at most 0.45 of the rate) that swells and fades at every electrode, at a ratio over all
    leads.

    `signal` is float32 microvolts (12, L), missing samples = NaN; `recorded` is noise (channels, T) in place of what is
    modelled. Raises MedReportError beyond ±100 dB.
    """
    if recorded is not None:
        return add_noise(signal, excerpts(recorded, signal.shape[1], rng), snr_db)
    noise = band_noise(signal.shape[1], fs, LOWEST_HZ, min(HIGHEST_HZ, OF_THE_RATE * fs), 0.0, rng)
    swell = band_noise(signal.shape[1], fs, *_SWELL_HZ, 0.0, rng)
    spread = swell.std(axis=1, keepdims=True)
    return add_noise(signal, noise * np.exp(0.7 * swell / np.where(spread, spread, 1)), snr_db)
