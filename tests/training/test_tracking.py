"""TensorBoard and Weights & Biases get the numbers of metrics.jsonl, each step once, also after a killed run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipeline import short_config

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.training.run import train
from emgecg_cli.core.training.tracking import parse_trackers

TRACKED = dict(steps=6, batch_size=4, checkpoint_every=2, evaluate_every=3)


def test_tensorboard_holds_each_step_once(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"

    class Stop(Exception):
        pass

    def stop_late(done: int, total: int, **fields: object) -> None:
        if done == total:
            raise Stop

    with pytest.raises(Stop):
        train(inputs[1], run, short_config(**TRACKED, track="tensorboard"), progress=stop_late)
    train(inputs[1], run, short_config(**TRACKED, track="tensorboard"))
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    written = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    got = {event.step: event.value for event in events.Scalars("train/report")}
    assert list(got) == [row["step"] for row in written]
    assert [*got.values()] == pytest.approx([row["report"] for row in written])
    assert [event.step for event in events.Scalars("val/report")][-1] == 6


def test_wandb_offline_and_refused_without_a_key(inputs: tuple[Path, Path], tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(MedReportError, match="without a key"):
        train(inputs[1], tmp_path / "no-key", short_config(**TRACKED, track="wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(inputs[1], tmp_path / "run", short_config(**TRACKED, track="wandb"))
    assert list((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))


def test_unknown_trackers_are_refused_before_anything_runs() -> None:
    assert parse_trackers("none") == []
    with pytest.raises(MedReportError, match="no tracker 'mlflow'"):
        parse_trackers("tensorboard,mlflow")
