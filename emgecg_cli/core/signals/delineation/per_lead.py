"""The boundaries of the waves of a median beat in each lead: those of the median lead, moved where a lead has its own.

What a single lead says scatters more than what all say together. So a lead's boundary leaves the common one only by
what its own differs beyond the usual scatter, and not far; the onset of the T wave alone differs so much from lead to
lead that each lead in which the wave is clear has its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.delineation.atria import PWave
from emgecg_cli.core.signals.delineation.beats import MedianBeat
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.ventricles import Qrs, TWave
from emgecg_cli.core.signals.delineation.waves import MS, difference, samples, smooth, tangent, trapezium

# Median difference to the cardiologists in milliseconds, taken off: LUDB 1-100, lead by lead.
_T_ON_BIAS = 12.0
_FARTHEST_MS = 15.0
_SLACK_MS = {"p_on": 8.0, "p_off": 8.0, "qrs_on": 8.0, "qrs_off": 4.0, "t_off": 4.0}
# The end of a P wave is hard to see before the QRS complex; its peak is not, and it usually ends so long after that. A
# fifth of that estimate makes the scatter smaller by a sixth, in either half of the records.
_P_USUAL_END_MS, _P_USUAL_SHARE = 51.0, 0.2
_P_SMOOTH_S, _P_AROUND_S, _P_REACH_S, _P_CLEAR_UV = 0.021, 0.03, 0.07, 30.0
_T_SMOOTH_S, _T_HALF_S = 0.025, 0.008
_T_AFTER_J_S, _T_BASE_S, _T_SHORTEST_S, _T_REACH_S, _T_CLEAR_UV = 0.02, 0.04, 0.08, 0.18, 40.0


@dataclass(frozen=True)
class Edges:
    """Boundaries in milliseconds from R, in the order of `beat_table.EDGES`: `common` (6,) as the median of the leads
    has them, `by_lead` (C, 6). NaN where there is no such wave."""

    common: np.ndarray
    by_lead: np.ndarray


def find_edges(beat: MedianBeat, qrs: Qrs, p: PWave | None, t: TWave | None) -> Edges:
    """The boundaries of a median beat; `p` None where there is no P wave, `t` None where there is no T wave."""
    common, own = np.full(6, np.nan), np.full((len(beat.median), 6), np.nan)
    common[2:4] = qrs.on_ms, qrs.off_ms
    own[:, 2] = _moved("qrs_on", qrs.on_ms, qrs.lead_on_ms)
    own[:, 3] = _moved("qrs_off", qrs.off_ms, qrs.lead_off_ms)
    if p is not None:
        end = p.off_ms + _P_USUAL_SHARE * (p.peak_ms + _P_USUAL_END_MS - p.off_ms)
        common[:2] = p.on_ms, end
        on, off = _p_edges(beat, p)
        own[:, 0], own[:, 1] = _moved("p_on", p.on_ms, on), _moved("p_off", end, off)
    if t is not None:
        on = _t_onsets(beat, qrs, t)
        common[4:] = median(on[np.isfinite(on)]) if np.isfinite(on).any() else np.nan, t.end_ms
        own[:, 4] = np.where(np.isfinite(on), on, common[4])
        own[:, 5] = _moved("t_off", t.end_ms, t.lead_end_ms)
    return Edges(common, own)


def _moved(name: str, common: float, own: np.ndarray) -> np.ndarray:
    """The common boundary moved in each lead by how much its own (C,) is out of line with those of the others."""
    found = np.isfinite(own)
    if not found.any():
        return np.full(len(own), common)
    away = np.where(found, own - median(own[found]), 0.0)
    return common + np.sign(away) * np.clip(np.abs(away) - _SLACK_MS[name], 0, _FARTHEST_MS)


def _p_edges(beat: MedianBeat, p: PWave) -> tuple[np.ndarray, np.ndarray]:
    """Onset and end of the P wave in single leads, milliseconds (C,), NaN where it is small; with a bias of their own.
    """
    around, reach, n = samples(_P_AROUND_S), samples(_P_REACH_S), beat.median.shape[1]
    first, last = (beat.r + round(ms / MS) for ms in (p.on_ms, p.off_ms))
    ends = np.full((2, len(beat.median)), np.nan)
    if first - around < 0 or last + around >= n or last - first < around:
        return ends[0], ends[1]
    waves = smooth(beat.median, _P_SMOOTH_S)
    velocity = difference(waves, samples(0.004))
    part = np.linspace(0, 1, last - first + 1)
    level = waves[:, first:last + 1] - waves[:, first:first + 1] * (1 - part) - waves[:, last:last + 1] * part
    top = np.abs(level[:, 3:-3]).argmax(axis=1) + 3
    for row in np.flatnonzero(np.abs(level[np.arange(len(level)), top]) >= _P_CLEAR_UV).tolist():
        peak, sign = first + int(top[row]), np.sign(level[row, top[row]])
        rise = first - around + int((velocity[row, first - around:peak] * sign).argmax())
        fall = peak + int((velocity[row, peak:last + around] * -sign).argmax())
        ends[0, row] = (trapezium(waves[row], rise, max(0, rise - reach)) - beat.r) * MS
        ends[1, row] = (trapezium(waves[row], fall, min(n - 1, fall + reach)) - beat.r) * MS
    return ends[0], ends[1]


def _t_onsets(beat: MedianBeat, qrs: Qrs, t: TWave) -> np.ndarray:
    """Onset of the T wave in single leads, milliseconds (C,): where the tangent at its steepest rise meets the level of
    the ST segment; NaN where the wave does not stand out of that."""
    own = np.full(len(beat.median), np.nan)
    j, end = (beat.r + round(ms / MS) for ms in (qrs.off_ms, t.end_ms))
    start, end = j + samples(_T_AFTER_J_S), min(end, beat.median.shape[1] - 1)
    if end - start < samples(_T_SHORTEST_S):
        return own
    waves = smooth(beat.median, _T_SMOOTH_S, times=2)
    velocity = difference(waves, samples(_T_HALF_S))
    for row, (wave, speed) in enumerate(zip(waves, velocity, strict=True)):
        height = wave[start:end] - wave[end]
        peak = start + int(np.abs(height).argmax())
        if peak - start < samples(_T_AFTER_J_S) or abs(wave[peak] - wave[start]) < _T_CLEAR_UV:
            continue
        steepest = start + int((speed[start:peak] * np.sign(height[peak - start])).argmax())
        base = median(wave[start:start + samples(_T_BASE_S)])
        at = steepest + min(0.0, tangent(wave, steepest, base, samples(_T_REACH_S)))
        own[row] = max((at - beat.r) * MS - _T_ON_BIAS, qrs.off_ms)
    return own
