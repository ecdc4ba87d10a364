"""Limb reversal: two electrodes of the limbs on each other's place, the commonest mistake of recording."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.perturbations.levels import check_whole
from emgecg_cli.core.signals.leads import LEADS

# which electrodes -> what each limb lead shows then, with its sign
REVERSALS = {
    1: {"I": (-1, "I"), "II": (1, "III"), "III": (1, "II"), "aVR": (1, "aVL"), "aVL": (1, "aVR")},  # RA and LA
    2: {"I": (-1, "III"), "II": (-1, "II"), "III": (-1, "I"), "aVR": (1, "aVF"), "aVF": (1, "aVR")},  # RA and LL
    3: {"I": (1, "II"), "II": (1, "I"), "III": (-1, "III"), "aVL": (1, "aVF"), "aVF": (1, "aVL")},  # LA and LL
}


def limb_reversal(signal: np.ndarray, fs: int, electrodes: float, rng: np.random.Generator) -> np.ndarray:
    """Exchange two electrodes: `electrodes` 1 is right and left arm, 2 right arm and leg, 3 left arm and leg.

    `signal` is float32 microvolts (12, L), missing samples = NaN; the precordial leads stay as they are. Raises
    MedReportError for another level.
    """
    shown = REVERSALS[check_whole(electrodes, 1, 3, "a reversal")]
    after = signal.copy()
    for lead, (sign, source) in shown.items():
        after[LEADS.index(lead)] = sign * signal[LEADS.index(source)]
    return after
