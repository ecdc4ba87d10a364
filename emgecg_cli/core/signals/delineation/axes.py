"""Axes of the frontal plane and ST levels, from the median beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.delineation.beats import BEFORE, MedianBeat
from emgecg_cli.core.signals.delineation.quantiles import median, medians
from emgecg_cli.core.signals.delineation.waves import samples
from emgecg_cli.core.signals.leads import LEADS

ST_AFTER_J_S = 0.06
_BASE_S = (0.024, 0.004)  # before QRS onset, where atria and ventricles are both still
_ST_HALF_S = 0.008
# I, II, III, aVR, aVL, aVF: direction in degrees; the augmented leads are shorter by the half of the root of three.
_DEGREES = np.deg2rad([0, 60, 120, -150, -30, 90])
_STRENGTH = np.array([1, 1, 1, 0.75 ** 0.5, 0.75 ** 0.5, 0.75 ** 0.5])
_LIMB = np.stack([_STRENGTH * np.cos(_DEGREES), _STRENGTH * np.sin(_DEGREES)], axis=1)


@dataclass(frozen=True)
class Axis:
    """Degrees in (-180, 180]; `clarity` is the length of the net vector beside the size of the wave (0: as much up as
    down), `misfit` how far the limb leads are from one common vector, as a part of its length."""

    degrees: float
    clarity: float
    misfit: float


def baseline(beat: MedianBeat, qrs_on: int) -> np.ndarray:
    """Level of each lead just before the QRS complex, (C, 1)."""
    start, end = max(0, qrs_on - samples(_BASE_S[0])), max(1, qrs_on - samples(_BASE_S[1]))
    return beat.median[:, start:end].mean(axis=1, keepdims=True)


def find_axis(wave: np.ndarray, leads: np.ndarray) -> Axis | None:
    """The axis of a wave (C, T), its base level taken off, from the net areas in the limb leads; None with fewer than
    two of them, or nothing in them.

    The vector that fits all limb leads best: with six consistent leads that is atan2(2 aVF / sqrt(3), I).
    """
    rows = np.flatnonzero(leads < 6)
    if len(rows) < 2 or wave.shape[1] < 2:
        return None
    limb = wave[rows]
    area, size = limb.mean(axis=1), np.abs(limb).mean(axis=1)
    directions = _LIMB[leads[rows]]  # any two of them span the plane
    vector = np.linalg.solve(directions.T @ directions, directions.T @ area)
    length, total = float(np.hypot(*vector)), float(np.sqrt(size @ size))
    if total < 1e-3 or length < 1e-3:
        return None
    misfit = float(np.linalg.norm(area - directions @ vector)) / length
    return Axis(float(np.rad2deg(np.arctan2(vector[1], vector[0]))), length * 3 ** 0.5 / total, misfit)


def st_levels(beat: MedianBeat, leads: np.ndarray, qrs_on: int, qrs_off: int) -> tuple[list[float | None], float]:
    """ST level in microvolts of each of LEADS, None where it is not in use, and the median standard error of them.

    The level 60 ms after the J point against the level just before QRS onset. The error is from beat to beat.
    """
    at = min(qrs_off + samples(ST_AFTER_J_S), beat.median.shape[1] - samples(0.02))
    half = samples(_ST_HALF_S)
    level = beat.median[:, at - half:at + half + 1].mean(axis=1) - baseline(beat, qrs_on)[:, 0]
    levels: list[float | None] = [None] * len(LEADS)
    for lead, value in zip(leads, level, strict=True):
        levels[lead] = round(float(value), 1)
    n = len(beat.beats)
    if n < 2:
        return levels, float("inf")
    shift = BEFORE - beat.r // 2
    base_at = max(1, (qrs_on - samples(0.5 * sum(_BASE_S))) // 2 + shift)
    st_at = at // 2 + shift
    single = (beat.beats[:, :, st_at - 2:st_at + 3].mean(axis=2)
              - beat.beats[:, :, base_at - 1:base_at + 2].mean(axis=2))
    # 1.4826 deviations from the median are one standard deviation, 1.2533 the price of a median beside a mean.
    spread = medians(np.abs(single - medians(single)))
    return levels, median(spread) * 1.4826 * 1.2533 / n ** 0.5
