"""What is passed on: files that a group may read where the umask says so, cards without paths of this machine."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from made_runs import make_folder, make_run

from emgecg_cli.commands import console
from emgecg_cli.commands.app import run as medreport
from emgecg_cli.core.export import export_run
from emgecg_cli.core.export.card import public
from emgecg_cli.core.models.backbones import slow_here
from emgecg_cli.core.models.encoders.weights import save_encoder_weights
from emgecg_cli.core.training.checkpoint import save_state


@pytest.fixture(params=[0o022, 0o027, 0o077], ids=oct)
def usual(request: pytest.FixtureRequest) -> Iterator[int]:
    """The mode of a new file under a umask that is set for one test."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_runs_and_exports_have_the_mode_of_new_files(tuning: str, usual: int, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", make_folder(tmp_path / "backbone"), tuning, tokens=True)
    export_run(made.path, tmp_path / "out")
    assert modes(made.path) == modes(tmp_path / "out") == {usual}


def test_encoders_and_states_have_it_too(usual: int, tmp_path: Path) -> None:
    save_encoder_weights(tmp_path, "resnet18-tiny", {"a": torch.zeros(1)})
    save_state(tmp_path / "state.safetensors", {"a": torch.zeros(1)})
    assert modes(tmp_path) == {usual}


def test_checkpoints_of_a_training_have_it_too(inputs: tuple[Path, Path], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.training import checkpoint

    seen: list[set[int]] = []
    rename = checkpoint.Path.rename
    monkeypatch.setattr(checkpoint.Path, "rename", lambda self, to: (
        seen.append(modes(self)) if self.name.startswith(".step-") else None, rename(self, to))[1])
    before = os.umask(0o022)
    try:
        assert medreport(["train", "--backbone", "tiny", "--out", str(tmp_path / "run"),
                          "--steps", "2", "--checkpoint-every", "1", "--store", str(inputs[0]), str(inputs[1])]) == 0
    finally:
        os.umask(before)
    assert seen and all(found == {0o644} for found in seen)
    assert modes(tmp_path / "run") == {0o644}


def test_a_card_names_no_place_of_this_machine(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", make_folder(tmp_path / "my-llama"), "lora")
    export_run(made.path, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "# Reports from 12-lead ECGs: my-llama on" in card and "| backbone | my-llama |" in card
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or str(tmp_path).encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize(("value", "shown"), [
    ("/home/me/models/llama", "llama"), ("/home/me/models/llama/", "llama"), ("~/llama", "llama"),
    ("C:\\models\\llama", "llama"), ("\\\\server\\share\\models\\llama", "llama"),
    ("meta-llama/Llama-3", "meta-llama/Llama-3"),
    ("models/llama", "models/llama"), ("llama-3-8b", "llama-3-8b"), (0.1, 0.1), (None, None)])
def test_of_a_path_only_its_name_is_passed_on(value: object, shown: object) -> None:
    assert public(value) == shown


@pytest.mark.parametrize(("units", "slow"), [({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, True),
                                             ({"avx2": True, "avx512_bf16": True}, False), ({"bf16": True}, False)])
def test_bf16_on_a_processor_without_units_for_it_is_warned_of(units: dict[str, bool], slow: bool,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert ("several times slower" in (slow_here("bf16") or "")) == slow
    assert slow_here("fp32") is slow_here("auto") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert slow_here("bf16") is None


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_the_warning_reaches_the_terminal(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    said: list[str] = []
    monkeypatch.setattr(console, "warn", said.append)
    arguments = {"train": ["--backbone", "tiny"],
                 "pretrain": ["--encoder", "resnet18-tiny"]}[command]
    assert medreport([command, *arguments, "--precision", "bf16", str(tmp_path / "nothing")]) == 2
    assert len(said) == 1 and "no bf16 units" in said[0]
