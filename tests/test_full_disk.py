"""What the machine refuses: a full disk, memory, closed streams. One line, nothing left behind, and a way on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import contents, finish, make_inputs, medreport, short_config
from safetensors import SafetensorError

from emgecg_cli.commands import app as frame
from emgecg_cli.commands.failures import describe
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import errno_of, made_aside, write_atomically, writing
from emgecg_cli.core.training.run import train
from emgecg_cli.core.training.tensor_files import save_tensors

LIMITED = ("import resource, sys; n = int(sys.argv.pop(1)); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))\n"
           "from emgecg_cli.commands.app import main; main()")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder, 40)
    return folder


def limited(folder: Path, size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that may write files of at most `size` bytes: the disk is full for what is larger."""
    return subprocess.run([sys.executable, "-c", LIMITED, str(size), *arguments], cwd=folder, capture_output=True,
                          text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})


def left_behind(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name]


TRAIN = ("train", "--backbone", "tiny", "--steps", "3", "--batch-size", "4", "--checkpoint-every", "2", "--out",
         "runs/a")


@pytest.mark.long
def test_train_on_a_full_disk_says_so_leaves_nothing_and_goes_on(inputs: Path, tmp_path: Path) -> None:
    """Full at the first checkpoint, then at the weights of the run."""
    for name in ("stores", "instructions"):
        (tmp_path / name).symlink_to(inputs / name)
    finish(medreport([*TRAIN[:-1], "runs/whole"], tmp_path))
    sizes = sorted(path.stat().st_size for path in (tmp_path / "runs/whole").rglob("*.safetensors"))
    for size, place in ((4096, "step-00000002"), (sizes[-1] - 1, "")):
        done = limited(tmp_path, size, *TRAIN)
        said = [line for line in done.stderr.splitlines() if line.startswith(("error", "hint"))]
        assert done.returncode == 2 and len(said) == 2, done.stderr
        assert "File too large" in said[0] and place in said[0] and "bug" not in said[0] and "same command" in said[1]
        assert not left_behind(tmp_path) and not (tmp_path / "runs/a/manifest.json").exists()
    finish(medreport(list(TRAIN), tmp_path))
    assert contents(tmp_path / "runs/a") == contents(tmp_path / "runs/whole")


@pytest.mark.parametrize("arguments", ["prepare synthetic --records 30 --out stores/b",
                                       "build-instructions stores/synthetic --out instructions/b --pool-size 32",
                                       "perturb stores/synthetic --kind gaussian --snr-db 5 --out stores/n"])
def test_other_commands_on_a_full_disk(inputs: Path, tmp_path: Path, arguments: str) -> None:
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores/synthetic").symlink_to(inputs / "stores/synthetic")
    done = limited(tmp_path, 2000, *arguments.split())
    said = done.stderr.splitlines()
    assert done.returncode == 2 and "File too large" in said[-2] and "bug" not in done.stderr and not done.stdout
    assert not [path for path in left_behind(tmp_path) if ".partial" not in path.parts]
    finish(medreport(arguments.split(), tmp_path))
    assert not left_behind(tmp_path)


def test_weights_and_folders_are_on_the_disk_before_the_manifest_and_checkpoints_go_last(
        inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of the run, after it was written, and every folder, after names came into it."""
    synced: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        status = os.fstat(descriptor)
        synced.append(f"{status.st_dev}:{status.st_ino}")

    def replace(path: Path, target: Any) -> Path:
        if Path(target).name == "manifest.json":
            run = Path(target).parent
            assert (run / "checkpoints").is_dir()
            for found in [run, *run.rglob("*")]:
                if found.name != "plan.json" and "checkpoints" not in found.parts and not found.name.startswith("."):
                    assert f"{found.stat().st_dev}:{found.stat().st_ino}" in synced, found
            synced.append("manifest")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    train(inputs / "instructions/synthetic", tmp_path / "runs/a", short_config(steps=3, checkpoint_every=2),
          store_path=inputs / "stores/synthetic")
    at = synced.index("manifest")
    folder = (tmp_path / "runs/a").stat()
    assert f"{folder.st_dev}:{folder.st_ino}" in synced[at + 1:]
    assert not (tmp_path / "runs/a/checkpoints").exists()


# Whoever says it

FULL = "No space left on device (os error 28)"


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("error", [
    SafetensorError(f"Error while serializing: I/O error: {FULL}"), Exception(FULL), OSError(28, "No space left"),
    sqlite3.OperationalError("database or disk is full"), raised_from(ValueError("x"), OSError(28, "No space left"))])
def test_a_full_disk_is_known_from_any_library(error: Exception) -> None:
    assert errno_of(error) == 28
    told = describe(error)
    assert told and "No space left" in told[0] and told[1] and "free some space" in told[1]


@pytest.mark.parametrize("make", [
    lambda: np.zeros(1 << 60, np.uint8), lambda: torch.empty(1 << 60, dtype=torch.uint8),
    lambda: (_ for _ in ()).throw(MemoryError()),
    lambda: (_ for _ in ()).throw(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))])
def test_running_out_of_memory_is_one_line(make: Callable[[], object], monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(frame, "app", lambda *_, **__: make())
    assert frame.run(["x"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith("error: out of memory (") and said[1].startswith("hint: ")


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), KeyError("memory"), ValueError("os error")])
def test_other_errors_are_still_bugs(error: Exception, monkeypatch: pytest.MonkeyPatch,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(frame, "app", fail)
    assert frame.run(["x"]) == 1 and "this is a bug in medreport" in capsys.readouterr().err


def test_a_broken_pipe_that_is_not_stdout_is_no_silent_end(monkeypatch: pytest.MonkeyPatch,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(frame, "app", fail)
    assert frame.run(["x"]) == 2 and "Broken pipe" in capsys.readouterr().err


def test_writing_leaves_no_temporary_file_and_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as told:
        write_atomically(tmp_path / "a.json", b"x")
    assert told.value.filename == str(tmp_path / "a.json") and not list(tmp_path.iterdir())
    with pytest.raises(MedReportError, match=r"w.safetensors: cannot be written \(No space left on device\)"):
        save_tensors({"w": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(MedReportError, match="cannot be written"), made_aside(tmp_path / ".aside") as aside:
        (aside / "x").write_text("x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="mine"), writing(tmp_path):
        raise ValueError("mine")


# Streams

def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", f"{sys.executable} -m emgecg_cli {line}"], capture_output=True, text=True,
                          timeout=60, cwd=Path(__file__).parents[1])


def test_a_closed_stdout_is_one_line() -> None:
    done = shell("completion bash >&-")
    assert done.returncode == 2
    assert done.stderr == "error: stdout is closed\nhint: send it somewhere: a file, a pipe, or /dev/null\n"


def test_a_full_stdout_is_one_line() -> None:
    done = shell("completion bash >/dev/full")
    said = done.stderr.splitlines()
    assert done.returncode == 2 and len(said) == 2 and "No space left" in said[0], done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "<&-", "<&- 2>&-"])
def test_other_closed_streams_change_nothing(closed: str) -> None:
    done = shell(f"completion zsh {closed}")
    assert done.returncode == 0 and done.stdout == shell("completion zsh").stdout and not done.stderr
    told = shell(f"view stores/none r {closed}")
    assert told.returncode == 2 and not told.stdout
