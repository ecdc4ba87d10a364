"""What an encoder knows of codes: areas with intervals over patients, a linear probe, and codes by their words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline import make_store

from emgecg_cli.commands.app import run
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.recipes import resolve_pretrain_config
from emgecg_cli.core.store import open_store
from emgecg_cli.core.studies import probe as room
from emgecg_cli.core.studies.encoder_features import RecordingEncoder
from emgecg_cli.core.studies.probe import _regression, _weighted_area, areas_of, probe
from emgecg_cli.core.training.auroc import auroc
from emgecg_cli.core.training.pretrain import pretrain
from emgecg_cli.core.training.pretrain_objectives import learnable_codes


def quick(**changes: Any) -> Any:
    return resolve_pretrain_config(**dict(objective="coca", encoder="ecg-coca-tiny", steps=1, batch_size=8) | changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("probe") / "stores/synthetic", 60, split="50/0/50")


@pytest.fixture(scope="module")
def encoder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoders") / "coca"
    pretrain(store, path, quick())
    return path


def test_areas_are_those_of_records_as_often_as_they_are_drawn() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 6, 40) + 0.0, rng.random(40) < 0.4  # ties
    weights = rng.integers(0, 4, (7, 40)).astype(float)
    for row, found in zip(weights.astype(int), _weighted_area(weights, scores, truth), strict=True):
        assert found == pytest.approx(auroc(np.repeat(scores, row), np.repeat(truth, row)))
    assert np.isnan(_weighted_area(np.ones((1, 3)), np.arange(3.0), np.ones(3, bool)))[0]
    # forty records of four patients say less than those of forty
    many, few = (areas_of(scores[:, None], truth[:, None], [f"p{i % patients}" for i in range(40)], 0)[0][0]
                 for patients in (40, 4))
    assert many[0] == few[0] == auroc(scores, truth) and many != few and many[1] and many[1][0] < many[0] < many[1][1]


def test_the_regression_is_the_penalised_optimum() -> None:
    rng = np.random.default_rng(1)
    features, truth = rng.standard_normal((80, 5)), rng.random(80) < 0.3
    truth |= features[:, 2] > 1
    weights = _regression(features, truth)
    sign, step = np.where(truth, 1.0, -1.0), 1e-3

    def loss(one: np.ndarray) -> float:  # the best intercept beside these weights
        grid = [np.logaddexp(0, -sign * (features @ one + bias)).sum() for bias in np.linspace(-4, 4, 4001)]
        return min(grid) + 0.5 * one @ one

    assert weights.argmax() == 2
    for k in range(5):
        for change in (-step, step):
            assert loss(weights + change * np.eye(5)[k]) >= loss(weights) - 1e-6


def test_a_linear_probe_learns_from_train_and_is_told_on_test(store: Path, encoder: Path, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    held = open_store(store)
    codes = held.column("codes").to_list()
    known = learnable_codes(held)[0][0]

    def planted(self: RecordingEncoder, of: Any, indices: list[int]) -> np.ndarray:
        rng = np.random.default_rng(len(indices))
        return np.stack([np.array([known in codes[i], 0.0]) + 0.1 * rng.standard_normal(2) for i in indices])

    monkeypatch.setattr(RecordingEncoder, "vectors", planted)
    result = probe(encoder, store, tmp_path / "x.json")
    assert result.codes[known].auroc == 1.0 and result.records == len(held.indices("test"))
    others = [area.auroc for code, area in result.codes.items() if code != known]
    assert others and 0.25 < np.mean(others) < 0.75
    assert result.macro.auroc == pytest.approx(np.mean([area.auroc for area in result.codes.values()]))
    assert set(probe(encoder, store, tmp_path / "y.json", codes=[known]).codes) == {known}
    with pytest.raises(MedReportError, match=f"no code '{known}x'; did you mean '{known}'"):
        probe(encoder, store, tmp_path / "z.json", codes=[f"{known}x"])


def test_codes_are_told_by_their_words(store: Path, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "p.json"
    assert run(["probe", str(encoder), "--store", str(store), "--zero-shot", "--out", str(out), "--json"]) == 0
    shown, said = json.loads(capsys.readouterr().out), json.loads(out.read_text())
    assert said["codes"]["afib"]["words"] == "atrial fibrillation" and shown["method"] == "zero-shot"
    low, high = said["codes"]["afib"]["interval"]
    assert low <= said["codes"]["afib"]["auroc"] <= high and set(said["macro_auroc"]) >= {"auroc", "interval"}
    (tmp_path / "words.json").write_text(json.dumps({"afib": "sinus rhythm", "sr": "atrial fibrillation"}))
    swapped = probe(encoder, store, tmp_path / "q.json", zero_shot=True, prompts=tmp_path / "words.json")
    plain = room.probe(encoder, store, tmp_path / "r.json", zero_shot=True, codes=["afib", "sr"])
    assert swapped.codes["afib"].words == "sinus rhythm" and swapped.codes["afib"] != plain.codes["afib"]
    pretrain(store, tmp_path / "encoders/supervised", quick(objective="supervised", batch_size=16))
    with pytest.raises(MedReportError, match="was not trained beside texts"):
        probe(tmp_path / "encoders/supervised", store, tmp_path / "s.json", zero_shot=True)
    assert run(["probe", "encoders/supervised", "--store", str(store)]) == 0
    assert (tmp_path / "probes/supervised-synthetic-linear.json").is_file()
    assert run(["probe", str(encoder / "encoder.safetensors"), "--store", str(store)]) == 2
    assert "give --encoder" in capsys.readouterr().err
