"""How far a P or T wave lies from its usual place in each beat, and how much of it is there.

PR and QT change from beat to beat by a few milliseconds, and in some rhythms by many. The wave of the median beat is
moved over each beat to where it fits best; how far it may move for how little better a fit depends on the noise.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from emgecg_cli.core.signals.delineation.beats import BEFORE, MedianBeat
from emgecg_cli.core.signals.delineation.filters import GRID_FS
from emgecg_cli.core.signals.delineation.quantiles import median

_FARTHEST = int(0.04 * GRID_FS)
_MARGIN = int(0.024 * GRID_FS)  # what lies beside a wave tells as well where it is
_USUAL = 0.006 * GRID_FS  # standard deviation of a wave's place
# Neighbouring samples and leads are no independent witnesses: so many of them count as one.
_WITNESSES = 60


def find_shifts(signal: np.ndarray, exact: np.ndarray, beat: MedianBeat, on_ms: float,
                off_ms: float) -> tuple[np.ndarray, np.ndarray]:
    """The shift of a wave between two boundaries of the median beat in each beat, (n,) samples of the grid with
    fractions, positive for later; and how much of the wave is there, (n,) parts of its usual size.

    `signal` (C, t) on the grid, `exact` (n,) the places of the beats. A beat in which the wave reaches over an end of
    the recording has no shift.
    """
    start = max(0, BEFORE + round(on_ms * GRID_FS / 1000) - _MARGIN)
    stop = min(beat.median.shape[1] // 2, BEFORE + round(off_ms * GRID_FS / 1000) + _MARGIN)
    at = np.rint(exact).astype(np.int64)
    if stop - start < 2 * _MARGIN:
        return np.zeros(len(at)), np.ones(len(at))
    wave = _without_line(beat.median[:, 2 * start:2 * stop:2]).astype(np.float32)
    first = at - BEFORE + start - _FARTHEST
    place = first[:, None] + np.arange(stop - start + 2 * _FARTHEST)
    around = signal[:, np.clip(place, 0, signal.shape[1] - 1)].transpose(1, 0, 2)
    windows = _without_line(sliding_window_view(around, stop - start, axis=2).transpose(0, 2, 1, 3))
    left_over = np.einsum("nlct,nlct->nl", windows - wave, windows - wave)
    best = left_over.min(axis=1)
    noise = median(best[beat.used]) / wave.size * _WITNESSES + 1e-6
    lag = np.arange(-_FARTHEST, _FARTHEST + 1) - (exact - at)[:, None]
    cost = left_over / noise + (lag / _USUAL) ** 2
    row, lowest = np.arange(len(at)), cost.argmin(axis=1)
    inner = np.clip(lowest, 1, 2 * _FARTHEST - 1)
    left, middle, right = (cost[row, inner + step] for step in (-1, 0, 1))
    bend = left + right - 2 * middle
    part = np.divide(0.5 * (left - right), bend, out=np.zeros_like(bend), where=(bend > 0) & (inner == lowest))
    shift = lag[row, lowest] + np.clip(part, -0.5, 0.5)
    shift[(place[:, 0] < 0) | (place[:, -1] >= signal.shape[1])] = 0
    share = np.einsum("nct,ct->n", windows[row, lowest], wave) / (np.einsum("ct,ct->", wave, wave) + 1e-6)
    return shift, share


def _without_line(waves: np.ndarray) -> np.ndarray:
    part = np.linspace(0, 1, waves.shape[-1], dtype=np.float32)
    return waves - waves[..., :1] * (1 - part) - waves[..., -1:] * part
