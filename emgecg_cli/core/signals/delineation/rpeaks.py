"""Where the beats are: R peaks from the energy of all leads in the QRS band, each lead on its own scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.delineation.filters import DETECTION_FS, FLAT_UV, GRID_FS
from emgecg_cli.core.signals.delineation.missed import add_missed, follows_others
from emgecg_cli.core.signals.delineation.quantiles import median

# Noise in 12 leads reaches a contrast of 1.7, in one lead 3.6; 100 real recordings have 10 and more, 7 in lead II
# alone. Between the two it is beats if they are like each other, which single-lead noise is to 0.83.
_LEAST_CONTRAST, _CLEAR_CONTRAST = 1.6, 4.0
_ALIKE, _ALL_ALIKE, _MISSED = 0.9, 0.8, 1.7
# Over how many samples a slope is taken: wide complexes without sharp edges stand out of noise over 32 ms only.
_SHARP, _WIDE = 1, 4
_QUIET_QUANTILE = 0.25
_ENERGY_S = 0.07
_EDGE_S = 0.06
_HIDDEN_S = 0.14
_REFRACTORY_S = 0.27
_THRESHOLD = 0.34
_LEVEL_S = 2.0
# Nearer than this to a much higher peak, one is a P wave or a pacing spike before it, or a T wave after it.
_P_BEFORE_S, _T_AFTER_S, _T_AFTER_SHARE = 0.32, 0.46, 0.75
_NEIGHBOUR_RATIO = 0.55
# Of the usual energy and size; the least distance of an ectopic beat to another beat.
_WIDE_THRESHOLD, _WIDE_SIZE, _WIDE_APART_S, _SOON, _WIDE_IN_LEADS = 0.22, 0.8, 0.22, 1.25, 1.0
_SCALE_QUANTILE = 0.98
_LARGEST_SLOPE = 3.0
_REFINE_S = 0.06
_BASE_S = 0.11
_LEAST_SCALE_UV = 0.01


@dataclass(frozen=True)
class Peaks:
    """`r` (n,) R peaks in samples of the grid, with fractions, and `height` (n,) their energy; `contrast` of the energy
    to that of the quiet quarter."""

    r: np.ndarray
    height: np.ndarray
    contrast: float

    def are_beats(self, likeness: float, least: float, longest: float) -> bool:
        """Whether these are heart beats, and all of them, and not noise. `likeness` is the median correlation of the
        beats with the commonest two shapes, `least` that which nine of ten beats reach, `longest` the longest RR
        interval of a regular rhythm as a multiple of the typical: a beat may be missing."""
        return self.contrast >= _CLEAR_CONTRAST or (likeness >= _ALIKE and least >= _ALL_ALIKE and longest < _MISSED)


def find_peaks(beats: np.ndarray, detection: np.ndarray, gap: np.ndarray) -> Peaks:
    """Find the R peaks of a recording on the grid; none where nothing stands out."""
    at, energy, contrast, n_hidden = _candidates(detection, gap, _SHARP)
    if contrast < _CLEAR_CONTRAST:
        wide = _candidates(detection, gap, _WIDE)
        if wide[2] > contrast:
            at, energy, contrast, n_hidden = wide
    if contrast < _LEAST_CONTRAST:
        return Peaks(np.zeros(0), np.zeros(0), contrast)
    step = GRID_FS // DETECTION_FS
    r, size = _refine(beats, at * step)
    if median(size) <= FLAT_UV:
        return Peaks(np.zeros(0), np.zeros(0), contrast)
    more = add_missed(detection, r) if n_hidden or contrast < _CLEAR_CONTRAST else r
    if len(more) > len(r):
        more = more[~gap[np.rint(more).astype(np.int64)]]
        r, _ = _refine(beats, np.rint(more).astype(np.int64))
        r = r if (np.diff(r) > 0).all() else more
    height = energy[np.rint(r / step).astype(np.int64).clip(0, len(energy) - 1)]
    if contrast >= _CLEAR_CONTRAST:
        r, height = _with_wide_beats(beats, energy, gap, r, height)
    return Peaks(r, height, contrast)


def _with_wide_beats(beats: np.ndarray, energy: np.ndarray, gap: np.ndarray, r: np.ndarray, height: np.ndarray
                     ) -> tuple[np.ndarray, np.ndarray]:
    """With the ectopic beats that are as large as the others and so wide that little of them lies in the QRS band.
    T waves are neither: what stands at the same place after other beats is one."""
    step, usual = GRID_FS // DETECTION_FS, median(height)
    peaks = np.flatnonzero((energy[1:-1] > energy[:-2]) & (energy[1:-1] >= energy[2:])) + 1
    peaks = peaks[(energy[peaks] > _WIDE_THRESHOLD * usual)] * step
    peaks = peaks[~gap[np.minimum(peaks, len(gap) - 1)]]
    apart = _WIDE_APART_S * GRID_FS
    peaks = peaks[np.abs(peaks[:, None] - r).min(axis=1) > apart] if peaks.size else peaks
    if not peaks.size:
        return r, height
    at, rr = np.rint(r).astype(np.int64), np.diff(r)
    places, size = _refine(beats, peaks)
    _, usual_size = _refine(beats, at)
    large = (size > _WIDE_SIZE * median(usual_size)) & (np.abs(places[:, None] - r).min(axis=1) > apart)
    large &= _in_most_leads(beats, np.rint(places).astype(np.int64), at)
    added: list[float] = []
    # An ectopic beat that comes often stands after many beats, but after none that the next one follows soon.
    soon = at[:-1][rr < _SOON * rr.min()] if rr.size else at
    others = soon if len(soon) > 2 else at
    for i in sorted(np.flatnonzero(large).tolist(), key=lambda i: -size[i]):
        before = at[at < places[i]]
        free = not added or np.abs(places[i] - np.array(added)).min() > apart
        if free and before.size and not follows_others(beats, int(before[-1]), round(places[i]), others, at):
            added.append(float(places[i]))
    order = np.argsort([*r, *added], kind="stable")
    return np.array([*r, *added])[order], np.array([*height, *[usual] * len(added)])[order]


def _in_most_leads(beats: np.ndarray, places: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether the deflections at `places` are large in half of the leads, each beside its own beats: an electrode that
    moves, or a pacing spike, is not."""
    reach, end = round(_BASE_S * GRID_FS), beats.shape[1] - 1

    def deflection(here: np.ndarray) -> np.ndarray:
        sides = beats[:, np.clip(here - reach, 0, end)] + beats[:, np.clip(here + reach, 0, end)]
        return np.abs(beats[:, here] - 0.5 * sides)

    usual = np.median(deflection(at), axis=1, keepdims=True)
    return np.asarray(np.median(deflection(places) / (usual + _LEAST_SCALE_UV), axis=0) > _WIDE_IN_LEADS)


def _candidates(detection: np.ndarray, gap: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Places of the beats, the energy they stand out of, how much, and how many peaks between them were left out."""
    energy = _energy(detection, lag)
    at, high = _select(energy)
    n_hidden = int((np.abs(high[:, None] - at).min(axis=1) > _HIDDEN_S * DETECTION_FS).sum()) if at.size else 0
    at = at[~gap[np.minimum(at * (GRID_FS // DETECTION_FS), len(gap) - 1)]]
    return at, energy, median(energy[at]) / (_quiet(energy) + 1e-9) if at.size else 0.0, n_hidden


def _quiet(energy: np.ndarray) -> float:
    rank = int(_QUIET_QUANTILE * len(energy))
    return float(np.partition(energy, rank)[rank])


def _energy(detection: np.ndarray, lag: int) -> np.ndarray:
    slope = np.zeros_like(detection)
    start = (lag + 1) // 2
    np.subtract(detection[:, lag:], detection[:, :-lag], out=slope[:, start:start + detection.shape[1] - lag])
    size = np.abs(slope[:, ::2])
    rank = int(_SCALE_QUANTILE * (size.shape[1] - 1))
    scale = np.partition(size, rank, axis=1)[:, rank:rank + 1]
    slope *= 1 / (scale + _LEAST_SCALE_UV)
    np.clip(slope, -_LARGEST_SLOPE, _LARGEST_SLOPE, out=slope)
    power = np.einsum("ij,ij->j", slope, slope) / len(slope)
    width = int(_ENERGY_S * DETECTION_FS) | 1
    energy = np.sqrt(np.convolve(power, np.full(width, 1 / width), "same"))
    edge = int(_EDGE_S * DETECTION_FS)
    energy[:edge] = energy[-edge:] = 0
    return energy


def _select(energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The local maxima that are beats: highest first, none within the refractory time of a higher one; and all that
    are as high as a beat."""
    peaks = np.flatnonzero((energy[1:-1] > energy[:-2]) & (energy[1:-1] >= energy[2:])) + 1
    span = int(_LEVEL_S * DETECTION_FS)
    starts = range(0, max(1, len(energy) - span // 2), span)
    level = median(np.array([energy[start:start + span].max() for start in starts]))
    peaks = peaks[energy[peaks] > _THRESHOLD * level]
    refractory = int(_REFRACTORY_S * DETECTION_FS)
    taken = np.zeros(len(energy), bool)
    kept = []
    for i in peaks[np.argsort(-energy[peaks], kind="stable")]:
        if not taken[i]:
            kept.append(i)
            taken[max(0, i - refractory):i + refractory + 1] = True
    at = np.sort(np.array(kept, dtype=np.int64))
    height = energy[at]
    distance = np.diff(at)
    weak = np.zeros(len(at), bool)
    weak[:-1] |= (distance < _P_BEFORE_S * DETECTION_FS) & (height[:-1] < _NEIGHBOUR_RATIO * height[1:])
    strong = np.diff(at[height > _NEIGHBOUR_RATIO * level])
    after = min(_T_AFTER_S * DETECTION_FS, _T_AFTER_SHARE * median(strong)) if strong.size else 0.0
    weak[1:] |= (distance < after) & (height[1:] < _NEIGHBOUR_RATIO * height[:-1])
    return at[~weak], peaks


def _refine(beats: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest deflection over all leads near each peak, to a fraction of a sample by a parabola, and its size."""
    half, base = int(_REFINE_S * GRID_FS), int(_BASE_S * GRID_FS)
    offsets = np.arange(-base, base + 1)
    around = beats[:, np.clip(at[:, None] + offsets, 0, beats.shape[1] - 1)]
    around = around - 0.5 * (around[:, :, :1] + around[:, :, -1:])
    size = np.einsum("cbt,cbt->bt", around, around)
    row = np.arange(len(at))
    best = base - half + size[:, base - half:base + half + 1].argmax(axis=1)
    left, middle, right = size[row, best - 1], size[row, best], size[row, best + 1]
    bend = 2 * middle - left - right
    shift = np.divide(0.5 * (right - left), bend, out=np.zeros_like(bend), where=bend > 0)
    return np.clip(at - base + best + np.clip(shift, -0.5, 0.5), 0, beats.shape[1] - 1), np.sqrt(middle)
