"""QRS complex and T wave of a median beat.

QRS onset and end are each the mean of two estimates: one from the velocity of all leads together, which finds the
earliest or latest activity, and the median of what each lead says by itself. Their errors differ, so the mean is better
than both. T end is looked for on one trace, the projection of all leads on the direction in which they move fastest at
the T wave's last strong slope, which handles biphasic and inverted T waves without cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.delineation.beats import MedianBeat
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.waves import (
    MS,
    difference,
    local_maxima,
    low_quantile,
    quiet_after,
    quiet_before,
    rms_of_leads,
    samples,
    smooth,
    tangent,
    trapezium,
)

# Median difference to the cardiologists in milliseconds, taken off: LUDB 1-100, median of leads.
_ON_BIAS, _OFF_BIAS, _T_END_BIAS = 12.1, -0.1, 0.4

_AROUND_S = (0.30, 0.40)
_PEAK_S = 0.06
_NOISE_BEFORE_S, _NOISE_AFTER_S = (0.20, 0.05), (0.06, 0.30)
_NOISE_QUANTILE, _NOISE_FACTOR = 0.20, 3.8
_HOLD_S = 0.018
_TOGETHER_ON, _TOGETHER_OFF = 0.071, 0.09  # thresholds, parts of the largest velocity
_TOGETHER_LOW, _TOGETHER_HIGH = (0.04, 0.05), (0.11, 0.13)
_SINGLE_ON, _SINGLE_OFF = 0.25, 0.06
# A notch may be as quiet as what lies outside: the walks start from the outermost places that are as fast as this.
_STRONG, _WITHIN_S = 0.4, (0.08, 0.10)
_FALL_S = (-0.004, 0.010)
_LONGEST_ONSET_S, _LONGEST_QRS_S = 0.14, 0.22
_USUAL_ONSET_S = 0.05

_T_AFTER_QRS_S, _T_SLOPE_AFTER_S = 0.04, 0.10
_T_SMOOTH_S, _T_TANGENT_SMOOTH_S = 0.035, 0.020
_T_LATEST_S, _T_LATEST_SHARE, _T_EARLIEST_LIMIT_S = 0.56, 0.565, 0.28
_T_FAST_RR_S, _T_FAST_GAP_S, _T_BEFORE_NEXT_S = 0.75, 0.20, 0.06
_T_EXPECTED_S, _T_EARLY_SD_S, _T_LATE_SD_S, _T_LONGEST_RR_S = 0.286, 0.13, 0.20, 1.4
_T_LAST_STRONG = 0.58
_T_REACH_S = 0.18
_T_BASE_S = (0.10, 0.20)
_T_LEAST_UV = 8.0


@dataclass(frozen=True)
class Qrs:
    """Onset and end in milliseconds from R; `doubt_ms` is how far the two estimates disagree, `slack_ms` how much
    longer the complex is with low thresholds than with high ones; `fall` is by how much the velocity falls at the end
    and `noise` what it is outside, both as parts of the largest inside; `guessed` where an edge was not found and
    stands at a usual place. `lead_on_ms` and `lead_off_ms` (C,) are what each lead says by itself, NaN for one that
    says nothing; their medians are no estimate of the onset and end."""

    on_ms: float
    off_ms: float
    doubt_ms: float
    slack_ms: float
    fall: float
    noise: float
    guessed: bool
    lead_on_ms: np.ndarray
    lead_off_ms: np.ndarray


@dataclass(frozen=True)
class TWave:
    """Peak and end in milliseconds from R. `spread_ms` is the interquartile range of the ends in single leads,
    `scatter_ms` that of the ends in single beats over the root of their number, `late` the largest velocity after the
    end as a part of that at the last slope, `amplitude_uv` the size of that slope. `lead_end_ms` (C,) are the ends in
    single leads; their median is no estimate of the end."""

    peak_ms: float
    end_ms: float
    spread_ms: float
    scatter_ms: float
    late: float
    amplitude_uv: float
    lead_end_ms: np.ndarray


def find_qrs(beat: np.ndarray, r: int) -> Qrs:
    """QRS onset and end of a median beat (C, T) whose R peak is at sample `r`."""
    start = r - samples(_AROUND_S[0])
    part = beat[:, start:r + samples(_AROUND_S[1])]
    r -= start
    velocity = difference(smooth(part, 0.014), samples(0.004))
    together = rms_of_leads(velocity)
    rows = np.concatenate((np.stack([together] * 3), np.abs(velocity)))
    rows = smooth(rows, 0.010)
    near = samples(_PEAK_S)
    top = r - near + rows[:, r - near:r + near].argmax(axis=1)
    largest = rows[np.arange(len(rows)), top][:, None]
    before = low_quantile(rows[:, r - samples(_NOISE_BEFORE_S[0]):r - samples(_NOISE_BEFORE_S[1])], _NOISE_QUANTILE)
    after = low_quantile(rows[:, r + samples(_NOISE_AFTER_S[0]):r + samples(_NOISE_AFTER_S[1])], _NOISE_QUANTILE)
    share = np.full((len(rows), 2), (_SINGLE_ON, _SINGLE_OFF))
    share[:3] = (_TOGETHER_ON, _TOGETHER_OFF), _TOGETHER_LOW, _TOGETHER_HIGH
    hold = samples(_HOLD_S)
    inside = slice(r - samples(_WITHIN_S[0]), r + samples(_WITHIN_S[1]))
    strong = rows[:, inside] >= _STRONG * largest
    start, end = inside.start + strong.argmax(axis=1), inside.stop - 1 - strong[:, ::-1].argmax(axis=1)
    on = quiet_before(rows, start, np.maximum(share[:, :1] * largest, _NOISE_FACTOR * before), hold)
    off = quiet_after(rows, end, np.maximum(share[:, 1:] * largest, _NOISE_FACTOR * after), hold)

    first, guessed_on = on[0], not top[0] - on[0] <= samples(_LONGEST_ONSET_S)
    if guessed_on:
        first = r - samples(_USUAL_ONSET_S)
    last, guessed_off = off[0], not off[0] - first <= samples(_LONGEST_QRS_S)
    if guessed_off:
        window = slice(r + samples(0.03), r + samples(0.16))
        last = window.start + int(rows[0, window].argmin())
    single_on, single_off = _usual(on[3:], first), _usual(off[3:], last)
    if single_off - single_on > samples(_LONGEST_QRS_S):
        single_on, single_off = first, last
    doubt = abs(single_on - first - _ON_BIAS / MS) + abs(single_off - last)
    noise = float(max(before[0, 0], after[0, 0]) / (largest[0, 0] + 1e-9))
    slack = np.nan_to_num(on[2] - on[1] + off[1] - off[2], nan=np.inf)
    end = 0.5 * (last + single_off)
    before_end, after_end = (int(end) + samples(shift) for shift in _FALL_S)
    fall = float((rows[0, before_end] - rows[0, after_end]) / (largest[0, 0] + 1e-9))
    return Qrs(float(0.5 * (first + single_on) - r) * MS - _ON_BIAS, float(end - r) * MS - _OFF_BIAS,
               float(doubt) * MS, float(slack) * MS, fall, noise, bool(guessed_on or guessed_off),
               (on[3:] - r) * MS, (off[3:] - r) * MS)


def _usual(values: np.ndarray, otherwise: float) -> float:
    found = values[np.isfinite(values)]
    return median(found) if 2 * len(found) >= len(values) else otherwise


def find_t(median_beat: MedianBeat, qrs_off_ms: float, rr_s: float) -> TWave | None:
    """Peak and end of the T wave; None where the beat leaves no room for one or nothing moves there."""
    beat, r = median_beat.median, median_beat.r
    start = r + round(qrs_off_ms / MS) + samples(_T_AFTER_QRS_S)
    latest = rr_s - _T_FAST_GAP_S if rr_s < _T_FAST_RR_S else _T_LATEST_SHARE * rr_s
    latest = min(_T_LATEST_S, max(latest, _T_EARLIEST_LIMIT_S), rr_s - _T_BEFORE_NEXT_S)
    end = min(beat.shape[1] - 2, r + samples(latest))
    if end - start <= samples(0.10):
        return None
    origin = start - samples(0.06)
    part = beat[:, origin:]
    r, start, end = r - origin, start - origin, end - origin
    waves = smooth(part, _T_SMOOTH_S, times=2)
    velocity = difference(waves, samples(0.008))
    size = rms_of_leads(velocity)
    at = start + local_maxima(size[start:end + 1])
    at = at[at > start + samples(_T_SLOPE_AFTER_S * min(1.0, rr_s / _T_FAST_RR_S))]
    if not at.size:
        return None
    expected = _T_EXPECTED_S * np.sqrt(min(rr_s, _T_LONGEST_RR_S))
    late = (at - r) * MS / 1000 - expected
    score = size[at] * np.exp(-0.5 * (late / np.where(late > 0, _T_LATE_SD_S, _T_EARLY_SD_S)) ** 2)
    steepest = int(at[score >= _T_LAST_STRONG * score.max()][-1])

    direction = _along(velocity[:, steepest])
    trace = direction @ waves
    last = part.shape[1] - 2
    reach = min(last, steepest + samples(_T_REACH_S), max(end, steepest + samples(0.06)))
    by_area = trapezium(trace, steepest, reach)
    finer = smooth(part, _T_TANGENT_SMOOTH_S, times=2)
    half = samples(0.008)
    y = _along(finer[:, steepest + half] - finer[:, steepest - half]) @ finer
    low = min(steepest + samples(_T_BASE_S[0]), len(y) - 5)
    base = median(y[low:steepest + samples(_T_BASE_S[1])])
    by_tangent = steepest + max(0.0, tangent(y, steepest, base, samples(_T_REACH_S)))

    peak = int(np.abs(trace[start:steepest + 1] - trace[by_area]).argmax()) + start
    amplitude = float(abs(trace[peak] - trace[by_area])) / len(beat) ** 0.5
    if amplitude < _T_LEAST_UV:
        return None
    t_end = 0.5 * (by_area + by_tangent)
    after = size[int(t_end) + samples(0.016):int(t_end) + samples(0.12)]
    moves_on = float(after.max() / size[steepest]) if after.size else 0.0
    ends = _lead_ends(waves, velocity, steepest)
    return TWave((peak - r) * MS, (t_end - r) * MS - _T_END_BIAS, _middle_half(ends) * MS,
                 _scatter(median_beat.beats, direction, (origin + steepest) // 2), moves_on, amplitude, (ends - r) * MS)


def _lead_ends(waves: np.ndarray, velocity: np.ndarray, steepest: int) -> np.ndarray:
    """The ends the trapezium finds in single leads, samples (C,)."""
    near, reach = samples(0.03), samples(_T_REACH_S)
    start = max(0, steepest - near)
    own = start + np.abs(velocity[:, start:steepest + near + 1]).argmax(axis=1)
    return own + _longest_area(waves, own, reach)


def _scatter(beats: np.ndarray, direction: np.ndarray, steepest: int) -> float:
    """Standard error in milliseconds of the end, from the ends the trapezium finds in single beats (n, C, t)."""
    reach = min(samples(_T_REACH_S) // 2, beats.shape[2] - 3 - steepest)
    half = samples(_T_SMOOTH_S) // 4
    start = steepest - half
    if len(beats) < 2 or reach < 2 or start < 0:
        return float("inf")
    traces = np.einsum("nct,c->nt", beats[:, :, start:steepest + reach + half + 1], direction.astype(beats.dtype))
    total = np.cumsum(traces, axis=1)
    smoothed = total[:, 2 * half:] - np.concatenate((np.zeros((len(total), 1)), total[:, :-2 * half - 1]), axis=1)
    ends = _longest_area(smoothed, np.zeros(len(smoothed), np.int64), reach)
    return _middle_half(ends) * 2 * MS / len(beats) ** 0.5


def _longest_area(rows: np.ndarray, start: np.ndarray, reach: int) -> np.ndarray:
    """The trapezium's corner after its `start` in each row, at most `reach` samples away."""
    offset = np.arange(reach + 1)
    y = rows[np.arange(len(rows))[:, None], np.minimum(start[:, None] + offset, rows.shape[1] - 1)]
    return np.abs((y[:, :1] - y) * (2 * reach - offset)).argmax(axis=1)


def _middle_half(values: np.ndarray) -> float:
    ordered = np.sort(values)
    n = len(ordered)
    return float(ordered[(3 * n) // 4] - ordered[n // 4])


def _along(direction: np.ndarray) -> np.ndarray:
    return direction / (np.linalg.norm(direction) + 1e-9)
