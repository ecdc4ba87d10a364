"""Baseline wander: breathing and slow drift of the electrodes, below half a hertz."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import add_noise, band_noise
from emgecg_cli.core.perturbations.recorded import excerpts

SLOWEST_HZ, FASTEST_HZ = 0.05, 0.5


def baseline_wander(signal: np.ndarray, fs: int, snr_db: float, rng: np.random.Generator,
                    recorded: np.ndarray | None = None) -> np.ndarray:
    """Add slow noise of 0.05–0.5 Hz at every electrode, stronger the slower it is, at a ratio over all leads.

    `signal` is float32 microvolts (12, L), missing samples = NaN; `recorded` is noise (channels, T) in place of what is
    modelled. Raises MedReportError beyond ±100 dB.
    """
    if recorded is not None:
        return add_noise(signal, excerpts(recorded, signal.shape[1], rng), snr_db)
    return add_noise(signal, band_noise(signal.shape[1], fs, SLOWEST_HZ, FASTEST_HZ, 1.0, rng), snr_db)
