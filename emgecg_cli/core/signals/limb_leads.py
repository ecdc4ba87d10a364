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
# In 400 recordings the identities hold within 2 uV at every sample, but for one burst of 2561 uV. Leads that were
# scaled one by one break them in every beat.
GLITCH_UV = 100.0
GLITCH_TIMES = 10.0
BURST_UV = 15.0
BURST_TIMES = 2.0
BURST_GAP_S = 0.02
LARGEST_N_BURSTS = 3
EXPLAINED = 0.2

_FITS_INT16 = 8191  # four times this is an int16
_COUNTED = 16  # residuals below this are counted, larger ones sorted
_REMEDY_SAMPLES = 1250  # enough to choose a remedy; the residuals themselves are over all samples
# The four identities as rows over I, II, III, aVR, aVL, aVF.
_IDENTITIES = np.array([[1, -1, 1, 0, 0, 0], [0.5, 0.5, 0, 1, 0, 0], [-0.5, 0, 0.5, 0, 1, 0], [0, -0.5, -0.5, 0, 0, 1]])


@dataclass(frozen=True)
class LimbLeadCheck:
    """Residuals of the identities in microvolts (median and 99th percentile), None where a lead is absent.

    `glitch` describes a short burst in which the identities break although they hold elsewhere.
    """

    einthoven_p50_uv: float | None
    einthoven_p99_uv: float | None
    goldberger_p50_uv: float | None
    goldberger_p99_uv: float | None
    verdict: str
    glitch: str | None = None


def check_limb_leads(signal: np.ndarray, fs: int | None = None) -> LimbLeadCheck:
    """Measure Einthoven's and Goldberger's residuals of int16 microvolts (12, L) over the samples present in all leads.

    Einthoven's residual is |I + III - II|, Goldberger's the largest of |aVR + (I + II)/2|, |aVL - (I - III)/2| and
    |aVF - (II + III)/2|; quantiles are robust to a glitch. The verdict is "ok", or says by how much the leads disagree
    and which swap, inversion or scaling of limb leads would restore the identities; "not checked" where leads are
    absent. A glitch is looked for where the leads agree otherwise; with `fs` in Hz its time is given too. No lead is
    ever changed.
    """
    in_three = kept = limb = signal[:6]
    places = None
    lowest = int(limb.min()) if limb.size else 0
    if lowest == MISSING:
        there = limb != MISSING
        in_three = _summable(limb[:3, there[:3].all(axis=0)])
        places = np.flatnonzero(there.all(axis=0))
        kept = _summable(limb[:, places])
    elif limb.size:
        in_three = kept = _summable(limb, lowest)
    einthoven = _quantiles(_einthoven(in_three))
    goldberger = _quantiles(_goldberger_twice(kept))
    if einthoven is None:
        return LimbLeadCheck(None, None, None, None, NOT_CHECKED)
    if goldberger is None:
        return LimbLeadCheck(float(einthoven[0]), float(einthoven[1]), None, None,
                             _verdict_of_three(in_three, einthoven[0]))
    verdict = _verdict(kept, max(einthoven[0], goldberger[0] / 2))
    glitch = None
    if verdict == OK and max(einthoven[2], goldberger[2] / 2) > GLITCH_UV:
        glitch = _find_glitch(kept, places, fs)
    return LimbLeadCheck(float(einthoven[0]), float(einthoven[1]), goldberger[0] / 2, goldberger[1] / 2, verdict,
                         glitch)


def _summable(limb: np.ndarray, lowest: int | None = None) -> np.ndarray:
    """Sums of four samples fit int16 in nearly every recording, and are several times as fast there."""
    lowest = int(limb.min(initial=0)) if lowest is None else lowest
    fits = lowest >= -_FITS_INT16 and limb.max(initial=0) <= _FITS_INT16
    return limb if fits else limb.astype(np.int32)


def _einthoven(limb: np.ndarray) -> np.ndarray:
    return np.abs(limb[0] + limb[2] - limb[1])


def _goldberger_twice(limb: np.ndarray) -> np.ndarray:
    # Twice the residual, to stay in whole microvolts.
    twice = limb[3:] + limb[3:]
    twice[0] += limb[0]
    twice[0] += limb[1]
    twice[1] += limb[2]
    twice[1] -= limb[0]
    twice[2] -= limb[1]
    twice[2] -= limb[2]
    return np.maximum.reduce(np.abs(twice, out=twice))


def _quantiles(residual: np.ndarray) -> tuple[float, float, float] | None:
    """The order statistics at the middle and at 99 %, and the largest."""
    n = residual.size
    if n == 0:
        return None
    middle, high = (n - 1) // 2, (99 * (n - 1)) // 100
    largest = int(residual.max())
    if largest < _COUNTED:
        p50 = _order_statistic(residual, middle, 0, largest)
        return p50, _order_statistic(residual, high, p50, largest), largest
    ordered = np.sort(residual)
    return float(ordered[middle]), float(ordered[high]), largest


def _order_statistic(residual: np.ndarray, rank: int, lowest: int, highest: int) -> int:
    """The value of that rank among whole numbers within these limits: a few counts cost less than a sort."""
    while lowest < highest:
        middle = (lowest + highest) // 2
        if np.count_nonzero(residual <= middle) > rank:
            highest = middle
        else:
            lowest = middle + 1
    return lowest


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
    few = limb[:, ::max(1, limb.shape[1] // _REMEDY_SAMPLES)]
    remedy, left = min(_remedies(few), key=lambda pair: pair[1])
    if left > RESTORED * disagreement:
        remedy = _scaling(limb, disagreement) or "no swap or inversion of limb leads explains it"
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
    middle = limb.shape[1] // 2
    return max(float(np.partition(_einthoven(limb), middle)[middle]),
               float(np.partition(_goldberger_twice(limb), middle)[middle]) / 2)


def _scaling(limb: np.ndarray, disagreement: float) -> str | None:
    """The gain of each lead that would restore the identities, where there is one; offsets do not matter.

    The squared residual of all identities is a quadratic form of the six gains: its least eigenvector is the answer.
    """
    centred = limb - limb.mean(axis=1, keepdims=True)
    form = (centred @ centred.T) * (_IDENTITIES.T @ _IDENTITIES)
    gains = np.linalg.eigh(form)[1][:, 0]
    gains = gains * np.sign(gains.sum())
    if (gains <= 0.01 * gains.max()).any():
        return None
    gains = gains / np.median(gains)
    left = np.median(np.abs(_IDENTITIES @ (centred * gains[:, None])), axis=1).max()
    if left > RESTORED * disagreement:
        return None
    listed = ", ".join(f"{name} {gain:.2g}" for name, gain in zip(LEADS, gains, strict=False))
    return f"each lead looks scaled or shifted by itself, gains {listed} would make them agree"


def _find_glitch(limb: np.ndarray, places: np.ndarray | None, fs: int | None) -> str | None:
    """Describe the largest short burst in which the identities break: which leads are off, by how much, and where.

    `places` are the sample numbers of the columns of `limb`, None when they are all.
    """
    residual = _IDENTITIES @ limb
    worst = np.abs(residual).max(axis=0)
    usual = float(np.quantile(worst, 0.9))
    if worst.max() <= max(GLITCH_UV, GLITCH_TIMES * usual):
        return None
    broken = np.flatnonzero(worst > max(BURST_UV, BURST_TIMES * usual))
    samples = broken if places is None else places[broken]
    gap = max(2, round(BURST_GAP_S * (fs or 0)))
    bursts = np.split(np.arange(broken.size), np.flatnonzero(np.diff(samples) > gap) + 1)
    if len(bursts) > LARGEST_N_BURSTS:
        return None
    burst = max(bursts, key=lambda columns: worst[broken[columns]].max())
    first, last = int(samples[burst[0]]), int(samples[burst[-1]])
    where = f"at sample {first}" if first == last else f"at samples {first}-{last}"
    where += f" ({first / fs:.2f} s)" if fs else ""
    more = f"; {len(bursts)} such bursts" if len(bursts) > 1 else ""
    return f"{_blame(residual[:, broken[burst]])} {where}{more}"


def _blame(residual: np.ndarray) -> str:
    """The fewest leads whose errors explain the identities' residuals (4, n) of a burst, and by how much they are off.

    aVR, aVL and aVF each take part in one identity, I, II and III in three with weights of their own.
    """
    for n_leads in (1, 2):
        found = []
        for leads in combinations(range(6), n_leads):
            part = _IDENTITIES[:, leads]
            errors = np.linalg.pinv(part) @ residual
            found.append((float(np.linalg.norm(residual - part @ errors)), leads, float(np.abs(errors).max())))
        left, leads, largest = min(found)
        if left <= EXPLAINED * np.linalg.norm(residual):
            return f"{' and '.join(LEADS[lead] for lead in leads)} off by {largest:.0f} uV"
    return f"limb leads disagree by {np.abs(residual).max():.0f} uV"
