"""How many recordings a second `prepare` reads and stores on one core, checks and hashes included.

    python benchmarks/store_speed.py [--records 1500] [--rounds 3] [--smallest]

Simulated ECGs are written as WFDB records, 12 leads, 10 s, 500 Hz, format 16. Processor time of this one process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Recording, open_dataset
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store import prepare_store


def write_records(root: Path, records: int) -> None:
    """Write simulated recordings and their reports.csv."""
    source = open_dataset("synthetic", 0, 500, records=records)
    rows = ["record,report"]
    for recording in source.read(list(source.listing())):
        assert isinstance(recording, Recording)
        name = recording.ref.record_id
        stored = np.ascontiguousarray(recording.signal.T.astype("<i2"))
        (root / f"{name}.dat").write_bytes(stored.tobytes())
        sums = stored.sum(axis=0, dtype=np.int16)
        lines = [f"{name} 12 500 {len(stored)}"] + [
            f"{name}.dat 16 1000.0(0)/mV 16 0 {stored[0, i]} {sums[i]} 0 {lead}" for i, lead in enumerate(LEADS)]
        (root / f"{name}.hea").write_text("\n".join(lines) + "\n")
        rows.append(f'{name},"{recording.report}"')
    (root / "reports.csv").write_text("\n".join(rows) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.smallest:
        given.records, given.rounds = 4, 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        root.mkdir()
        write_records(root, given.records)
        for name, config in (("at their own 500 Hz", PrepareConfig(fs=500)),
                             ("resampled to 100 Hz", PrepareConfig(fs=100)),
                             ("at 500 Hz and measured", PrepareConfig(fs=500, measure=True))):
            speeds = []
            for turn in range(given.rounds):
                begun = time.process_time()
                source = open_dataset("wfdb", 0, config.fs, root=root, reports=root / "reports.csv")
                prepare_store(source, Path(folder) / f"{config.fs}-{config.measure}-{turn}", config)
                speeds.append(given.records / (time.process_time() - begun))
            print(f"{name:>24}: {max(speeds):6.0f} records/s (rounds: {', '.join(f'{one:.0f}' for one in speeds)})")


if __name__ == "__main__":
    main()
