"""The beats of a recording by their shape: which look alike, exactly where each lies, and which are the heart's own.

In bigeminy half of the beats are ectopic, in couplets more; what is measured is the beat that does not come early. An
ectopic ventricular beat follows the one before it too soon, and it is wider.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from emgecg_cli.core.signals.delineation.filters import GRID_FS
from emgecg_cli.core.signals.delineation.quantiles import median, medians

HALF = int(0.08 * GRID_FS)  # the stretch around R that is compared
LAG = int(0.04 * GRID_FS)
_ALIKE = 0.85
# From this correlation on a beat's place is that of the shape it has, and not of its own largest deflection.
_PLACED, _PLACED_AT_EDGE = 0.8, 0.9
_FAR = int(0.12 * GRID_FS)
_EDGE_S, _LEAST_OF_CUT = 0.16, 0.6
_SMALLEST_SHARE = 0.3
_PASSES = 2
# A second shape is looked at when it has two beats and this share; the first gives way to it when it follows the beat
# before by so much less, and is wider.
_SECOND_SHARE = 0.2
_EARLY = 0.85
_WIDTH_SHARES = (0.1, 0.9)


@dataclass(frozen=True)
class Shapes:
    """Every beat compared with the shape that is measured. `r` (n,) places of the beats in samples of the grid, `at`
    (n,) whole samples where each is most like that shape, `exact` (n,) the same with fractions; `likeness` (n,)
    correlation with that shape, `best` (n,) with either of the two commonest; `alike` says which beats have the shape,
    `lost` which lie so near to an end of the recording that their places are not known."""

    r: np.ndarray
    at: np.ndarray
    exact: np.ndarray
    likeness: np.ndarray
    best: np.ndarray
    alike: np.ndarray
    lost: np.ndarray

    def without(self, wrong: np.ndarray) -> Shapes:
        """The shapes without the beats that are marked in `wrong` (n,)."""
        if not wrong.any():
            return self
        return Shapes(**{field.name: getattr(self, field.name)[~wrong] for field in fields(self)})


@dataclass(frozen=True)
class _Group:
    """Beats around one template (C, width): best lag, its fraction, and correlation of every beat."""

    template: np.ndarray
    lag: np.ndarray
    part: np.ndarray
    likeness: np.ndarray
    alike: np.ndarray


def find_shapes(signal: np.ndarray, peaks: np.ndarray) -> Shapes:
    """Compare the beats of a signal (C, n) at `peaks` (at least one), both on the grid, over all leads."""
    at = np.rint(peaks).astype(np.int64)
    reach, n = HALF + LAG, signal.shape[1]
    inside = (at >= reach) & (at + reach <= n)
    if not inside.all():
        signal = np.pad(signal, ((0, 0), (reach, reach)), mode="edge")
    shift = 0 if inside.all() else reach
    around = np.stack([signal[:, i - reach:i + reach] for i in (at + shift).tolist()])
    windows = sliding_window_view(around, 2 * HALF, axis=2).transpose(0, 2, 1, 3)  # (n, lags, C, width)
    flat = windows.reshape(*windows.shape[:2], -1)
    sums = _moving_sums(around)
    energy = _moving_sums(np.einsum("bct,bct->bt", around, around)) - (sums * sums).sum(axis=1) / (2 * HALF)
    norm = np.sqrt(np.maximum(energy, 1e-6))  # (n, lags)

    members = inside if inside.sum() > 1 else np.ones(len(at), bool)
    group = _gather(flat, norm, len(signal), members)
    best = group.likeness
    others = members & ~group.alike
    if others.sum() >= max(2, _SECOND_SHARE * len(at)):
        second = _gather(flat, norm, len(signal), others)
        if (second.likeness[second.alike] > _ALIKE).sum() >= max(2, _SECOND_SHARE * len(at)):
            best = np.maximum(best, second.likeness)
            group = second if _gives_way(group, second, peaks) else group
    exact, likeness = at + group.lag - LAG + group.part, group.likeness.copy()
    original = signal[:, shift:shift + n]
    for i in np.flatnonzero((likeness < _PLACED) | ~inside).tolist():
        place, like = _search(original, int(at[i]), group.template)
        if like > likeness[i] or not inside[i]:
            exact[i], likeness[i] = place, like
    near = (at < _EDGE_S * GRID_FS) | (at > n - _EDGE_S * GRID_FS)
    placed = likeness >= np.where(near, _PLACED_AT_EDGE, _PLACED)
    offset = median((exact - peaks)[placed]) if placed.any() else 0.0
    r = np.clip(np.where(placed, exact - offset, peaks), 0, n - 1)
    return Shapes(r, at + group.lag - LAG, exact, likeness, np.maximum(best, likeness), group.alike, near & ~placed)


def _moving_sums(values: np.ndarray) -> np.ndarray:
    """Sums over the width of a template along the last axis, one for each lag."""
    total = np.cumsum(values, axis=-1, dtype=np.float64)
    sums = total[..., 2 * HALF - 1:].copy()
    sums[..., 1:] -= total[..., :-2 * HALF]
    return sums


def _search(signal: np.ndarray, at: int, template: np.ndarray) -> tuple[float, float]:
    """Where near `at` the signal is most like the template, and how much; at the ends, like the part of it that is
    there. Two humps of a wide complex may take turns in being the largest deflection."""
    n, width = signal.shape[1], template.shape[1]
    start = at - HALF - _FAR
    index = np.arange(start, start + width + 2 * _FAR)
    there = (index >= 0) & (index < n)
    here = np.where(there, signal[:, index.clip(0, n - 1)], 0)
    windows = sliding_window_view(here, width, axis=1).transpose(1, 0, 2)  # (lags, C, width)
    flat = windows.reshape(len(windows), -1)
    masks = sliding_window_view(there, width).astype(template.dtype)
    count = masks.sum(axis=1)
    # sums over the samples that are there, each lead around its mean over them
    own_sum, part_sum = np.einsum("lcw->lc", windows), masks @ template.T
    share = 1 / np.maximum(count, 1)
    own = np.einsum("lx,lx->l", flat, flat) - share * np.einsum("lc,lc->l", own_sum, own_sum)
    part = masks @ (template * template).sum(axis=0) - share * np.einsum("lc,lc->l", part_sum, part_sum)
    product = flat @ template.ravel() - share * np.einsum("lc,lc->l", own_sum, part_sum)
    norm = np.sqrt(np.maximum(own * part, 0))
    likeness = np.where(count >= _LEAST_OF_CUT * width, product / (norm + 1e-6), 0.0)
    best = int(likeness.argmax())
    return float(start + HALF + best), float(likeness[best])


def _gather(windows: np.ndarray, norm: np.ndarray, n_leads: int, members: np.ndarray) -> _Group:
    """The commonest shape among `members`, each beat shifted to where it is most like it; windows (n, lags, C * width),
    `norm` (n, lags) the size of each around the mean of its leads."""
    template = _most_typical(windows[members, LAG].reshape(members.sum(), n_leads, -1))
    row = np.arange(len(windows))
    for _ in range(_PASSES):
        template = template - template.mean(axis=1, keepdims=True)
        correlation = windows @ template.ravel() / (norm * (np.linalg.norm(template) + 1e-6))
        lag = correlation.argmax(axis=1)
        likeness = correlation[row, lag]
        alike = members & (likeness > _ALIKE)
        if alike.sum() < max(2, _SMALLEST_SHARE * members.sum()):
            alike = members & (likeness >= median(likeness[members]))
        template = windows[row[alike], lag[alike]].mean(axis=0).reshape(n_leads, -1)
    inner = np.clip(lag, 1, correlation.shape[1] - 2)
    left, middle, right = (correlation[row, inner + step] for step in (-1, 0, 1))
    bend = 2 * middle - left - right
    part = np.divide(0.5 * (right - left), bend, out=np.zeros_like(bend), where=(bend > 1e-9) & (inner == lag))
    return _Group(template, lag, np.clip(part, -0.5, 0.5), likeness, alike)


def _most_typical(beats: np.ndarray) -> np.ndarray:
    """The beat with the highest median correlation to the others; (n, C, width) -> (C, width)."""
    flat = beats.reshape(len(beats), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6
    return beats[medians(flat @ flat.T).argmax()]


def _gives_way(first: _Group, second: _Group, peaks: np.ndarray) -> bool:
    """Whether the first shape is that of ectopic beats beside the second."""
    before = np.diff(peaks, prepend=np.nan)
    rr = [before[group.alike & np.isfinite(before)] for group in (first, second)]
    if not all(one.size for one in rr) or _width(first.template) <= _width(second.template):
        return False
    early = median(rr[0]) / median(rr[1])
    as_many = first.alike.sum() - second.alike.sum() <= 1
    return early < _EARLY or bool(as_many and early < 1 / _EARLY)


def _width(template: np.ndarray) -> float:
    """Samples that hold most of the movement of a template, the ends of it apart."""
    speed = np.diff(template, axis=1)
    power = np.cumsum(np.einsum("ct,ct->t", speed, speed))
    low, high = (np.interp(share * power[-1], power, np.arange(len(power))) for share in _WIDTH_SHARES)
    return float(high - low)
