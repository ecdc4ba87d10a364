"""What helps a pretrained backbone to read its input, and shows whether it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuse import Fuse
from made_runs import make_folder
from pipeline import contents, short_config

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.inputs.shuffled import shuffle_between_patients
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.instructions.render import render
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.store import open_store
from emgecg_cli.core.training import before
from emgecg_cli.core.training.run import train

READING: dict[str, Any] = dict(recipe="meit-paper", encoder="resnet18-tiny", projector="mlp-gelu", fusion="splice",
                               signal_tokens=4, token_norm="matched", lora_rank=4, word_steps=5, word_loss=0.5, steps=4,
                               batch_size=4, gradient_accumulation=3, checkpoint_every=2, evaluate_every=2,
                               paired_loss=True, select="last")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("backbone") / "llama")


def test_a_run_that_learns_words_first_is_the_same_killed_or_not(inputs: tuple[Path, Path], folder: Path,
                                                                 tmp_path: Path, fuse: Fuse) -> None:
    config = short_config(**READING | dict(backbone=str(folder)))
    def work(name: str) -> object:
        return train(inputs[1], tmp_path / name, config)

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    for share in (0.3, 0.4):  # amid the steps on words, amid those on reports
        fuse.burn(lambda: work("killed"), tmp_path / "killed", int(share * operations))
        assert not (tmp_path / "killed/manifest.json").exists()
    work("killed")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")

    lengths = read_manifest(tmp_path / "whole", "run").details["model"]["token_lengths"]
    model, _, _ = load_run(tmp_path / "whole", torch.device("cpu"))
    embedded = model.backbone.get_input_embeddings().weight  # type: ignore[operator]
    assert len(lengths) == 1 and 0.2 < lengths[0] / float(embedded.norm(dim=-1).mean()) < 5
    assert model.towers["ecg"].projector.length == lengths[0]
    steps = [json.loads(line)["words"] for line in (tmp_path / "whole/words/metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 5 and steps[-1] < steps[0]
    rows = [json.loads(line) for line in (tmp_path / "whole/validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4] and all(row["paired_error"] > 0 for row in rows)
    written = [generate_reports(tmp_path / name, tmp_path / f"{name}.jsonl", GenerateConfig(limit=4, max_new_tokens=6))
               for name in ("whole", "killed")]
    assert written[0].path and written[1].path and written[0].path.read_bytes() == written[1].path.read_bytes()


def test_the_paired_loss_is_that_of_the_same_report_beside_another_patients_recording(
        inputs: tuple[Path, Path], tmp_path: Path) -> None:
    settings: dict[str, Any] = dict(steps=2, evaluate_every=2, paired_loss=True, select="last")
    train(inputs[1], tmp_path / "run", short_config(**settings, learning_rate=1e-2))
    (row,) = [json.loads(line) for line in (tmp_path / "run/validation.jsonl").read_text().splitlines()]
    model, tokenizer, _ = load_run(tmp_path / "run", torch.device("cpu"))
    store, instructions = open_store(inputs[0]), open_instructions(inputs[1])
    val = [int(i) for i in store.indices("val")]
    others = shuffle_between_patients(val, store.column("subject_id").to_list(), 0)
    differences = []
    for index in val:
        said = instructions.of([store.column("record_id")[index]])[0].messages
        rendered = render(said, tokenizer, 256, model.placeholders)
        losses = []
        for shown in (index, others[index]):
            signal = model.preprocessing["ecg"](torch.from_numpy(store.signal(shown))[None])
            ids, labels = torch.tensor([rendered.input_ids]), torch.tensor(rendered.labels[1:])
            logits = model({"ecg": signal}, ids, torch.ones_like(ids))[0][0, :-1]
            losses.append(float(torch.nn.functional.cross_entropy(logits, labels)))
        differences.append(losses[1] - losses[0])
    assert row["paired"] == pytest.approx(np.mean(differences), abs=1e-5) and abs(row["paired"]) > 1e-4
    assert row["paired_error"] == pytest.approx(np.std(differences, ddof=1) / len(val) ** 0.5, rel=1e-3)

    # Its gates stay closed, and nothing of a recording enters.
    train(inputs[1], tmp_path / "blind", short_config(**settings, fusion="cross-attention", learning_rate=1e-12))
    (row,) = [json.loads(line) for line in (tmp_path / "blind/validation.jsonl").read_text().splitlines()]
    assert abs(row["paired"]) < 1e-5


def test_tokens_that_drown_the_text_are_warned_of_before_the_first_step(
        inputs: tuple[Path, Path], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    config = short_config(**READING | dict(backbone=str(folder), token_norm="rms", word_steps=0, steps=1))
    train(inputs[1], tmp_path / "quiet", config, say=said.append)
    measured: list[tuple[float, float]] = []
    monkeypatch.setattr(before, "FAR", 0.0)
    monkeypatch.setattr("emgecg_cli.core.training.run.drowned",
                        lambda *losses: (measured.append(losses), before.drowned(3.0, 1.5))[1])
    train(inputs[1], tmp_path / "loud", config, say=said.append)
    (losses,) = measured
    assert losses[0] != losses[1] and min(losses) > 0
    assert len(said) == 1 and "3.00 nats a token with the signal and 1.50 without" in said[0]
    assert before.drowned(1.5, 3.0) is None


def test_the_steps_on_words_are_the_same_whatever_those_of_reports_accumulate(
        inputs: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    lines = []
    for accumulated in (1, 3):
        config = short_config(**READING | dict(backbone=str(folder), steps=1, gradient_accumulation=accumulated))
        train(inputs[1], tmp_path / str(accumulated), config)
        lines.append((tmp_path / str(accumulated) / "words/metrics.jsonl").read_text())
    assert lines[0] == lines[1]


@pytest.mark.parametrize("changes", [dict(fusion="prefix-kv"), dict(fusion="cross-attention", token_norm="unit"),
                                     dict(fusion="cross-attention", word_steps=0, word_loss=0.0)])
def test_what_cannot_be_matched_is_refused_before_anything_is_loaded(changes: dict[str, Any]) -> None:
    with pytest.raises(MedReportError, match="matched" if "word_steps" in changes else "--word-steps and --word-loss"):
        short_config(**READING | dict(backbone="anything") | changes)


@pytest.mark.parametrize("parallel", ["zero2", "zero3"])
def test_what_makes_its_engine_once_is_refused_before_anything_is_loaded(parallel: str) -> None:
    with pytest.raises(MedReportError, match="--word-steps with --parallel") as told:
        short_config(**READING | dict(backbone="anything", parallel=parallel))
    assert "--word-steps 0" in str(told.value.hint)
    short_config(**READING | dict(backbone="anything", parallel=parallel, word_steps=0))
