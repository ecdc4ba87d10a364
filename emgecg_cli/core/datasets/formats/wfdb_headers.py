"""Parse WFDB headers (header(5)), and say why one cannot be used."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError, check_file_name, find_records, locate, read_file

__all__ = ["Header", "RecordError", "SegmentLine", "SignalLine", "find_records", "read_header"]

LARGEST_HEADER = 2 ** 20
LARGEST_FRAME = 10 ** 6
LARGEST_RATE = 10 ** 6
LONGER = "file longer than its header"
LARGEST_BASELINE = 2 ** 31
LARGEST_SKEW = 10 ** 6

# record name[/segments] signals [rate[/counter frequency[(base counter)]] [samples [base time [base date]]]]
_RECORD = re.compile(r"(\S+?)(?:/(\d{1,9}))?\s+(\d{1,9})"
                     r"(?:\s+(\d*\.?\d*(?:[eE][-+]?\d{1,2})?)(?:/\S*|\(\S*)?(?:\s+(\d{1,18})(?:\s.*)?)?)?", re.ASCII)
_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,9}))?(?::(\d{1,9}))?(?:\+(\d{1,18}))?", re.ASCII)
_GAIN = re.compile(r"([-+]?(?:[\d.]+(?:[eE][-+]?\d+)?|nan|inf))(?:\((-?\d{1,18})\))?(?:/(\S+))?", re.ASCII | re.I)


@dataclass(frozen=True)
class SignalLine:
    """What a header says of one signal. `gain` is in units of the file per `units`; None = not calibrated. `skew` is in
    frames; `initial` is what the differences of format 8 start from."""

    file_name: str
    fmt: str
    gain: float | None
    baseline: int
    units: str
    checksum: int | None
    name: str
    samples_per_frame: int = 1
    skew: int = 0
    byte_offset: int = 0
    initial: int = 0


@dataclass(frozen=True)
class SignalFile:
    """Signals of a header that share one file, which holds them frame by frame: for each the samples per frame, and
    what the differences of format 8 start from."""

    name: str
    path: str
    fmt: str
    byte_offset: int
    samples: tuple[int, ...]
    initial: tuple[int, ...]

    @property
    def frame(self) -> int:
        """Samples of a frame in this file."""
        return sum(self.samples)


@dataclass(frozen=True)
class SegmentLine:
    """One segment of a record: its header's name, "~" for a gap, and its samples in time."""

    name: str
    sig_len: int


@dataclass(frozen=True)
class Header:
    """A parsed WFDB header. `path` lacks the extension; `sig_len` is None where the header leaves it out.

    `fs` and `sig_len` count frames, in each of which a signal may have several samples.
    `comments` are the lines that begin with "#", without it and the blanks around: "Age: 54", "Dx: 426783006".
    A record of several segments has `segments` and no `signals`. No file is read that lies outside `root`.
    """

    path: str
    fs: float
    sig_len: int | None
    signals: tuple[SignalLine, ...]
    segments: tuple[SegmentLine, ...] | None = None
    comments: tuple[str, ...] = ()
    root: str = ""

    @property
    def frame(self) -> int:
        """Samples of a frame, over all signals."""
        return sum([line.samples_per_frame for line in self.signals])

    def rate(self, samples_per_frame: int = 1) -> int | Fraction:
        """The rate in Hz of signals with that many samples a frame, just as the header writes it."""
        return _rate(self.fs, samples_per_frame)

    def locate(self, name: str) -> str:
        """The path of a file that the header names; raises RecordError."""
        return locate(self.root, os.path.dirname(self.path), name)


@lru_cache(maxsize=1024)
def _rate(fs: float, samples_per_frame: int) -> int | Fraction:
    exact = Fraction(repr(fs)) * samples_per_frame
    return exact.numerator if exact.denominator == 1 else exact


def read_header(root: str | Path, record: str) -> Header:
    """Read the header of a record, given relative to `root` and without extension; raises RecordError.

    Neither the record nor a file its header names may be written as a path that leaves the root, or be a link that
    does.
    """
    if not record or record[0] in "/~" or any(c in record for c in "\\:\0") or ".." in record.split("/"):
        raise RecordError("path outside root", repr(record))
    root = str(root)
    return read_header_at(root, os.path.join(root, record))


def read_header_at(root: str, path: str) -> Header:
    """Read the header at `path`, no extension, which is known to be written as a path below `root`."""
    content = _decode(read_file(root, path + ".hea", LARGEST_HEADER))
    lines, comments = [], []
    for line in content.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        line = line.strip()
        if line.startswith("#"):
            comments.append(line.strip("# \t"))
        elif line:
            lines.append(line)
    try:
        return _parse(root, path, lines, tuple(comments))
    except ValueError as error:
        raise RecordError("unreadable header", str(error)) from None


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _parse(root: str, path: str, lines: list[str], comments: tuple[str, ...]) -> Header:
    match = _RECORD.fullmatch(lines[0]) if lines else None
    if match is None:
        raise ValueError("no record line")
    _, n_segments, n_signals, rate, stated = match.groups()
    fs, sig_len = float(rate) if rate else 250.0, int(stated or 0) or None
    if not 0 < fs <= LARGEST_RATE:
        raise ValueError(f"a rate of {rate} Hz")
    described = len(lines) - 1
    if n_segments is not None:
        if described != int(n_segments):
            raise ValueError(f"{n_segments} segments announced, {described} described")
        return Header(path, fs, sig_len, (), tuple(map(_segment_line, lines[1:])), comments, root)
    if described != int(n_signals):
        raise ValueError(f"{n_signals} signals announced, {described} described")
    signals = tuple(map(_signal_line, lines[1:]))
    header = Header(path, fs, sig_len, signals, None, comments, root)
    if header.frame > LARGEST_FRAME:
        raise RecordError("over a limit", f"a frame of {header.frame:,} samples, at most {LARGEST_FRAME:,} are read")
    return header


def _signal_line(line: str) -> SignalLine:
    parts = line.split(None, 8)
    n_parts = len(parts)
    if n_parts < 2:
        raise ValueError(f"signal line {line[:80]!r}")
    check_file_name(parts[0])
    fmt, samples_per_frame, skew, byte_offset = _format(parts[1])
    gain, baseline, units = _calibration(parts[2]) if n_parts > 2 else (None, None, "mV")
    try:
        if baseline is None:
            baseline = int(parts[4]) if n_parts > 4 else 0
        initial = int(parts[5]) if fmt == "8" and n_parts > 5 else 0
        checksum = int(parts[6]) & 0xFFFF if n_parts > 6 else None
    except ValueError:
        raise ValueError(f"signal line {line[:80]!r}") from None
    if abs(baseline) > LARGEST_BASELINE:
        raise ValueError("the baseline is out of range")
    return SignalLine(parts[0], fmt, gain, baseline, units, checksum, parts[8] if n_parts > 8 else "",
                      samples_per_frame, skew, byte_offset, initial)


@lru_cache(maxsize=1024)
def _format(text: str) -> tuple[str, int, int, int]:
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise ValueError(f"format {text[:40]!r}")
    fmt, samples_per_frame, skew, byte_offset = match.groups()
    if not int(samples_per_frame or 1) or int(skew or 0) > LARGEST_SKEW:
        raise ValueError(f"format {text[:40]!r}")
    return fmt, int(samples_per_frame or 1), int(skew or 0), int(byte_offset or 0)


@lru_cache(maxsize=1024)
def _calibration(text: str) -> tuple[float | None, int | None, str]:
    match = _GAIN.fullmatch(text)
    if match is None:
        raise ValueError(f"gain {text[:40]!r}")
    gain = float(match[1])
    usable = 1e-6 < abs(gain) < 1e9
    return (gain if usable else None), (int(match[2]) if match[2] else None), match[3] or "mV"


def _segment_line(line: str) -> SegmentLine:
    name, *rest = line.split(None, 1)
    if len(rest) != 1 or not re.fullmatch(r"[0-9]{1,18}", rest[0]):
        raise ValueError(f"segment line {line[:80]!r}")
    if name != "~":
        check_file_name(name)
    return SegmentLine(name, int(rest[0]))
