"""Read WFDB records as twelve leads by name in int16 microvolts, each lead at its own rate, then all at the highest.

A signal with several samples per frame is read at the frame's rate times their number, and nothing is averaged. Leads
of unlike rates are brought to the highest by the polyphase filter. A record of any length can be read: one that is too
long to be held is read stretch by stretch. Reference: header(5) of WFDB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_formats import count_frames, read_stored, sums_of, verify_checksums
from emgecg_cli.core.datasets.formats.wfdb_headers import Header, RecordError, SignalLine
from emgecg_cli.core.datasets.formats.wfdb_parts import Part, Plan, plan_of
from emgecg_cli.core.signals.leads import LARGEST_UV, LEADS, MISSING, to_int16_uv
from emgecg_cli.core.signals.resampling import reach, resample

MICROVOLTS = {"uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6}
# format -> the stored number that means "no sample"; format 8 has none
MISSING_CODES = {"16": -2 ** 15, "61": -2 ** 15, "160": -2 ** 15, "516": -2 ** 15, "212": -2 ** 11, "80": -2 ** 7,
                 "508": -2 ** 7, "310": -2 ** 9, "311": -2 ** 9, "24": -2 ** 23, "524": -2 ** 23, "32": -2 ** 31,
                 "8": -2 ** 31}
# Numbers that are held at once; a record of more is read in stretches.
LARGEST_AT_ONCE = 10 ** 8
CHUNK = 2 ** 22


@dataclass(frozen=True)
class Leads:
    """A record as read: int16 microvolts (12, L) at `fs` Hz, which leads the file lacks, which of its signals are no
    lead, how many samples were clipped (None: not counted yet), and faults of its files that did not keep it from being
    read. The signal of a long record is a `LongSignal`."""

    signal: np.ndarray | LongSignal
    absent_leads: list[str]
    n_clipped: int | None
    fs: int | Fraction = 0
    unused_signals: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What a `Recording` says of its file besides the signal and its rate."""
        return {"absent_leads": self.absent_leads, "n_clipped": self.n_clipped,
                "unused_signals": list(self.unused_signals), "file_flags": list(self.flags)}


@dataclass(frozen=True)
class LongSignal:
    """int16 microvolts (12, L) that are read where they are sliced in time, `signal[:, a:b]`; raises RecordError."""

    plan: Plan
    dtype = np.dtype(np.int16)
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Leads and samples."""
        return len(LEADS), self.plan.sig_len

    def __len__(self) -> int:
        return len(LEADS)

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        every, span = key
        if every != slice(None) or span.step not in (None, 1):
            raise IndexError("a long recording is sliced in time, [:, first:last]")
        start, end, _ = span.indices(self.plan.sig_len)
        return _twelve(self.plan, *_read_samples(self.plan, start, max(start, end))[:1])


def read_leads(header: Header, fs: int | None = None) -> Leads:
    """Read the signals a header describes, twelve leads by name; raises RecordError, also where the leads have another
    rate than `fs`.

    A lead the file lacks is all `MISSING` and listed. Checksums are verified where the header gives them.
    """
    plan = plan_of(header)
    if fs not in (None, plan.fs):
        raise RecordError("wrong rate", f"{float(plan.fs):g} Hz, expected {fs}")
    absent = [name for i, name in enumerate(LEADS) if i not in plan.leads]
    if plan.n_samples > LARGEST_AT_ONCE:
        for part in plan.parts:
            _scales([part.header.signals[row] for row in part.rows.values()])
        return Leads(LongSignal(plan), absent, None, plan.fs, plan.unused, tuple(_verify(plan)))
    signal, n_clipped, flags = _read_frames(plan, 0, plan.n_frames, whole=True)
    if not signal.shape[1]:
        raise RecordError("wrong length", "no samples")
    if signal.min() == MISSING:
        empty = [LEADS[lead] for lead, row in zip(plan.leads, signal, strict=True) if (row == MISSING).all()]
        if empty:
            raise RecordError("nan lead", f"no sample in {', '.join(empty)}")
    return Leads(_twelve(plan, signal), absent, n_clipped, plan.fs, plan.unused, tuple(flags))


def _twelve(plan: Plan, signal: np.ndarray) -> np.ndarray:
    """The leads that are there at their places among the twelve."""
    if len(plan.leads) == len(LEADS):
        return np.ascontiguousarray(signal)
    full = np.full((len(LEADS), signal.shape[1]), MISSING, np.int16)
    full[list(plan.leads)] = signal
    return full


def _verify(plan: Plan) -> list[str]:
    """Check a long record against the checksums of its headers, a chunk at a time; returns the flags of its files."""
    flags: list[str] = []
    for header in dict.fromkeys(part.header for part in plan.parts):
        sums, n_frames = [0] * len(header.signals), count_frames(header)
        if any(line.fmt == "8" for line in header.signals):
            raise RecordError("over a limit", f"{header.frame * n_frames:,} samples in format 8, which cannot be read "
                                              f"in stretches; at most {LARGEST_AT_ONCE:,} are read at once")
        for first, last in _chunks(n_frames, header.frame):
            stored = read_stored(header, first, last)
            flags += stored.flags if not first else ()
            sums = [total + more for total, more in zip(sums, sums_of(stored.signals), strict=True)]
        verify_checksums(header.signals, sums)
    return flags


def _chunks(n_frames: int, frame: int) -> Iterator[tuple[int, int]]:
    step = max(1, CHUNK // frame)
    for first in range(0, n_frames, step):
        yield first, min(first + step, n_frames)


def _read_samples(plan: Plan, start: int, end: int) -> tuple[np.ndarray, int]:
    """The leads there are, (leads, end - start), and how many samples were clipped, of whole frames around them."""
    first, last = start // plan.frame, -(-end // plan.frame)
    slowest = min(part.header.signals[row].samples_per_frame for part in plan.parts for row in part.rows.values())
    # so that filters see what lies around, as in the whole record
    margin = -(-reach(slowest, plan.frame) // slowest)
    before, after = max(0, first - margin), min(plan.n_frames, last + margin)
    signal, n_clipped, _ = _read_frames(plan, before, after)
    return signal[:, start - before * plan.frame:end - before * plan.frame], n_clipped


def _read_frames(plan: Plan, first: int, last: int, whole: bool = False) -> tuple[np.ndarray, int, list[str]]:
    """The leads there are in the frames of a span, int16 microvolts (leads, frames * plan.frame), how many samples were
    clipped, and the flags of the files. With `whole` checksums are verified."""
    if len(plan.parts) == 1 and plan.parts[0].n_frames == plan.n_frames:
        return _read_part(plan, plan.parts[0], (first, last), whole)
    signal = np.full((len(plan.leads), (last - first) * plan.frame), MISSING, np.int16)
    n_clipped, flags = 0, []
    for part in plan.parts:
        start, end = max(first, part.start), min(last, part.start + part.n_frames)
        if start < end and part.rows:
            found, clipped, flagged = _read_part(plan, part, (start - part.start, end - part.start), whole)
            places = [plan.leads.index(lead) for lead in part.rows]
            signal[places, (start - first) * plan.frame:(end - first) * plan.frame] = found
            n_clipped += clipped
            flags += flagged
    return signal, n_clipped, flags


def _read_part(plan: Plan, part: Part, span: tuple[int, int], whole: bool) -> tuple[np.ndarray, int, list[str]]:
    """The leads of a part in a span of its frames, in the order of its rows."""
    lines = [part.header.signals[row] for row in part.rows.values()]
    skew = max([line.skew for line in lines])
    if whole:
        stored = read_stored(part.header)
    else:
        stored = read_stored(part.header, span[0], min(span[1] + skew, part.n_frames))
    signals = stored.signals
    if skew or not isinstance(signals, np.ndarray) or min([line.samples_per_frame for line in lines]) < plan.frame:
        picked = [_shifted(signals[row], line, span[1] - span[0])
                  for row, line in zip(part.rows.values(), lines, strict=True)]
        return *_at_one_rate(picked, lines, plan.frame), list(stored.flags)
    kept = list(part.rows.values())
    if kept != list(range(len(signals))):
        signals = signals[kept]
    if signals.shape[1] != (span[1] - span[0]) * plan.frame:
        signals = signals[:, :(span[1] - span[0]) * plan.frame]
    return *_microvolts(signals, lines), list(stored.flags)


def _shifted(stored: np.ndarray, line: SignalLine, n_frames: int) -> np.ndarray:
    """The samples from the skew on, "no sample" where the file ends before."""
    n = line.samples_per_frame
    found = stored[line.skew * n:(line.skew + n_frames) * n]
    if len(found) == n_frames * n:
        return found
    return np.append(found, np.full(n_frames * n - len(found), MISSING_CODES[line.fmt], stored.dtype))


def _at_one_rate(signals: Sequence[np.ndarray], lines: Sequence[SignalLine], frame: int) -> tuple[np.ndarray, int]:
    """Leads of unlike rates as int16 microvolts at `frame` samples a frame."""
    found: list[np.ndarray] = [np.empty(0, np.int16)] * len(lines)
    n_clipped = 0
    order = sorted(range(len(lines)), key=lambda i: lines[i].samples_per_frame)
    for n, group in groupby(order, key=lambda i: lines[i].samples_per_frame):
        members = list(group)
        block, clipped = _microvolts(np.stack([signals[i] for i in members]), [lines[i] for i in members])
        if n != frame:
            block, more = resample(block, n, frame)
            clipped += more
        n_clipped += clipped
        for i, row in zip(members, block, strict=True):
            found[i] = row
    return np.stack(found), n_clipped


def _scales(lines: Sequence[SignalLine]) -> list[float]:
    """Microvolts per unit of each signal; raises RecordError for a signal without calibration."""
    for line in lines:
        if line.gain is None:
            raise RecordError("no calibration", f"lead {line.name} has no usable gain")
    return [_microvolts_per(line.units, line.name) for line in lines]


def _microvolts(stored: np.ndarray, lines: Sequence[SignalLine]) -> tuple[np.ndarray, int]:
    """Stored numbers (n, L) as int16 microvolts, and how many samples were clipped; `stored` may be overwritten."""
    if not stored.size:
        return np.empty(stored.shape, np.int16), 0
    scales = _scales(lines)
    lowest, highest = int(stored.min()), int(stored.max())
    whole = lowest > max(MISSING_CODES[line.fmt] for line in lines)
    first = lines[0]
    step = scales[0] / (first.gain or 1)
    if whole and stored.dtype == np.int16 and step.is_integer() and all(
            line.gain == first.gain and line.baseline == first.baseline and line.units == first.units
            for line in lines):
        # Whole steps need no float: rounding gives the same number, as the products are far nearer to it than 1/2.
        furthest = max(abs(lowest - first.baseline), abs(highest - first.baseline))
        if max(abs(first.baseline), abs(step), furthest * abs(step)) <= LARGEST_UV:
            stored -= np.int16(first.baseline)
            stored *= np.int16(step)
            return stored, 0
    values = physical(stored, lines)
    values *= np.array(scales)[:, None]
    if whole and max(-values.min(), values.max()) <= LARGEST_UV:
        return np.rint(values, out=values).astype(np.int16), 0
    return to_int16_uv(values)


def physical(stored: np.ndarray, lines: Sequence[SignalLine]) -> np.ndarray:
    """Stored numbers (n, L) in each signal's own units, float64, NaN = missing, the very numbers wfdb gives."""
    values = stored.astype(np.float64)
    # In wfdb's order of operations, so that equal means equal.
    values -= np.array([[line.baseline] for line in lines])
    values /= np.array([[line.gain] for line in lines])
    codes = np.array([[MISSING_CODES[line.fmt]] for line in lines])
    if stored.min() <= codes.max():
        values[stored == codes] = np.nan
    return values


def _microvolts_per(units: str | None, lead: str) -> float:
    factor = MICROVOLTS.get((units or "").lower())
    if factor is None:
        raise RecordError("unknown units", f"lead {lead} is in {(units or '')[:40]!r}")
    return factor
