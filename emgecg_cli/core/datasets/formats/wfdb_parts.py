"""A WFDB record as parts on one clock: its one segment, or its segments in a row with gaps between them.

A plan says which signal of which part is which lead, at what rate the leads are read, and how many samples there are,
before any is read; then any stretch can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError, file_size
from emgecg_cli.core.datasets.formats.wfdb_formats import NULL, count_frames, signal_files
from emgecg_cli.core.datasets.formats.wfdb_headers import LARGEST_RATE, Header, read_header_at
from emgecg_cli.core.signals.lead_names import lead_rows, named

# A header costs nothing to write: one that announces many more samples than its files have bytes is refused. Gaps
# between segments take no bytes.
SAMPLES_PER_BYTE, SAMPLES_AT_LEAST = 64, 10 ** 6


@dataclass(frozen=True)
class Part:
    """One segment: its header, the lead of each signal that is one (row in `LEADS` -> row in the header), and the
    frames of the record before it and in it."""

    header: Header
    rows: dict[int, int]
    start: int
    n_frames: int


@dataclass(frozen=True)
class Plan:
    """A record to be read: `frame` samples of a lead in each of `n_frames` frames, at `fs` Hz.

    `leads` are the rows of `LEADS` that any part has, in order; `unused` the names of signals that are none of them.
    """

    parts: tuple[Part, ...]
    n_frames: int
    frame: int
    fs: int | Fraction
    leads: tuple[int, ...]
    unused: tuple[str, ...]

    @property
    def sig_len(self) -> int:
        """Samples of a lead."""
        return self.n_frames * self.frame

    @property
    def n_samples(self) -> int:
        """Numbers to hold while all is read at once."""
        return self.n_frames * max(self.frame * len(self.leads), *(part.header.frame for part in self.parts))


def plan_of(header: Header) -> Plan:
    """Find the leads of a record; raises RecordError for one that has none, or whose headers contradict each other."""
    parts = tuple(_segments(header)) if header.segments is not None else (_part(header, 0),)
    leads = tuple(sorted({lead for part in parts for lead in part.rows}))
    unused = tuple(dict.fromkeys([name for part in parts if len(part.rows) < len(part.header.signals)
                                  for name in _unused(part)]))
    if not leads:
        raise RecordError("no standard leads", f"not used: {', '.join(unused)[:200]}" if unused else "no signals")
    frame = max([part.header.signals[row].samples_per_frame for part in parts for row in part.rows.values()])
    fs = header.rate(frame)
    if fs > LARGEST_RATE:
        raise RecordError("over a limit", f"{float(fs):g} Hz, at most {LARGEST_RATE:,} Hz are read")
    last = parts[-1]
    n_frames = last.start + last.n_frames if header.segments is None else sum(one.sig_len for one in header.segments)
    plan = Plan(parts, n_frames, frame, fs, leads, unused)
    if header.segments is not None:
        _check_announced(plan)
    return plan


def _unused(part: Part) -> list[str]:
    rows = set(part.rows.values())
    return named([line.name for row, line in enumerate(part.header.signals) if row not in rows and line.fmt != NULL])


def _part(header: Header, start: int, n_frames: int | None = None) -> Part:
    return Part(header, _lead_rows(tuple([line.name if line.fmt != NULL else "" for line in header.signals])), start,
                count_frames(header) if n_frames is None else n_frames)


@lru_cache(maxsize=256)
def _lead_rows(names: tuple[str, ...]) -> dict[int, int]:
    try:
        return dict(sorted(lead_rows(names).items()))
    except ValueError as error:
        raise RecordError("unreadable header", str(error)) from None


def _segments(header: Header) -> Iterator[Part]:
    """The segments that have samples; a gap, and the header that only lists the signals there may be, have none."""
    segments = header.segments or ()
    total = sum(line.sig_len for line in segments)
    if header.sig_len not in (None, total):
        raise RecordError("unreadable header", f"{header.sig_len} samples announced, segments of {total} described")
    start = 0
    for line in segments:
        if line.name != "~":
            one = read_header_at(header.root, header.locate(f"{line.name}.hea")[:-4])
            if one.segments is not None:
                raise RecordError("unreadable header", f"segment {line.name} has segments itself")
            if line.sig_len:
                if one.fs != header.fs:
                    raise RecordError("unreadable header", f"segment {line.name} has {one.fs:g} Hz, the record "
                                                           f"{header.fs:g} Hz")
                there = count_frames(one)
                if there < line.sig_len:
                    raise RecordError("wrong length", f"segment {line.name} has {there} samples, the record's header "
                                                      f"says {line.sig_len}")
                yield _part(one, start, line.sig_len)
        start += line.sig_len


def _check_announced(plan: Plan) -> None:
    """What a header announces is allocated, so it is held against the files before."""
    n_bytes = sum(file_size(part.header.root, file.path) for part in plan.parts for file in signal_files(part.header)
                  if file.fmt != NULL)
    n_samples = plan.sig_len * len(plan.leads)
    if n_samples > SAMPLES_AT_LEAST + SAMPLES_PER_BYTE * n_bytes:
        raise RecordError("wrong length", f"{n_samples} samples are announced, in {n_bytes} bytes")
