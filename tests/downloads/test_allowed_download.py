"""A run that somebody sent names a backbone on the hub: nothing is fetched unless it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, Model
from made_runs import make_folder, make_run
from manifests import change_manifest

NAME = "tiny/open"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = make_folder(tmp_path / "llama")
    with Hub({NAME: Model({"main": {path.name: path.read_bytes() for path in folder.iterdir()}})}) as here:
        yield here


@pytest.fixture
def sent(hub: Hub, inputs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A LoRA run on that hub's model."""
    run = make_run(tmp_path / "run", tmp_path / "llama", "lora",
                   inputs={"store": inputs[0], "instructions": inputs[1]}).path

    def change(values: dict[str, Any]) -> None:
        values["details"]["model"] |= {"backbone": NAME, "revision": hub.models[NAME].commit("main")}
        del values["inputs"]["backbone"]

    change_manifest(run, change)
    return run


def medreport(hub: Hub, home: Path, *arguments: str) -> tuple[int, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.port}", "HF_HOME": str(home / "hf"), "OMP_NUM_THREADS": "1",
                "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    done = subprocess.run([sys.executable, "-m", "emgecg_cli", *arguments], env=clean | settings, text=True,
                          capture_output=True, timeout=300)
    return done.returncode, done.stderr


@pytest.mark.long
def test_a_hub_backbone_of_a_run_is_fetched_only_where_it_is_allowed(hub: Hub, sent: Path, tmp_path: Path) -> None:
    generate = ("generate", str(sent), "--limit", "2", "--max-new-tokens", "3", "--out", str(tmp_path / "p.jsonl"))
    export = ("export", str(sent), "--to", str(tmp_path / "out"))
    for command in (generate, export, (*generate, "--num-processes", "2")):
        status, said = medreport(hub, tmp_path, *command)
        assert status == 2 and "would be fetched from the hub" in said and "--allow-download" in said
        assert f"hf download {NAME} --revision {hub.models[NAME].commit('main')}" in said
    assert not hub.models[NAME].served and not (tmp_path / "out").exists() and not (tmp_path / "p.jsonl").exists()
    assert medreport(hub, tmp_path, *generate, "--allow-download")[0] == 0
    assert any(name == "model.safetensors" for _, name in hub.models[NAME].served)
    seen = len(hub.models[NAME].served)
    status, said = medreport(hub, tmp_path, *export)  # it is on this machine now
    assert status == 0, said
    assert len(hub.models[NAME].served) == seen and (tmp_path / "out/model.safetensors").is_file()


@pytest.mark.long
def test_what_was_finished_needs_no_backbone(hub: Hub, sent: Path, tmp_path: Path) -> None:
    generate = ("generate", str(sent), "--limit", "2", "--max-new-tokens", "3", "--out", str(tmp_path / "p.jsonl"))
    assert medreport(hub, tmp_path, *generate, "--num-processes", "2", "--allow-download")[0] == 0
    status, said = medreport(hub, tmp_path / "elsewhere", *generate)
    assert status == 0 and "is finished already" in said
