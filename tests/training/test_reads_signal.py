"""The controlled experiment: a model trained on simulated ECGs reads the signal, and only the signal."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import DemoDefaults, GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.evaluation.score import score_predictions
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.store import prepare_store
from emgecg_cli.core.training.run import train


def finding_f1(folder: Path, seed: int) -> dict[str, float]:
    """Micro-F1 over abnormal findings of held-out patients, by what the model was shown."""
    store, instructions, run = folder / "store", folder / "instructions", folder / "run"
    prepare_store(open_dataset("synthetic", seed, records=DemoDefaults.records), store,
                  PrepareConfig(split=DemoDefaults.split, seed=seed))
    build_instructions(store, instructions, seed=seed)
    train(instructions, run, resolve_train_config(backbone="tiny", steps=DemoDefaults.steps, seed=seed))
    scores = {}
    for signal in ("real", "shuffled", "zeros"):
        out = folder / f"{signal}.jsonl"
        generate_reports(run, out, GenerateConfig(signal=signal, seed=seed))
        value = score_predictions(read_rows(out, PredictionRow), metrics=["findings"], resamples=0).value("findings-F1")
        assert value.value is not None
        scores[signal] = value.value
    return scores


@pytest.mark.long
def test_reports_of_held_out_patients_come_from_the_signal(tmp_path: Path) -> None:
    seeds = [finding_f1(tmp_path / str(seed), seed) for seed in (0, 1, 2)]
    print(seeds)
    assert median(scores["real"] for scores in seeds) >= 0.85
    assert max(max(scores["shuffled"], scores["zeros"]) for scores in seeds) <= 0.20
