"""Signal quality: leads that disagree, flat or saturated leads, amplitudes out of scale.

Every check measures and reports; none changes a sample. The limits are set by real recordings, so that low voltage,
a paced beat or a slow wave is no defect, and a slip of units is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from math import log10, nan

import numpy as np

from emgecg_cli.core.signals.leads import LARGEST_UV, LEADS, MISSING
from emgecg_cli.core.signals.limb_leads import NOT_CHECKED, OK, SUSPECT, LimbLeadCheck, check_limb_leads
from emgecg_cli.core.signals.precordial import find_precordial_glitch

__all__ = ["NOT_CHECKED", "OK", "SUSPECT", "LimbLeadCheck", "SignalChecks", "check_limb_leads", "check_signal"]

FLAT_SHARE = 0.9
FLAT_STRETCH_S = 2.0
# Of 555 recordings the median lead spans 340 to 3830 uV within a second, and no lead less than 0.1 or more than
# 9.5 times as much as that; limits three times as wide leave room for what is not among them.
SMALLEST_UV = 100.0
LARGEST_SPAN_UV = 12_000.0
USUAL_UV = 1000.0
LEAD_TIMES = 30.0
# Slow waves stay at their extreme for up to 0.1 s, and up to twice in a recording.
PLATEAU_S = 0.008
PLATEAU_SAMPLES = 3
N_PLATEAUS = 3
LONG_PLATEAU_S = 1.0


@dataclass(frozen=True)
class SignalChecks:
    """What `check_signal` found, with the names of `artifacts.RecordRow`.

    `lead_glitch` describes a burst in which the limb leads contradict each other, and a jump of a single precordial
    lead. `flat_leads` are constant over nearly all of the samples they have, `flat_stretches` says where other leads
    are constant for two seconds or more, `saturated_leads` stay again and again, or long, at their own largest or
    smallest value.
    """

    einthoven_p50_uv: float | None
    einthoven_p99_uv: float | None
    goldberger_p50_uv: float | None
    goldberger_p99_uv: float | None
    lead_check: str
    lead_glitch: str | None
    scale_check: str
    flat_leads: list[str] = field(default_factory=list)
    flat_stretches: list[str] = field(default_factory=list)
    saturated_leads: list[str] = field(default_factory=list)


def check_signal(signal: np.ndarray, fs: int, derived: Collection[str] = ()) -> SignalChecks:
    """Check one recording: int16 microvolts (12, L) in the order of `leads.LEADS`, missing = `MISSING`, at `fs` Hz.

    `derived` leads are treated as absent: computed from others, they agree with them whatever those are.
    """
    if derived:
        signal = signal.copy()
        signal[[LEADS.index(name) for name in derived]] = MISSING
    signal = _without_padding(signal)
    limb = check_limb_leads(signal, fs)
    if derived and limb.verdict == NOT_CHECKED:
        limb = replace(limb, verdict=f"{NOT_CHECKED}; {', '.join(derived)} are derived")
    residuals = limb.einthoven_p50_uv, limb.einthoven_p99_uv, limb.goldberger_p50_uv, limb.goldberger_p99_uv
    if not signal.size:
        return SignalChecks(*residuals, limb.verdict, None, "not checked: no samples")
    second = max(1, min(fs, signal.shape[1]))
    lowest, highest = _seconds(signal, second)
    gaps = bool((lowest == MISSING).any())
    if gaps:
        lowest, highest = _seconds_present(signal, second)
    flat, stretches = _flat(signal, fs, lowest, highest)
    glitches = [one for one in (limb.glitch, find_precordial_glitch(signal, fs)) if one]
    return SignalChecks(*residuals, limb.verdict, ". ".join(glitches) or None,
                        _check_scale(lowest, highest, flat), flat, stretches,
                        _saturated(signal, fs, lowest, highest, flat))


def _seconds(signal: np.ndarray, second: int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest value of each lead in each second, (12, n); the last overlaps the one before."""
    whole = signal.shape[1] // second * second
    blocks = signal[:, :whole].reshape(len(LEADS), -1, second)
    lowest, highest = blocks.min(axis=2), blocks.max(axis=2)
    if whole == signal.shape[1]:
        return lowest, highest
    last = signal[:, -second:]
    return (np.concatenate([lowest, last.min(axis=1, keepdims=True)], axis=1),
            np.concatenate([highest, last.max(axis=1, keepdims=True)], axis=1))


def _seconds_present(signal: np.ndarray, second: int) -> tuple[np.ndarray, np.ndarray]:
    """The same over the samples that are there; a second without any has its smallest above its largest."""
    highest = _seconds(signal, second)[1]
    # One less wraps `MISSING`, the smallest int16, round to the largest.
    lowest = _seconds(signal - np.int16(1), second)[0] + np.int16(1)
    empty = highest == MISSING
    lowest[empty], highest[empty] = LARGEST_UV, -LARGEST_UV
    return lowest, highest


def _without_padding(signal: np.ndarray) -> np.ndarray:
    """The recording up to its last sample in any lead."""
    if not signal.size or signal[0, -1] != MISSING or (signal[:, -1] != MISSING).any():
        return signal
    present = (signal != MISSING).any(axis=0)
    return signal[:, :signal.shape[1] - int(present[::-1].argmax())] if present.any() else signal


def _flat(signal: np.ndarray, fs: int, lowest: np.ndarray, highest: np.ndarray) -> tuple[list[str], list[str]]:
    """The flat leads, and the long flat stretches of the others; a lead that is absent is neither."""
    flat: list[str] = []
    stretches: list[str] = []
    # Two seconds without change hold a whole second of the clock without change.
    for lead in np.flatnonzero((lowest == highest).any(axis=1)).tolist():
        values = signal[lead]
        starts, lengths = _runs(np.concatenate([[True], values[1:] != values[:-1]]))
        present = values[starts] != MISSING
        starts, lengths = starts[present], lengths[present]
        long = lengths >= FLAT_STRETCH_S * fs
        if lengths[long].sum() >= FLAT_SHARE * lengths.sum() or lengths.max() >= FLAT_SHARE * lengths.sum():
            flat.append(LEADS[lead])
        else:
            stretches += [f"{LEADS[lead]} for {length / fs:.1f} s from {start / fs:.1f} s"
                          for start, length in zip(starts[long].tolist(), lengths[long].tolist(), strict=True)]
    return flat, stretches


def _runs(is_start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs begin that start at the marked places, and how long they are."""
    starts = np.flatnonzero(is_start)
    return starts, np.diff(np.append(starts, is_start.size))


def _check_scale(lowest: np.ndarray, highest: np.ndarray, flat: list[str]) -> str:
    """Whether the leads span what leads of a heart span, and none of them far more or less than the others."""
    spans = {name: span for name, span in zip(LEADS, _spans(lowest, highest), strict=True)
             if name not in flat and span == span}
    if not spans:
        return "not checked: all leads are flat or absent"
    ordered = sorted(spans.values())
    usual = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    talk = f"{SUSPECT}: leads span {usual:.0f} uV (median)"
    if usual < SMALLEST_UV:
        return f"{talk}, about {10 ** max(1, round(log10(USUAL_UV / max(usual, 1))))} times too small"
    if usual > LARGEST_SPAN_UV:
        surely = "at least" if usual >= 1.9 * LARGEST_UV else "about"
        return f"{talk}, {surely} {10 ** max(1, round(log10(usual / USUAL_UV)))} times too large"
    if usual <= LEAD_TIMES * ordered[0] and ordered[-1] <= LEAD_TIMES * usual:
        return OK
    off = [f"{name} spans {span:.0f} uV" for name, span in spans.items()
           if not usual / LEAD_TIMES <= span <= usual * LEAD_TIMES]
    return f"{SUSPECT}: {', '.join(off)} where the leads span {usual:.0f} uV (median)"


def _spans(lowest: np.ndarray, highest: np.ndarray) -> list[float]:
    """How much each lead spans within a second, at the median of its seconds, so that neither drift nor a glitch
    counts; NaN for a lead without samples."""
    spans = np.sort(np.subtract(highest, lowest, dtype=np.int32), axis=1)
    if spans[:, 0].min() >= 0:
        return spans[:, spans.shape[1] // 2].tolist()
    middle = (spans.shape[1] + (spans < 0).sum(axis=1)) // 2  # seconds without samples come first
    return [float(row[at]) if at < len(row) else nan for row, at in zip(spans.tolist(), middle.tolist(), strict=True)]


def _saturated(signal: np.ndarray, fs: int, lowest: np.ndarray, highest: np.ndarray, flat: list[str]) -> list[str]:
    """The leads that are cut off at a value of their own: many plateaus at an extreme, or a long one."""
    extremes = np.concatenate([highest, -lowest])
    extreme = extremes.max(axis=1)
    # Plateaus of three beats, or a long one, reach into more than one second; a single peak does not.
    at_extreme = extremes == extreme[:, None]
    if np.count_nonzero(at_extreme) == len(extreme):
        return []
    found = set()
    for row in np.flatnonzero(at_extreme.sum(axis=1) > 1).tolist():
        lead, value = row % len(LEADS), int(extreme[row]) if row < len(LEADS) else -int(extreme[row])
        if LEADS[lead] not in flat and _has_plateaus(signal[lead] == value, fs):
            found.add(lead)
    return [LEADS[lead] for lead in sorted(found)]


def _has_plateaus(at: np.ndarray, fs: int) -> bool:
    """Whether a lead stays at its extreme often or long; what touches the ends of the recording does not count, since
    some recorders hold a value there."""
    starts, lengths = _runs(np.concatenate([[True], at[1:] != at[:-1]]))
    inside = at[starts] & (starts > 0) & (starts + lengths < at.size)
    lengths = lengths[inside]
    plateaus = int((lengths >= max(PLATEAU_SAMPLES, PLATEAU_S * fs)).sum())
    return plateaus >= N_PLATEAUS or bool(lengths.max(initial=0) >= LONG_PLATEAU_S * fs)
