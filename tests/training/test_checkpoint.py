"""Checkpoints: whole or not at all, the newest two, restored exactly, and refused when damaged or of another model."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fuse import Fuse
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.training.checkpoint import load_checkpoint, load_state, save_checkpoint, save_state, where
from emgecg_cli.core.training.parallel import Parallel, open_parallel


def prepared(width: int = 4, seed: int = 0) -> tuple[Parallel, Any, Any]:
    """A network with trained, frozen and tied parameters and BatchNorm; biases learn at a rate of their own."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, width), nn.Dropout(0.5),
                          nn.Linear(width, width))
    model[2].weight = model[0].weight if width == 3 else model[2].weight
    model[4].requires_grad_(False)
    model.register_buffer("scratch", torch.full((2,), float(seed)), persistent=False)
    parallel = open_parallel("auto", "fp32", max_grad_norm=1.0)
    trained = [p for p in model.parameters() if p.requires_grad]
    return parallel, *parallel.prepare(model, lambda inner: torch.optim.AdamW(
        [{"params": [p for p in trained if p.ndim > 1]}, {"params": [p for p in trained if p.ndim == 1], "lr": 0.1}]))


def step(parallel: Parallel, objective: Any, optimizer: Any) -> None:
    parallel.backward(objective(torch.randn(8, 3)).square().sum())
    parallel.step(objective, optimizer)


def state(parallel: Parallel, objective: Any, optimizer: Any) -> dict[str, Tensor]:
    weights, moments = parallel.state(objective, optimizer)
    return weights | moments


@pytest.mark.parametrize("width", [4, 3])
def test_training_goes_on_exactly(tmp_path: Path, width: int) -> None:
    whole = prepared(width)
    torch.manual_seed(9)
    assert load_checkpoint(tmp_path / "none", *whole) == 0
    for number in range(1, 6):
        step(*whole)
        if number in (1, 2, 3):
            save_checkpoint(tmp_path, number, *whole)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000003"]
    resumed = prepared(width, seed=5)
    resumed[1][4].load_state_dict(whole[1][4].state_dict())  # what does not train is not in a checkpoint
    assert load_checkpoint(tmp_path, *resumed) == 3
    for _ in range(2):
        step(*resumed)
    expected, got = state(*whole), state(*resumed)
    assert expected.keys() == got.keys() and "step.0.weight" in got and "1.running_var" in got
    assert not any(name.startswith("4.") or "scratch" in name for name in got)
    for name, tensor in expected.items():
        assert torch.equal(tensor, got[name]), name
    assert resumed[1].scratch[0] == 5
    assert [group["lr"] for group in resumed[2].param_groups] == [1e-3, 0.1]


def test_what_is_saved_does_not_change_with_training(tmp_path: Path) -> None:
    run = prepared()
    step(*run)
    kept = state(*run)
    before = {name: tensor.clone() for name, tensor in kept.items()}
    step(*run)
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())


def test_a_process_takes_the_random_state_of_its_rank_or_of_another(tmp_path: Path) -> None:
    run = prepared()
    step(*run)
    save_checkpoint(tmp_path, 1, *run)
    folder = tmp_path / "step-00000001"
    torch.manual_seed(77)
    save_state(folder / "random-1.safetensors", {"cpu": torch.get_rng_state()})
    (folder / "state.json").write_text(json.dumps({"step": 1, "processes": 2}))
    run[0].rank = 3  # one of more processes than saved it
    torch.manual_seed(0)
    load_checkpoint(tmp_path, *run)
    drawn = torch.rand(3)
    torch.manual_seed(77)
    assert torch.equal(drawn, torch.rand(3))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "random-0.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    run = prepared()
    step(*run)
    save_checkpoint(tmp_path, 1, *run)
    file = tmp_path / "step-00000001" / name
    if damage == "gone":
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size // 2 if damage == "cut" else 0)
    with pytest.raises(MedReportError, match="damaged checkpoint") as error:
        load_checkpoint(tmp_path, *run)
    assert "remove that folder" in str(error.value.hint)


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run = prepared()
    step(*run)
    save_checkpoint(tmp_path, 1, *run)
    with pytest.raises(MedReportError, match="another model"):
        load_checkpoint(tmp_path, *prepared(width=5))
    weights, _ = run[0].state(run[1], None)
    save_state(tmp_path / "step-00000001/optimizer.safetensors", {"exp_avg.elsewhere": weights["0.weight"]})
    with pytest.raises(MedReportError, match="elsewhere"):
        load_checkpoint(tmp_path, *run)


def test_processes_that_see_different_checkpoints_are_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared()
    step(*run)
    save_checkpoint(tmp_path, 4, *run)
    run[0].world = 2
    run[0].sum = lambda tensor: tensor + torch.zeros(1)  # the other one sees none
    with pytest.raises(MedReportError, match="not all processes see the same checkpoint"):
        load_checkpoint(tmp_path, *run)


def test_killed_at_any_moment_the_newest_checkpoint_is_whole(tmp_path: Path, fuse: Fuse) -> None:
    run = prepared()
    for number in (1, 2):
        step(*run)
        save_checkpoint(tmp_path / "start", number, *run)

    def work(folder: Path) -> None:
        for number in (1, 2):
            (folder / f"step-{number:08d}").mkdir(parents=True)
            for file in (tmp_path / "start" / f"step-{number:08d}").iterdir():
                (folder / f"step-{number:08d}" / file.name).write_bytes(file.read_bytes())

    work(tmp_path / "whole")
    operations = fuse.burn(lambda: save_checkpoint(tmp_path / "whole", 3, *run), tmp_path / "whole", -1)
    assert operations > 5
    reached = set()
    for left in range(1, operations + 1):
        folder = tmp_path / f"killed-{left}"
        work(folder)
        fuse.burn(lambda folder=folder: save_checkpoint(folder, 3, *run), folder, left)
        reached.add(load_checkpoint(folder, *run))
        save_checkpoint(folder, 4, *run)
        assert load_checkpoint(folder, *run) == 4 and not list(folder.glob(".*4.tmp"))
    assert reached == {2, 3}


def test_a_copy_of_the_weights_is_whole_or_the_one_before(tmp_path: Path, fuse: Fuse) -> None:
    file = tmp_path / "best" / "weights.safetensors"
    save_state(file, {"w": torch.zeros(3)})
    operations = fuse.burn(lambda: save_state(file, {"w": torch.ones(3)}), tmp_path / "best", -1)
    for left in range(1, operations + 1):
        save_state(file, {"w": torch.zeros(3)})
        fuse.burn(lambda: save_state(file, {"w": torch.ones(3)}), tmp_path / "best", left)
        assert load_state(file)["w"].sum().item() == 0
    save_state(file, {"w": torch.ones(3)})
    assert torch.equal(load_state(file)["w"], torch.ones(3))
    os.truncate(file, 20)
    for wrong in (file, tmp_path / "none.safetensors"):
        with pytest.raises(MedReportError, match="damaged weights"):
            load_state(wrong)


def test_a_flipped_bit_of_a_checkpoint_is_never_gone_on_from(tmp_path: Path) -> None:
    """Refused, or, where a number is written in another way, the very same state."""
    run = prepared()
    step(*run)
    save_checkpoint(tmp_path / "checkpoints", 1, *run)
    expected = {name: tensor.clone() for name, tensor in state(*run).items()}
    rng = random.Random(0)
    for file in sorted((tmp_path / "checkpoints/step-00000001").iterdir()):
        before = file.read_bytes()
        for _ in range(40):
            data = bytearray(before)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(data))
            fresh = prepared()
            try:
                load_checkpoint(tmp_path / "checkpoints", *fresh)
            except MedReportError as error:
                assert "damaged checkpoint" in error.message or "another model" in error.message
            else:
                assert all(torch.equal(expected[name], tensor) for name, tensor in state(*fresh).items()), bytes(data)
        file.write_bytes(before)
    assert load_checkpoint(tmp_path / "checkpoints", *prepared()) == 1


@pytest.mark.parametrize("name", ["metrics.jsonl", "validation.jsonl"])
def test_logs_that_were_changed_are_not_gone_on_with(tmp_path: Path, name: str) -> None:
    run = prepared()
    (tmp_path / name).write_text('{"step": 1, "total": 4.5}\n')
    save_checkpoint(tmp_path / "checkpoints", 1, *run)
    (tmp_path / name).write_text('{"step": 1, "total": 4.5}\n{"step": 2, "total": 4}\n')
    assert load_checkpoint(tmp_path / "checkpoints", *run) == 1
    (tmp_path / name).write_text('{"step": 1, "total": 4.1}\n{"step": 2, "total": 4}\n')
    with pytest.raises(MedReportError, match=f"{name}: was changed while the run was made"):
        load_checkpoint(tmp_path / "checkpoints", *run)


def test_a_checkpoint_of_before_they_were_hashed_is_gone_on_from(tmp_path: Path) -> None:
    run = prepared()
    step(*run)
    save_checkpoint(tmp_path, 1, *run)
    for file in (tmp_path / "step-00000001").glob("*.safetensors"):
        save_file(load_file(file), file)
    (tmp_path / "step-00000001/state.json").write_text('{"step": 1, "processes": 1}\n')
    assert load_checkpoint(tmp_path, *run) == 1


def test_what_an_interrupted_run_goes_on_from_is_said_of_every_stage(tmp_path: Path) -> None:
    assert "begins again" in where(tmp_path)
    for made, says in (("stage1/checkpoints/step-00000003", "step 3 of stage 1"),
                       ("words/checkpoints/step-00000005", "step 5 of the steps on words"),
                       ("checkpoints/step-00000007", "from step 7")):
        (tmp_path / made).mkdir(parents=True)
        assert says in where(tmp_path), made
    shutil.rmtree(tmp_path / "checkpoints/step-00000007")
    (tmp_path / "checkpoints/words.safetensors").touch()
    assert "the end of the steps on words" in where(tmp_path)
