"""Read one WFDB record as twelve leads by name in int16 microvolts.

The plain cases (format 16 and 212, MATLAB v4 matrices; one segment, one sample per frame, no skew) are read here, many
times faster than `wfdb.rdsamp` and equal to it; every other format goes through wfdb. Reference: header(5) of WFDB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.wfdb_files import file_size
from emgecg_cli.core.datasets.wfdb_formats import MISSING_CODES, is_plain, read_stored, verify_checksums
from emgecg_cli.core.datasets.wfdb_headers import Header, RecordError, SignalLine, read_header_at
from emgecg_cli.core.signals.leads import LARGEST_UV, LEADS, MISSING, lead_rows, to_int16_uv

MICROVOLTS = {"uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6}
# Compressed records hold a few samples per byte; one that announces many more is not worth the memory.
SAMPLES_PER_BYTE, SAMPLES_AT_LEAST = 64, 10 ** 6

# All that a parser is known to raise on a file that is not what it says; anything else is a bug and should be seen.
_PARSER_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, NameError, AssertionError,
                  OSError, EOFError, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Leads:
    """A record as read: int16 microvolts (12, L), the leads the file lacks, and the number of clipped samples."""

    signal: np.ndarray
    absent_leads: list[str]
    n_clipped: int


def read_leads(header: Header) -> Leads:
    """Read the signals a header describes, twelve leads by name; raises RecordError.

    A lead the file lacks is all `MISSING` and listed. Checksums are verified where the header gives them.
    """
    return _read_plain(header) if is_plain(header) else _read_by_wfdb(header)


def _read_plain(header: Header) -> Leads:
    rows = _standard_rows(tuple(line.name for line in header.signals))
    lines = [header.signals[row] for row in rows.values()]
    scales = _scales(lines)
    stored, kept = read_stored(header), list(rows.values())
    if kept != list(range(len(stored))):
        stored = stored[kept]
    return _place(rows, *_microvolts(stored, lines, scales))


def _scales(lines: Sequence[SignalLine]) -> list[float]:
    """Microvolts per unit of each signal; raises RecordError for a signal without calibration."""
    for line in lines:
        if line.gain is None:
            raise RecordError("no calibration", f"lead {line.name} has no usable gain")
    return [_microvolts_per(line.units, line.name) for line in lines]


def _microvolts(stored: np.ndarray, lines: Sequence[SignalLine], scales: Sequence[float]) -> tuple[np.ndarray, int]:
    """Stored numbers (n, L) as int16 microvolts, and how many samples were clipped; `stored` may be overwritten."""
    lowest, highest = int(stored.min()), int(stored.max())
    whole = lowest > max(MISSING_CODES[line.fmt] for line in lines)
    first = lines[0]
    step = scales[0] / (first.gain or 1)
    if whole and step.is_integer() and all(line.gain == first.gain and line.baseline == first.baseline
                                           and line.units == first.units for line in lines):
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


def _place(rows: dict[int, int], signal: np.ndarray, n_clipped: int) -> Leads:
    """Put the leads that are there, in the order of `rows`, at their places among the twelve; each has a sample."""
    if signal.min() == MISSING:
        empty = [LEADS[lead] for lead, row in zip(rows, signal, strict=True) if (row == MISSING).all()]
        if empty:
            raise RecordError("nan lead", f"no sample in {', '.join(empty)}")
    if len(rows) == len(LEADS):
        return Leads(np.ascontiguousarray(signal), [], n_clipped)
    full = np.full((len(LEADS), signal.shape[1]), MISSING, np.int16)
    full[list(rows)] = signal
    return Leads(full, [name for i, name in enumerate(LEADS) if i not in rows], n_clipped)


@lru_cache(maxsize=256)
def _standard_rows(names: tuple[str, ...]) -> dict[int, int]:
    try:
        rows = lead_rows(names)
    except ValueError as error:
        raise RecordError("unreadable header", str(error)) from None
    if not rows:
        raise RecordError("no standard leads", repr(", ".join(names)[:200]) if any(names) else "no signal has a name")
    return dict(sorted(rows.items()))


def _microvolts_per(units: str | None, lead: str) -> float:
    factor = MICROVOLTS.get((units or "").lower())
    if factor is None:
        raise RecordError("unknown units", f"lead {lead} is in {(units or '')[:40]!r}")
    return factor


def _read_by_wfdb(header: Header) -> Leads:
    _check_before_wfdb(header)
    if header.signals:
        rows = _standard_rows(tuple(line.name for line in header.signals))
        _scales([header.signals[row] for row in rows.values()])
    record = _rdrecord(header)
    rows = _standard_rows(tuple(name or "" for name in record.sig_name))
    scale = [_microvolts_per(record.units[row], record.sig_name[row]) for row in rows.values()]
    return _place(rows, *to_int16_uv((record.p_signal[:, list(rows.values())] * scale).T))


def _check_before_wfdb(header: Header) -> None:
    """wfdb opens what a header names and allocates what it announces, so both are checked before."""
    n_bytes = n_samples = 0
    headers = [header] if header.segments is None else _segment_headers(header)
    for one in headers:
        samples = sum(line.samples_per_frame for line in one.signals)
        n_samples += samples * ((one.sig_len or 0) + max((line.skew for line in one.signals), default=0))
        for name in {line.file_name for line in one.signals} - {"~"}:
            n_bytes += file_size(one.root, os.path.join(os.path.dirname(one.path), name))
    if header.segments is not None:
        n_samples = max(n_samples, sum(line.sig_len for line in header.segments) * _most_signals(headers))
    if n_samples > SAMPLES_AT_LEAST + SAMPLES_PER_BYTE * n_bytes:
        raise RecordError("wrong length", f"{n_samples} samples are announced, in {n_bytes} bytes")


def _segment_headers(header: Header) -> list[Header]:
    names = [line.name for line in header.segments or () if line.name != "~"]
    found = [read_header_at(header.root, os.path.join(os.path.dirname(header.path), name)) for name in names]
    for name, one in zip(names, found, strict=True):
        if one.segments is not None:
            raise RecordError("unreadable header", f"segment {name} has segments itself")
    lengths = sum(line.sig_len for line in header.segments or ())
    if header.sig_len not in (None, lengths):
        raise RecordError("unreadable header", f"{header.sig_len} samples announced, segments of {lengths} described")
    for one in found:
        _scales([line for line in one.signals if one.sig_len and lead_rows([line.name])])
        if is_plain(one):
            read_stored(one)  # for its checksums, which wfdb does not verify
    return found


def _most_signals(headers: Sequence[Header]) -> int:
    return max((len(header.signals) for header in headers), default=0)


def _rdrecord(header: Header) -> Any:
    import wfdb  # seconds to import, and rarely needed
    simple = all(line.samples_per_frame == 1 and not line.skew for line in header.signals)
    try:
        if not header.signals:
            record = wfdb.rdrecord(header.path)
        else:
            # The checksums are over the numbers as stored: not shifted by a skew, not averaged over a frame.
            record = wfdb.rdrecord(header.path, physical=False, ignore_skew=True, smooth_frames=simple)
            verify_checksums(header.signals, record.calc_checksum(expanded=not simple))
            if simple:
                record.dac(inplace=True)
            else:
                record = wfdb.rdrecord(header.path)
    except _PARSER_ERRORS as error:
        detail = str(error).replace(os.path.dirname(header.path) + os.sep, "")
        raise RecordError("unreadable signal", (detail.splitlines() or [type(error).__name__])[0][:200]) from None
    if record.p_signal is None or not record.p_signal.size:
        raise RecordError("wrong length", "no samples")
    return record
