"""Limb leads that a file does not hold, computed from two that it does.

Two electrodes' worth of voltage make six leads: III = II - I, aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2. A
derived lead adds no information, and is no evidence of how well leads agree.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from emgecg_cli.core.signals.leads import LEADS, MISSING, to_int16_uv

LIMB_LEADS = LEADS[:6]
# The six leads as multiples of I and II.
_OF_I_AND_II = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])


def can_derive(absent: Collection[str]) -> list[str]:
    """The limb leads among the absent ones that follow from those that are there: all, or none."""
    missing = [name for name in LIMB_LEADS if name in absent]
    return missing if len(missing) <= len(LIMB_LEADS) - 2 else []


def derive_leads(signal: np.ndarray, absent: Collection[str]) -> tuple[np.ndarray, list[str]]:
    """int16 microvolts (12, L) with the absent limb leads computed from the first two that are there, and their names.

    A sample is missing where it is in either of the two. Nothing is changed where fewer than two are there.
    """
    derived = can_derive(absent)
    if not derived:
        return signal, []
    pair = [row for row, name in enumerate(LIMB_LEADS) if name not in absent][:2]
    weights = _OF_I_AND_II @ np.linalg.inv(_OF_I_AND_II[pair])
    rows = [LEADS.index(name) for name in derived]
    there = (signal[pair] != MISSING).all(axis=0)
    values = np.where(there, weights[rows] @ signal[pair].astype(np.float64), np.nan)
    whole = signal.copy()
    whole[rows] = to_int16_uv(values)[0]
    return whole, derived
