"""Trainings that are interrupted, that write by the clock, and what long commands say where there is no terminal."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline import contents, medreport, short_config

from emgecg_cli.commands import app, console
from emgecg_cli.core import launch
from emgecg_cli.core.recipes import resolve_pretrain_config
from emgecg_cli.core.training import pace
from emgecg_cli.core.training.checkpoint import save_checkpoint
from emgecg_cli.core.training.pretrain import pretrain
from emgecg_cli.core.training.run import train

STEPS = 5
BEST = dict(steps=STEPS, batch_size=4, checkpoint_every=100, evaluate_every=2, select="best")
Report = Callable[..., None]


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each step took long."""
    monkeypatch.setattr(pace, "SECONDS", 0.0)


def interrupt_at(step: int, times: int = 1) -> Report:
    """A progress that presses Ctrl-C when so many steps are done."""
    def report(done: int, total: int, **fields: object) -> None:
        if done == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
    return report


@pytest.fixture(scope="module")
def whole(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(inputs[1], run, short_config(**BEST))
    return run


# ----------------------------------------------------------------------------------------------------------- Ctrl-C
@pytest.mark.parametrize("step", range(STEPS))
def test_an_interrupted_run_goes_on_to_the_same_bytes(inputs: tuple[Path, Path], tmp_path: Path, whole: Path,
                                                      step: int) -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as raised:
        train(inputs[1], tmp_path / "run", short_config(**BEST), progress=interrupt_at(step or 1),
              on_interrupt=lambda: told.append("wait"))
    assert told == ["wait"] and signal.getsignal(signal.SIGINT) is before
    kept = (step or 1) + 1  # what was pressed between two steps ends the coming one
    assert [path.name for path in (tmp_path / "run/checkpoints").glob("step-*")] == [f"step-{kept:08d}"]
    assert raised.value.__notes__ == [f"run the same command again: it goes on from step {kept}"]
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == kept
    train(inputs[1], tmp_path / "run", short_config(**BEST))
    assert contents(tmp_path / "run") == contents(whole)


def test_a_run_that_is_interrupted_again_and_again(inputs: tuple[Path, Path], tmp_path: Path, whole: Path) -> None:
    for step in range(1, STEPS):
        with pytest.raises(KeyboardInterrupt):
            train(inputs[1], tmp_path / "run", short_config(**BEST), progress=interrupt_at(step), on_interrupt=list)
    result = train(inputs[1], tmp_path / "run", short_config(**BEST))
    assert contents(tmp_path / "run") == contents(whole)
    last = json.loads((whole / "metrics.jsonl").read_text().splitlines()[-1])
    assert result.loop is not None and result.loop.loss == last["report"]  # of a loop that had no step left


@pytest.mark.parametrize(("every", "where"), [(2, "it goes on from step 2"), (100, "the same command begins again")])
def test_the_second_ctrl_c_stops_at_once_and_says_what_is_kept(inputs: tuple[Path, Path], tmp_path: Path, whole: Path,
                                                               every: int, where: str) -> None:
    config = short_config(**BEST | dict(checkpoint_every=every))
    with pytest.raises(KeyboardInterrupt) as raised:
        train(inputs[1], tmp_path / "run", config, progress=interrupt_at(3, times=2), on_interrupt=list)
    assert where in raised.value.__notes__[0]
    train(inputs[1], tmp_path / "run", config)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_without_anybody_who_watches_ctrl_c_is_as_ever(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        train(inputs[1], tmp_path / "run", short_config(**BEST), progress=interrupt_at(2))
    assert raised.value.__notes__ == ["no checkpoint was written yet: the same command begins again"]


def test_an_encoder_too(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    config = resolve_pretrain_config(encoder="resnet18-tiny", steps=4, batch_size=8)
    pretrain(inputs[0], tmp_path / "whole", config)
    for step in (2, 3):
        with pytest.raises(KeyboardInterrupt, match=""):
            pretrain(inputs[0], tmp_path / "encoder", config, progress=interrupt_at(step), on_interrupt=list)
    pretrain(inputs[0], tmp_path / "encoder", config)
    assert contents(tmp_path / "encoder") == contents(tmp_path / "whole")


def test_the_command_says_where_it_goes_on(inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    from emgecg_cli.core.training import loop

    def pressed(*given: Any) -> None:
        save_checkpoint(*given)

    step = loop._one_step
    monkeypatch.setattr(loop, "save_checkpoint", pressed)
    monkeypatch.setattr(loop, "_one_step", lambda *given: (os.kill(os.getpid(), signal.SIGINT), step(*given))[1])
    line = ["train", "--backbone", "tiny", str(inputs[1]), "--out", str(tmp_path / "run"), "--steps", "30"]
    assert app.run(line) == 130
    said = capsys.readouterr().err
    assert "30 steps of 32 records, 22.9 times the 42 train records" in said and "warning: 30 steps are few" in said
    assert said.splitlines()[-3:] == [
        "interrupted: after this step a checkpoint is written; Ctrl-C again stops at once", "error: interrupted",
        "hint: run the same command again: it goes on from step 1"]


def test_a_group_keeps_its_step_too(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = medreport(["train", "--backbone", "tiny", str(inputs[1]), "--out", str(run), "--steps", "2000",
                         "--batch-size", "4", "--num-processes", "2", "--checkpoint-every", "1999"], tmp_path)
    deadline = time.monotonic() + 240
    while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    kept, = (run / "checkpoints").glob("step-*")
    number = int(kept.name.removeprefix("step-"))
    assert process.returncode == 130 and f"it goes on from step {number}\n" in said, said
    assert len((run / "metrics.jsonl").read_text().splitlines()) == number
    assert {file.name for file in kept.iterdir()} >= {"random-0.safetensors", "random-1.safetensors"}


# ------------------------------------------------------------------------------------------------------ by the clock
def test_checkpoints_by_time_change_no_byte(inputs: tuple[Path, Path], tmp_path: Path, whole: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.training import loop

    steps: list[int] = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda folder, step, *rest: (
        steps.append(step), save_checkpoint(folder, step, *rest)))
    train(inputs[1], tmp_path / "run", short_config(**BEST, checkpoint_minutes=1e-6))
    assert steps == list(range(1, STEPS)) and contents(tmp_path / "run") == contents(whole)
    steps.clear()
    for minutes in (0, 5):
        train(inputs[1], tmp_path / f"{minutes}", short_config(**BEST, checkpoint_minutes=minutes))
    assert not steps


@pytest.mark.parametrize(("seconds", "seen"), [(0.0, list(range(26))), (1e9, [0, 1, 10, 20, 25])])
def test_progress_and_log_come_by_time_as_well(inputs: tuple[Path, Path], tmp_path: Path, seconds: float,
                                               seen: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SECONDS", seconds)
    heard: list[tuple[int, int, int]] = []

    def report(done: int, total: int, **fields: object) -> None:
        log = tmp_path / "run/metrics.jsonl"
        heard.append((done, total, len(log.read_text().splitlines())))

    train(inputs[1], tmp_path / "run", short_config(**BEST | dict(steps=25, select="last", evaluate_every=100)),
          progress=report)
    assert heard == [(step, 25, step) for step in seen]


class Two:
    """Process `rank` of two, which adds what the other one would say."""

    world, device = 2, torch.device("cpu")

    def __init__(self, rank: int, other: list[float]) -> None:
        self.rank, self.is_main, self.other = rank, rank == 0, other

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor + torch.tensor(self.other)


def test_processes_decide_together() -> None:
    asked = pace.Pace(Two(1, [0.0, 0.0, 2.0]), 0, 99, 1.0, lambda: True)  # type: ignore[arg-type]
    main = pace.Pace(Two(0, [1.0, 0.0, 0.0]), 0, 99, 1.0, lambda: False)  # type: ignore[arg-type]
    assert asked.is_due(1) and main.is_due(1)
    asked.look(1)
    assert not main.is_due(0) and asked.next == 2  # of the main process's clock, two seconds a step
    assert pace.Pace(Two(0, [1.0, 0.0, 0.0]), 5, 99, 0.0, lambda: False).look(6) == \
        pace.Wanted(False, True)  # type: ignore[arg-type]
    late = pace.Pace(Two(1, [0.0, 1.0, 0.1]), 5, 99, 1.0, lambda: False)  # type: ignore[arg-type]
    assert late.look(6) == pace.Wanted(True, False)
    assert not late.is_due(6) or late.next == 7


# ------------------------------------------------------------------------------------------- where there is no terminal
def lines_of(work: Callable[[console.Progress], None], capsys: pytest.CaptureFixture[str], unit: str = "steps",
             ) -> list[str]:
    with console.progress("train", unit) as progress:
        work(progress)
    captured = capsys.readouterr()
    assert not captured.out
    return captured.err.splitlines()


def test_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "EVERY", 0.02)
    said: list[str] = []
    monkeypatch.setattr(console, "note", said.append)

    def until(begins: str) -> None:
        deadline = time.monotonic() + 30
        while not (said and said[-1].startswith(begins)):
            assert time.monotonic() < deadline, said
            time.sleep(0.005)

    with console.progress("train", "steps") as progress:
        until("train: 0 s so far")
        progress(100, 1_200)
        until("train: 100 of 1,200 steps")
        assert said[-1] == "train: 100 of 1,200 steps"
        began = time.monotonic()
        time.sleep(0.2)
        progress(120, 1_200, loss=0.52341, data_wait="4 %")
        least = 1_080 * 0.2 / 20
        until("train: 120 of 1,200 steps, ")
        most = 1_080 * (time.monotonic() - began + 0.5) / 20
    assert "steps/s, loss 0.5234, data wait 4 %, " in said[-1] and said[-1].endswith(" left")
    assert "min" in said[-1] or least - 1 <= float(said[-1].rsplit(", ", 1)[1].split()[0]) <= most + 1
    lines = len(said)
    time.sleep(0.1)
    assert len(said) == lines


def test_no_line_before_its_time_nor_from_those_who_are_spoken_for(capsys: pytest.CaptureFixture[str],
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    assert console.EVERY == 30.0 and lines_of(lambda progress: progress(1, 2), capsys) == []
    monkeypatch.setattr(console, "EVERY", 0.01)
    for variables in ({"RANK": "1", "WORLD_SIZE": "2"}, {launch.CHILD_VARIABLE: "1"}):
        with monkeypatch.context() as context:
            for name, value in variables.items():
                context.setenv(name, value)
            assert lines_of(lambda progress: time.sleep(0.05), capsys) == []
    monkeypatch.setenv(launch.CHILD_VARIABLE, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert lines_of(lambda progress: time.sleep(0.05), capsys)


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (275, "4 min 35 s"),
                                               (7_500, "2 h 05 min"), (360_000, "100 h 00 min")])
def test_durations(seconds: float, said: str) -> None:
    assert console._duration(seconds) == said


@pytest.mark.parametrize("command", ["train", "pretrain", "generate", "prepare", "score"])
def test_long_commands_say_how_far_they_are(inputs: tuple[Path, Path], short_run: Path, tmp_path: Path, command: str,
                                            monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """Each is made so slow that a line is due."""
    monkeypatch.setattr(console, "EVERY", 0.02)
    predictions = tmp_path / "p.jsonl"
    if command == "score":
        assert app.run(["generate", str(short_run), "--max-new-tokens", "4", "--out", str(predictions)]) == 0
        capsys.readouterr()
    lines = {"train": ["train", "--backbone", "tiny", str(inputs[1]), "--steps", "6"],
             "pretrain": ["pretrain", str(inputs[0]), "--encoder", "resnet18-tiny", "--steps", "6"],
             "generate": ["generate", str(short_run), "--max-new-tokens", "40", "--batch-size", "2"],
             "prepare": ["prepare", "synthetic", "--records", "40", "--workers", "1"],
             "score": ["score", str(predictions), "--resamples", "2000"]}
    out = tmp_path / {"generate": "q.jsonl", "score": "s.json"}.get(command, "out")
    assert app.run([*lines[command], "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    far = [line for line in captured.err.splitlines() if line.startswith(command) and " of " in line]
    assert far, captured.err
    assert command not in ("train", "pretrain") or any("loss" in line and "steps/s" in line for line in far)
    json.loads(captured.out)
