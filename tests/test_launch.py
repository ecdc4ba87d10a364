"""Launching: processes that start, fail and die together, on a stand-in for the program that is quick to start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emgecg_cli.core import launch
from emgecg_cli.core.launch import distributed_environment, free_port, threads_of_each

# The program says who it is, then does what its argument for this rank tells it to.
PROGRAM = """
import os, signal, subprocess, sys, time
rank = int(os.environ["RANK"])
print("out", rank, flush=True)
print("err", rank, file=sys.stderr, flush=True)
open(f"{rank}.pid", "w").write(str(os.getpid()))
do = sys.argv[1 + rank]
if do == "interruptible":
    signal.signal(signal.SIGINT, lambda *_: (open(f"{rank}.sigint", "w"), sys.exit(130)))
if do == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("worker.pid", "w").write(str(subprocess.Popen(["sleep", "60"]).pid))
if do == "gracious":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
if do in ("interruptible", "stubborn", "gracious", "sleep"):
    open(f"{rank}.ready", "w")
    time.sleep(60)
if do == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if do.startswith("late"):
    while not os.path.exists("0.ready"):
        time.sleep(0.01)
    do = do.removeprefix("late-")
sys.exit(int(do))
"""
PARENT = """
import sys
from emgecg_cli.core import launch
launch.GRACE = 1.0
try:
    status = launch.launch(sys.argv[2:], len(sys.argv) - 2, lambda rank: {"RANK": str(rank)}, quiet=sys.argv[1] == "q")
except KeyboardInterrupt:
    status = 130
sys.exit(status)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder in which `python -m emgecg_cli` is the stand-in."""
    (tmp_path / "emgecg_cli/core").mkdir(parents=True)
    for empty in ("emgecg_cli/__init__.py", "emgecg_cli/core/__init__.py"):
        (tmp_path / empty).touch()
    (tmp_path / "emgecg_cli/__main__.py").write_text(PROGRAM)
    shutil.copy(launch.__file__, tmp_path / "emgecg_cli/core/launch.py")
    return tmp_path


def start(folder: Path, *does: str, quiet: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PARENT, "q" if quiet else "-", *does], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(folder: Path, *does: str, quiet: bool = False) -> tuple[int, str, str]:
    process = start(folder, *does, quiet=quiet)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def pids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.glob("*.pid")]


def wait_for(folder: Path, *names: str) -> None:
    deadline = time.monotonic() + 20
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(folder: Path) -> bool:
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids(folder)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_only_process_0_speaks(program: Path) -> None:
    assert run(program, "0", "0", "0") == (0, "out 0\n", "err 0\n")
    assert len(pids(program)) == 3


def test_quiet_nobody_does(program: Path) -> None:
    assert run(program, "0", "0", quiet=True) == (0, "", "")


@pytest.mark.parametrize("status", ["2", "7"])
def test_the_first_that_fails_stops_the_others_and_is_heard(program: Path, status: str) -> None:
    began = time.monotonic()
    assert run(program, "sleep", f"late-{status}", "sleep") == (int(status), "out 0\n", "err 0\nerr 1\n")
    assert time.monotonic() - began < 20 and gone(program)


def test_an_error_of_process_0_is_said_once(program: Path) -> None:
    assert run(program, "2", "2") == (2, "out 0\n", "err 0\n")
    assert run(program, "gracious", "late-2") == (2, "out 0\n", "err 0\n")
    assert run(program, "gracious", "late-7") == (7, "out 0\n", "err 0\nerr 1\n")
    assert run(program, "2", "sleep", quiet=True) == (2, "", "err 0\n")


def test_a_killed_process_has_the_status_of_a_shell(program: Path) -> None:
    assert run(program, "sleep", "killed")[0] == 128 + signal.SIGKILL
    assert gone(program)


def test_one_that_will_not_stop_is_killed_with_all_it_started(program: Path) -> None:
    assert run(program, "stubborn", "late-7")[0] == 7
    assert len(pids(program)) == 3 and gone(program)


def test_an_interrupt_is_passed_on(program: Path) -> None:
    process = start(program, "interruptible", "interruptible")
    wait_for(program, "0.ready", "1.ready")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130 and gone(program)
    assert (program / "0.sigint").exists() and (program / "1.sigint").exists()


def test_a_termination_is_passed_on(program: Path) -> None:
    process = start(program, "sleep", "sleep")
    wait_for(program, "0.ready", "1.ready")
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM and gone(program)


def test_a_killed_parent_leaves_no_orphans(program: Path) -> None:
    process = start(program, "sleep", "stubborn")
    wait_for(program, "0.ready", "1.ready")
    process.kill()
    process.wait()
    assert len(pids(program)) == 3 and gone(program)


def test_the_environment_of_a_distributed_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(9)), raising=False)
    environment = distributed_environment(1, 2, 1234)
    assert environment == {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1234", "OMP_NUM_THREADS": "4"}
    assert threads_of_each(20) == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of_each(2) == "3"


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()
