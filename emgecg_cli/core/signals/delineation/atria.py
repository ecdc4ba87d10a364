"""The P wave of a median beat, and whether there is one: whether single beats agree on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.delineation.beats import MedianBeat
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.waves import (
    MS,
    difference,
    local_maxima,
    rms_of_leads,
    samples,
    smooth,
    tangent,
    trapezium,
)

# Median difference to the cardiologists in milliseconds, taken off: LUDB 1-100, median of leads.
_ON_BIAS, _OFF_BIAS = 1.4, 10.2

_EARLIEST_S, _BEFORE_QRS_S, _SHORTEST_S = 0.32, 0.03, 0.06
_AFTER_T_S, _LEAST_WINDOW_S = 0.01, 0.14
_SMOOTH_S = 0.021
_EXPECTED_S, _EXPECTED_SD_S = 0.133, 0.19
_HALF_S = 0.064
_STRONG = 0.74
_ON_REACH_S, _OFF_REACH_S = 0.071, 0.078
_CROSSING, _CROSSING_REACH_S = 0.25, 0.08
_USUAL_DISTANCE_MS = 18.0
_LEAST_UV = 20.0
# Single beats agree on the P wave at 0.82 or more where it is annotated. Where the RR intervals scatter as in atrial
# fibrillation the end of the T wave may agree nearly as well, and in paced beats what is left of the spikes.
_AGREE, _AGREE_STRICT = 0.79, 0.94


@dataclass(frozen=True)
class PWave:
    """Onset, peak and end in milliseconds from R. `agreement` is the correlation of single beats with the P wave
    (1: all alike), `amplitude_uv` its size in the largest lead, `doubt_ms` how far two estimates of the onset are from
    their usual distance."""

    on_ms: float
    peak_ms: float
    off_ms: float
    agreement: float
    amplitude_uv: float
    doubt_ms: float

    def is_present(self, strict: bool) -> bool:
        """Whether this is a P wave; `strict` in an irregular or paced rhythm."""
        return self.amplitude_uv > _LEAST_UV and self.agreement > (_AGREE_STRICT if strict else _AGREE)


def find_p(beat: MedianBeat, qrs_on_ms: float, t_end_ms: float | None, rr_s: float) -> PWave | None:
    """The best candidate for a P wave; None where there is no room for one or fewer than two beats to compare."""
    on = beat.r + round(qrs_on_ms / MS)
    first = max(2, beat.r - samples(_EARLIEST_S))
    if t_end_ms is not None:
        previous = beat.r + round(t_end_ms / MS) - samples(rr_s) + samples(_AFTER_T_S)
        first = max(first, min(previous, on - samples(_LEAST_WINDOW_S)))
    last = on - samples(_BEFORE_QRS_S)
    if last - first <= samples(_SHORTEST_S) or len(beat.beats) < 2:
        return None
    waves = smooth(beat.median[:, :on + samples(0.04)], _SMOOTH_S)
    window = _without_line(waves[:, first:last])
    direction = np.linalg.eigh(window @ window.T)[1][:, -1]
    size = direction @ window
    expected = (on - np.arange(first, last)) * MS / 1000 - _EXPECTED_S
    best = int((np.abs(size) * np.exp(-0.5 * (expected / _EXPECTED_SD_S) ** 2)).argmax())
    peak = first + best
    trace = (direction * np.sign(size[best])) @ waves

    velocity = rms_of_leads(difference(waves, samples(0.004)))
    rise = _slope(velocity, max(first, peak - samples(_HALF_S)), peak, 0)
    fall = _slope(velocity, peak, min(last, peak + samples(_HALF_S)), -1)
    reach = max(first - samples(0.02), rise - samples(_ON_REACH_S), 0)
    if rise - reach <= samples(0.01):
        return None
    by_area, by_crossing = trapezium(trace, rise, reach), _crossing(trace, rise, peak)
    return PWave((0.5 * (by_area + by_crossing) - beat.r) * MS - _ON_BIAS, (peak - beat.r) * MS,
                 (_end(trace, fall, on) - beat.r) * MS - _OFF_BIAS,
                 _agreement(beat.beats, direction, first // 2, last // 2), float(np.abs(window[:, best]).max()),
                 abs((by_crossing - by_area) * MS - _USUAL_DISTANCE_MS))


def _without_line(window: np.ndarray) -> np.ndarray:
    """Take off the line through both ends."""
    part = np.linspace(0, 1, window.shape[1])
    left, right = window[:, :3].mean(axis=1, keepdims=True), window[:, -3:].mean(axis=1, keepdims=True)
    return window - left * (1 - part) - right * part


def _slope(velocity: np.ndarray, start: int, end: int, which: int) -> int:
    """The first (0) or last (-1) strong maximum of the velocity."""
    part = velocity[start:end + 1]
    if len(part) >= 3:
        at = local_maxima(part)
        at = at[part[at] >= _STRONG * part.max()]
        if at.size:
            return start + int(at[which])
    return start + int(part.argmax())


def _crossing(trace: np.ndarray, rise: int, peak: int) -> float:
    """Where the rise of the P wave begins to be more than a part of its height."""
    start = max(0, rise - samples(_CROSSING_REACH_S))
    part = trace[start:rise + 1]
    base = np.partition(part, len(part) // 4)[len(part) // 4]
    low = np.flatnonzero(part <= base + _CROSSING * (trace[peak] - base))
    return float(start + low[-1]) if low.size else float(rise)


def _end(trace: np.ndarray, fall: int, qrs_on: int) -> float:
    reach = min(qrs_on, fall + samples(_OFF_REACH_S))
    by_area = trapezium(trace, fall, reach) if reach - fall > 3 else fall
    far = min(qrs_on, fall + samples(0.09))
    near = far - samples(0.03)
    if near <= fall:
        return 0.5 * (by_area + fall)
    by_tangent = fall + max(0.0, tangent(trace, fall, median(trace[near:far]), samples(0.08)))
    return 0.5 * (by_area + by_tangent)


def _agreement(beats: np.ndarray, direction: np.ndarray, first: int, last: int) -> float:
    """The typical correlation of a single beat with the P wave, from the correlations of the beats with each other,
    which no beat's own share in the median can raise."""
    traces = np.einsum("nct,c->nt", beats[:, :, first - 1:last + 1], direction.astype(np.float32))
    traces = traces[:, :-2] + traces[:, 1:-1] + traces[:, 2:]
    traces = traces - traces.mean(axis=1, keepdims=True)
    traces /= np.linalg.norm(traces, axis=1, keepdims=True) + 1e-6
    pairs = (traces @ traces.T)[np.triu_indices(len(traces), 1)]
    typical = median(pairs)
    return float(np.sign(typical) * np.sqrt(abs(typical)))
