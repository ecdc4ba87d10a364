"""Reports written without a model: what each writes, what it needs, and both train splits of a transfer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import make_store

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PredictionRow, write_rows
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.baselines import write_baselines
from emgecg_cli.core.evaluation.baselines.nearest import nearest
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.evaluation.train_side import train_side
from emgecg_cli.core.manifest import Manifest, write_manifest
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.studies.encoder_features import open_recording_encoder

FAST: dict[str, Any] = {"metrics": ["rouge"], "resamples": 0}
NEAREST, TEMPLATE = "baseline: report of the nearest train recording", "upper reference: true labels by template"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(make_store(tmp_path_factory.mktemp("stores") / "cohort", 48))


def rows_of(store: Store, split: str = "test") -> list[PredictionRow]:
    rows = [store.row(int(i)) for i in store.indices(split)]
    return [PredictionRow(row.record_id, "x", row.report, dataset=store.dataset, language="en", codes=row.codes,
                          subject_id=row.subject_id) for row in rows]


def test_the_nearest_is_that_of_the_largest_cosine_and_never_the_record_itself() -> None:
    rng = np.random.default_rng(0)
    train, features = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(600, 8)).astype(np.float32)
    found = nearest(features, train, np.full(600, -1))
    for row, place in zip(features, found, strict=True):
        cosines = [float(row @ one / np.linalg.norm(row) / np.linalg.norm(one)) for one in train]
        assert place == int(np.argmax(cosines))
    assert nearest(train * 3, train, np.full(40, -1)).tolist() == list(range(40))
    assert all(nearest(train * 3, train, np.arange(40)) != np.arange(40))


def test_the_template_says_the_codes_in_words_and_else_what_the_reference_says() -> None:
    row = PredictionRow("1", "", "Sinusrhythmus. Linksschenkelblock.", dataset="ptb-xl", language="de",
                        codes=["SR", "CLBBB"])
    coded = write_baselines([row], [], 0).texts[TEMPLATE]
    assert coded == ["Complete left bundle branch block. Sinus rhythm."]
    assert write_baselines([replace(row, codes=None)], [], 0).texts[TEMPLATE] == coded
    simulated = PredictionRow("1", "", "x", dataset="synthetic", codes=["afib", "lbbb"])
    assert write_baselines([simulated], [], 0).texts[TEMPLATE] == ["Atrial fibrillation. Left bundle branch block."]
    emg = write_baselines([PredictionRow("1", "", "median nerve: slowed")], [], 0)
    assert TEMPLATE not in emg.texts and "state nothing of an ECG" in emg.notes[-1]


class ByCodes:
    """Features that are alike for the records of the same codes."""

    def __str__(self) -> str:
        return "by-codes"

    def __call__(self, store: Store, indices: list[int]) -> np.ndarray:
        codes = sorted({code for row in store.column("codes").to_list() for code in row})
        return np.array([[1 + (code in store.row(i).codes) for code in codes] for i in indices], np.float32)


def test_each_record_gets_the_report_of_its_nearest_train_recording(store: Store) -> None:
    rows = rows_of(store)
    side = train_side(rows, store, None, ByCodes())
    written = write_baselines(rows, side.trains, 0, side.features).texts[NEAREST]
    train = {row.report: set(row.codes) for row in (store.row(int(i)) for i in store.indices("train"))}
    shared = [set(row.codes or []) == train[text] for row, text in zip(rows, written, strict=True)
              if any(set(row.codes or []) == codes for codes in train.values())]
    assert shared and all(shared)
    without = write_baselines(rows, train_side(rows, store, None, None).trains, 0)
    assert NEAREST not in without.texts and any("--baseline-encoder" in note for note in without.notes)
    stranger = write_baselines([*rows, replace(rows[0], record_id="nobody")], side.trains, 0, side.features)
    assert any("no recording of 1 records, such as nobody" in note for note in stranger.notes)


def test_a_transfer_has_the_baselines_of_its_source_and_of_its_target(tmp_path: Path, store: Store) -> None:
    other = make_store(tmp_path / "elsewhere", 30, seed=4)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["details"]["dataset"] = "ptb-xl"
    write_manifest(other, Manifest(**{name: manifest[name] for name in
                                      ("kind", "command", "arguments", "seed", "counts", "inputs", "details")}))
    write_rows(tmp_path / "p.jsonl", rows_of(store))
    scores = score_file(tmp_path / "p.jsonl", None, store_path=store.path, train_store=other, encode=ByCodesOfAny(),
                        **FAST)
    names = [system.name for system in scores.systems]
    for kind in ("most frequent train report", "random train report", "report of the nearest train recording"):
        assert names.index(f"baseline: {kind} of elsewhere") + 1 == names.index(f"baseline: {kind} of cohort")
    assert any("the run was trained on elsewhere" in note for note in scores.notes)
    assert "baseline: empty report" in names and TEMPLATE in names
    own = score_file(tmp_path / "p.jsonl", None, store_path=store.path, train_store=store.path, **FAST)
    assert "baseline: random train report" in [system.name for system in own.systems]
    with pytest.raises(MedReportError, match="there is no store"):
        score_file(tmp_path / "p.jsonl", None, train_store=other, **FAST)


class ByCodesOfAny:
    """One feature, which any store has."""

    def __call__(self, store: Store, indices: list[int]) -> np.ndarray:
        return np.ones((len(indices), 2), np.float32)


def test_the_encoder_of_a_pretrain_finds_neighbours_from_the_command_line(
        tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pretrain", str(store.path), "--encoder", "resnet18-tiny", "--steps", "1", "--batch-size", "4", "--out",
                str(tmp_path / "encoder")]) == 0
    write_rows(tmp_path / "p.jsonl", rows_of(store))
    line = ["score", str(tmp_path / "p.jsonl"), "--store", str(store.path), "--metric", "rouge", "--resamples", "0",
            "--json", "--out", str(tmp_path / "s.json"), "--baseline-encoder"]
    capsys.readouterr()
    assert run([*line, str(tmp_path / "encoder")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert NEAREST in [system["name"] for system in found["systems"]]
    assert json.loads((tmp_path / "s.json.manifest.json").read_text())["arguments"]["baseline_encoder"]
    assert run([*line, str(store.path)]) == 2
    assert "holds store, no encoder" in capsys.readouterr().err


def test_the_encoder_of_a_run_is_read_without_its_backbone(short_run: Path, inputs: tuple[Path, Path]) -> None:
    found, store = open_recording_encoder(short_run), open_store(inputs[0])
    model, _, _ = load_run(short_run, torch.device("cpu"))
    tower = model.towers["ecg"]
    with torch.inference_mode():
        raw = torch.from_numpy(np.stack([store.signal(i) for i in range(3)]))
        expected = tower.encoder(tower.preprocessing(raw), 1).mean(1).numpy()
    np.testing.assert_allclose(found(store, [0, 1, 2]), expected, rtol=1e-5, atol=1e-6)
    assert str(found) == short_run.as_posix()
