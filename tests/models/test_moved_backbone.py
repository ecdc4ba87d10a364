"""A run whose backbone's folder was moved: `--backbone` says where it is, and another model's folder is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_runs import Made, logits, make_folder, make_run
from safetensors.torch import load_file, save_file

from emgecg_cli.commands.app import run as medreport
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.generation import Places
from emgecg_cli.core.generation.processes import _arguments
from emgecg_cli.core.manifest import read_manifest, write_manifest
from emgecg_cli.core.models.run_files import load_run


@pytest.fixture
def made(inputs: tuple[Path, Path], tmp_path: Path) -> Made:
    """A LoRA run whose backbone lies at tmp_path/moved, and not where it was trained."""
    run = make_run(tmp_path / "run", make_folder(tmp_path / "old"), "lora",
                   inputs={"store": inputs[0], "instructions": inputs[1]})
    shutil.move(tmp_path / "old", tmp_path / "moved")
    return run


def test_generate_and_export_take_the_folder_where_it_is_now(made: Made, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    out, moved = tmp_path / "p.jsonl", str(tmp_path / "moved")
    generate = ["generate", str(made.path), "--out", str(out), "--limit", "2", "--max-new-tokens", "3"]
    assert medreport(generate) == 2 and "--backbone FOLDER" in capsys.readouterr().err
    assert medreport([*generate, "--backbone", moved]) == 0
    before = out.read_bytes()
    shutil.copytree(moved, tmp_path / "old")  # where it was: the same reports
    out.unlink()
    (tmp_path / "p.jsonl.manifest.json").unlink()
    assert medreport(generate) == 0 and out.read_bytes() == before
    shutil.rmtree(tmp_path / "old")
    export = ["export", str(made.path), "--to", str(tmp_path / "out")]
    assert medreport(export) == 2 and "--backbone FOLDER" in capsys.readouterr().err
    assert medreport([*export, "--backbone", moved]) == 0
    loaded, _, _ = load_run(tmp_path / "out", torch.device("cpu"))
    torch.testing.assert_close(logits(loaded), logits(made.model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("change", ["weight", "config", "gone", "empty"])
@pytest.mark.parametrize("command", ["generate", "export"])
def test_another_folder_is_refused_in_one_line(command: str, change: str, made: Made, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "moved"
    if change == "weight":
        tensors = load_file(moved / "model.safetensors")
        next(iter(tensors.values())).view(-1)[0] += 1
        save_file(tensors, moved / "model.safetensors", metadata={"format": "pt"})
    elif change == "config":
        config = json.loads((moved / "config.json").read_text())
        (moved / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}))
    else:
        shutil.rmtree(moved)
        if change == "empty":
            moved.mkdir()
    out = tmp_path / ("p.jsonl" if command == "generate" else "out")
    assert medreport([command, str(made.path), "--out", str(out), "--backbone", str(moved)]) == 2
    said = capsys.readouterr().err
    assert ("no such folder" if change == "gone" else "not the backbone") in said and "Traceback" not in said
    assert not out.exists()


def test_a_run_that_needs_no_folder_takes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path / "backbone")
    full = make_run(tmp_path / "full", folder, "full").path
    assert medreport(["export", str(full), "--to", str(tmp_path / "out"), "--backbone", str(folder)]) == 2
    assert "holds its backbone itself" in capsys.readouterr().err
    hub = make_run(tmp_path / "hub", folder, "lora").path
    manifest = read_manifest(hub, "run")
    model = manifest.details["model"] | {"backbone": "llama-3-8b"}
    write_manifest(hub, replace(manifest, inputs={}, details=manifest.details | {"model": model}))
    assert medreport(["export", str(hub), "--to", str(tmp_path / "out"), "--backbone", str(folder)]) == 2
    assert "llama-3-8b of the hub" in capsys.readouterr().err


def test_writers_are_told_where_it_is() -> None:
    words = _arguments(Path("run"), Path("p.jsonl"), GenerateConfig(), Places(backbone=Path("elsewhere")))
    assert words[words.index("--backbone") + 1] == "elsewhere"
