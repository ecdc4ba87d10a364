"""How many 12-lead ECGs of 10 s at 500 Hz one core measures beat by beat in a second, beside measuring them as a whole.

    OMP_NUM_THREADS=1 python benchmarks/beats_speed.py [--ludb ROOT] [--records N] [--rounds N] [--least N] [--smallest]

int16 (12, 5000) in, a table of every beat in every lead out, and that as JSON values and as the text of prompts, in
processor time, so that other work on the machine counts less. Exit status 1 when the best round is below `--least`
(40).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure_speed import FS, read_signals

from emgecg_cli.core.signals.delineation import measure
from emgecg_cli.core.signals.delineation.beat_table import serialise_gem
from emgecg_cli.core.signals.delineation.per_beat import measure_beats


def rate(work: Callable[[Any], Any], items: list[Any], rounds: int) -> float:
    """Items per second of processor time, the best round."""
    best = 0.0
    for _ in range(rounds):
        start = time.process_time()
        for item in items:
            work(item)
        best = max(best, len(items) / (time.process_time() - start))
    return best


def main() -> int:
    """Measure, print, and say by the exit status whether it is fast enough."""
    parser = argparse.ArgumentParser(description="How fast ECGs are measured beat by beat.")
    parser.add_argument("--ludb", type=Path)
    parser.add_argument("--records", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--least", type=float, default=40)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.records, given.rounds, given.least = 2, 1, 0
    signals = read_signals(given.ludb, given.records)
    tables = [measure_beats(signal, FS) for signal in signals]
    beats = rate(lambda signal: measure_beats(signal, FS), signals, given.rounds)
    whole = rate(lambda signal: measure(signal, FS), signals, given.rounds)
    print(f"{len(signals)} records of 12 leads, 10 s, {FS} Hz, {given.rounds} rounds, one core")
    print(f"{beats:8.0f} records/s, every beat in every lead ({beats / whole:.2f} of {whole:.0f}/s as a whole)")
    print(f"{rate(lambda table: table.to_json(), tables, given.rounds):8.0f} tables/s as JSON values")
    print(f"{rate(serialise_gem, tables, given.rounds):8.0f} tables/s as the text of prompts")
    return 0 if beats >= given.least else 1


if __name__ == "__main__":
    sys.exit(main())
