"""The signals of a file, each in microvolts at its own rate, as twelve leads by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.datasets.formats.wfdb_headers import LARGEST_RATE
from emgecg_cli.core.datasets.formats.wfdb_records import LARGEST_AT_ONCE, MICROVOLTS, Leads
from emgecg_cli.core.signals.lead_names import lead_of, lead_rows, named
from emgecg_cli.core.signals.leads import LEADS, MISSING, to_int16_uv
from emgecg_cli.core.signals.resampling import Rate, resample

_WORDS = {"microvolt": 1.0, "microvolts": 1.0, "millivolt": 1e3, "millivolts": 1e3, "volt": 1e6, "volts": 1e6,
          "nv": 1e-3, "nanovolts": 1e-3}


@dataclass(frozen=True)
class Channel:
    """One signal of a file: float64 microvolts (L), NaN where a sample is missing, its rate in Hz, and how many samples
    of it pass before it begins."""

    name: str
    microvolts: np.ndarray
    fs: Rate
    late: int = 0


def microvolts_per(units: str, lead: str) -> float:
    """How many microvolts make one of these units; raises RecordError for what is no voltage."""
    plain = units.strip().lower()
    found = MICROVOLTS.get(plain) or _WORDS.get(plain)
    if found is None:
        raise RecordError("unknown units", f"lead {lead[:40]} is in {units.strip()[:40]!r}")
    return found


def rate_of(value: float | Fraction) -> Rate:
    """A rate in Hz, whole where it is so but for rounding; raises RecordError for one that no recorder has."""
    if not 0 < value <= LARGEST_RATE:
        raise RecordError("over a limit" if value > LARGEST_RATE else "unreadable header", f"a rate of {value} Hz")
    exact = Fraction(value) if isinstance(value, Fraction) else Fraction(repr(float(value)))
    if abs(exact - round(exact)) <= exact / 1_000_000:
        return max(1, round(exact))
    return exact.limit_denominator(10_000)


def check_count(n_samples: int) -> None:
    """Refuse more numbers than are held at once; raises RecordError."""
    if n_samples > LARGEST_AT_ONCE:
        raise RecordError("over a limit", f"{n_samples:,} samples, at most {LARGEST_AT_ONCE:,} are read of such a file")


def leads_of(channels: Sequence[Channel], others: Sequence[str] = (), flags: Sequence[str] = ()) -> Leads:
    """The leads among the signals, at the highest of their rates; `others` are names of signals that were not read.

    A lead that ends before the longest does is missing from there on, and so it is before it begins; `flags` say so.
    Raises RecordError where there is no lead, one is named twice, or one has no sample.
    """
    names = [one.name for one in channels]
    try:
        rows = dict(sorted(lead_rows(names).items()))
    except ValueError as error:
        raise RecordError("lead named twice", str(error)) from None
    unused = (*named([name for i, name in enumerate(names) if i not in rows.values()]), *named(others))
    if not rows:
        raise RecordError("no standard leads", f"not used: {', '.join(unused)[:200]}" if unused else "no signals")
    _refuse_copies(unused, rows)
    found = {lead: channels[row] for lead, row in rows.items()}
    fs = max(one.fs for one in found.values())
    check_count(sum(len(one.microvolts) + one.late for one in found.values()))
    signals, n_clipped = {}, 0
    for lead, one in found.items():
        signals[lead], clipped = _at_rate(one, fs)
        n_clipped += clipped
    longest = max(map(len, signals.values()))
    if not longest:
        raise RecordError("wrong length", "no samples")
    empty = [LEADS[lead] for lead, signal in signals.items() if (signal == MISSING).all()]
    if empty:
        raise RecordError("nan lead", f"no sample in {', '.join(empty)}")
    short = [LEADS[lead] for lead, signal in signals.items() if len(signal) < longest]
    whole = np.full((len(LEADS), longest), MISSING, np.int16)
    for lead, signal in signals.items():
        whole[lead, :len(signal)] = signal
    told = [*flags, *([f"leads of unlike lengths: {', '.join(short)} end early"] if short else [])]
    return Leads(whole, [name for lead, name in enumerate(LEADS) if lead not in rows], n_clipped, fs, unused,
                 tuple(told))


def _refuse_copies(unused: Sequence[str], rows: dict[int, int]) -> None:
    """A library that numbers what is named alike (`II`, `II_2`) hides that a lead is there twice."""
    for name in unused:
        stem, _, number = name.rpartition("_")
        lead = lead_of(stem) if number.isdecimal() else None
        if lead in rows:
            raise RecordError("lead named twice", f"lead {LEADS[lead]} is there more than once")


def _at_rate(one: Channel, fs: Rate) -> tuple[np.ndarray, int]:
    values, n_clipped = to_int16_uv(one.microvolts)
    if one.late:
        values = np.concatenate([np.full(one.late, MISSING, np.int16), values])
    if one.fs == fs:
        return values, n_clipped
    found, more = resample(values[None], one.fs, fs)
    return found[0], n_clipped + more
