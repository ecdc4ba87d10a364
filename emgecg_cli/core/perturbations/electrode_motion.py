"""Electrode motion: a pulled or shifted electrode, whose potential jumps and settles again.

Modelled, it is jumps at random moments, each at one electrode, that rise within some tenths of a second and decay over
about a second, as in the record `em` of the MIT-BIH Noise Stress Test Database.
"""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import ELECTRODES, add_noise
from emgecg_cli.core.perturbations.recorded import excerpts

PER_SECOND = 0.5  # jumps, at all electrodes together; at least one
RISE_S = (0.05, 0.4)  # until the peak


def electrode_motion(signal: np.ndarray, fs: int, snr_db: float, rng: np.random.Generator,
                     recorded: np.ndarray | None = None) -> np.ndarray:
    """Add jumps of single electrodes, at a ratio over all leads; that of a limb's electrode is in all leads made of it.

    `signal` is float32 microvolts (12, L), missing samples = NaN; `recorded` is noise (channels, T) in place of what is
    modelled. Raises MedReportError beyond ±100 dB.
    """
    length = signal.shape[1]
    if recorded is not None:
        return add_noise(signal, excerpts(recorded, length, rng), snr_db)
    moved = np.zeros((ELECTRODES, length))
    for _ in range(1 + int(rng.poisson(PER_SECOND * length / fs))):
        electrode, start = int(rng.integers(ELECTRODES)), int(rng.integers(length))
        size, rise = rng.standard_normal(), rng.uniform(*RISE_S) * fs
        time = np.arange(length - start) / rise
        moved[electrode, start:] += size * time * np.exp(1 - time)
    return add_noise(signal, moved, snr_db)
