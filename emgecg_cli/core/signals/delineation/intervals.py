"""From the fiducials to the measurements of a record, each with its quality grade."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.delineation import grades
from emgecg_cli.core.signals.delineation.atria import PWave
from emgecg_cli.core.signals.delineation.axes import baseline, find_axis, st_levels
from emgecg_cli.core.signals.delineation.beats import MedianBeat
from emgecg_cli.core.signals.delineation.pacing import Pacing
from emgecg_cli.core.signals.delineation.rhythm import Rhythm
from emgecg_cli.core.signals.delineation.ventricles import Qrs, TWave
from emgecg_cli.core.signals.delineation.waves import MS, samples

_T_AXIS_AFTER_J_S = 0.06


def rhythm_fields(rhythm: Rhythm, contrast: float, likeness: float) -> dict[str, object]:
    """Heart rate and regularity. `likeness` is the median correlation of the beats with the commonest two shapes."""
    of_rate, of_regular = grades.grade_rate(rhythm, contrast, likeness)
    fields: dict[str, object] = {"heart_rate_bpm": round(60 / rhythm.mean_rr_s, 2), "heart_rate_quality": of_rate}
    if rhythm.rr_cv is not None:
        fields |= {"rr_cv": round(rhythm.rr_cv, 4), "regular": rhythm.regular, "regular_quality": of_regular}
    return fields


def wave_fields(beat: MedianBeat, leads: np.ndarray, rhythm: Rhythm, qrs: Qrs, t: TWave | None,
                candidate: PWave | None, p_present: bool | None, pacing: Pacing | None) -> dict[str, object]:
    """Intervals, axes and ST levels of a median beat; `candidate` is the best P wave, present or not."""
    of_qrs = grades.grade_qrs(beat, leads, rhythm, qrs, pacing)
    fields: dict[str, object] = {"qrs_ms": _round(qrs.off_ms - qrs.on_ms), "qrs_quality": of_qrs}
    if t is not None:
        of_t = grades.grade_qt(beat, leads, rhythm, qrs, t, p_present, pacing)
        fields |= _qt(qrs, t, rhythm, grades.worse(of_qrs, of_t))
    if candidate is not None and p_present is not None:
        of_p = grades.grade_p(beat, rhythm, candidate, p_present, pacing)
        fields |= {"p_present": p_present, "p_present_quality": of_p}
        if p_present:
            quality = grades.worse(of_p, of_qrs, grades.grade_pr(qrs, candidate))
            fields |= {"p_ms": _round(candidate.off_ms - candidate.on_ms), "p_quality": quality,
                       "pr_ms": _round(qrs.on_ms - candidate.on_ms), "pr_quality": quality}
    fields |= _axes(beat, leads, qrs, t, candidate if p_present else None)
    levels, error = st_levels(beat, leads, _at(beat, qrs.on_ms), _at(beat, qrs.off_ms))
    return fields | {"st_uv": levels, "st_quality": grades.worse(of_qrs, grades.grade_st(error))}


def _qt(qrs: Qrs, t: TWave, rhythm: Rhythm, quality: str) -> dict[str, object]:
    qt, rr = t.end_ms - qrs.on_ms, rhythm.mean_rr_s
    return {"qt_ms": _round(qt), "qt_quality": quality, "qtc_bazett_ms": _round(qt / rr ** 0.5),
            "qtc_fridericia_ms": _round(qt / rr ** (1 / 3))}


def _axes(beat: MedianBeat, leads: np.ndarray, qrs: Qrs, t: TWave | None, p: PWave | None) -> dict[str, object]:
    on, off = _at(beat, qrs.on_ms), _at(beat, qrs.off_ms)
    level = beat.median - baseline(beat, on)
    found = {"qrs": find_axis(level[:, on:off + 1], leads)}
    if t is not None:
        found["t"] = find_axis(level[:, off + samples(_T_AXIS_AFTER_J_S):_at(beat, t.end_ms) + 1], leads)
    if p is not None:
        wave = beat.median[:, _at(beat, p.on_ms):_at(beat, p.off_ms) + 1]
        line = np.linspace(0, 1, wave.shape[1])
        found["p"] = find_axis(wave - wave[:, :1] * (1 - line) - wave[:, -1:] * line, leads)
    fields: dict[str, object] = {}
    for name, axis in found.items():
        if axis is not None:
            fields |= {f"{name}_axis_deg": _round(axis.degrees), f"{name}_axis_quality": grades.grade_axis(axis)}
    return fields


def _at(beat: MedianBeat, ms: float) -> int:
    return min(max(beat.r + round(ms / MS), 0), beat.median.shape[1] - 1)


def _round(value: float) -> float:
    return round(float(value), 1)
