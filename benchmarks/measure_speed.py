"""How many 12-lead ECGs of 10 s at 500 Hz one core measures in a second, and where the time goes.

    OMP_NUM_THREADS=1 python benchmarks/measure_speed.py [--ludb ROOT] [--records N] [--rounds N] [--smallest]

int16 (12, 5000) in, Measurements out, in processor time, so that other work on the machine counts less. The records are
LUDB's where its folder is given, else of the simulated cohort. Printed are the median and the best round and the stages
of the best; exit status 1 when the best is below `--least` (250).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.datasets.synthetic import open_source
from emgecg_cli.core.signals import delineation
from emgecg_cli.core.signals.delineation import measure

FS = 500
STAGES = {"filter": "filter_recording", "R peaks": "find_peaks", "shapes": "find_shapes", "median beat": "median_beat",
          "QRS": "find_qrs", "T wave": "find_t", "P wave": "find_p", "axes, ST, quality": "wave_fields"}


def read_signals(ludb: Path | None, n: int) -> list[np.ndarray]:
    """The recordings, as int16 microvolts (12, 5000)."""
    if ludb is None:
        source = open_source(records=max(2, n), fs=FS)
        return [recording.signal for recording in source.read(list(source.listing()))][:n]
    names = sorted((path.stem for path in (ludb / "data").glob("*.hea")), key=int)[:n]
    return [read_leads(read_header(ludb / "data", name)).signal for name in names]


def time_round(signals: list[np.ndarray]) -> float:
    """Records per second of processor time."""
    start = time.process_time()
    for signal in signals:
        measure(signal, FS)
    return len(signals) / (time.process_time() - start)


def time_stages(signals: list[np.ndarray]) -> dict[str, float]:
    """Milliseconds a record spends in each stage; the clock of each stage is in its figure."""
    spent = dict.fromkeys(STAGES, 0.0)
    kept = {name: getattr(delineation, name) for name in STAGES.values()}

    def clocked(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            start = time.process_time()
            found = work(*arguments)
            spent[stage] += time.process_time() - start
            return found
        return run

    try:
        for stage, name in STAGES.items():
            setattr(delineation, name, clocked(stage, kept[name]))
        for signal in signals:
            measure(signal, FS)
    finally:
        for name, work in kept.items():
            setattr(delineation, name, work)
    return {stage: 1000 * seconds / len(signals) for stage, seconds in spent.items()}


def main() -> int:
    """Measure, print, and say by the exit status whether it is fast enough."""
    parser = argparse.ArgumentParser(description="How fast ECGs are measured.")
    parser.add_argument("--ludb", type=Path)
    parser.add_argument("--records", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--least", type=float, default=250)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.records, given.rounds, given.least = 2, 1, 0
    signals = read_signals(given.ludb, given.records)
    time_round(signals)
    rounds = sorted(time_round(signals) for _ in range(given.rounds))
    stages = min((time_stages(signals) for _ in range(given.rounds)), key=lambda one: sum(one.values()))
    print(f"{len(signals)} records of 12 leads, 10 s, {FS} Hz, {given.rounds} rounds, one core")
    print(f"{rounds[len(rounds) // 2]:8.0f} records/s (median round)")
    print(f"{rounds[-1]:8.0f} records/s (best round)")
    for stage, milliseconds in stages.items():
        print(f"{milliseconds:8.2f} ms  {stage}")
    return 0 if rounds[-1] >= given.least else 1


if __name__ == "__main__":
    sys.exit(main())
