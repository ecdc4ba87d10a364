"""Paced beats: where the spike lies in them, and a QRS complex that begins after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emgecg_cli.core.signals.delineation.beats import MedianBeat
from emgecg_cli.core.signals.delineation.filters import GRID_FS, SPIKE_AFTER_S
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.ventricles import Qrs

_FEWEST = 3
_BEFORE_R_S, _AFTER_R_S = 0.16, 0.02
_CAPTURED_MS = 120.0  # a narrower complex is the heart's own, the spike fell into it


@dataclass(frozen=True)
class Pacing:
    """The rhythm is paced. `spike_ms` is where its last spike before R lies in the beats that are measured, None
    where it is not in most of them."""

    spike_ms: float | None


def find_pacing(spikes: np.ndarray, beat: MedianBeat) -> Pacing | None:
    """Pacing from the spikes of a recording, in samples of the grid; None with fewer than three of them."""
    if len(spikes) < _FEWEST:
        return None
    offset = (spikes - beat.at[:, None]) / GRID_FS
    offset = np.where((offset > -_BEFORE_R_S) & (offset < _AFTER_R_S), offset, -np.inf).max(axis=1)
    found = offset[np.isfinite(offset)]
    if len(found) < max(2, len(beat.at) / 3):
        return Pacing(None)
    return Pacing(1000 * median(found))


def after_spike(qrs: Qrs, pacing: Pacing | None) -> Qrs:
    """The complex with its onset no earlier than what the spike itself covers, where it is wide enough to be paced."""
    if pacing is None or pacing.spike_ms is None or qrs.off_ms - qrs.on_ms < _CAPTURED_MS:
        return qrs
    return replace(qrs, on_ms=max(qrs.on_ms, min(pacing.spike_ms + 1000 * SPIKE_AFTER_S, qrs.off_ms - _CAPTURED_MS)))
