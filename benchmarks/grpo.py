"""Whether training by reward raises the evidence score of held-out patients, and what it does to the findings.

    python benchmarks/grpo.py [--folder FOLDER] [--smallest] [--records 2000] [--epochs 10] [--steps 120]
                              [--batch-size 12] [--samples 8] [--learning-rate 1e-4] [--kl 0.1] [--seed 0]

A simulated cohort, a run of the backbone that is built from sizes, and `train --objective grpo --from` that run; both
write the reports of the test split, which are scored against the recordings and the truth of the simulation. The
differences have intervals by patient. Everything lies in FOLDER, a temporary one if not given, and is taken up where it
was left. Ends with status 1 where the interval of the evidence score's difference holds 0, or that of the findings-F1
lies below it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from emgecg_cli.core.config import GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import is_finished
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.store import prepare_store
from emgecg_cli.core.training.run import train

SHOWN = ("evidence-score", "evidence-precision", "evidence-recall", "evidence-contradicted-per-report", "findings-F1",
         "facts-precision", "facts-recall")
SMALLEST = {"records": 60, "epochs": 1.0, "steps": 2, "batch_size": 4, "samples": 2}


def main() -> int:
    asked = _arguments()
    if asked.folder:
        return measure(asked.folder, asked)
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), asked)


def measure(folder: Path, asked: argparse.Namespace) -> int:
    """Train both runs in a folder, score what they write, print it; returns the status."""
    store, instructions = folder / "store", folder / "instructions"
    if not is_finished(store):
        source = open_dataset("synthetic", asked.seed, records=asked.records, fs=100)
        prepare_store(source, store, PrepareConfig(fs=100, clean="lower", seed=asked.seed))
    if not is_finished(instructions):
        build_instructions(store, instructions, pool_size=32)
    start = folder / "start"
    train(instructions, start, resolve_train_config(backbone="tiny", epochs=asked.epochs, seed=asked.seed))
    began = time.perf_counter()
    rewarded = folder / "grpo"
    train(instructions, rewarded, resolve_train_config(
        objective="grpo", from_run=str(start), steps=asked.steps, batch_size=asked.batch_size, seed=asked.seed,
        learning_rate=asked.learning_rate, grpo_samples=asked.samples, grpo_kl=asked.kl), progress=_said)
    print(f"{asked.steps} steps in {time.perf_counter() - began:.0f} s", flush=True)
    written = {run.name: folder / f"{run.name}.jsonl" for run in (start, rewarded)}
    for run in (start, rewarded):
        if not is_finished(written[run.name]):
            generate_reports(run, written[run.name], GenerateConfig(batch_size=32))
    scores = score_file(written, folder / "scores.json", metrics=["evidence", "facts", "findings"], resamples=2000)
    assert scores.comparison is not None
    tests = {test.name: test for test in scores.comparison.tests}
    print(f"{scores.n} reports of held-out records, intervals by {scores.clustered_by}")
    for name in SHOWN:
        before, after, test = scores.value(name, "start"), scores.value(name, "grpo"), tests[name]
        print(f"{name:34} {before.value:.3f} -> {after.value:.3f}   {test.difference:+.3f} "
              f"({test.ci_low:+.3f}, {test.ci_high:+.3f})")
    worse = not tests["evidence-score"].ci_low > 0 or tests["findings-F1"].ci_high < 0
    return int(worse and not asked.smallest)


def _said(done: int, steps: int, **told: object) -> None:
    if done % 10 == 0:
        print(done, steps, told, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--smallest", action="store_true")
    for name, default in (("records", 2000), ("steps", 120), ("batch-size", 12), ("samples", 8), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, rate in (("epochs", 10.0), ("learning-rate", 1e-4), ("kl", 0.1)):
        parser.add_argument(f"--{name}", type=float, default=rate)
    asked = parser.parse_args()
    if asked.smallest:
        vars(asked).update(SMALLEST)
    return asked


if __name__ == "__main__":
    sys.exit(main())
