"""The median beat: the median over the beats of one shape, each aligned over all leads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emgecg_cli.core.signals.delineation.filters import GRID_FS
from emgecg_cli.core.signals.delineation.quantiles import medians
from emgecg_cli.core.signals.delineation.shapes import Shapes

BEFORE = int(0.40 * GRID_FS)
AFTER = int(0.70 * GRID_FS)
BEAT_FS = 2 * GRID_FS
_NETWORK_BEATS = 24
_MIDPOINT = np.array([3, -25, 150, 150, -25, 3]) / 256  # interpolates half-way between samples


@dataclass(frozen=True)
class MedianBeat:
    """`median` (C, T) microvolts at BEAT_FS with R at sample `r`; `beats` (n, C, t) at GRID_FS with R at BEFORE, the
    beats it is made of; `used` says which R peaks they are, `at` (n,) where each is, in samples of the grid;
    `likeness` (n,) their correlation with each other, `share` how many of the whole beats they are."""

    median: np.ndarray
    r: int
    beats: np.ndarray
    used: np.ndarray
    at: np.ndarray
    likeness: np.ndarray
    share: float


def median_beat(signal: np.ndarray, shapes: Shapes, gap: np.ndarray) -> MedianBeat | None:
    """The median of the beats of the shape that is measured; None where none of them lies whole in the recording.

    `signal` (C, n) on the grid. Beats that reach over the recording's ends are used only when there is no other; the
    missing part is then held at its last value.
    """
    at = shapes.at
    n = signal.shape[1]
    whole = (at >= BEFORE) & (at + AFTER <= n) & ~_touches(gap, at)
    used = whole & shapes.alike
    if not used.any():
        whole = (at - BEFORE // 2 >= 0) & (at + AFTER // 2 <= n)
        used = whole & shapes.alike
        if not used.any():
            return None
        signal = np.pad(signal, ((0, 0), (BEFORE, AFTER)), mode="edge")
    shift = (signal.shape[1] - n) * BEFORE // (BEFORE + AFTER)
    centres = at[used]
    beats = np.stack([signal[:, i - BEFORE:i + AFTER] for i in (centres + shift).tolist()])
    return MedianBeat(twice_the_rate(_median(beats)), 2 * BEFORE, beats, used, centres, shapes.likeness[used],
                      float(used.sum() / whole.sum()))


def _touches(gap: np.ndarray, at: np.ndarray) -> np.ndarray:
    if not gap.any():
        return np.zeros(len(at), bool)
    total = np.concatenate(([0], np.cumsum(gap)))
    start, end = np.clip(at - BEFORE, 0, len(gap)), np.clip(at + AFTER, 0, len(gap))
    return total[end] > total[start]


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


def twice_the_rate(beat: np.ndarray) -> np.ndarray:
    """Interpolate half-way between samples, (C, t) -> (C, 2 t) float64."""
    padded = np.pad(beat.astype(np.float64), ((0, 0), (2, 3)), mode="edge")
    n = beat.shape[1]
    doubled = np.empty((len(beat), 2 * n))
    doubled[:, ::2] = beat
    doubled[:, 1::2] = sum(weight * padded[:, i:i + n] for i, weight in enumerate(_MIDPOINT))
    return doubled
