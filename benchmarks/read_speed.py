"""How long a PTB-XL record takes from its files into a store, beside `wfdb.rdsamp` alone on the same records.

    python benchmarks/read_speed.py ROOT [--fs 100|500] [--records N] [--rounds N]

The two take turns in one run, after a round that warms the file cache. Printed are the medians over the rounds of
wall-clock and of processor time per record, and their ratios; the aim is a ratio of at most 0.2, below 1 is required
(exit status 1 otherwise).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import wfdb

from emgecg_cli.core.config import PrepareDefaults
from emgecg_cli.core.datasets import Source
from emgecg_cli.core.datasets.ptb_xl import open_source
from emgecg_cli.core.store import prepare_store


def read_with_wfdb(root: Path, source: Source) -> None:
    """Read every record as users do without medreport: physical units, nothing kept."""
    for ref in source.refs:
        wfdb.rdsamp(str(root / ref.source))


def read_into_store(source: Source) -> None:
    """Read every record into a new store: parse, verify, clean the text, measure the leads, write to disk."""
    with tempfile.TemporaryDirectory() as folder:
        defaults = PrepareDefaults()
        prepare_store(source, Path(folder) / "store", clean=defaults.clean, min_words=defaults.min_words, split=None,
                      seed=defaults.seed, shard_size=defaults.shard_size)


def measure(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall clock and of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> int:
    """Measure, print, and say by the exit status whether reading into a store is the faster of the two."""
    parser = argparse.ArgumentParser(description="Reading into a store beside wfdb.rdsamp alone.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--fs", type=int, default=100, choices=(100, 500))
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    source = open_source(given.root, given.fs)
    source = dataclasses.replace(source, refs=source.refs[:given.records])
    n = len(source.refs)
    ours, theirs = [], []
    for _ in range(given.rounds + 1):
        theirs.append(measure(lambda: read_with_wfdb(given.root, source)))
        ours.append(measure(lambda: read_into_store(source)))
    ratios = []
    print(f"{n} records, {given.fs} Hz, {given.rounds} rounds")
    for i, clock in enumerate(("wall clock", "processor")):
        own = statistics.median(row[i] for row in ours[1:]) / n
        other = statistics.median(row[i] for row in theirs[1:]) / n
        ratios.append(own / other)
        print(f"{clock:>10}: read + store {own * 1e3:.3f} ms ({1 / own:,.0f} records/s), "
              f"wfdb.rdsamp {other * 1e3:.3f} ms ({1 / other:,.0f} records/s), ratio {own / other:.3f}")
    return 0 if max(ratios) < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
