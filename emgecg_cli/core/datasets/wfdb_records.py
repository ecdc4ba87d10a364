"""Read one WFDB record as twelve leads by name in int16 microvolts.

The plain case (one `.dat`, format 16, one segment, no skew) is read here, many times faster than `wfdb.rdsamp` and
equal to it; every other format goes through wfdb. Reference: the WFDB header specification, header(5).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.wfdb_headers import Header, RecordError
from emgecg_cli.core.signals.leads import LEADS, MISSING, lead_rows, to_int16_uv

MICROVOLTS = {"uv": 1.0, "µv": 1.0, "μv": 1.0, "mv": 1e3, "v": 1e6}

_PLAIN_FORMATS = ("16", "16x1")
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
    first = header.signals[0] if header.signals else None
    if first is None or any(line.fmt not in _PLAIN_FORMATS or line.file_name != first.file_name
                            for line in header.signals):
        leads = _read_by_wfdb(header)
    else:
        leads = _read_plain(header, first.file_name)
    if leads.signal.size and leads.signal.min() == MISSING:
        empty = [name for name, row in zip(LEADS, leads.signal, strict=True)
                 if name not in leads.absent_leads and (row == MISSING).all()]
        if empty:
            raise RecordError("nan lead", f"no sample in {', '.join(empty)}")
    return leads


def _read_plain(header: Header, file_name: str) -> Leads:
    path = os.path.join(os.path.dirname(header.path), file_name)
    n_signals = len(header.signals)
    try:
        samples = np.fromfile(path, dtype="<i2")
        n_bytes = os.path.getsize(path)
    except (FileNotFoundError, IsADirectoryError):
        raise RecordError("missing file", file_name) from None
    except OSError as error:
        raise RecordError("unreadable signal", f"{file_name}: {error.strerror}") from None
    sig_len = header.sig_len or n_bytes // (2 * n_signals)
    if n_bytes != 2 * n_signals * sig_len or not sig_len:
        raise RecordError("wrong length", f"{file_name} holds {n_bytes} bytes, {n_signals} signals of {sig_len} "
                                          f"samples need {2 * n_signals * sig_len}")
    samples = samples.reshape(sig_len, n_signals)
    sums = np.add.reduce(samples, axis=0, dtype=np.int16).tolist()
    _verify([line.name for line in header.signals], [line.checksum for line in header.signals], sums)
    rows = _standard_rows(tuple(line.name for line in header.signals))
    lines = [header.signals[row] for row in rows.values()]
    digital = samples.T[list(rows.values())]
    if all(line.gain == 1000 and line.baseline == 0 and line.units == "mV" for line in lines):
        return _place(rows, digital.astype(np.int16, copy=False), 0)
    microvolts = np.where(digital == MISSING, np.nan, digital.astype(np.float64))
    for values, line in zip(microvolts, lines, strict=True):
        if line.gain is None:
            raise RecordError("no calibration", f"lead {line.name} has no usable gain")
        # In wfdb's order of operations, so that equal means equal.
        values[:] = (values - line.baseline) / line.gain * _microvolts_per(line.units, line.name)
    return _place(rows, *to_int16_uv(microvolts))


def _place(rows: dict[int, int], signal: np.ndarray, n_clipped: int) -> Leads:
    """Put the leads that are there, in the order of `rows`, at their places among the twelve."""
    if list(rows) == list(range(len(LEADS))):
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
        raise RecordError("no standard leads", ", ".join(names)[:200] or "the header names no leads")
    return dict(sorted(rows.items()))


def _verify(names: list[str], announced: list[int | None], sums: list[int]) -> None:
    for name, expected, found in zip(names, announced, sums, strict=True):
        if expected is not None and expected != found & 0xFFFF:
            raise RecordError("bad checksum", f"lead {name}: {found & 0xFFFF}, the header says {expected}")


def _microvolts_per(units: str | None, lead: str) -> float:
    factor = MICROVOLTS.get((units or "").lower())
    if factor is None:
        raise RecordError("unknown units", f"lead {lead} is in '{units}'")
    return factor


def _read_by_wfdb(header: Header) -> Leads:
    record = _rdrecord(header)
    rows = _standard_rows(tuple(name or "" for name in record.sig_name))
    if header.signals:
        uncalibrated = [header.signals[row].name for row in rows.values() if header.signals[row].gain is None]
        if uncalibrated:
            raise RecordError("no calibration", f"lead {uncalibrated[0]} has no usable gain")
    scale = [_microvolts_per(record.units[row], record.sig_name[row]) for row in rows.values()]
    return _place(rows, *to_int16_uv((record.p_signal[:, list(rows.values())] * scale).T))


def _rdrecord(header: Header) -> Any:
    import wfdb  # seconds to import, and rarely needed
    # One sample per frame and one segment: the stored numbers are the ones the checksum is over.
    summed = bool(header.signals) and all("x" not in line.fmt or re.search(r"x1(?!\d)", line.fmt)
                                          for line in header.signals)
    try:
        record = wfdb.rdrecord(header.path, physical=not summed)
        if summed:
            _verify(record.sig_name, [line.checksum for line in header.signals], record.calc_checksum())
            record.dac(inplace=True)
    except FileNotFoundError as error:
        raise RecordError("missing file", os.path.basename(str(error.filename))) from None
    except _PARSER_ERRORS as error:
        detail = str(error).replace(os.path.dirname(header.path) + os.sep, "")
        raise RecordError("unreadable signal", (detail.splitlines() or [type(error).__name__])[0][:200]) from None
    if record.p_signal is None or not record.p_signal.size:
        raise RecordError("wrong length", "no samples")
    return record
