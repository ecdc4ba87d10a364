"""Levels and amplitudes of single beats, read between boundaries, all leads and beats at once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

_SMOOTH_S = 0.02  # a level, and a peak of a P or T wave, is no single sample


class Readings:
    """A signal (C, t) in microvolts at `fs` Hz, and `missing` of the same shape or None. What is read takes boundaries
    (C, n) in seconds and gives (C, n): NaN where a boundary is NaN or outside, or samples are missing between them."""

    def __init__(self, signal: np.ndarray, fs: int, missing: np.ndarray | None) -> None:
        self.signal, self.fs, self._half = signal, fs, int(_SMOOTH_S * fs) // 2
        self._gone = None if missing is None else np.pad(np.cumsum(missing, axis=1), ((0, 0), (1, 0)))

    @cached_property
    def _smooth(self) -> np.ndarray:
        width = 2 * self._half + 1
        padded = np.pad(self.signal, ((0, 0), (self._half + 1, self._half)), mode="edge")
        total = np.cumsum(padded, axis=1, dtype=np.float64)
        return (total[:, width:] - total[:, :-width]) / width

    def between(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Whether the signal is all there from `start` to `end`."""
        n = self.signal.shape[1]
        with np.errstate(invalid="ignore"):
            inside = (start >= 0) & (end * self.fs <= n - 1) & (end >= start)
        if self._gone is None:
            return inside
        first, last = self._sample(start), self._sample(end)
        row = np.arange(len(first))[:, None]
        return inside & (self._gone[row, last + 1] == self._gone[row, first])

    def level(self, at: np.ndarray) -> np.ndarray:
        """The mean of the signal around a place."""
        around = self._sample(at)[:, :, None] + np.arange(-self._half, self._half + 1)
        row, last = np.arange(len(at))[:, None, None], self.signal.shape[1] - 1
        mean = self.signal[row, np.clip(around, 0, last)].mean(axis=2, dtype=np.float64)
        return np.where(self.between(at, at), mean, np.nan)

    def size(self, start: np.ndarray, end: np.ndarray, base: np.ndarray) -> np.ndarray:
        """The highest point above the base (C, n) and the lowest below it, added."""
        high, low = self._ends(self.signal, start, end, base, base)
        return np.maximum(high, 0) - np.minimum(low, 0)

    def peak(self, start: np.ndarray, end: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """How far the smoothed signal goes from the line through `left` at the start and `right` at the end (C, n),
        with its sign: up or down as in most beats of its lead, since the noise of one beat turns no wave over."""
        high, low = self._ends(self._smooth, start, end, left, right)
        upward = (high > -low).sum(axis=1) >= (high < -low).sum(axis=1)
        return np.where(upward[:, None], high, low)

    def _ends(self, signal: np.ndarray, start: np.ndarray, end: np.ndarray, left: np.ndarray,
              right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there = self.between(start, end) & np.isfinite(left) & np.isfinite(right)
        first, last = (self._sample(np.where(there, one, 0)) for one in (start, end))
        offset = np.arange(int((last - first).max(initial=0)) + 1)
        place = np.minimum(first[:, :, None] + offset, last[:, :, None])
        part = np.minimum(offset / np.maximum(last - first, 1)[:, :, None], 1)
        line = left[:, :, None] * (1 - part) + right[:, :, None] * part
        height = signal[np.arange(len(signal))[:, None, None], place] - line
        return np.where(there, height.max(axis=2), np.nan), np.where(there, height.min(axis=2), np.nan)

    def _sample(self, seconds: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(np.nan_to_num(seconds) * self.fs), 0, self.signal.shape[1] - 1).astype(np.int64)
