"""Parse WFDB headers (header(5)), and say why one cannot be used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

LARGEST_RECORD = 10 ** 8
LARGEST_BASELINE = 2 ** 31

_RECORD = re.compile(r"(\S+?)(?:/(\d+))?\s+(\d+)(?:\s+([\d.]+)(?:/\S+)?(?:\s+(\d+).*)?)?\s*")
_GAIN = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)(?:\((-?\d+)\))?(?:/(\S+))?")


class RecordError(Exception):
    """A record that cannot be read: a short reason that can be counted, and the detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class SignalLine:
    """What a header says of one signal. `gain` is in units of the file per `units`; None = not calibrated."""

    file_name: str
    fmt: str
    gain: float | None
    baseline: int
    units: str
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """A parsed WFDB header. `path` lacks the extension; `sig_len` is None where the header leaves it out."""

    path: str
    fs: float
    sig_len: int | None
    signals: tuple[SignalLine, ...]
    n_segments: int | None = None


def read_header(root: str | Path, record: str) -> Header:
    """Read the header of a record, given relative to `root` and without extension; raises RecordError.

    Neither the record nor a file its header names may be written as a path that leaves the root.
    """
    if not record or record[0] in "/~" or any(c in record for c in "\\:\0") or ".." in record.split("/"):
        raise RecordError("path outside root", repr(record))
    return _read_header(os.path.join(root, record))


def _read_header(path: str) -> Header:
    try:
        with open(path + ".hea", "rb") as stream:
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise RecordError("missing file", os.path.basename(path) + ".hea") from None
    except OSError as error:
        raise RecordError("unreadable header", str(error.strerror)) from None
    lines = [line for line in (raw.partition("#")[0].strip() for raw in _decode(content).splitlines()) if line]
    match = _RECORD.fullmatch(lines[0]) if lines else None
    if match is None:
        raise RecordError("unreadable header", "no record line")
    _, n_segments, n_signals, rate, sig_len = match.groups()
    try:
        fs = float(rate) if rate else 250.0
        if not 0 < fs < 1e6 or int(n_signals) * int(sig_len or 0) > LARGEST_RECORD:
            raise ValueError(f"{n_signals} signals of {sig_len} samples at {rate} Hz")
        if n_segments is not None:
            _check_segments(path, lines[1:])
            return Header(path, fs, int(sig_len) if sig_len else None, (), int(n_segments))
        if len(lines) - 1 != int(n_signals):
            raise ValueError(f"{n_signals} signals announced, {len(lines) - 1} described")
        signals = tuple(_signal_line(line) for line in lines[1:])
    except ValueError as error:
        raise RecordError("unreadable header", str(error)) from None
    return Header(path, fs, int(sig_len) or None if sig_len else None, signals)


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _signal_line(line: str) -> SignalLine:
    parts = line.split(None, 8)
    if len(parts) < 2:
        raise ValueError(f"signal line '{line[:80]}'")
    _check_file_name(parts[0])
    gain, baseline, units = _calibration(parts[2]) if len(parts) > 2 else (None, None, "mV")
    if baseline is None:
        baseline = int(parts[4]) if len(parts) > 4 else 0
    if abs(baseline) > LARGEST_BASELINE:
        raise ValueError("the baseline is out of range")
    checksum = int(parts[6]) & 0xFFFF if len(parts) > 6 else None
    return SignalLine(parts[0], parts[1], gain, baseline, units, checksum, parts[8] if len(parts) > 8 else "")


def _check_file_name(name: str) -> None:
    if name in (".", "..", "-") or any(c in name for c in "/\\:\0"):
        raise RecordError("path outside root", f"the header names the file {name!r}")


@lru_cache(maxsize=1024)
def _calibration(text: str) -> tuple[float | None, int | None, str]:
    match = _GAIN.fullmatch(text)
    if match is None:
        raise ValueError(f"gain '{text[:40]}'")
    gain = float(match[1])
    usable = 1e-6 < abs(gain) < 1e9
    return (gain if usable else None), (int(match[2]) if match[2] else None), match[3] or "mV"


def _check_segments(path: str, lines: list[str]) -> None:
    for line in lines:
        name = line.split()[0]
        if name != "~":
            _check_file_name(name)
            if _read_header(os.path.join(os.path.dirname(path), name)).n_segments is not None:
                raise ValueError(f"segment {name} has segments itself")
