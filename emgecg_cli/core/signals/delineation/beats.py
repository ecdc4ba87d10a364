"""The median beat: the beats of the commonest shape, aligned over all leads, and the median over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from emgecg_cli.core.signals.delineation.filters import GRID_FS
from emgecg_cli.core.signals.delineation.quantiles import median, medians

BEFORE = int(0.40 * GRID_FS)
AFTER = int(0.70 * GRID_FS)
BEAT_FS = 2 * GRID_FS
_HALF = int(0.08 * GRID_FS)  # the stretch around R that is compared
_LAG = int(0.04 * GRID_FS)
_ALIKE = 0.85
_SMALLEST_SHARE = 0.3
_PASSES = 2
_NETWORK_BEATS = 24
_MIDPOINT = np.array([3, -25, 150, 150, -25, 3]) / 256  # interpolates half-way between samples


@dataclass(frozen=True)
class MedianBeat:
    """`median` (C, T) microvolts at BEAT_FS with R at sample `r`; `beats` (n, C, t) at GRID_FS with R at BEFORE, the
    beats it is made of; `used` says which R peaks they are, `at` (n,) where each is, in samples of the grid;
    `likeness` is the correlation of every whole beat with the average of those used."""

    median: np.ndarray
    r: int
    beats: np.ndarray
    used: np.ndarray
    at: np.ndarray
    likeness: np.ndarray


def median_beat(signal: np.ndarray, peaks: np.ndarray, gap: np.ndarray) -> MedianBeat | None:
    """The median of the beats that look alike; None where no beat lies whole in the recording.

    `signal` (C, n) and `peaks` on the grid. Beats that reach over the recording's ends are used only when there is no
    other; the missing part is then held at its last value.
    """
    at = np.rint(peaks).astype(np.int64)
    n = signal.shape[1]
    whole = (at - BEFORE - _LAG >= 0) & (at + AFTER + _LAG <= n) & ~_touches(gap, at)
    shift = 0
    if not whole.any():
        whole = (at - BEFORE // 2 >= 0) & (at + AFTER // 2 <= n)
        if not whole.any():
            return None
        signal = np.pad(signal, ((0, 0), (BEFORE + _LAG, AFTER + _LAG)), mode="edge")
        shift = BEFORE + _LAG
    index = np.flatnonzero(whole)
    centres, likeness, alike = _align(signal, at[index] + shift)
    beats = np.stack([signal[:, i - BEFORE:i + AFTER] for i in centres[alike]])
    used = np.zeros(len(peaks), bool)
    used[index[alike]] = True
    return MedianBeat(_twice_the_rate(_median(beats)), 2 * BEFORE, beats, used, centres[alike] - shift, likeness)


def _touches(gap: np.ndarray, at: np.ndarray) -> np.ndarray:
    if not gap.any():
        return np.zeros(len(at), bool)
    total = np.concatenate(([0], np.cumsum(gap)))
    start, end = np.clip(at - BEFORE, 0, len(gap)), np.clip(at + AFTER, 0, len(gap))
    return total[end] > total[start]


def _align(signal: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift each beat to where it is most like the others; new places, correlations, and which are alike."""
    width = 2 * _HALF
    around = np.stack([signal[:, i - _HALF - _LAG:i + _HALF + _LAG] for i in at])
    windows = sliding_window_view(around, width, axis=2)  # (n, C, lags, width)
    sums = windows.sum(axis=3)
    squares = np.einsum("bct,bct->bt", around, around)
    energy = sliding_window_view(squares, width, axis=1).sum(axis=2)
    energy = energy - (sums * sums).sum(axis=1) / width
    norm = np.sqrt(np.maximum(energy, 1e-6))  # (n, lags)

    template = _most_typical(around[:, :, _LAG:_LAG + width])
    row = np.arange(len(at))
    for _ in range(_PASSES):
        template = template - template.mean(axis=1, keepdims=True)
        product = np.tensordot(windows, template, axes=([1, 3], [0, 1]))
        correlation = product / (norm * (np.linalg.norm(template) + 1e-6))
        lag = correlation.argmax(axis=1)
        likeness = correlation[row, lag]
        alike = likeness > _ALIKE
        if alike.sum() < max(2, _SMALLEST_SHARE * len(at)):
            alike = likeness >= median(likeness)
        template = windows[row[alike], :, lag[alike]].mean(axis=0)
    return at + lag - _LAG, likeness, alike


def _most_typical(beats: np.ndarray) -> np.ndarray:
    """The beat with the highest median correlation to the others; (n, C, width) -> (C, width)."""
    flat = beats.reshape(len(beats), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6
    return beats[medians(flat @ flat.T).argmax()]


def _median(beats: np.ndarray) -> np.ndarray:
    """Median over few beats by a sorting network of whole arrays: ten times as fast as `np.median`."""
    n = len(beats)
    if n > _NETWORK_BEATS:
        return medians(beats)
    rows = list(beats)
    for low, high in _network(n):
        rows[low], rows[high] = np.minimum(rows[low], rows[high]), np.maximum(rows[low], rows[high])
    return 0.5 * (rows[(n - 1) // 2] + rows[n // 2])


@lru_cache(maxsize=_NETWORK_BEATS)
def _network(n: int) -> tuple[tuple[int, int], ...]:
    """The comparators of Batcher's odd-even merge sort (Knuth, TAOCP 3, 5.2.2 M) that the middle of n needs."""
    pairs = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    p = top if n > 1 else 0
    while p:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    wanted = {(n - 1) // 2, n // 2}
    needed = []
    for pair in reversed(pairs):
        if wanted & set(pair):
            wanted |= set(pair)
            needed.append(pair)
    return tuple(reversed(needed))


def _twice_the_rate(beat: np.ndarray) -> np.ndarray:
    """Interpolate half-way between samples, (C, t) -> (C, 2 t) float64."""
    padded = np.pad(beat.astype(np.float64), ((0, 0), (2, 3)), mode="edge")
    n = beat.shape[1]
    doubled = np.empty((len(beat), 2 * n))
    doubled[:, ::2] = beat
    doubled[:, 1::2] = sum(weight * padded[:, i:i + n] for i, weight in enumerate(_MIDPOINT))
    return doubled
