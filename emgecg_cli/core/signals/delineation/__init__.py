"""Measuring a 12-lead ECG: R peaks, median beat, P, QRS and T, and the measurements made from them.

The intervals are those of the median lead: what a cardiologist who marks each lead by itself finds in half of them, not
the earliest onset and latest end over all leads ("global"), which is longer by about 12 ms for QRS and 16 ms for QT.
Accuracy, definitions and limits: docs/measurements.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.signals.delineation.atria import PWave, find_p
from emgecg_cli.core.signals.delineation.beats import BEAT_FS, MedianBeat, median_beat
from emgecg_cli.core.signals.delineation.filters import GRID_FS, Filtered, filter_recording
from emgecg_cli.core.signals.delineation.intervals import rhythm_fields, wave_fields
from emgecg_cli.core.signals.delineation.missed import false_peaks
from emgecg_cli.core.signals.delineation.pacing import Pacing, after_spike, find_pacing
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.rhythm import Rhythm, find_rhythm
from emgecg_cli.core.signals.delineation.rpeaks import find_peaks
from emgecg_cli.core.signals.delineation.shapes import Shapes, find_shapes
from emgecg_cli.core.signals.delineation.ventricles import Qrs, TWave, find_qrs, find_t
from emgecg_cli.core.signals.delineation.waves import low_quantile
from emgecg_cli.core.signals.leads import LEADS

__all__ = ["BEAT_FS", "Delineation", "Found", "PWave", "Qrs", "TWave", "delineate", "delineated", "find_waves",
           "measure"]

FS_RANGE = (100, 1000)
_FEWEST_BEATS = 2
_NINE_OF_TEN = 0.1
_LEAST_LIKENESS = 0.5
_NO_P_RR_S = 0.35  # above 170 beats per minute nothing tells a P wave from the T wave it lies on


@dataclass(frozen=True)
class Delineation:
    """What was found in a recording, and the measurements made from it.

    `r_peaks` (n,) and `beat_at` (m,) are samples of the recording: every beat, and the R of those the median beat is
    made of (`used` (n,) says which). `beat` (12, T) is the median beat in float32 microvolts at BEAT_FS, R at sample
    `beat_r`, NaN for leads that are not in use. `qrs`, `t` and `p` hold milliseconds from R, so a fiducial of a single
    beat lies at `beat_at / fs + ms / 1000` seconds. All is empty or None where nothing was found.
    """

    fs: int
    r_peaks: np.ndarray
    used: np.ndarray
    beat_at: np.ndarray
    beat: np.ndarray | None
    beat_r: int
    qrs: Qrs | None
    t: TWave | None
    p: PWave | None
    measurements: Measurements


def measure(signal: np.ndarray, fs: int) -> Measurements:
    """Measure int16 microvolts (12, L), rows in the order of LEADS, missing samples marked; any 100 to 1000 Hz.

    What cannot be found is None: everything in a recording that is short (< 1.1 s), flat, or noise. Raises ValueError
    for another shape or rate, never because of the samples.
    """
    return delineate(signal, fs).measurements


def delineate(signal: np.ndarray, fs: int) -> Delineation:
    """As `measure`, with the R peaks, the median beat and the fiducials."""
    return delineated(find_waves(signal, fs), signal, fs)


def delineated(found: Found | None, signal: np.ndarray, fs: int) -> Delineation:
    """As `delineate`, of what `find_waves` found in the same signal."""
    if found is None:
        return _nothing(fs)
    filtered, shapes, beat = found.filtered, found.shapes, found.beat
    fields: dict[str, Any] = {"n_beats": len(shapes.r)}
    fields |= rhythm_fields(found.rhythm, found.contrast, median(shapes.best))
    r_peaks = np.minimum(np.rint(shapes.r * fs / GRID_FS).astype(np.int64), signal.shape[1] - 1)
    if beat is None or found.qrs is None:
        return Delineation(fs, r_peaks, np.zeros(len(r_peaks), bool), np.zeros(0, np.int64), None, 0, None, None, None,
                           Measurements(**fields))
    fields |= wave_fields(beat, filtered.leads, found.rhythm, found.qrs, found.t, found.candidate, found.p_present,
                          found.pacing)
    beat_at = np.rint(beat.at * fs / GRID_FS).astype(np.int64)
    return Delineation(fs, r_peaks, beat.used, beat_at, _all_leads(beat, filtered.leads), beat.r, found.qrs, found.t,
                       found.p, Measurements(**fields))


@dataclass(frozen=True)
class Found:
    """What `find_waves` finds on the way: the filtered recording, its beats and their rhythm, how far they stand out
    (`contrast`), the median beat and its waves; `candidate` is the best P wave, present or not. None where there is
    nothing to measure waves on, or no such wave."""

    filtered: Filtered
    shapes: Shapes
    rhythm: Rhythm
    contrast: float
    beat: MedianBeat | None = None
    qrs: Qrs | None = None
    t: TWave | None = None
    candidate: PWave | None = None
    p_present: bool | None = None
    pacing: Pacing | None = None

    @property
    def p(self) -> PWave | None:
        """The P wave, where there is one."""
        return self.candidate if self.p_present else None


def find_waves(signal: np.ndarray, fs: int) -> Found | None:
    """The beats of a recording and the waves of their median beat; None where there are no beats. Raises as `measure`.
    """
    if signal.ndim != 2 or signal.shape[0] != len(LEADS) or signal.dtype != np.int16:
        raise ValueError(f"int16 (12, L) is needed, this is {signal.dtype} {signal.shape}")
    if not FS_RANGE[0] <= fs <= FS_RANGE[1]:
        raise ValueError(f"{fs} Hz is out of range, {FS_RANGE[0]} to {FS_RANGE[1]} can be measured")
    filtered = filter_recording(signal, fs)
    beats = None if filtered is None else _find_beats(filtered)
    if filtered is None or beats is None:
        return None
    shapes, rhythm, contrast = beats
    beat = median_beat(filtered.beats, shapes, filtered.gap)
    if beat is None or median(shapes.best) < _LEAST_LIKENESS:
        return Found(filtered, shapes, rhythm, contrast)
    pacing = find_pacing(filtered.spikes, beat)
    qrs = after_spike(find_qrs(beat.median, beat.r), pacing)
    t = find_t(beat, qrs.off_ms, rhythm.typical_rr_s)
    candidate = find_p(beat, qrs.on_ms, None if t is None else t.end_ms, rhythm.typical_rr_s)
    strict = rhythm.regular is False or pacing is not None
    p_present = None if candidate is None or rhythm.typical_rr_s < _NO_P_RR_S else candidate.is_present(strict)
    return Found(filtered, shapes, rhythm, contrast, beat, qrs, t, candidate, p_present, pacing)


def _find_beats(filtered: Filtered) -> tuple[Shapes, Rhythm, float] | None:
    """The beats, their rhythm, and how far they stand out; None if there are none, or some may have been missed."""
    peaks = find_peaks(filtered.beats, filtered.detection, filtered.gap)
    if len(peaks.r) < _FEWEST_BEATS:
        return None
    shapes = find_shapes(filtered.beats, peaks.r)
    shapes = shapes.without(false_peaks(filtered.beats, shapes, peaks.height, peaks.contrast))
    rhythm = find_rhythm(shapes, filtered.gap)
    if rhythm is None:
        return None
    least = low_quantile(shapes.best[None], _NINE_OF_TEN).item()
    longest = 1.0 if rhythm.regular is False else rhythm.longest
    are_beats = peaks.are_beats(median(shapes.best), least, longest)
    return (shapes, rhythm, peaks.contrast) if are_beats else None


def _all_leads(beat: MedianBeat, leads: np.ndarray) -> np.ndarray:
    rows = np.full((len(LEADS), beat.median.shape[1]), np.nan, np.float32)
    rows[leads] = beat.median
    return rows


def _nothing(fs: int) -> Delineation:
    return Delineation(fs, np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.int64), None, 0, None, None, None,
                       Measurements())
