"""The waves of a median beat lead by lead: how high and deep P, Q, R, S and T are, and how the QRS complex ends."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from emgecg_cli.core.signals.delineation import Delineation
from emgecg_cli.core.signals.delineation.waves import MS, samples
from emgecg_cli.core.signals.leads import LEADS, MISSING

_BASE_S = (0.024, 0.004)   # before QRS onset, as for ST levels
_T_FROM_S, _T_BEFORE_PEAK_S = 0.08, 0.08
_END_S = 0.04
_LEAST_R_MV, _LEAST_Q_MV = 0.05, 0.04   # less is no wave
_LEAST_WAVE = 2


@dataclass(frozen=True)
class LeadWaves:
    """Wave -> one value per lead in the order of LEADS, None for a lead that is not in use or a wave that is not there
    to be measured.

    In millivolts against the level before QRS onset: "p" and "t" the largest deflection with its sign, "r" the highest
    point of the QRS complex (0 where nothing is positive), "s" the depth of its lowest point and "q" that of what is
    negative before R, both positive; "qrs" from the lowest point to the highest; "end" the mean of the last 40 ms of
    the complex. "q_ms" is how long Q lasts, the whole complex where there is no R. "net" is the area of the complex as
    a part of what it would be without signs, -1 to 1.
    """

    values: dict[str, list[float | None]] = field(default_factory=dict)

    def of(self, wave: str, lead: str) -> float | None:
        """The value of one lead."""
        found = self.values.get(wave)
        return found[LEADS.index(lead)] if found else None


def lead_waves(found: Delineation, signal: np.ndarray) -> LeadWaves | None:
    """The waves of what was found in a recording of int16 microvolts (12, L); None where no QRS complex was.

    The heights of the QRS complex are medians over the beats of the recording as it is: the filter before the median
    beat takes a tenth off a steep R wave.
    """
    if found.beat is None or found.qrs is None:
        return None
    beat = found.beat.astype(np.float64) / 1000
    on, off = _at(found, found.qrs.on_ms), _at(found, found.qrs.off_ms)
    if off - on < _LEAST_WAVE:
        return None
    level = beat - beat[:, max(0, on - samples(_BASE_S[0])):max(1, on - samples(_BASE_S[1]))].mean(1, keepdims=True)
    values = {name: np.full(len(LEADS), np.nan) for name in ("r", "s", "q", "q_ms", "qrs", "net", "end")}
    complex_ = level[:, on:off + 1]
    for i in np.flatnonzero(np.isfinite(complex_).all(axis=1)):
        for name, value in _of_complex(complex_[i]).items():
            values[name][i] = value
    high, low = _heights(found, signal)
    seen = np.isfinite(values["r"]) & np.isfinite(high)
    values["r"][seen], values["s"][seen], values["qrs"][seen] = high[seen], low[seen], (high + low)[seen]
    if found.t is not None:
        peak, end = _at(found, found.t.peak_ms), _at(found, found.t.end_ms)
        start = max(off + samples(_T_FROM_S), peak - samples(_T_BEFORE_PEAK_S))
        values["t"] = _extreme(level[:, start:end + 1])
    if found.p is not None:
        wave = beat[:, _at(found, found.p.on_ms):_at(found, found.p.off_ms) + 1]
        if wave.shape[1] > _LEAST_WAVE:
            line = np.linspace(0, 1, wave.shape[1])
            values["p"] = _extreme(wave - wave[:, :1] * (1 - line) - wave[:, -1:] * line)
    return LeadWaves({name: [round(float(one), 4) if np.isfinite(one) else None for one in row]
                      for name, row in values.items()})


def _heights(found: Delineation, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How high and how deep QRS complexes go, in millivolts (12,) each; nan where no beat lies whole in the recording.
    """
    assert found.qrs is not None
    at = found.beat_at[:, None]
    of_qrs = np.arange(round(found.qrs.on_ms * found.fs / 1000), round(found.qrs.off_ms * found.fs / 1000) + 1)
    before = np.arange(-max(round(_BASE_S[0] * found.fs), 1), -round(_BASE_S[1] * found.fs) + 1) + of_qrs[0]
    whole = (at[:, 0] + before[0] >= 0) & (at[:, 0] + of_qrs[-1] < signal.shape[1])
    if not whole.any():
        return np.full(len(LEADS), np.nan), np.full(len(LEADS), np.nan)
    values = np.where(signal == MISSING, np.nan, signal / 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)   # of leads that are missing everywhere
        base = np.nanmean(values[:, at[whole] + before], axis=2)
        beats = values[:, at[whole] + of_qrs]
        high = np.nanmedian(np.nanmax(beats, axis=2) - base, axis=1)
        low = np.nanmedian(base - np.nanmin(beats, axis=2), axis=1)
    return np.maximum(high, 0), np.maximum(low, 0)


def _of_complex(trace: np.ndarray) -> dict[str, float]:
    """The waves of one QRS complex (T,)."""
    top = int(trace.argmax())
    high, low = max(float(trace[top]), 0.0), max(-float(trace.min()), 0.0)
    has_r = high >= _LEAST_R_MV
    before = trace[:top + 1] if has_r else trace
    depth = max(-float(before.min()), 0.0)
    is_q = depth >= _LEAST_Q_MV
    below = before < -_LEAST_Q_MV / 2
    size = float(np.abs(trace).sum())
    return {"r": high, "s": low, "q": depth if is_q else 0.0, "q_ms": float(below.sum()) * MS if is_q else 0.0,
            "qrs": float(trace.max() - trace.min()), "net": float(trace.sum()) / size if size > 0 else 0.0,
            "end": float(trace[-min(samples(_END_S), len(trace)):].mean())}


def _extreme(rows: np.ndarray) -> np.ndarray:
    """The largest deflection of each lead with its sign; nan for a lead that is not in use, or nothing to look at."""
    if rows.shape[1] == 0:
        return np.full(len(rows), np.nan)
    filled = np.where(np.isfinite(rows), rows, 0.0)
    place = np.abs(filled).argmax(axis=1)
    found = filled[np.arange(len(rows)), place]
    return np.where(np.isfinite(rows).all(axis=1), found, np.nan)


def _at(found: Delineation, ms: float) -> int:
    assert found.beat is not None
    return min(max(found.beat_r + round(ms / MS), 0), found.beat.shape[1] - 1)
