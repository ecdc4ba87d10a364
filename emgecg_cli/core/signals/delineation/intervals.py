"""From the fiducials to the measurements of a record, each with a word on how far it can be trusted."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.delineation.atria import PWave
from emgecg_cli.core.signals.delineation.axes import Axis, baseline, find_axis, st_levels
from emgecg_cli.core.signals.delineation.beats import MedianBeat
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.rhythm import Rhythm
from emgecg_cli.core.signals.delineation.ventricles import Qrs, TWave
from emgecg_cli.core.signals.delineation.waves import MS, samples

GOOD, FAIR, POOR = "good", "fair", "poor"
_T_AXIS_AFTER_J_S = 0.06
_PAUSE = 1.7  # an RR interval so much longer than the others may hide a missed beat
_FAST_RR_S = 0.5  # at 120 beats per minute and more P lies on T, and two to one atrial flutter looks like P
_CLEAR_AXIS, _VAGUE_AXIS = 0.35, 0.15
_LARGEST_MISFIT = 0.5


def rhythm_fields(rhythm: Rhythm, contrast: float, likeness: float) -> dict[str, object]:
    """Heart rate and regularity. `likeness` is the median correlation of the beats with the median beat."""
    found = [(contrast, 6.0, 3.0), (likeness, 0.80, 0.50)]
    quality = _grade([*found, (rhythm.n_rr, 4, 2), (-rhythm.longest, -_PAUSE, -float("inf"))])
    fields: dict[str, object] = {"heart_rate_bpm": round(60 / rhythm.mean_rr_s, 2), "heart_rate_quality": quality}
    if rhythm.rr_cv is not None:
        fields |= {"rr_cv": round(rhythm.rr_cv, 4), "regular": rhythm.regular,
                   "regular_quality": _grade([*found, (rhythm.n_rr, 6, 4)])}
    return fields


def wave_fields(beat: MedianBeat, leads: np.ndarray, rhythm: Rhythm, qrs: Qrs, t: TWave | None,
                candidate: PWave | None, p_present: bool | None) -> dict[str, object]:
    """Intervals, axes and ST levels of a median beat; `candidate` is the best P wave, present or not."""
    n, likeness = len(beat.beats), median(beat.likeness)
    beats = [(n, 4, 2), (likeness, 0.90, 0.70)]
    clear_qrs = POOR if qrs.guessed else _grade([*beats, (-qrs.doubt_ms, -16.0, -32.0), (-qrs.noise, -0.04, -0.08)])
    fields: dict[str, object] = {"qrs_ms": _round(qrs.off_ms - qrs.on_ms), "qrs_quality": clear_qrs}
    if t is not None:
        clear_t = _grade([(-t.spread_ms, -20.0, -50.0), (-t.late, -0.30, -0.50), (t.amplitude_uv, 50.0, 25.0)])
        fields |= _qt(qrs, t, rhythm, _worse(clear_qrs, clear_t))
    fields |= _atria(qrs, candidate, p_present, n, clear_qrs, rhythm.typical_rr_s)
    fields |= _axes(beat, leads, qrs, t, candidate if p_present else None)
    on, off = _at(beat, qrs.on_ms), _at(beat, qrs.off_ms)
    levels, error = st_levels(beat, leads, on, off)
    return fields | {"st_uv": levels, "st_quality": _worse(clear_qrs, _grade([(-error, -12.0, -35.0)]))}


def _qt(qrs: Qrs, t: TWave, rhythm: Rhythm, quality: str) -> dict[str, object]:
    qt, rr = t.end_ms - qrs.on_ms, rhythm.mean_rr_s
    return {"qt_ms": _round(qt), "qt_quality": quality, "qtc_bazett_ms": _round(qt / rr ** 0.5),
            "qtc_fridericia_ms": _round(qt / rr ** (1 / 3))}


def _atria(qrs: Qrs, p: PWave | None, present: bool | None, n: int, clear_qrs: str, rr_s: float) -> dict[str, object]:
    if p is None or present is None:
        return {}
    if not present:
        return {"p_present": False, "p_present_quality": _grade([(n, 5, 3), (-p.agreement, -0.65, -0.90)])}
    size = (p.amplitude_uv, 40.0, 25.0)
    clear = _grade([(n, 5, 3), (p.agreement, 0.93, 0.85), size, (rr_s, _FAST_RR_S, _FAST_RR_S)])
    quality = _worse(clear, _worse(clear_qrs, _grade([(-p.doubt_ms, -4.5, -10.0)])))
    return {"p_present": True, "p_present_quality": clear, "p_ms": _round(p.off_ms - p.on_ms), "p_quality": quality,
            "pr_ms": _round(qrs.on_ms - p.on_ms), "pr_quality": quality}


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
            fields |= {f"{name}_axis_deg": _round(axis.degrees), f"{name}_axis_quality": _axis_quality(axis)}
    return fields


def _axis_quality(axis: Axis) -> str:
    if axis.misfit > _LARGEST_MISFIT:
        return POOR
    return _grade([(axis.clarity, _CLEAR_AXIS, _VAGUE_AXIS)])


def _at(beat: MedianBeat, ms: float) -> int:
    return min(max(beat.r + round(ms / MS), 0), beat.median.shape[1] - 1)


def _grade(checks: list[tuple[float, float, float]]) -> str:
    """Checks of (value, least for good, least for fair): the worst of them."""
    if all(value >= good for value, good, _ in checks):
        return GOOD
    return FAIR if all(value >= fair for value, _, fair in checks) else POOR


def _worse(a: str, b: str) -> str:
    order = (GOOD, FAIR, POOR)
    return order[max(order.index(a), order.index(b))]


def _round(value: float) -> float:
    return round(float(value), 1)
