"""What makes a real pretrained language model read an ECG: one training for each way, at equal cost, on one cohort.

    python benchmarks/pretrained_reading.py [--folder DIR] [--steps 700] [--only recipe,paper] [--ptb-xl ROOT]
                                            [--smallest]

The backbone is SmolLM2-135M-Instruct, fetched from the package index. The cohort is simulated, the encoder pretrained
on its codes; each way sees the same records in the same order. `--ptb-xl` trains by the recipe on real recordings
instead. A way that is finished is not trained again, and one that was killed goes on, so that a table can be made over
days on a CPU. Printed as Markdown: the paired loss (nats a token, by which a report of the val split is less likely
beside another patient's recording) as training went on, then, of reports of held-out patients written from their own
and from another's recording, the micro-F1 over abnormal findings and the correlation of the stated heart rate with the
measured one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from made_runs import make_folder
from real_weights import smollm2

from emgecg_cli.core.config import GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.score import score_predictions
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.predictions import read_predictions
from emgecg_cli.core.recipes import resolve_pretrain_config, resolve_train_config
from emgecg_cli.core.store import open_store, prepare_store
from emgecg_cli.core.training.pretrain import pretrain
from emgecg_cli.core.training.run import train

ONE_TOKEN = {"fusion": "prefix-kv", "signal_tokens": 1, "token_norm": "unit"}
WAYS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "no words first": {"word_steps": 0, "word_loss": 0.0},
    "words first only": {"word_loss": 0.0},
    "prefix-kv": ONE_TOKEN,
    "prefix-kv, 8 matched": {"fusion": "prefix-kv"},
    "rms tokens": {"token_norm": "rms"},
    "encoder trains": {"freeze_encoder": False, "encoder_loss": "codes"},
    "paper": ONE_TOKEN | {"projector": "mlp", "lora_rank": 128, "lora_alpha": 64, "eos_loss_weight": 1.0,
                          "learning_rate": 3e-4},
}


def inputs(folder: Path, records: int, root: Path | None) -> tuple[Path, Path]:
    """A store and its instructions: simulated, or PTB-XL."""
    store, instructions = folder / "store", folder / "instructions"
    source = open_dataset("ptb-xl", 0, root=root) if root else open_dataset("synthetic", 0, records=records)
    prepare_store(source, store, PrepareConfig(split="80/5/15"))
    build_instructions(store, instructions)
    return store, instructions


def settings(way: str, backbone: Path, encoder: Path, steps: int, words: int) -> dict[str, Any]:
    """One way: the recipe, with what it changes."""
    look = max(1, steps // 7)
    return dict(backbone=str(backbone), encoder="resnet18-tiny", encoder_weights=str(encoder), freeze_encoder=True,
                augment="roll,gain,noise", system="none", steps=steps, word_steps=words, evaluate_every=look,
                checkpoint_every=look, val_limit=64, paired_loss=True) | (
                    {"word_steps": None} if WAYS[way].get("fusion") == "prefix-kv" else {}) | WAYS[way]


def measured(run: Path, store: Path, limit: int) -> dict[str, Any]:
    """The scores of reports written from a patient's own recording and from another's, and what training saw."""
    found: dict[str, Any] = {"validation": [json.loads(line) for line in
                                            (run / "validation.jsonl").read_text().splitlines()]}
    evidence = Evidence(open_store(store))
    for signal in ("real", "shuffled"):
        out = run.with_name(f"{run.name}-{signal}.jsonl")
        generate_reports(run, out, GenerateConfig(signal=signal, limit=limit, batch_size=32))
        rows = read_predictions(out).rows
        coded = any(row.dataset == "synthetic" for row in rows)
        scores = score_predictions(rows, metrics=["findings" if coded else "labels", "facts"], resamples=0,
                                   evidence=evidence)
        found[signal] = {one.name: one.value for one in scores.systems[0].values}
    return found


def row(way: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    def number(signal: str, name: str) -> str:
        value = found[signal].get(name)
        return "–" if value is None else f"{value:.3f}"

    f1 = "findings-F1" if "findings-F1" in found["real"] else "labels-abnormal-F1"
    curve = ", ".join(f"{one['paired']:.2f} ({one['step']})" for one in found["validation"])
    last = found["validation"][-1]
    return " | ".join(["", way, f"{curve} ± {last['paired_error']:.2f}", f"{last['report']:.3f}",
                       f"{number('real', f1)} / {number('shuffled', f1)}",
                       f"{number('real', 'facts-rate-correlation')} / {number('shuffled', 'facts-rate-correlation')}",
                       f"{found['seconds'] / 60:.0f} min", ""]).strip()


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--words", type=int, default=1000)
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--limit", type=int, default=96, help="test records that are written")
    parser.add_argument("--only", help="ways, separated by commas")
    parser.add_argument("--ptb-xl", type=Path)
    parser.add_argument("--smallest", action="store_true")
    given = parser.parse_args()
    if given.smallest:
        given.steps, given.words, given.records, given.limit, given.only = 2, 2, 80, 4, "recipe,prefix-kv"
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).resolve()
        backbone = make_folder(folder / "backbone") if given.smallest else smollm2(folder / "backbone")
        store, instructions = inputs(folder, given.records, given.ptb_xl)
        encoder = folder / "encoder"
        pretrain(store, encoder, resolve_pretrain_config(
            encoder="resnet18-tiny", objective="supervised", batch_size=32 if given.ptb_xl else 64,
            gradient_accumulation=1, steps=2 if given.smallest else 300 if given.ptb_xl else 1000,
            augment="roll,gain,noise"))
        print("| way | paired loss (step) | val loss | F1 real / another's | rate r real / another's | time |\n"
              "|---|---|---|---|---|---|", flush=True)
        for way in (given.only.split(",") if given.only else WAYS):
            run, kept = folder / "runs" / way.replace(" ", "-"), folder / "results" / f"{way.replace(' ', '-')}.json"
            if not kept.is_file():
                begun = time.process_time()
                train(instructions, run, resolve_train_config(**settings(way, backbone, encoder, given.steps,
                                                                         given.words)))
                seconds = time.process_time() - begun
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(measured(run, store, given.limit) | {"seconds": seconds}))
            print(row(way, json.loads(kept.read_text())), flush=True)


if __name__ == "__main__":
    main()
