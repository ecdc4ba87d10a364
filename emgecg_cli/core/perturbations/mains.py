"""Mains hum: 50 Hz from the power line, with its third harmonic where the rate holds it."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.perturbations.levels import ELECTRODES, add_noise

MAINS_HZ = 50
THIRD = 0.2  # of the size of the first


def mains(signal: np.ndarray, fs: int, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add one hum of 50 Hz, larger at some electrodes than at others, at a ratio over all leads.

    `signal` is float32 microvolts (12, L), missing samples = NaN. Raises MedReportError beyond ±100 dB, and for a rate
    below 100 Hz, which cannot hold it.
    """
    if fs < 2 * MAINS_HZ:
        raise MedReportError(f"a hum of {MAINS_HZ} Hz in recordings of {fs} Hz",
                             f"prepare the store with --fs {2 * MAINS_HZ} or more")
    angle = 2 * np.pi * MAINS_HZ * np.arange(signal.shape[1]) / fs + rng.uniform(0.1, np.pi - 0.1) - np.pi / 2
    hum = np.cos(angle) + (THIRD * np.cos(3 * angle) if fs / 2 > 3 * MAINS_HZ else 0)
    return add_noise(signal, rng.uniform(0.2, 1.0, (ELECTRODES, 1)) * hum, snr_db)
