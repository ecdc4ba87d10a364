"""A small pipeline for tests: a simulated store with instructions, a short run, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.config import PrepareConfig, TrainConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.store import prepare_store

SHORT = dict(backbone="tiny", steps=9, batch_size=8, checkpoint_every=4)


def make_store(folder: Path, records: int = 60, seed: int = 0, fs: int = 100, split: str | None = None) -> Path:
    """A finished store of simulated records."""
    source = open_dataset("synthetic", seed, records=records, fs=fs)
    prepare_store(source, folder, PrepareConfig(fs=fs, clean="lower", split=split, seed=seed))
    return folder


def make_inputs(folder: Path, records: int = 60) -> tuple[Path, Path]:
    """Store and instructions under `folder`, in the default places."""
    store = make_store(folder / "stores/synthetic", records)
    build_instructions(store, folder / "instructions/synthetic", pool_size=32)
    return store, folder / "instructions/synthetic"


def short_config(**changes: object) -> TrainConfig:
    """A training of a few steps, of a backbone with weights by MEIT's paper: its own recipe has a long first stage."""
    recipe = {} if changes.get("backbone", "tiny") == "tiny" else {"recipe": "meit-paper"}
    return resolve_train_config(**SHORT | recipe | changes)


@contextmanager
def interrupted_after(chunks: int) -> Iterator[None]:
    """Generation is interrupted, as by Ctrl-C, when so many chunks of reports are written."""
    from emgecg_cli.core.generation.reports import Reporter  # here, since it imports torch

    rows, left = Reporter.rows, iter(range(chunks))

    def counted(self: Reporter, *arguments: Any) -> list[PredictionRow]:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rows(self, *arguments)

    with patch.object(Reporter, "rows", counted):
        yield


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def medreport(arguments: list[str], cwd: Path) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "emgecg_cli", *arguments], cwd=cwd, env=surroundings(), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def surroundings() -> dict[str, str]:
    """The environment of a process that is started."""
    return os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONHASHSEED": "random"}


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a process that must succeed; returns its stderr."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def kill_when(process: subprocess.Popen[str], condition: Callable[[], bool], whole_tree: bool = False) -> None:
    """SIGKILL a process as soon as the condition holds; it must not have ended before. `whole_tree` kills what it
    started, too: launchers of others let that live."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the moment to kill never came"
        time.sleep(0.002)
    started = psutil.Process(process.pid).children(recursive=True) if whole_tree else []
    process.send_signal(signal.SIGKILL)
    for child in started:
        child.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
