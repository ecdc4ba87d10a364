"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from fuse import Fuse
from pipeline import make_inputs, short_config

# Scores name the day of their predictions; two pipelines that are compared may be run before and after midnight.
os.environ.setdefault("SOURCE_DATE_EPOCH", "1700000000")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; torch is asked only where such a test was chosen."""
    chosen = [item for item in items if item.get_closest_marker("gpu")]
    if chosen:
        from torch.cuda import is_available  # here, since most tests need no torch

        for item in chosen if not is_available() else []:
            item.add_marker(pytest.mark.skip(reason="no GPU is seen"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings beside the checkout; tests that need it are skipped where it is not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real recordings (../shared/data) are not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small simulated store and its instructions; not to be written to."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def short_run(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a few steps on those inputs; not to be written to."""
    from emgecg_cli.core.training.run import train  # here, since most tests need no training

    run = tmp_path_factory.mktemp("runs") / "short"
    train(inputs[1], run, short_config())
    return run


@pytest.fixture(scope="session")
def backbone_folder(short_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaMA with its tokenizer, as a folder; not to be written to."""
    folder = tmp_path_factory.mktemp("backbone") / "llama"
    shutil.copytree(short_run / "backbone", folder)
    shutil.copytree(short_run / "tokenizer", folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small simulated store of tables and its instructions; not to be written to."""
    from emg_store import make_tables  # here, since it imports torch

    return make_tables(tmp_path_factory.mktemp("tables"), 24, splits=("train",) * 4 + ("val", "test"))


@pytest.fixture(scope="session")
def fuse() -> Fuse:
    """One for the whole session, since an audit hook cannot be taken off."""
    return Fuse()
