"""From the start of `train` and `generate` over 800,000 records to their first step: seconds, and memory.

    python benchmarks/train_start.py [--records 800000] [--smallest]

The store has signals of a few samples, and reports as MIMIC-IV-ECG's machine writes them; both it and its instructions
are written by the commands' own writers. The backbone is a small LLaMA with random weights and a tokenizer of 2,000
words, so that what is measured is what comes before the model. Each start is a process of its own; the time of
importing torch and transformers is shown apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SHARD = 2048
SAMPLES = 256
WORDS = ("sinus rhythm", "sinus bradycardia", "sinus tachycardia", "atrial fibrillation", "left axis deviation",
         "possible left atrial enlargement", "right bundle branch block", "left bundle branch block",
         "nonspecific T wave changes", "inferior infarct, age undetermined", "prolonged QT interval",
         "low QRS voltage in precordial leads", "first degree AV block", "ventricular premature complexes",
         "anterior T wave changes may be due to ischemia", "left ventricular hypertrophy", "borderline ECG",
         "abnormal ECG", "normal ECG", "poor R wave progression", "early repolarization pattern")


def report(rng: random.Random) -> str:
    """A report of two to nine sentences."""
    return " ".join(f"{sentence.capitalize()}." for sentence in rng.sample(WORDS, rng.randint(2, 9)))


def make_store(out: Path, records: int) -> None:
    """A store of short signals, one patient for every five records."""
    from emgecg_cli.core.artifacts import RecordRow
    from emgecg_cli.core.manifest import Manifest
    from emgecg_cli.core.store import make_shard, write_store

    def build(number: int, first: int) -> object:
        rng = np.random.default_rng(number)
        rows = []
        for i in range(first, min(first + SHARD, records)):
            patient = i // 5
            split = {0: "test", 1: "val"}.get(patient % 20, "train")
            rows.append((RecordRow(f"s{i:08d}", f"p{patient:07d}", split, 100, SAMPLES, report(random.Random(i)), None,
                                   "en", [], f"files/{i}", 0, 0, recording_id=f"s{i:08d}"),
                         rng.integers(-500, 500, (12, SAMPLES), np.int16)))
        return make_shard(number, rows)

    def manifest(written: object) -> Manifest:
        return Manifest("store", "prepare measured", {}, 0, counts={"records": records},
                        details={"dataset": "measured", "fs": 100, "sig_len": SAMPLES})

    starts = range(0, records, SHARD)
    write_store(out, identity={"records": records}, sizes=[min(SHARD, records - start) for start in starts],
                job=lambda number: starts[number], build=build, make_manifest=manifest)


def make_backbone(out: Path) -> None:
    """A LLaMA of two narrow layers, and its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from emgecg_cli.core.models.tiny_backbone import train_tokenizer

    tokenizer = train_tokenizer([report(random.Random(i)) for i in range(5000)], 2000)
    tokenizer.save_pretrained(out)
    LlamaForCausalLM(LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                                 num_key_value_heads=4, vocab_size=len(tokenizer))).save_pretrained(out)


def now(begun: float) -> tuple[float, float]:
    """Seconds since the process was started, by the clock and of the processor."""
    return time.time() - begun, time.process_time()


def train(folder: Path, begun: float, records: int) -> dict[str, Any]:
    """When the first step was done, and the run of two steps."""
    from emgecg_cli.core.config import TrainConfig
    from emgecg_cli.core.training.run import train as run

    imported, seen = now(begun), []

    def progress(done: int, *_: object, **__: object) -> None:
        seen.append((done, now(begun), peak()))

    config = TrainConfig(backbone=str(folder / "backbone"), tuning="full", encoder="resnet18-tiny", batch_size=64,
                         steps=2, max_length=256)
    run(folder / "instructions", folder / f"run{records}", config, store_path=folder / "store", progress=progress)
    first = next(each for each in seen if each[0] == 1)
    return {"import": imported, "first step": first[1], "memory MB": first[2], "whole run": now(begun)}


def generate(folder: Path, begun: float, records: int) -> dict[str, Any]:
    """When the first chunk of reports of the test split was generated, a twentieth of all records."""
    from emgecg_cli.core.config import GenerateConfig
    from emgecg_cli.core.generation.task import open_task

    imported = now(begun)
    task = open_task(folder / f"run{records}", None, GenerateConfig(split="test", batch_size=64, max_new_tokens=2))
    job = task.job()
    task.reporter(job).rows(job.chunks[0])
    return {"import": imported, "first step": now(begun), "memory MB": peak()}


def peak() -> float:
    """The most memory this process has had, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=800_000)
    parser.add_argument("--folder", type=Path, help="keep store and instructions there, and use what is there")
    parser.add_argument("--one", choices=("train", "generate"), help=argparse.SUPPRESS)
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--smallest", action="store_true", help="as little as runs through it all: no measurement")
    given = parser.parse_args()
    if given.one:
        print(json.dumps({"train": train, "generate": generate}[given.one](given.folder, given.begun, given.records)))
        return
    records = 200 if given.smallest else given.records
    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        from emgecg_cli.core.instructions import build_instructions

        begun = time.perf_counter()
        make_store(folder / "store", records)
        build_instructions(folder / "store", folder / "instructions")
        if not (folder / "backbone").is_dir():
            make_backbone(folder / "backbone")
        print(f"{records} records written, or found finished, in {time.perf_counter() - begun:.0f} s")
        for what in ("train", "generate"):
            line = [sys.executable, __file__, "--one", what, "--folder", str(folder), "--records", str(records)]
            done = subprocess.run([*line, "--begun", str(time.time())], check=True, stdout=subprocess.PIPE, text=True,
                                  env=os.environ | {"OMP_NUM_THREADS": "1"})
            found = json.loads(done.stdout)
            peaked = found.pop("memory MB")
            for name, (seconds, processor) in found.items():
                print(f"{what:>8}: {name:>10} after {seconds:6.1f} s, {processor:6.1f} s of the processor")
            print(f"{what:>8}: peak {peaked:.0f} MB")


if __name__ == "__main__":
    main()
