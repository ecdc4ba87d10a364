"""The noise of MEIT's robustness experiment, under its own name: a noisy stretch, not a signal-to-noise ratio.

The paper calls this level an SNR of 0.05 to 0.2. What its code does is to corrupt a stretch that covers at most that
share of the recording, which leaves it at about +10 to +17 dB. The achieved ratio is recorded with every record.
"""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.errors import MedReportError

LARGEST_SIGMA = 0.1  # in units of the recording's range, as MEIT's collator is called


def meit_proportion(signal: np.ndarray, fs: int, proportion: float, rng: np.random.Generator) -> np.ndarray:
    """Add one row of Gaussian noise, the same to all leads, to a random stretch of the recording.

    `signal` is float32 microvolts (C, L), missing samples = NaN. The stretch is floor(U(0, proportion) * L) samples
    long and starts anywhere it fits; sigma = U(0, 0.1) of the recording's range, the largest minus the smallest sample
    over all leads, since MEIT adds the noise after min-max scaling. Missing samples stay missing. Raises MedReportError
    unless 0 < proportion <= 1.
    """
    if not 0 < proportion <= 1:
        raise MedReportError(f"a proportion of {proportion:g}", "give a share of the time: more than 0, at most 1")
    length = signal.shape[1]
    stretch = int(rng.uniform(0, proportion) * length)
    start = int(rng.integers(0, length - stretch + 1))
    sigma = rng.uniform(0, LARGEST_SIGMA)
    noisy = signal.astype(np.float64)
    present = noisy[np.isfinite(noisy)]
    if present.size:
        noisy[:, start:start + stretch] += sigma * np.ptp(present) * rng.standard_normal(stretch)
    return noisy.astype(np.float32)
