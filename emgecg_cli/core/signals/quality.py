"""How well the six limb leads of a recording agree: a free check of lead names, signs and gains.

Two electrodes' worth of voltage make six leads, so that I + III = II (Einthoven) and aVR = -(I + II)/2,
aVL = (I - III)/2, aVF = (II + III)/2 (Goldberger) hold at every sample, up to rounding. A lead stored under another's
name, or upside down, breaks them. An exchange of the arm electrodes at the patient keeps them and is not seen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from emgecg_cli.core.signals.leads import LEADS, MISSING

OK = "ok"
SUSPECT = "suspect"
NOT_CHECKED = "not checked: no sample has all limb leads"
# A swap of two limb leads leaves a median of at least 29 uV and about the leads' own amplitude in real recordings,
# rounding to the coarsest common step (5 uV) at most 10 uV.
SUSPECT_UV = 20.0
SUSPECT_SHARE = 0.25
RESTORED = 0.25


@dataclass(frozen=True)
class LimbLeadCheck:
    """Residuals of the identities in microvolts (median and 99th percentile), None where a lead is absent."""

    einthoven_p50_uv: float | None
    einthoven_p99_uv: float | None
    goldberger_p50_uv: float | None
    goldberger_p99_uv: float | None
    verdict: str


def check_limb_leads(signal: np.ndarray) -> LimbLeadCheck:
    """Measure Einthoven's and Goldberger's residuals of int16 microvolts (12, L) over the samples present in all leads.

    Einthoven's residual is |I + III - II|, Goldberger's the largest of |aVR + (I + II)/2|, |aVL - (I - III)/2| and
    |aVF - (II + III)/2|; quantiles are robust to a glitch. The verdict is "ok", or says by how much the leads disagree
    and which swap or inversion of limb leads would restore the identities; "not checked" where leads are absent. No
    lead is ever changed.
    """
    limb = signal[:6]
    leads = limb.astype(np.int32)
    in_three = kept = leads
    if limb.size and limb.min() == MISSING:
        missing = limb == MISSING
        in_three, kept = leads[:, ~missing[:3].any(axis=0)], leads[:, ~missing.any(axis=0)]
    einthoven = _quantiles(_einthoven(in_three))
    goldberger = _quantiles(_goldberger_twice(kept))
    if einthoven is None or goldberger is None:
        if einthoven is None:
            return LimbLeadCheck(None, None, None, None, NOT_CHECKED)
        return LimbLeadCheck(*einthoven, None, None, _verdict_of_three(in_three, einthoven[0]))
    goldberger = goldberger[0] / 2, goldberger[1] / 2
    return LimbLeadCheck(*einthoven, *goldberger, _verdict(kept, max(einthoven[0], goldberger[0])))


def _einthoven(limb: np.ndarray) -> np.ndarray:
    return np.abs(limb[0] + limb[2] - limb[1])


def _goldberger_twice(limb: np.ndarray) -> np.ndarray:
    # Twice the residual, to stay in whole microvolts.
    i, ii, iii, avr, avl, avf = limb
    residual = np.abs(2 * avr + i + ii)
    np.maximum(residual, np.abs(2 * avl - i + iii), out=residual)
    return np.maximum(residual, np.abs(2 * avf - ii - iii), out=residual)


def _quantiles(residual: np.ndarray) -> tuple[float, float] | None:
    n = residual.size
    if n == 0:
        return None
    middle, high = (n - 1) // 2, (99 * (n - 1)) // 100
    parts = np.partition(residual, (middle, high))
    return float(parts[middle]), float(parts[high])


def _is_small(disagreement: float, limb: np.ndarray) -> bool:
    return disagreement <= SUSPECT_UV or disagreement <= SUSPECT_SHARE * float(np.median(np.abs(limb)))


def _verdict_of_three(limb: np.ndarray, disagreement: float) -> str:
    if _is_small(disagreement, limb[:3]):
        return NOT_CHECKED
    return f"{SUSPECT}: I, II and III disagree by {disagreement:.0f} uV (median)"


def _verdict(limb: np.ndarray, disagreement: float) -> str:
    if _is_small(disagreement, limb):
        return OK
    head = f"{SUSPECT}: limb leads disagree by {disagreement:.0f} uV (median)"
    remedy, left = min(_remedies(limb), key=lambda pair: pair[1])
    if left > RESTORED * disagreement:
        return f"{head}; no swap or inversion of limb leads explains it"
    return f"{head}; {remedy}"


def _remedies(limb: np.ndarray) -> list[tuple[str, float]]:
    """Each swap of two and inversion of one limb lead, with the median disagreement it leaves."""
    found = []
    for a, b in combinations(range(6), 2):
        order = list(range(6))
        order[a], order[b] = b, a
        found.append((f"{LEADS[a]} and {LEADS[b]} look swapped", _disagreement(limb[order])))
    for a in range(6):
        flipped = limb.copy()
        flipped[a] = -flipped[a]
        found.append((f"{LEADS[a]} looks inverted", _disagreement(flipped)))
    return found


def _disagreement(limb: np.ndarray) -> float:
    return max(float(np.median(_einthoven(limb))), float(np.median(_goldberger_twice(limb))) / 2)
