"""The median beat's waves placed on every beat, and what is read there.

Boundaries that are looked for in each single beat scatter more than those of the median beat that are placed on it: the
noise of one beat moves them. So each beat is laid on the median beat, and its amplitudes, which differ from beat to
beat, are read between the boundaries found there. An ectopic beat has another shape; of it the QRS complex alone is
measured, by itself.
"""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.delineation import Found, find_waves
from emgecg_cli.core.signals.delineation.alignment import find_shifts
from emgecg_cli.core.signals.delineation.beat_table import EDGES, UNITS, BeatTable
from emgecg_cli.core.signals.delineation.beats import AFTER, BEFORE, twice_the_rate
from emgecg_cli.core.signals.delineation.ectopy import find_ectopic
from emgecg_cli.core.signals.delineation.filters import GRID_FS, Filtered
from emgecg_cli.core.signals.delineation.per_lead import find_edges
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.readings import Readings
from emgecg_cli.core.signals.delineation.ventricles import find_qrs
from emgecg_cli.core.signals.leads import LEADS, MISSING

QTC = {"bazett": 1 / 2, "fridericia": 1 / 3}
_P, _QRS, _T = slice(0, 2), slice(2, 4), slice(4, 6)  # rows of EDGES
_BASE_S = 0.014  # before QRS onset, where atria and ventricles are both still
_BESIDE_P_S = 0.008
_LEAST_P = 0.3  # of the median P wave: a beat with less of it has none
_T_AFTER_J_MS, _T_BEFORE_PEAK_MS = 60.0, 80.0  # from where on the T wave tells where it is
_SMALLEST_UV = 20.0  # the usual P or T wave of a lead that is said to have one
_HORIZONTAL_UV = 50.0
_SHORTEST_ST_S, _ST_AFTER_J_S = 0.016, 0.008
_MS = 1000 / GRID_FS


def measure_beats(signal: np.ndarray, fs: int, *, qtc: str = "bazett") -> BeatTable:
    """Measure every beat of int16 microvolts (12, L), rows in the order of LEADS, missing samples marked.

    `qtc` is the formula of the corrected QT interval, "bazett" or "fridericia", with the RR interval before the beat. A
    recording without beats gives a table without beats. Raises ValueError for another shape, rate or formula.
    """
    if qtc not in QTC:
        raise ValueError(f"no formula {qtc!r}: {', '.join(QTC)}")
    found = find_waves(signal, fs)
    if found is None:
        return BeatTable(np.zeros(0), np.zeros(0, bool), {name: np.zeros((len(LEADS), 0)) for name in UNITS},
                         np.zeros((len(EDGES), 0)), np.zeros((len(LEADS), len(EDGES), 0)), qtc)
    filtered, n = found.filtered, len(found.shapes.r)
    ectopic = find_ectopic(found.shapes, found.rhythm)
    common, own = _place(found, ectopic)
    before, after = _rr_ms(found)
    values = _waves(*_readings(filtered, signal, fs), own)
    values |= {"heart_rate": 60_000 / before, "rr_interval_1": before, "rr_interval_2": after}
    values["qtc_interval"] = values["qt_interval"] / (before / 1000) ** QTC[qtc]
    table = {name: np.full((len(LEADS), n), np.nan) for name in UNITS}
    for name, rows in table.items():
        rows[filtered.leads] = values[name]
    lead_edges = np.full((len(LEADS), len(EDGES), n), np.nan)
    lead_edges[filtered.leads] = own
    return BeatTable(found.shapes.r / GRID_FS, ectopic, table, common, lead_edges, qtc)


def widest_ectopic_ms(found: Found) -> float | None:
    """The longest QRS complex of the ectopic beats, 0 where no beat is ectopic; None where none of them can be read."""
    at = found.shapes.r[find_ectopic(found.shapes, found.rhythm)].tolist()
    lengths = [_MS * (off - on) for on, off in (_single_qrs(found, r) for r in at)]
    known = [length for length in lengths if np.isfinite(length)]
    return float(max(known)) if known else None if lengths else 0.0


def _place(found: Found, ectopic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boundaries of every beat in seconds: (6, n) of the median lead, (C, 6, n) of each; NaN where a
    wave is not there, lies outside of the recording, or in the beat beside it."""
    shapes, n_leads = found.shapes, len(found.filtered.leads)
    common, own = np.full((6, len(shapes.r)), np.nan), np.full((n_leads, 6, len(shapes.r)), np.nan)
    if found.beat is None or found.qrs is None:
        return common, own
    edges = find_edges(found.beat, found.qrs, found.p, found.t)
    common = shapes.exact + edges.common[:, None] / _MS
    own = shapes.exact + edges.by_lead[:, :, None] / _MS
    no_p = np.zeros(len(shapes.r), bool)
    if found.p is not None:
        shift, share = find_shifts(found.filtered.beats, shapes.exact, found.beat, found.p.on_ms, found.p.off_ms)
        no_p = share < _LEAST_P
        common[_P], own[:, _P] = common[_P] + shift, own[:, _P] + shift
    if found.t is not None:
        begin = max(found.qrs.off_ms + _T_AFTER_J_MS, found.t.peak_ms - _T_BEFORE_PEAK_MS)
        shift, _ = find_shifts(found.filtered.beats, shapes.exact, found.beat, begin, found.t.end_ms)
        common[_T], own[:, _T] = common[_T] + shift, own[:, _T] + shift
    for i in np.flatnonzero(ectopic).tolist():
        common[:, i] = own[:, :, i] = np.nan
        common[_QRS, i] = own[:, _QRS, i] = _single_qrs(found, float(shapes.r[i]))
    _drop(common, own, found, no_p)
    return common / GRID_FS, own / GRID_FS


def _drop(common: np.ndarray, own: np.ndarray, found: Found, no_p: np.ndarray) -> None:
    """Take out the waves that are not there, lie outside of the recording or in the beat beside theirs, in place."""
    outside = (common < 0) | (common > found.filtered.beats.shape[1] - 1)
    with np.errstate(invalid="ignore"):
        outside[_P.start, 1:] |= common[_P.start, 1:] < common[_QRS.stop - 1, :-1]
        outside[_T.stop - 1, :-1] |= common[_T.stop - 1, :-1] > common[_QRS.start, 1:]
    for wave, none in ((_P, no_p), (_QRS, found.shapes.lost), (_T, found.shapes.lost)):
        gone = outside[wave].any(axis=0) | none
        common[wave, gone] = own[:, wave, gone] = np.nan


def _single_qrs(found: Found, r: float) -> np.ndarray:
    """Onset and end of a single beat's QRS complex, for its rows of the boundaries; NaN where an edge is not found."""
    signal = found.filtered.beats
    at = round(r)
    index = np.clip(np.arange(at - BEFORE, at + AFTER), 0, signal.shape[1] - 1)
    qrs = find_qrs(twice_the_rate(signal[:, index]), 2 * BEFORE)
    return np.full(2, np.nan) if qrs.guessed else np.array([at + qrs.on_ms / _MS, at + qrs.off_ms / _MS])


def _readings(filtered: Filtered, signal: np.ndarray, fs: int) -> tuple[Readings, Readings]:
    """What is read of the filtered recording, and of the recording as it is."""
    n = filtered.beats.shape[1]
    missing = signal[filtered.leads] == MISSING
    if not missing.any():
        return Readings(filtered.beats, GRID_FS, None), Readings(filtered.values, fs, None)
    gone = missing[:, np.minimum(np.arange(n) * fs // GRID_FS, signal.shape[1] - 1)]
    return Readings(filtered.beats, GRID_FS, gone), Readings(filtered.values, fs, missing)


def _waves(readings: Readings, unfiltered: Readings, own: np.ndarray) -> dict[str, np.ndarray]:
    """What is read between the boundaries (C, 6, n) of each lead, (C, n) each: milliseconds and millivolts. The filter
    before the median beat takes a twentieth off a QRS complex, whose size is read without it."""
    p_on, p_off, qrs_on, qrs_off, t_on, t_off = own.transpose(1, 0, 2)
    base = readings.level(qrs_on - _BASE_S)
    p = readings.peak(p_on, p_off, readings.level(p_on - _BESIDE_P_S),
                      readings.level(np.minimum(p_off + _BESIDE_P_S, qrs_on - _BASE_S)))
    qrs = unfiltered.size(qrs_on, qrs_off, unfiltered.level(qrs_on - _BASE_S))
    t = readings.peak(t_on, t_off, base, base)
    values = {"p_amplitude": p, "p_duration": p_off - p_on, "pr_interval": qrs_on - p_on, "qrs_amplitude": qrs,
              "qrs_duration": qrs_off - qrs_on, "t_amplitude": t, "t_duration": t_off - t_on,
              "st_duration": t_on - qrs_off, "st_form": _forms(readings, qrs_off, t_on),
              "qt_interval": t_off - qrs_on}
    for name, rows in values.items():
        if name.endswith("amplitude"):
            rows /= 1000
        elif name != "st_form":
            rows *= 1000
    for there, names in ((p, ("p_amplitude", "p_duration", "pr_interval")), (qrs, ("qrs_amplitude", "qrs_duration")),
                         (t, ("t_amplitude", "t_duration", "st_duration", "st_form", "qt_interval"))):
        unseen = ~np.isfinite(there) | (_typical_size(there) < _SMALLEST_UV / 1000)
        for name in names:
            values[name][unseen] = np.nan
    return values


def _typical_size(rows: np.ndarray) -> np.ndarray:
    """The size of the median of each row (C, n), (C, 1); 0 for a row of NaN."""
    typical = np.zeros((len(rows), 1))
    for size, row in zip(typical, rows, strict=True):
        found = row[np.isfinite(row)]
        size[0] = abs(median(found)) if found.size else 0.0
    return typical


def _forms(readings: Readings, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The form of the ST segment as a number of `beat_table.FORMS`: whether it rises or falls by more than a little."""
    rise = readings.level(end) - readings.level(np.minimum(start + _ST_AFTER_J_S, end))
    form = np.where(np.abs(rise) < _HORIZONTAL_UV, 0.0, np.sign(rise))
    return np.where(np.isfinite(rise) & (end - start >= _SHORTEST_ST_S), form, np.nan)


def _rr_ms(found: Found) -> tuple[np.ndarray, np.ndarray]:
    """RR intervals in milliseconds before and after each beat (n,); NaN over a gap in the signal, and to a beat whose
    place is not known."""
    shapes, gap = found.shapes, found.filtered.gap
    rr = np.diff(shapes.r) * _MS
    missing = np.concatenate(([0], np.cumsum(gap)))[np.rint(shapes.r).astype(np.int64)]
    rr[(np.diff(missing) > 0) | shapes.lost[1:] | shapes.lost[:-1]] = np.nan
    return np.concatenate(([np.nan], rr)), np.concatenate((rr, [np.nan]))
