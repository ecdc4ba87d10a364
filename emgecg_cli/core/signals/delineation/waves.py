"""Tools for the edges of waves in a median beat; rows are leads, time is the last axis, at BEAT_FS."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.delineation.beats import BEAT_FS

MS = 1000 / BEAT_FS


def samples(seconds: float) -> int:
    """Seconds of a median beat in samples."""
    return round(seconds * BEAT_FS)


def smooth(rows: np.ndarray, seconds: float, times: int = 1) -> np.ndarray:
    """Centred moving average over an odd number of samples, the ends held at their values."""
    width = int(seconds * BEAT_FS) | 1
    half = width // 2
    n = rows.shape[-1]
    for _ in range(times):
        total = np.empty((*rows.shape[:-1], n + width))
        total[..., 0] = 0
        total[..., 1:half + 1] = rows[..., :1]
        total[..., half + 1:half + n + 1] = rows
        total[..., half + n + 1:] = rows[..., -1:]
        np.cumsum(total, axis=-1, out=total)
        rows = (total[..., width:] - total[..., :-width]) / width
    return rows


def difference(rows: np.ndarray, half: int) -> np.ndarray:
    """rows[i + half] - rows[i - half], zero at both ends."""
    out = np.zeros_like(rows)
    out[..., half:-half] = rows[..., 2 * half:] - rows[..., :-2 * half]
    return out


def rms_of_leads(rows: np.ndarray) -> np.ndarray:
    """Root mean square over the leads, (C, T) -> (T,)."""
    return np.sqrt(np.einsum("ct,ct->t", rows, rows) / len(rows))


def local_maxima(values: np.ndarray) -> np.ndarray:
    """Indices of the inner local maxima, the last of a plateau."""
    return np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] > values[2:])) + 1


def low_quantile(rows: np.ndarray, share: float) -> np.ndarray:
    """The quantile `share` of each row, (C, T) -> (C, 1)."""
    rank = int(share * (rows.shape[-1] - 1))
    return np.partition(rows, rank, axis=-1)[:, rank:rank + 1]


def quiet_before(rows: np.ndarray, start: np.ndarray, limit: np.ndarray, hold: int) -> np.ndarray:
    """Where each row, walking back from its `start`, first stays below its `limit` for `hold` samples; NaN if nowhere.

    (C, T), (C,), (C, 1) -> (C,), to a fraction of a sample.
    """
    n = rows.shape[-1]
    counts = np.cumsum(rows >= limit, axis=-1)
    quiet = np.zeros(rows.shape, bool)
    quiet[:, hold:] = counts[:, hold:] == counts[:, :-hold]
    quiet &= np.arange(n) <= start[:, None]
    last = n - 1 - quiet[:, ::-1].argmax(axis=-1)
    found = quiet.any(axis=-1)
    row = np.arange(len(rows))
    low, high = rows[row, last], rows[row, np.minimum(last + 1, n - 1)]
    rise = high - low
    part = np.divide(limit[:, 0] - low, rise, out=np.zeros_like(rise), where=rise > 0)
    return np.where(found, last + np.clip(part, 0, 1), np.nan)


def quiet_after(rows: np.ndarray, start: np.ndarray, limit: np.ndarray, hold: int) -> np.ndarray:
    """As `quiet_before`, walking forward."""
    last = rows.shape[-1] - 1
    return last - quiet_before(rows[:, ::-1], last - start, limit, hold)


def trapezium(y: np.ndarray, steepest: int, reference: int) -> int:
    """The end of a wave, between its steepest point and a place beyond it, either side: the corner of the largest
    trapezium (Vazquez-Seisdedos et al., "New approach for T-wave end detection", BioMedical Engineering OnLine 2011).
    """
    step = 1 if reference > steepest else -1
    i = np.arange(steepest, reference + step, step)
    area = (y[steepest] - y[i]) * (2 * abs(reference - steepest) - np.abs(i - steepest))
    return int(i[np.abs(area).argmax()])


def tangent(y: np.ndarray, steepest: int, base: float, longest: int) -> float:
    """Samples from the steepest point to where the tangent there meets the level `base`, at most `longest` either way.
    """
    slopes = np.diff(y[max(0, steepest - 3):steepest + 4])
    slope = slopes[np.abs(slopes).argmax()]
    if slope == 0:
        return 0.0
    return min(max(float((base - y[steepest]) / slope), -longest), longest)
