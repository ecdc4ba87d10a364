"""Peak memory and time of `prepare` on 1,000, 10,000 and 50,000 simulated records, again, and what reading them costs.

    python benchmarks/prepare_scale.py [--records 1000 10000 50000] [--workers 1] [--measure] [--smallest]

Each size runs in a process of its own, so that its peak is its own. Records per second should not fall with the size,
nor the cost of opening and of a random row rise.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.store import Engine, open_store, prepare_store

LOOKS = 5000


def run_one(records: int, workers: int, measure: bool) -> dict[str, float]:
    """Prepare and read one store; returns what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        prepare_store(open_dataset("synthetic", 0, records=records), Path(folder) / "store",
                      PrepareConfig(measure=measure), Engine("local", workers))
        seconds = time.perf_counter() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        begun = time.perf_counter()
        store = open_store(Path(folder) / "store")
        opening = time.perf_counter() - begun
        rows = random.Random(0).choices(range(records), k=LOOKS)
        begun = time.perf_counter()
        for row in rows:
            store.signal(row).sum()
        signals = LOOKS / (time.perf_counter() - begun)
        begun = time.perf_counter()
        for row in rows:
            store[row]
        items = LOOKS / (time.perf_counter() - begun)
        begun = time.perf_counter()
        store.row(records - 1)
        last = time.perf_counter() - begun
        begun = time.perf_counter()
        again = prepare_store(open_dataset("synthetic", 0, records=records), Path(folder) / "store",
                              PrepareConfig(measure=measure), Engine("local", workers))
        assert again.already_finished
        found_again = time.perf_counter() - begun
        return {"records": records, "seconds": seconds, "per_second": records / seconds, "peak_mb": peak / 1024,
                "worker_peak_mb": child / 1024, "open_ms": opening * 1e3, "signals_per_second": signals,
                "items_per_second": items,
                "last_row_ms": last * 1e3, "again_ms": found_again * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.records = [20]
    if given.one:
        print(json.dumps(run_one(given.records[0], given.workers, given.measure)))
        return
    for records in given.records:
        line = [sys.executable, __file__, "--one", "--records", str(records), "--workers", str(given.workers)]
        done = subprocess.run(line + ["--measure"] * given.measure, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        print(f"{records:>7} records: {found['seconds']:6.1f} s, {found['per_second']:5.0f}/s, peak "
              f"{found['peak_mb']:.0f} MB (largest worker {found['worker_peak_mb']:.0f} MB); found finished in "
              f"{found['again_ms']:.0f} ms, opened in "
              f"{found['open_ms']:.0f} ms, last row {found['last_row_ms']:.1f} ms, "
              f"{found['signals_per_second']:.0f} random signals/s, {found['items_per_second']:.0f} random records/s")


if __name__ == "__main__":
    main()
