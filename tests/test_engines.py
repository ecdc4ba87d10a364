"""Engines: any number of workers, here or on Ray, killed or not, give the same bytes; what goes wrong is one line."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_helpers import damaged_root, hashes, prepare

from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.engines import run_tasks
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store import Engine

RECORDS = 240


def square(value: int) -> int:
    return value * value


def fail_at_three(value: int) -> int:
    if value == 3:
        raise MedReportError("three is too many", "leave it out")
    return value


def die_at_three(value: int) -> int:
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_run_once_and_arguments_are_asked_for_as_needed(workers: int) -> None:
    asked: list[int] = []

    def arguments() -> Iterator[int]:
        for value in range(40):
            asked.append(value)
            yield value

    results = run_tasks("local", square, arguments(), workers, 40)
    first = next(results)
    assert len(asked) <= 2 * workers + 1
    assert sorted([first, *results]) == [value * value for value in range(40)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_raised_with_its_hint(workers: int) -> None:
    with pytest.raises(MedReportError, match="three is too many") as caught:
        list(run_tasks("local", fail_at_three, range(10), workers, 10))
    assert caught.value.hint == "leave it out"


def test_a_worker_that_dies_is_named() -> None:
    with pytest.raises(MedReportError, match="a worker process ended") as caught:
        list(run_tasks("local", die_at_three, range(10), 2, 10))
    assert "--workers" in (caught.value.hint or "")


def test_wrong_engines_and_workers_are_refused() -> None:
    with pytest.raises(MedReportError, match="did you mean 'ray'"):
        list(run_tasks("rai", square, [1], 1, 1))
    with pytest.raises(MedReportError, match="--workers 0"):
        list(run_tasks("local", square, [1], 0, 1))


def test_ray_without_the_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MedReportError, match="needs the package ray") as caught:
        list(run_tasks("ray", square, [1], 1, 1))
    assert caught.value.hint == "pip install 'medreport[ray]'"


def test_two_workers_give_the_bytes_of_one(tmp_path: Path) -> None:
    root = damaged_root(tmp_path / "root")
    for workers in (1, 2):
        prepare(open_dataset("ptb-xl", 0, root=root), tmp_path / str(workers), engine=Engine("local", workers))
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2")


CHILD = """
import sys
from pathlib import Path
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.store import Engine, prepare_store
if __name__ == "__main__":
    out, records, engine, workers = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    prepare_store(open_dataset("synthetic", 0, records=records), out, PrepareConfig(shard_size=4),
                  Engine(engine, workers))
"""


def start(script: Path, out: Path, engine: str, workers: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(script), str(out), str(RECORDS), engine, str(workers)],
                            stderr=subprocess.PIPE, start_new_session=True)


def kill_after(process: subprocess.Popen[bytes], out: Path, shards: int) -> None:
    """SIGKILL once so many shards are there."""
    deadline = time.monotonic() + 60
    while len(list(out.glob(".partial/shard-*.json"))) < shards and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """Processes left of its session."""
    found = subprocess.run(["ps", "-o", "pid=", "-s", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def resumed(tmp_path: Path, engines: list[tuple[str, int]]) -> None:
    """Killed after a random number of shards on each engine in turn, and finished by the last."""
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    source = open_dataset("synthetic", 0, records=RECORDS)
    prepare(source, tmp_path / "whole")
    out, rng = tmp_path / "store", random.Random(5)
    for engine, workers in engines[:-1]:
        there = len(list(out.glob(".partial/shard-*.json")))
        process = start(script, out, engine, workers)
        kill_after(process, out, there + rng.randint(2, 9))
        assert not (out / "manifest.json").exists()
        if engine == "local":
            deadline = time.monotonic() + 20
            while workers_of(process):
                assert time.monotonic() < deadline, "a worker outlived its parent"
                time.sleep(0.05)
    process = start(script, out, *engines[-1])
    assert process.wait() == 0, process.stderr and process.stderr.read().decode()
    assert hashes(out) == hashes(tmp_path / "whole")


def test_killed_with_one_and_two_workers_ends_with_the_same_bytes(tmp_path: Path) -> None:
    resumed(tmp_path, [("local", 2), ("local", 1), ("local", 2), ("local", 2)])


@pytest.mark.long
def test_killed_on_ray_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    resumed(tmp_path, [("ray", 2), ("local", 2), ("ray", 2)])
