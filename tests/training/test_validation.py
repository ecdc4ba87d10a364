"""The validation split while training: what is computed, which weights are kept, also by a killed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fuse import Fuse
from pipeline import contents, make_store, short_config

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import build_instructions, open_instructions
from emgecg_cli.core.instructions.render import render
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.store import open_store
from emgecg_cli.core.training import validation as module
from emgecg_cli.core.training.run import train

# A learning rate that ruins the model after a few steps, so that the best weights are not the last.
RUINOUS = dict(steps=8, batch_size=4, checkpoint_every=2, evaluate_every=2, learning_rate=0.03, warmup=0.6,
               max_grad_norm=0.0, encoder_loss="none", augment="none", eos_loss_weight=1.0)


def looks(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    return {row["step"]: row["report"] for row in rows}


@pytest.fixture(scope="module")
def best_run(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "best"
    train(inputs[1], run, short_config(**RUINOUS, select="best"))
    return run


def test_the_kept_weights_have_the_lowest_loss_on_the_val_split(inputs: tuple[Path, Path], best_run: Path) -> None:
    seen = looks(best_run)
    manifest = read_manifest(best_run, "run")
    best = min(seen, key=lambda step: seen[step])
    assert list(seen) == [2, 4, 6, 8] and best < 8, "this test needs a best that is not the last"
    assert manifest.details["kept_step"] == best
    assert manifest.details["validation"]["report"] == seen[best]
    assert set(manifest.details["files"]) >= {"metrics.jsonl", "validation.jsonl"}
    assert by_hand(best_run, *inputs, split="val") == pytest.approx(seen[best], rel=1e-4)
    assert by_hand(best_run, *inputs, split="test") != pytest.approx(seen[best], rel=1e-4)


def by_hand(run: Path, store_path: Path, instructions_path: Path, split: str) -> float:
    """The mean loss of the answers' tokens of a split, one record at a time."""
    model, tokenizer, _ = load_run(run, torch.device("cpu"))
    store, instructions = open_store(store_path), open_instructions(instructions_path)
    total, count = 0.0, 0
    for index in store.indices(split):
        row = store.row(index)
        rendered = render(instructions.rows[row.record_id].messages, tokenizer, 256)
        ids = torch.tensor([rendered.input_ids])
        signal = model.preprocessing["ecg"](torch.from_numpy(store.signal(index).copy())[None])
        with torch.no_grad():
            logits = model({"ecg": signal}, ids, torch.ones_like(ids))[0][0, :-1].log_softmax(-1)
        for position, label in enumerate(rendered.labels[1:]):
            if label != -100:
                total, count = total - float(logits[position, label]), count + 1
    return total / count


def test_the_last_weights_are_kept_where_asked(inputs: tuple[Path, Path], tmp_path: Path, best_run: Path) -> None:
    result = train(inputs[1], tmp_path / "last", short_config(**RUINOUS, select="last"))
    assert looks(tmp_path / "last") == looks(best_run)
    assert result.loop is not None and result.loop.kept == 8
    assert result.loop.validation is not None and result.loop.validation["report"] == looks(best_run)[8]


def test_looking_changes_nothing_in_training(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    for name, every in (("often", 1), ("never", 100)):
        train(inputs[1], tmp_path / name, short_config(steps=4, batch_size=4, evaluate_every=every))
    assert (tmp_path / "often/metrics.jsonl").read_bytes() == (tmp_path / "never/metrics.jsonl").read_bytes()


@pytest.mark.long
def test_killed_at_any_operation_a_run_keeps_the_same_weights(inputs: tuple[Path, Path], tmp_path: Path, fuse: Fuse,
                                                              best_run: Path) -> None:
    def work(name: str) -> Any:
        return train(inputs[1], tmp_path / name, short_config(**RUINOUS, select="best"))

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    assert contents(tmp_path / "whole") == contents(best_run)
    for left in range(1, operations, 3):
        name = f"killed-{left}"
        assert fuse.burn(lambda name=name: work(name), tmp_path / name, left) == left
        work(name)
        assert contents(tmp_path / name) == contents(best_run), f"killed before operation {left}"


def test_best_without_a_val_split_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 30, split="80/0/20")
    build_instructions(store, tmp_path / "instructions", pool_size=32)
    with pytest.raises(MedReportError, match="no record in the val split"):
        train(tmp_path / "instructions", tmp_path / "run", short_config(select="best"))
    train(tmp_path / "instructions", tmp_path / "run", short_config(steps=1, select="last"))
    assert not (tmp_path / "run/validation.jsonl").exists()


def test_a_lost_best_is_said(inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "save_state", lambda file, tensors: None)
    with pytest.raises(MedReportError, match="best weights are not there"):
        train(inputs[1], tmp_path / "run", short_config(**RUINOUS, select="best"))


@pytest.mark.parametrize("name", ["validation.jsonl", "metrics.jsonl"])
def test_a_damaged_log_is_said_and_not_gone_on_from(inputs: tuple[Path, Path], tmp_path: Path, fuse: Fuse,
                                                    name: str) -> None:
    def work() -> Any:
        return train(inputs[1], tmp_path / "run", short_config(**RUINOUS, select="best"))

    operations = fuse.burn(lambda: train(inputs[1], tmp_path / "whole", short_config(**RUINOUS, select="best")),
                           tmp_path / "whole", -1)
    fuse.burn(work, tmp_path / "run", operations - 20)
    (tmp_path / "run" / name).write_text("")
    with pytest.raises(MedReportError, match=f"{name}: holds 0 of"):
        work()


LOG = dict(steps=5, batch_size=4, checkpoint_every=2)


@pytest.mark.parametrize(("changes", "seen"), [
    (dict(select="last"), []), (dict(select="last", evaluate_every=2), [2, 4]),
    (dict(select="last", evaluate_every=5), [5]),
    (dict(select="last", track="tensorboard", evaluate_every=2), [2, 4, 5]),
    (dict(select="best", evaluate_every=2), [2, 4, 5])])
def test_the_val_split_is_looked_at_where_something_asks(inputs: tuple[Path, Path], tmp_path: Path, seen: list[int],
                                                         changes: dict[str, Any],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    if "track" in changes:
        pytest.importorskip("tensorboard")
    looked = []
    evaluate = module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *given: (looked.append(1), evaluate(*given))[1])
    result = train(inputs[1], tmp_path / "run", short_config(**LOG | changes))
    assert len(looked) == len(seen) and (tmp_path / "run/validation.jsonl").exists() == bool(seen)
    assert not seen or list(looks(tmp_path / "run")) == seen
    files = read_manifest(tmp_path / "run", "run").details["files"]
    assert ("validation.jsonl" in files) == bool(seen)
    assert (result.validation is not None) == (5 in seen)
    assert result.kept_step == 5 or changes["select"] == "best"


def test_a_part_of_the_val_split_drawn_by_the_seed(inputs: tuple[Path, Path], tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(inputs[0])
    drawn = []
    evaluate = module.evaluate

    def spy(parallel: Any, objective: Any, records: Any, *rest: Any) -> Any:
        drawn.append(records.rendered.indices.tolist())
        return evaluate(parallel, objective, records, *rest)

    monkeypatch.setattr(module, "evaluate", spy)
    few = dict(steps=1, batch_size=4, select="best", val_limit=3)
    for name, changes in (("a", {}), ("b", {}), ("c", dict(seed=5)), ("d", dict(val_limit=99))):
        train(inputs[1], tmp_path / name, short_config(**few | changes))
    a, b, c, whole = drawn
    assert whole == store.indices("val").tolist() and len(whole) > 3
    assert a == b == sorted(a) and len(a) == len(c) == 3 and set(a) < set(whole) and a != c
    assert read_manifest(tmp_path / "a", "run").arguments["val_limit"] == 3
    with pytest.raises(MedReportError, match="--val-limit has no effect beside --select last without --track"):
        short_config(val_limit=3, select="last")


def test_a_tracker_that_comes_later_finds_no_looks_missing(inputs: tuple[Path, Path], tmp_path: Path,
                                                           fuse: Fuse) -> None:
    pytest.importorskip("tensorboard")
    plain, tracked = (short_config(**LOG, select="last", track=track) for track in ("none", "tensorboard"))
    operations = fuse.burn(lambda: train(inputs[1], tmp_path / "whole", plain), tmp_path / "whole", -1)
    for first, then in ((plain, tracked), (tracked, plain)):
        run = tmp_path / first.track
        fuse.burn(lambda run=run, first=first: train(inputs[1], run, first), run, operations * 2 // 3)
        train(inputs[1], run, then)
        assert (run / "validation.jsonl").exists() == (then is tracked)
