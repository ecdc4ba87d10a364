"""The time contract: polyphase, anti-aliased resampling that keeps missing samples missing."""

from __future__ import annotations

from math import gcd

import numpy as np
from scipy.signal import resample_poly

from emgecg_cli.core.signals.leads import MISSING, to_int16_uv


def resampled_length(sig_len: int, fs_from: int, fs_to: int) -> int:
    """round(L * fs_to / fs_from), halves up."""
    return (2 * sig_len * fs_to + fs_from) // (2 * fs_from)


def resample(signal: np.ndarray, fs_from: int, fs_to: int) -> tuple[np.ndarray, int]:
    """Resample int16 microvolts (C, L) from `fs_from` to `fs_to` Hz; also return how many samples were clipped.

    Polyphase filtering with scipy's Kaiser-windowed low-pass. The line from the first to the last sample is taken out
    before and put back after, so that the ends do not ring. Gaps are filled by straight lines for the filter only: an
    output sample is missing when a missing input sample lies within half a step (of the coarser rate) of it.
    """
    if fs_from <= 0 or fs_to <= 0:
        raise ValueError(f"rates must be positive, not {fs_from} and {fs_to} Hz")
    if fs_from == fs_to or signal.shape[1] == 0:
        return signal.copy(), 0
    divisor = gcd(fs_from, fs_to)
    up, down = fs_to // divisor, fs_from // divisor
    length = resampled_length(signal.shape[1], fs_from, fs_to)
    missing = signal == MISSING
    values = signal.astype(np.float64)
    gaps = np.flatnonzero(missing.any(axis=1))
    for row in gaps:
        values[row] = _fill(values[row], missing[row])
    resampled = resample_poly(values, up, down, axis=1, padtype="line")[:, :length]
    for row in gaps:
        resampled[row, _covered(missing[row], up, down, length)] = np.nan
    return to_int16_uv(resampled)


def _fill(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    present = np.flatnonzero(~missing)
    if present.size == 0:
        return np.zeros_like(values)
    return np.interp(np.arange(values.size), present, values[present])


def _covered(missing: np.ndarray, up: int, down: int, length: int) -> np.ndarray:
    """Which of `length` output samples, at input times j * down / up, a missing input sample touches."""
    # In units of 1 / (2 up) input samples everything is a whole number.
    time, half = 2 * down * np.arange(length), max(up, down)
    first = np.clip(-((half - time) // (2 * up)), 0, missing.size)
    last = np.clip((time + half) // (2 * up) + 1, 0, missing.size)
    before = np.concatenate([[0], np.cumsum(missing)])
    return before[last] > before[first]
