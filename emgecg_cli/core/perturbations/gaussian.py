"""White Gaussian noise at a stated signal-to-noise ratio in every lead."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_snr


def gaussian(signal: np.ndarray, fs: int, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise that is independent in every lead and sample: sigma^2 = P / 10^(snr_db / 10).

    `signal` is float32 microvolts (C, L), missing samples = NaN. P is the lead's power about its own mean, over the
    samples that are there. Missing samples stay missing; a flat or absent lead has no power and comes back as it was.
    Raises MedReportError for a level beyond +-100 dB, where int16 microvolts hold either no noise or nothing else.
    """
    check_snr(snr_db)
    values = signal.astype(np.float64)
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    mean = np.where(present, values, 0).sum(axis=1, keepdims=True) / count
    power = np.where(present, values - mean, 0) ** 2
    sigma = np.sqrt(power.sum(axis=1, keepdims=True) / count / 10 ** (snr_db / 10))
    return (values + sigma * rng.standard_normal(values.shape)).astype(np.float32)
