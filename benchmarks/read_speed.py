"""How long our own WFDB reader takes, beside `wfdb.rdsamp` on the same files.

    python benchmarks/read_speed.py [ROOT] [--records N] [--rounds N] [--fs HZ] [--smallest]

The recordings are those below ROOT (simulated noise, 12 x 10 s at 500 Hz, without one), written anew in each plain
format: 16, 212, and 16 in a MATLAB v4 matrix; with ROOT also as they are. Ours parses the header, verifies the
checksums, orders the leads and gives int16 microvolts; wfdb gives its float64. The two take turns in one run, after a
round that warms the file cache. Printed are the medians over the rounds of the time per record, the ratio, and
recordings per second of the reader alone, and with resampling to --fs. Exit status 1 when a format is less than 8
times as fast as wfdb.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import wfdb

from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, find_records, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.signals.resampling import resample

TIMES_AS_FAST = 8


def recordings(root: Path | None, n: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Names, rates and int16 microvolts (12, L) of the first `n` that can be read, or of `n` that are made up."""
    if root is None:
        rng = np.random.default_rng(1)
        for i in range(n):
            yield f"r{i}", 500, np.cumsum(rng.integers(-9, 10, (12, 5000)), axis=1).astype(np.int16)
        return
    for name in itertools.islice(find_records(root), n):
        try:
            header = read_header(root, name)
            leads = read_leads(header)
        except RecordError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        if leads.absent_leads:
            print(f"{name} is left out: it lacks {', '.join(leads.absent_leads)}", file=sys.stderr)
        else:
            yield name, round(header.fs), leads.signal


def write(folder: Path, name: str, fs: int, signal: np.ndarray, fmt: str) -> None:
    """One record in format "16" or "212" (there at 5 microvolts a step), or as "mat"."""
    gain, stored = (200, np.clip(np.rint(signal / 5), -2047, 2047).astype(np.int16)) if fmt == "212" else (1000, signal)
    if fmt != "mat":
        wfdb.wrsamp(name, fs, ["mV"] * 12, list(LEADS), d_signal=stored.T.astype(np.int64), fmt=[fmt] * 12,
                    adc_gain=[gain] * 12, baseline=[0] * 12, write_dir=str(folder))
        return
    start = struct.pack("<5i4s", 30, 12, signal.shape[1], 0, 4, b"val\0")
    (folder / f"{name}.mat").write_bytes(start + signal.T.astype("<i2").tobytes())
    lines = [f"{name} 12 {fs} {signal.shape[1]}"]
    for lead, row in zip(LEADS, signal, strict=True):
        lines.append(f"{name}.mat 16x1+24 1000.0(0)/mV 16 0 {row[0]} {int(row.sum()) & 0xFFFF} 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(root: Path, names: list[str], rounds: int, fs: int) -> tuple[float, float, float]:
    """Median seconds per record: ours, ours with resampling, wfdb's."""
    def read(resampled: bool) -> None:
        for name in names:
            header = read_header(root, name)
            leads = read_leads(header)
            if resampled:
                resample(leads.signal, round(header.fs), fs)

    def read_with_wfdb() -> None:
        for name in names:
            wfdb.rdsamp(str(root / name))

    taken = [(seconds(lambda: read(False)), seconds(lambda: read(True)), seconds(read_with_wfdb))
             for _ in range(rounds + 1)]
    ours, both, theirs = (statistics.median(column) / len(names) for column in zip(*taken[1:], strict=True))
    return ours, both, theirs


def main() -> int:
    """Measure, print, and say by the exit status whether every format is as fast as it should be."""
    parser = argparse.ArgumentParser(description="Our own WFDB reader beside wfdb.rdsamp.")
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--records", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fs", type=int, default=100)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.records, given.rounds = 2, 1
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    found = list(recordings(given.root, given.records))
    if not found:
        parser.error(f"{given.root} holds no record of twelve leads")
    slowest = float("inf")
    with tempfile.TemporaryDirectory() as scratch:
        sets = {"as found": (given.root, [name for name, _, _ in found])} if given.root else {}
        for fmt in ("16", "212", "mat"):
            folder = Path(scratch) / fmt
            folder.mkdir()
            for i, (_, fs, signal) in enumerate(found):
                write(folder, f"r{i}", fs, signal, fmt)
            sets[fmt] = folder, [f"r{i}" for i in range(len(found))]
        print(f"{len(found)} records, {given.rounds} rounds")
        for fmt, (folder, names) in sets.items():
            ours, both, theirs = compare(folder, names, given.rounds, given.fs)
            slowest = min(slowest, theirs / ours)
            print(f"{fmt:>8}: own {ours * 1e3:.3f} ms, wfdb.rdsamp {theirs * 1e3:.3f} ms, {theirs / ours:.1f} times as "
                  f"fast; {1 / ours:,.0f} records/s, {1 / both:,.0f} with resampling to {given.fs} Hz")
    return 0 if slowest >= TIMES_AS_FAST or given.smallest else 1


if __name__ == "__main__":
    sys.exit(main())
