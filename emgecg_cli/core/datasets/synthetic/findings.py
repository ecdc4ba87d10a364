"""What can be wrong with a simulated heart: the named findings, which go together, and how often each occurs.

Findings belong to a patient. Exclusions keep the truth unambiguous: what a cardiologist could not call beside another
finding (a PR interval in atrial fibrillation, ST changes or hypertrophy in left bundle branch block, a QT interval or a
long PR interval at a fast rate) is never drawn together with it. `draw_findings` keeps each finding of the core set at
about 5 to 14 % of the patients; about 40 % of the patients have a normal ECG.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# code -> clinical name; the order is the order of the codes of a record
FINDINGS = {
    "sr": "sinus rhythm, 60 to 100 beats per minute",
    "sbrad": "sinus bradycardia",
    "stach": "sinus tachycardia",
    "afib": "atrial fibrillation",
    "pvc": "premature ventricular complexes",
    "avb1": "first degree atrioventricular block",
    "lbbb": "left bundle branch block",
    "rbbb": "right bundle branch block",
    "lvh": "left ventricular hypertrophy (voltage criteria)",
    "lad": "left axis deviation",
    "rad": "right axis deviation",
    "ste_inf": "ST elevation in the inferior leads",
    "ste_ant": "ST elevation in the anterior leads",
    "ste_lat": "ST elevation in the lateral leads",
    "std_inf": "ST depression in the inferior leads",
    "std_ant": "ST depression in the anterior leads",
    "std_lat": "ST depression in the lateral leads",
    "twi_inf": "T wave inversion in the inferior leads",
    "twi_ant": "T wave inversion in the anterior leads",
    "twi_lat": "T wave inversion in the lateral leads",
    "lowv": "low QRS voltage",
    "lqt": "prolonged QT interval",
}
CODES = tuple(FINDINGS)
RHYTHMS = CODES[:4]  # every patient has exactly one of these
BASE = frozenset({"sr"})  # a finding, but nothing abnormal
ST_CHANGES = tuple(code for code in CODES if code.startswith(("ste_", "std_")))
T_INVERSIONS = tuple(code for code in CODES if code.startswith("twi_"))

# which findings a cohort may have: the regional ST and T findings left out of `core` would each be rare
SETS = {
    "core": tuple(code for code in CODES if code not in {"ste_lat", "std_inf", "std_ant", "twi_inf", "twi_ant"}),
    "full": CODES,
}

_NORMAL_BY_DESIGN = 0.36
_RHYTHM_SHARES = (0.50, 0.14, 0.16, 0.20)  # of the patients who may have findings


def draw_findings(n: int, rng: np.random.Generator, allowed: Sequence[str]) -> dict[str, np.ndarray]:
    """Draw the findings of n patients: code -> (n,) bool for every code, False throughout for codes not allowed."""
    sick = rng.random(n) >= _NORMAL_BY_DESIGN
    rhythm = np.where(sick, rng.choice(len(RHYTHMS), n, p=_RHYTHM_SHARES), 0)
    has = {code: np.zeros(n, bool) for code in CODES}
    has |= {code: rhythm == i for i, code in enumerate(RHYTHMS)}
    has["pvc"] = sick & (rng.random(n) < 0.15)
    measurable = sick & ~has["afib"] & ~has["stach"]
    has["avb1"] = measurable & (rng.random(n) < 0.20)
    has["lqt"] = measurable & ~has["avb1"] & (rng.random(n) < 0.20)
    block = rng.random(n)
    has["lbbb"] = sick & (block < 0.11)
    has["rbbb"] = sick & (block >= 0.11) & (block < 0.25)
    axis = rng.random(n)  # left in the low end of [0, 1), right in the high end
    has["lad"] = sick & (axis < np.where(has["lbbb"], 0.40, 0.15))
    has["rad"] = sick & ~has["lbbb"] & (axis > np.where(has["rbbb"], 0.75, 0.90))
    voltage = rng.random(n)
    has["lvh"] = sick & ~has["lbbb"] & (voltage < 0.15)
    has["lowv"] = sick & (voltage > 0.90)
    repolarising = sick & ~has["lbbb"]
    st_share, t_share = _regional_shares(allowed)
    has |= _one_of([code for code in ST_CHANGES if code in allowed], st_share, repolarising, rng)
    no_st_change = repolarising & ~np.any([has[code] for code in ST_CHANGES], axis=0)
    has |= _one_of([code for code in T_INVERSIONS if code in allowed], t_share, no_st_change, rng)
    return has


def _regional_shares(allowed: Sequence[str]) -> tuple[float, float]:
    """The share of eligible patients for each allowed ST change and T inversion: rarer when more compete."""
    n_st = sum(code in allowed for code in ST_CHANGES)
    n_t = sum(code in allowed for code in T_INVERSIONS)
    return 0.42 / max(n_st, 3), 0.25 / max(n_t, 1.2)


def _one_of(codes: Sequence[str], share: float, eligible: np.ndarray,
            rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Give each eligible patient at most one of `codes`, each with probability `share`."""
    place = rng.random(len(eligible)) / share
    return {code: eligible & (place >= i) & (place < i + 1) for i, code in enumerate(codes)}
