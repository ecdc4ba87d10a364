"""Missed beats, and detected peaks that are not beats.

Detection keeps a refractory time, so that a T wave is not taken for a beat; in a tachycardia above 200 per minute that
hides every second or third beat. What is hidden has the shape and the size of the beats that were found, which neither
T waves nor the waves of atrial flutter have.
"""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.delineation.filters import DETECTION_FS, GRID_FS
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.shapes import Shapes

_LOOK_BELOW_S = 0.85  # three beats at 222 per minute; slower rhythms leave no beat out
_SHORTEST_RR_S = 0.18
_LEAST_SHARE = 0.7
_OTHER_RR = 0.6  # a peak that is not like the beats is one if it lies so much of an RR interval from them
_HALF_S, _SAME_BEAT_S = 0.064, 0.15
_ALIKE, _AS_LARGE = 0.75, 0.5
_LESS_ALIKE, _OFF_BEAT = 0.45, 0.12
_NOISY_CONTRAST = 8.0
_UNLIKE, _WEAK = 0.5, 0.6
_NOISE_PEAK = 2.4  # noise of 12 leads rises to so many times its quiet quarter
_UNLIKE_T, _WEAK_T, _FIRST_T_S = 0.7, 0.8, 0.45
_LATEST_T_S, _T_HALF, _ALIKE_T = 0.7, int(0.1 * GRID_FS), 0.8


def add_missed(detection: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """The peaks with those added that look like them; `detection` (C, n) at DETECTION_FS, peaks on the grid."""
    if len(peaks) < 3 or median(np.diff(peaks)) > _LOOK_BELOW_S * GRID_FS:
        return peaks
    half = round(_HALF_S * DETECTION_FS)
    n = detection.shape[1]
    at = np.rint(peaks * DETECTION_FS / GRID_FS).astype(np.int64)
    at = at[(at >= half) & (at + half < n)]
    if not at.size:
        return peaks
    template = _typical(np.stack([detection[:, i - half:i + half + 1] for i in at.tolist()]))
    size = float(np.einsum("ct,ct->", template, template)) + 1e-6
    product = sum(np.correlate(row, one, "same") for row, one in zip(detection, template, strict=True))
    power = np.convolve(np.einsum("ct,ct->t", detection, detection), np.ones(2 * half + 1), "same")
    likeness = product / np.sqrt(size * np.maximum(power, 1e-3 * size))
    fits = (likeness > _ALIKE) & (product > _AS_LARGE * size)
    top = np.flatnonzero(fits[1:-1] & (likeness[1:-1] >= likeness[:-2]) & (likeness[1:-1] > likeness[2:])) + 1
    top = top[(top >= half) & (top < n - half)]
    matches = _apart(top, likeness[top])
    if len(matches) < _LEAST_SHARE * len(peaks) or len(matches) < 3:
        return peaks
    away = _OTHER_RR * median(np.diff(matches))
    own = peaks * (DETECTION_FS / GRID_FS)
    others = own[np.abs(own[:, None] - matches).min(axis=1) > away]
    found = _fill(np.sort(np.concatenate((matches, others))), likeness) * (GRID_FS / DETECTION_FS)
    return found if len(found) > len(peaks) else peaks


def _apart(at: np.ndarray, likeness: np.ndarray) -> np.ndarray:
    """The places that are as far apart as beats are, the likest first."""
    kept: list[int] = []
    for i in at[np.argsort(-likeness, kind="stable")].tolist():
        if all(abs(i - other) >= _SHORTEST_RR_S * DETECTION_FS for other in kept):
            kept.append(i)
    return np.sort(np.array(kept, np.int64))


def _fill(at: np.ndarray, likeness: np.ndarray) -> np.ndarray:
    """The places with those added that are half-way in a double interval and less like the others, as in noise."""
    rr = np.diff(at)
    usual = median(rr)
    more = []
    for start, interval in zip(at.tolist(), rr.tolist(), strict=False):
        if abs(interval - 2 * usual) < 2 * _OFF_BEAT * usual:
            near = slice(round(start + (1 - _OFF_BEAT) * usual), round(start + (1 + _OFF_BEAT) * usual) + 1)
            best = near.start + int(likeness[near].argmax())
            more += [best] if likeness[best] > _LESS_ALIKE else []
    return np.sort(np.concatenate((at, np.array(more))))


def _typical(beats: np.ndarray) -> np.ndarray:
    """The mean of the beats that are most like each other; (n, C, width) -> (C, width)."""
    flat = beats.reshape(len(beats), -1)
    flat = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
    alike = np.sort(flat @ flat.T, axis=1)[:, len(flat) // 2]
    return beats[alike >= median(alike)].mean(axis=0)


def false_peaks(signal: np.ndarray, shapes: Shapes, height: np.ndarray, contrast: float) -> np.ndarray:
    """Which peaks are not beats, since they are lower than beats and unlike them: noise, in a noisy recording; a late T
    wave; a T wave at the start, whose beat is not there. Of two in one place, one. `height` (n,) is the energy of the
    peaks and `signal` (C, n) lies on the grid."""
    if not shapes.alike.any():
        return np.zeros(len(height), bool)
    low = height / median(height[shapes.alike])
    noise = max(_WEAK, _NOISE_PEAK / contrast)
    none = (shapes.best < _UNLIKE) & (low < noise) if contrast < _NOISY_CONTRAST else np.zeros(len(height), bool)
    for i in np.flatnonzero((shapes.likeness < _UNLIKE_T) & (low < _WEAK)).tolist():
        none[i] |= _follows_others_too(signal, shapes, i)
    none[0] |= shapes.best[0] < _UNLIKE_T and low[0] < _WEAK_T and shapes.r[0] < _FIRST_T_S * GRID_FS
    close = np.flatnonzero(np.diff(shapes.r) < _SAME_BEAT_S * GRID_FS)
    none[close + (shapes.best[close] > shapes.best[close + 1])] = True
    return none


def _follows_others_too(signal: np.ndarray, shapes: Shapes, i: int) -> bool:
    """Whether what stands at peak i after the beat before it stands after other beats as well: it is a T wave then, and
    an ectopic beat otherwise."""
    beats, at = shapes.at[shapes.alike], int(shapes.at[i])
    before = beats[beats < at]
    return before.size > 0 and follows_others(signal, int(before[-1]), at, beats, np.delete(shapes.at, i))


def follows_others(signal: np.ndarray, beat: int, place: int, others: np.ndarray, taken: np.ndarray) -> bool:
    """Whether what stands at `place` after `beat` stands after the `others` as well, as a T wave does; `signal` (C, n)
    and places on the grid. Near a beat that is `taken` nothing is compared."""
    if place - beat > _LATEST_T_S * GRID_FS:
        return False
    places = others[others != beat] + place - beat
    places = places[(places >= _T_HALF) & (places + _T_HALF < signal.shape[1])]
    free = np.abs(places[:, None] - taken).min(axis=1) > _T_HALF if places.size else places
    if not _T_HALF <= place < signal.shape[1] - _T_HALF or free.sum() < 2:
        return False
    own, *found = (signal[:, at - _T_HALF:at + _T_HALF] for at in [place, *places[free].tolist()])
    own, other = (one - one.mean(axis=1, keepdims=True) for one in (own, np.mean(found, axis=0)))
    return float(np.vdot(own, other)) > _ALIKE_T * float(np.linalg.norm(own) * np.linalg.norm(other))
