"""A run and an export that were made before there were towers are loaded, and write what they wrote then."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.generation import Places, generate_reports
from emgecg_cli.core.models.run_files import as_named_now, load_run

KEPT = Path(__file__).parents[1] / "support/kept/before_towers.tar.xz"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with tarfile.open(KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("name", ["run", "export"])
def test_a_run_and_an_export_of_before_write_the_texts_of_then(kept: Path, name: str, inputs: tuple[Path, Path],
                                                               tmp_path: Path) -> None:
    weights = load_file(kept / name / "signal.safetensors")
    assert {key.split(".")[0] for key in weights} == {"encoder", "projector"}
    generate_reports(kept / name, tmp_path / "p.jsonl", GenerateConfig(max_new_tokens=12, batch_size=4),
                     places=Places(inputs[0], inputs[1]))
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert {row["record_id"]: row["prediction"] for row in rows} == json.loads((kept / "texts.json").read_text())
    assert len({row["prediction"] for row in rows}) > 5  # they depend on what is shown
    model, _, _ = load_run(kept / name, torch.device("cpu"))
    assert torch.equal(model.towers["ecg"].projector.layers[0].weight, weights["projector.layers.0.weight"])


def test_weights_of_before_are_those_of_the_tower_that_reads_the_same() -> None:
    before = {"encoder.out.bias": torch.zeros(1), "fusion.blocks.0.gate_feed": torch.zeros(1)}
    assert set(as_named_now(before, "emg-alignment")) == {"towers.values.encoder.out.bias", "fusion.blocks.0.gate_feed"}
    now = {"towers.ecg.encoder.a": torch.zeros(1), "towers.values.encoder.a": torch.zeros(1)}
    assert set(as_named_now(now, "resnet18-tiny,emg-alignment")) == set(now)
