"""The doctor on this machine and on odd ones: it says what is missing, shows no key, and never falls over."""

from __future__ import annotations

import builtins
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from emgecg_cli.commands.doctor import doctor as command
from emgecg_cli.core import doctor
from emgecg_cli.core.doctor import Finding, examine, is_broken
from emgecg_cli.core.downloads.sets import SETS

SECRET = "sk-very-secret-0123456789"


def by_name(root: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(root)}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def installed(monkeypatch: pytest.MonkeyPatch, requires: list[str], versions: dict[str, str]) -> None:
    """An installation of medreport with these requirements, and these packages beside it."""
    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    extras = sorted({line.split("extra == ")[1].strip("'\"") for line in requires if "extra" in line})
    table = SimpleNamespace(get_all=lambda key: [">=3.11"] if key == "Requires-Python" else extras)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requires)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: table)


def test_this_machine_works(tmp_path: Path) -> None:
    findings = examine(tmp_path)
    assert not is_broken(findings), [finding for finding in findings if finding.vital]
    assert {finding.area for finding in findings} == {"python", "machine", "disk", "extras", "tokens", "data"}
    assert {finding.state for finding in findings} <= {"ok", "missing", "warning"}
    assert all(finding.remedy for finding in findings if finding.state == "missing")
    assert not any("\n" in finding.detail + finding.remedy for finding in findings)
    assert not [finding for finding in findings if finding.name == "look"]


def test_every_extra_of_the_package_is_looked_at() -> None:
    extras = importlib.metadata.metadata("medreport").get_all("Provides-Extra") or []
    seen = [finding.name for finding in examine(Path(".")) if finding.area == "extras"]
    assert sorted(seen) == sorted(set(extras) - {"dev"})


def test_extras_and_requirements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(monkeypatch, ["torch>=2.8", "numpy<2,>=1.26", 'openai>=1.60; extra == "llm"', "h5py; extra == 'hdf5'",
                            'wandb>=9 ; extra == "tracking"', "pytest>=8; extra == 'dev'", "!!! nonsense"],
              {"torch": "2.9.0+cu128", "numpy": "1.26.4", "wandb": "0.19", "medreport": "1"})
    found = by_name(tmp_path)
    assert found["packages"].state == "ok" and not is_broken(list(found.values()))
    assert found["llm"].state == "missing" and found["llm"].remedy == "pip install 'medreport[llm]'"
    assert found["hdf5"].state == "missing" and "prepare code15" in found["hdf5"].detail
    assert found["tracking"].state == "warning" and "0.19, >=9 is needed" in found["tracking"].detail
    assert "dev" not in found
    installed(monkeypatch, ["torch>=2.8", "numpy<2,>=1.26"], {"torch": "2.1", "medreport": "1"})
    found = by_name(tmp_path)
    assert found["numpy"].vital and found["numpy"].state == "missing" and is_broken(list(found.values()))
    assert found["numpy"].remedy == "pip install 'numpy<2,>=1.26'"


def test_keys_are_seen_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    found = by_name(tmp_path)
    assert found["OPENAI_API_KEY"].state == found["Hugging Face"].state == "missing"
    assert found["Hugging Face"].remedy == "hf auth login"
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: SECRET)
    found = by_name(tmp_path)
    assert found["OPENAI_API_KEY"].state == found["Hugging Face"].state == "ok"
    command(tmp_path, as_json=True)
    command(tmp_path, as_json=False)
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err + repr(found)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET + " \u2013x")
    found = by_name(tmp_path)
    assert found["OPENAI_API_KEY"].state == "missing" and SECRET not in repr(found)


def test_data_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data/ptb-xl/records100").mkdir(parents=True)
    (tmp_path / "data/ptb-xl/ptbxl_database.csv").touch()
    (tmp_path / "data/ludb").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9, total=10**12))
    found = by_name(tmp_path)
    assert found["ptb-xl"].state == "ok" and "records100/" in found["ptb-xl"].detail
    assert found["ludb"].detail.startswith("data/ludb holds none of it; about 0.1 GB to download, 1.0 GB free")
    assert found["ludb"].remedy.endswith("prepare ludb --download") or "not read" in found["ludb"].remedy
    assert found["mimic-iv-ecg"].remedy.startswith("free 97.0 GB")
    assert found[tmp_path.as_posix()].state == "warning" and not is_broken(list(found.values()))
    assert set(SETS) <= set(found)


def test_a_root_that_is_not_there_and_one_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "no/such/folder", tmp_path / "file", Path("\0bad")):
        findings = examine(root)
        assert not is_broken(findings) and len(findings) > 8


@pytest.mark.parametrize("broken", ["torch", "huggingface_hub", "packaging.specifiers"])
def test_modules_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == broken:
            raise OSError(f"{broken}: libx.so: cannot open shared object file\nat line 2")
        return real(name, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", without)
        findings = examine(tmp_path)
    assert is_broken(findings) == (broken == "torch")
    if broken == "torch":
        torch = next(finding for finding in findings if finding.name == "torch")
        assert "cannot open shared object" in torch.detail and "line 2" not in torch.detail and torch.vital


@pytest.mark.parametrize("name", ["_extras", "_machine", "_tokens", "_disk", "_data", "_python"])
def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    def fails(*_: object) -> Any:
        raise ZeroDivisionError("odd\nmachine")

    monkeypatch.setattr(doctor, name, fails)
    looks = [finding for finding in examine(tmp_path) if finding.name == "look"]
    assert [finding.detail for finding in looks] == ["could not be finished (ZeroDivisionError: odd machine)"]


def test_a_torch_that_is_broken_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')")
    code = ("from pathlib import Path; from emgecg_cli.core.doctor import examine, is_broken; "
            "found = examine(Path('.')); print(is_broken(found), *[one.detail for one in found "
            "if one.name == 'torch'])")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(tmp_path)}, timeout=60,
                          capture_output=True, text=True)
    assert done.stdout.startswith("True cannot be imported (libcudart.so.12"), done.stderr


def test_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    if not Path("/dev/nvidia0").exists():
        assert "--backbone tiny" in doctor._gpu().detail
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    assert doctor._gpu().state == "warning" and "--index-url" in doctor._gpu().remedy
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"H200-{i}")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(total_memory=141 * 10**9))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert doctor._gpu().detail == "H200-0, 141.0 GB; H200-1, 141.0 GB; bf16"


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(tmp_path, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["works"] is True and said["python"] == sys.version.split()[0] and len(said["findings"]) > 10
    command(tmp_path)
    out, err = capsys.readouterr()
    assert "pip install" in out or "ok" in out
    assert "what" in out.splitlines()[0] and " missing, " in err
    bad = [Finding("python", "numpy", "missing", "not installed", "pip install numpy", vital=True)]
    monkeypatch.setattr(doctor, "examine", lambda _: bad)
    with pytest.raises(typer.Exit) as caught:
        command(tmp_path)
    assert caught.value.exit_code == 1 and "pip install numpy" in capsys.readouterr().out
