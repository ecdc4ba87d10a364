"""Whether a model of recordings and pages reads each of the two alone: its own against another patient's.

    python benchmarks/modalities.py [--folder FOLDER] [--smallest] [--records 3600] [--epochs 12] [--seed 0]

One run with both towers is trained on a simulated cohort, each record shown one input less at `--modality-dropout`. It
writes the reports of the test split shown both inputs, each alone, and each of these from another patient; pairs that
differ in nothing but whose an input is are compared, with intervals by patient. Everything lies in FOLDER, a temporary
one if not given, and is taken up where it was left. Ends with status 1 where the interval of a difference of
findings-F1 or evidence score holds 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from emgecg_cli.core.config import GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import is_finished
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.store import prepare_store
from emgecg_cli.core.training.run import train

SHOWN = ("findings-F1", "evidence-score")
# What is compared: shown, own and another patient's.
PAIRS = {"both": ("real", "shuffled"), "both, another patient's recording": ("real", "ecg=shuffled"),
         "both, another patient's page": ("real", "image=shuffled"),
         "recording alone": ("image=none", "ecg=shuffled,image=none"),
         "page alone": ("ecg=none", "ecg=none,image=shuffled")}
PAGES: dict[str, Any] = {"image_layout": "12x1", "image_mode": "pad", "image_dpi": 60}


def main() -> int:
    asked = _arguments()
    if asked.folder:
        return measure(asked.folder, asked)
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), asked)


def measure(folder: Path, asked: argparse.Namespace) -> int:
    """Train in a folder, score what is written of each showing, print it; returns the status."""
    store, instructions, run = folder / "store", folder / "instructions", folder / "run"
    if not is_finished(store):
        source = open_dataset("synthetic", asked.seed, records=asked.records, fs=100)
        prepare_store(source, store, PrepareConfig(fs=100, clean="lower", split="80/10/10", seed=asked.seed))
    if not is_finished(instructions):
        build_instructions(store, instructions, pool_size=32)
    began = time.process_time()
    train(instructions, run, resolve_train_config(
        backbone="tiny", encoder="resnet18-tiny,page-tiny", modality_dropout=asked.modality_dropout, seed=asked.seed,
        **{"steps": asked.steps} if asked.steps else {"epochs": asked.epochs}, **PAGES), progress=_said)
    print(f"trained in {(time.process_time() - began) / 60:.1f} minutes of processor time", flush=True)
    differs = []
    for name, signals in PAIRS.items():
        written = {signal: folder / f"{signal}.jsonl" for signal in signals}
        for signal, out in written.items():
            if not is_finished(out):
                generate_reports(run, out, GenerateConfig(signal=signal, batch_size=32, **asked.generate))
        scores = score_file(dict(zip(("own", "another's"), written.values(), strict=True)), folder / f"{name}.json",
                            metrics=["evidence", "findings"], resamples=2000)
        assert scores.comparison is not None
        tests = {test.name: test for test in scores.comparison.tests}
        for score in SHOWN:
            own, other, test = scores.value(score, "own"), scores.value(score, "another's"), tests[score]
            print(f"{name:34} {score:15} {own.value:.3f} ({own.ci_low:.3f}, {own.ci_high:.3f})  "
                  f"{other.value:.3f}  {test.difference:+.3f} ({test.ci_low:+.3f}, {test.ci_high:+.3f})", flush=True)
            differs.append(test.ci_high < 0)
    return int(not all(differs) and not asked.smallest)


def _said(done: int, steps: int, **told: object) -> None:
    if done % 50 == 0:
        print(done, steps, told, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    for name, number in (("records", 3600), ("seed", 0), ("steps", 0)):
        parser.add_argument(f"--{name}", type=int, default=number)
    for name, value in (("epochs", 12.0), ("modality-dropout", 0.5)):
        parser.add_argument(f"--{name}", type=float, default=value)
    asked = parser.parse_args()
    asked.generate = {"max_new_tokens": 4} if asked.smallest else {}
    if asked.smallest:
        asked.records, asked.steps = 80, 2
    return asked


if __name__ == "__main__":
    sys.exit(main())
