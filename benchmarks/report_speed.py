"""How long `report` takes to draft one recording by a tiny run, beside importing torch and transformers alone.

    python benchmarks/report_speed.py [--rounds N] [--smallest]

A run of a few steps is trained on a simulated cohort; then, in turns, one recording is drafted, and a process imports
what every model of transformers needs and does nothing. Medians of processor seconds, and how many times the second the
first is: what is above 1 is this package's own.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

IMPORTS = [sys.executable, "-c", "import torch, transformers.modeling_utils"]
RECORDS = 60


def command(*words: object) -> list[str]:
    """The command line of one of our commands."""
    return [sys.executable, "-m", "emgecg_cli", *map(str, words)]


def seconds(words: list[str], folder: Path) -> float:
    """Processor seconds of a process, its byte code written down as that of an installed package is."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_run(folder: Path) -> list[str]:
    """A run of three steps and a recording; the command that drafts its report."""
    from emgecg_cli.core.store import open_store

    seconds(command("prepare", "synthetic", "--records", RECORDS), folder)
    seconds(command("build-instructions"), folder)
    seconds(command("train", "--backbone", "tiny", "--steps", 3, "--batch-size", 2, "--out", "runs/tiny"), folder)
    store = open_store(folder / "stores/synthetic")
    np.save(folder / "recording.npy", np.asarray(store.signal(0)))
    return command("report", "runs/tiny", "recording.npy", "--file-fs", store.fs, "--file-units", "uV", "--file-leads",
                   "standard", "--json")


def main() -> None:
    """Time both in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draft = make_run(folder)
        rounds = range(1 if given.smallest else given.rounds)
        if not given.smallest:   # the first one reads everything from the disk
            seconds(draft, folder)
        taken = [(seconds(draft, folder), seconds(IMPORTS, folder)) for _ in rounds]
    ours, theirs = (statistics.median(column) for column in zip(*taken, strict=True))
    print(f"report of one recording: {ours:.2f} s of the processor; importing torch and transformers: {theirs:.2f} s; "
          f"ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
