"""The loss of the references under what the model is shown, and the paired difference in the score table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emgecg_cli.commands.app import run as command
from emgecg_cli.core.artifacts import PredictionRow, read_rows, to_json
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.evaluation.score import score_rows
from emgecg_cli.core.generation import Places, generate_reports
from emgecg_cli.core.generation.processes import _arguments
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.instructions.render import render
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.store import open_store

FEW = GenerateConfig(max_new_tokens=4, batch_size=5, reference_loss=True)


def write(run: Path, out: Path, **changes: object) -> list[PredictionRow]:
    generate_reports(run, out, replace(FEW, **changes))  # type: ignore[arg-type]
    return read_rows(out, PredictionRow)


def test_losses_are_those_of_the_model_one_by_one(short_run: Path, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    rows = {signal: write(short_run, tmp_path / f"{signal}.jsonl", signal=signal)
            for signal in ("real", "shuffled", "zeros", "none")}
    model, tokenizer, _ = load_run(short_run, torch.device("cpu"))
    store, instructions = open_store(inputs[0]), open_instructions(inputs[1])
    at = {store.row(i).record_id: i for i in range(len(store))}

    def loss(row: PredictionRow, signal: np.ndarray | None) -> float:
        conversation = render(instructions.rows[row.record_id].messages, tokenizer, 4096, None)
        ids, n = torch.tensor([conversation.input_ids]), conversation.prompt
        shown = None if signal is None else {"ecg": torch.tensor(signal)[None].float() / 250}
        with torch.no_grad():
            logits, _ = model(shown, ids, torch.ones_like(ids))
        return float(-logits[0, n - 1:-1].log_softmax(-1).gather(1, ids[0, n:, None]).mean())

    for real, other, zeros, none in zip(*rows.values(), strict=True):
        own = store.signal(at[real.record_id])
        assert real.reference_loss == pytest.approx(loss(real, own), abs=2e-5)
        assert real.reference_loss_shuffled == pytest.approx(loss(real, store.signal(at[other.signal_from])), abs=2e-5)
        assert real.reference_loss_shuffled == pytest.approx(other.reference_loss, abs=2e-6)
        assert zeros.reference_loss == pytest.approx(loss(real, np.zeros_like(own)), abs=2e-5)
        assert none.reference_loss == pytest.approx(loss(real, None), abs=2e-5)
        assert other.reference_loss_shuffled is zeros.reference_loss_shuffled is none.reference_loss_shuffled is None
    assert len({row.reference_loss for row in rows["real"]}) > 1
    assert [row.prediction for row in rows["real"]] == [row.prediction for row in write(
        short_run, tmp_path / "plain.jsonl", reference_loss=False)]


def test_a_writer_of_several_is_told_with_a_flag(tmp_path: Path) -> None:
    words = _arguments(tmp_path / "run", tmp_path / "p.jsonl", FEW, Places())
    assert "--reference-loss" in words and "True" not in words
    assert "--reference-loss" not in _arguments(tmp_path, tmp_path / "p.jsonl", GenerateConfig(), Places())


def test_predictions_without_losses_are_as_they_were(short_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    rows = write(short_run, out, reference_loss=False)
    assert "reference_loss" not in out.read_text() and "reference_loss" not in read_manifest(out, None).arguments
    assert to_json(replace(rows[0], reference_loss=0.5)).endswith('"reference_loss": 0.5}')


def test_the_score_table_has_the_paired_difference(short_run: Path, tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "p.jsonl"
    rows = write(short_run, out)
    scored = score_rows(rows, metrics=["reference-loss", "bleu"], train_reports=["sinus rhythm. normal ecg."])
    value = scored.scores.value("reference-loss-paired")
    differences = [row.reference_loss_shuffled - row.reference_loss for row in rows]  # type: ignore[operator]
    assert value.value == pytest.approx(np.mean(differences)) and value.ci_low < value.value < value.ci_high
    assert [system.name for system in scored.scores.systems if any(
        one.name == "reference-loss" for one in system.values)] == ["model"]
    assert command(["score", str(out), "--metric", "reference-loss", "--out", str(tmp_path / "s.json")]) == 0
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("reference-loss-paired"))
    assert f"{value.value:.3f}" in shown
