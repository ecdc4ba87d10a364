"""Batches, schedule, what trains, what a run holds, and that a killed run ends with the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import contents, finish, kill_when, make_inputs, medreport, short_config
from safetensors.torch import load_file

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import Item, TextRecords, Totals
from emgecg_cli.core.inputs.rendered import RenderedSplit
from emgecg_cli.core.instructions.render import IGNORE_INDEX
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.training.augment import gain, generators, noise, parse_augmentations, roll
from emgecg_cli.core.training.batches import BatchPlan, BatchSampler
from emgecg_cli.core.training.encoder_targets import encoder_targets
from emgecg_cli.core.training.loop import count_steps, learning_rate_factor
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.run import train


# ------------------------------------------------------------------------------------------------------------- batches
@pytest.mark.parametrize(("records", "size", "batches"), [(64, 8, 8), (65, 8, 8), (66, 8, 9), (3, 8, 1), (9, 8, 1)])
def test_every_epoch_holds_each_record_once(records: int, size: int, batches: int) -> None:
    plan = BatchPlan(list(range(records)), size, seed=3)
    assert plan.per_epoch == batches
    epochs = [[plan.batch(e * batches + i) for i in range(batches)] for e in range(3)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch).tolist()) == list(range(records))
        assert all(len(batch) > 1 for batch in epoch)
    if batches > 1:
        assert [b.tolist() for b in epochs[0]] != [b.tolist() for b in epochs[1]]


def test_a_batch_depends_on_its_position_alone() -> None:
    lengths = np.random.default_rng(0).integers(10, 90, 500).tolist()
    whole = list(BatchSampler(BatchPlan(lengths, 8, seed=1), 0, 130))
    assert list(BatchSampler(BatchPlan(lengths, 8, seed=1), 77, 130)) == whole[77:]
    assert list(BatchSampler(BatchPlan(lengths, 8, seed=2), 0, 130)) != whole


def test_batches_hold_records_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(10, 90, 1024)
    plan = BatchPlan(lengths.tolist(), 16, seed=0)
    padded = sum(lengths[plan.batch(i)].max() * 16 for i in range(plan.per_epoch))
    assert padded < 1.1 * lengths.sum()


def test_one_record_or_batches_of_one_are_refused() -> None:
    for lengths, size in (([5], 8), ([5] * 9, 1)):
        with pytest.raises(MedReportError, match="training records in batches"):
            BatchPlan(lengths, size, seed=0)


# ------------------------------------------------------------------------------------------------------------ settings
@pytest.mark.parametrize(("step", "schedule", "factor"), [
    (0, "linear", 1 / 3), (2, "linear", 1.0), (3, "linear", 1.0), (51, "linear", 1 - 48 / 97), (99, "linear", 1 / 97),
    (3, "cosine", 1.0), (99, "cosine", 0.05 + 0.95 * (1 + np.cos(np.pi * 96 / 97)) / 2)])
def test_learning_rate_warms_up_then_falls(step: int, schedule: str, factor: float) -> None:
    assert learning_rate_factor(step, 100, schedule, 0.03) == pytest.approx(factor)


def test_steps_come_from_epochs_and_accumulation() -> None:
    plan = BatchPlan([1] * 100, 10, seed=0)
    three = resolve_train_config(backbone="x", epochs=3.0, gradient_accumulation=4, batch_size=10)
    assert count_steps(three, plan) == 8
    assert count_steps(resolve_train_config(backbone="x", steps=5), plan) == 5


def test_the_recipe_is_that_of_the_backbone_and_the_papers_is_asked_for() -> None:
    assert resolve_train_config(backbone="llama-3-8b").recipe == "pretrained"
    assert resolve_train_config(backbone="llama-3-8b", encoder="emg-alignment").recipe == "emgllm"
    paper = resolve_train_config(backbone="llama-3-8b", recipe="meit-paper")
    assert (paper.recipe, paper.tuning, paper.lora_rank, paper.lora_alpha, paper.lora_dropout) == \
        ("meit-paper", "lora", 128, 64, 0.1)
    assert (paper.signal_tokens, paper.token_norm, paper.schedule, paper.warmup, paper.encoder_loss, paper.augment) == \
        (1, "unit", "linear", 0.03, "none", "none")
    assert (paper.fusion, paper.word_steps, paper.word_loss) == ("prefix-kv", 0, 0.0)
    assert resolve_train_config(backbone="tiny").recipe == "tiny-from-scratch"
    assert resolve_train_config(backbone="tiny", recipe="meit-paper", signal_tokens=2).signal_tokens == 2


@pytest.mark.parametrize("wrong", [dict(batch_size=0), dict(steps=0), dict(epochs=-1.0), dict(lora_dropout=1.0),
                                   dict(schedule="step"), dict(token_norm="l1"), dict(learning_rate=0.0),
                                   dict(signal_tokens=0), dict(recipe="none"), dict(encoder_learning_rate=-1.0),
                                   dict(adam_beta2=1.0), dict(max_grad_norm=-1.0), dict(weight_decay=-0.1),
                                   dict(epochs=float("inf")), dict(learning_rate=float("nan")), dict(seed=2**32)])
def test_senseless_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(MedReportError):
        resolve_train_config(**{"backbone": "tiny"} | wrong)

def test_options_without_effect_are_refused() -> None:
    for idle in (dict(lora_rank=8), dict(epochs=2.0, steps=5), dict(encoder_loss="none", encoder_loss_weight=2.0)):
        with pytest.raises(MedReportError, match="no effect"):
            resolve_train_config(backbone="tiny", **idle)


# -------------------------------------------------------------------------------------------- augmentation and targets
def test_augmentations_keep_what_a_report_says() -> None:
    signal = torch.randn(4, 12, 200)
    drawn = generators(range(4), torch.device("cpu"))
    rolled = roll(signal, drawn, 100.0)
    for before, after in zip(signal, rolled, strict=True):
        shifts = [s for s in range(200) if torch.equal(before.roll(-s, 1), after)]
        assert len(shifts) == 1  # the same shift in all leads
    assert not torch.equal(rolled, signal)
    factors = gain(signal, drawn, 100.0) / signal
    assert factors.flatten(1).std(1).max() < 1e-5 and ((factors > 0.949) & (factors < 1.051)).all()
    assert (noise(signal, drawn, 100.0) - signal).std(dim=(1, 2)).max() < 0.11  # 10 microvolts
    assert parse_augmentations("none") == [] and parse_augmentations("gain, roll") == [gain, roll]
    with pytest.raises(MedReportError, match="rol"):
        parse_augmentations("rol")


def fake_split(codes: list[list[str]], answers: list[list[int]]) -> tuple[Any, RenderedSplit]:
    """A store with these codes, and a rendered split with these answers behind a prompt of one token."""
    starts = np.concatenate([[0], np.cumsum([len(answer) + 1 for answer in answers])])
    tokens = np.array([token for answer in answers for token in (99, *answer)])
    split = RenderedSplit(np.arange(len(codes)), tokens, starts, np.ones(len(codes), int), 0)
    return SimpleNamespace(column={"codes": codes}.__getitem__), split


def test_encoder_targets_leave_out_the_rare_and_the_universal() -> None:
    codes = [["sr", "a"]] * 6 + [["sr"]] * 2 + [["sr", "rare"]] * 4
    answers = [[7, 8, 8]] * 5 + [[9]] * 3 + [[3]] * 4
    targets = encoder_targets("codes", *fake_split(codes, answers))
    assert targets.names == ["a"] and targets.matrix[:, 0].tolist() == [True] * 6 + [False] * 6
    assert targets.shares.tolist() == [0.5]
    targets = encoder_targets("words", *fake_split(codes, answers))
    assert targets.names == ["7", "8"] and targets.matrix.sum(0).tolist() == [5, 5]
    assert encoder_targets("none", *fake_split(codes, answers)).matrix.shape == (12, 0)
    with pytest.raises(MedReportError, match="none of the codes occurs"):
        encoder_targets("codes", *fake_split([[]] * 12, answers))


# -------------------------------------------------------------------------------------------------------------- a run
def test_a_run_says_what_it_is(short_run: Path) -> None:
    manifest = read_manifest(short_run, "run")
    assert manifest.details["recipe"] == "tiny-from-scratch" and manifest.counts["steps"] == 9
    assert [(row["part"], row["tuning"]) for row in manifest.details["trains"]] == \
        [("encoder", "full"), ("projector", "full"), ("backbone", "full"), ("total", "")]
    steps = [json.loads(line) for line in (short_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in steps] == list(range(1, 10)) and steps[-1]["report"] < steps[0]["report"]
    assert not (short_run / "checkpoints").exists() and not list(short_run.rglob("*.bin"))
    own = "towers.ecg.encoder.", "towers.ecg.projector."
    for name, tensor in load_file(short_run / "signal.safetensors").items():
        assert name.startswith(own) and torch.isfinite(tensor.float()).all()


def test_a_loaded_run_gives_the_logits_of_the_trained_model(inputs: tuple[Path, Path], tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.training import write_run as module
    kept = []
    original = module.save_run_files
    monkeypatch.setattr(module, "save_run_files", lambda *args: kept.append(args[1]) or original(*args))
    train(inputs[1], tmp_path / "run", short_config(steps=2))
    loaded, _, _ = load_run(tmp_path / "run", torch.device("cpu"))
    signal, ids = {"ecg": torch.randn(2, 12, 1000)}, torch.tensor([[5, 9, 20], [7, 8, 9]])
    with torch.no_grad():
        expected = kept[0].eval()(signal, ids, torch.ones_like(ids))[0]
        assert torch.equal(loaded(signal, ids, torch.ones_like(ids))[0], expected)


def collate(items: list[Item], decoder_start: int | None = None) -> Any:
    """A batch of these items."""
    store: Any = None
    return TextRecords(store, store, np.zeros((0, 0)), 0, decoder_start,
                       {"ecg": preprocessing_of("resnet18-tiny")}).collate(items)


def test_a_step_weighs_tokens_alike_however_its_records_were_cut_into_batches(short_run: Path) -> None:
    model, tokenizer, _ = load_run(short_run, torch.device("cpu"))
    objective = Objective(model, torch.tensor([0.2, 0.5]), weight=2.0, end=(tokenizer.eos_token_id,), eos_weight=0.3)
    rng = np.random.default_rng(1)
    items = [Item({"ecg": rng.integers(-500, 500, (12, 1000)).astype(np.int16)}, rng.integers(3, 90, length),
                  length // 3, rng.random(2) > 0.5) for length in (9, 30, 12, 21, 15)]

    def gradients(*cuts: list[Item]) -> torch.Tensor:
        objective.zero_grad()
        batches = [collate(cut) for cut in cuts]
        totals = Totals(sum(int((b.labels != IGNORE_INDEX).sum()) for b in batches), sum(map(len, cuts)))
        assert totals.tokens == sum(len(item.tokens) - item.prompt for item in items)
        for batch in batches:
            objective(batch.network_input(), batch, totals).total.backward()
        return torch.cat([p.grad.flatten() for p in objective.parameters() if p.grad is not None])

    whole = gradients(items)
    torch.testing.assert_close(gradients(items[:2], items[2:]), whole, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(gradients(items[:4], items[4:]), whole, atol=1e-5, rtol=1e-3)


def test_the_report_loss_is_the_cross_entropy_of_the_answers_tokens(short_run: Path) -> None:
    model, tokenizer, _ = load_run(short_run, torch.device("cpu"))
    objective = Objective(model, torch.zeros(0), weight=1.0, end=(tokenizer.eos_token_id,), eos_weight=0.5)
    ids = [5, 9, 20, 33, tokenizer.eos_token_id]
    items = [Item({"ecg": np.zeros((12, 1000), np.int16)}, np.array(ids), 2, np.zeros(0, bool)),
             Item({"ecg": np.zeros((12, 1000), np.int16)}, np.array([*ids, 40, 41]), 4, np.zeros(0, bool))]
    batch = collate(items)
    signal = batch.network_input()
    with torch.no_grad():
        logits = model(signal, batch.input_ids, batch.attention_mask)[0].log_softmax(-1)
        got = objective(signal, batch, Totals(10, 2)).parts["report"]
    expected = 0.0
    for row, item in enumerate(items):
        for position in range(item.prompt, len(item.tokens)):
            token = int(item.tokens[position])
            expected -= float(logits[row, position - 1, token]) * (0.5 if token == tokenizer.eos_token_id else 1.0)
    assert got.item() == pytest.approx(expected / 10, rel=1e-5)


def test_lora_on_a_local_llama_trains_adapter_and_encoder_only(inputs: tuple[Path, Path], tmp_path: Path,
                                                               short_run: Path) -> None:
    backbone = tmp_path / "llama"
    shutil.copytree(short_run / "backbone", backbone)
    shutil.copytree(short_run / "tokenizer", backbone, dirs_exist_ok=True)
    config = resolve_train_config(backbone=str(backbone), recipe="meit-paper", encoder="resnet18-tiny", steps=2,
                                  batch_size=4, gradient_accumulation=2, lora_rank=4)
    result = train(inputs[1], tmp_path / "lora", config)
    rows = {row.part: row for row in result.trains}
    assert rows["backbone"].tuning == "lora"
    per_layer = 4 * (4 * (128 + 128) + 3 * (128 + 352))  # rank · (in + out) of q, k, v, o and gate, up, down
    assert rows["backbone"].trainable == 2 * per_layer  # two layers
    assert not (tmp_path / "lora/backbone").exists()
    adapter = load_file(tmp_path / "lora/adapter/adapter_model.safetensors")
    assert any(tensor.abs().max() > 0 for name, tensor in adapter.items() if "lora_B" in name)
    model, _, _ = load_run(tmp_path / "lora", torch.device("cpu"))
    loaded = dict(model.backbone.named_parameters())
    for name, tensor in adapter.items():
        key = name.replace(".weight", ".default.weight")
        assert torch.equal(loaded[key], tensor), name


def test_a_lora_run_finds_its_own_backbone_from_anywhere_and_no_other(
        inputs: tuple[Path, Path], tmp_path: Path, short_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(short_run / "backbone", "models/llama-3.1")
    shutil.copytree(short_run / "tokenizer", "models/llama-3.1", dirs_exist_ok=True)
    config = resolve_train_config(backbone="models/llama-3.1", recipe="meit-paper", encoder="resnet18-tiny", steps=1,
                                  batch_size=4, lora_rank=2)
    train(inputs[1], Path("runs/llama-3.1"), config)
    run = tmp_path / "runs/llama-3.1"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_run(run, torch.device("cpu"))
    config_file = tmp_path / "models/llama-3.1/config.json"
    config_file.write_text(config_file.read_text().replace("1e-06", "1e-05"))
    with pytest.raises(MedReportError, match="has changed since"):
        load_run(run, torch.device("cpu"))
    (tmp_path / "models").rename(tmp_path / "gone")
    with pytest.raises(MedReportError, match="is not there"):
        load_run(run, torch.device("cpu"))
    adapter = run / "adapter/adapter_config.json"
    adapter.write_text(adapter.read_text().replace('"lora_alpha": 64', '"lora_alpha": 640'))
    with pytest.raises(MedReportError, match="was changed after"):
        load_run(run, torch.device("cpu"))


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(inputs[1], run, short_config(steps=1))
    before = contents(run)
    assert train(inputs[1], run, short_config(steps=1)).loop is None
    with pytest.raises(MedReportError, match=r"steps: 1 \(now 2\)"):
        train(inputs[1], run, short_config(steps=2))
    assert contents(run) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("do not touch")
    with pytest.raises(MedReportError, match="not made by this command"):
        train(inputs[1], tmp_path / "mine", short_config(steps=1))


def test_lora_on_random_weights_is_refused(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="random weights"):
        train(inputs[1], tmp_path / "run", short_config(tuning="lora"))


def test_a_backbone_that_cannot_be_had_says_what_to_do(inputs: tuple[Path, Path], tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, message in (("llama-9", "did you mean"), ("./nowhere", "no such folder"),
                          (str(tmp_path), "holds no weights")):
        with pytest.raises(MedReportError, match=message):
            train(inputs[1], tmp_path / "run" / name.strip("./"), resolve_train_config(backbone=name))


# -------------------------------------------------------------------------------------------------------------- kills
ARGUMENTS = ["train", "--backbone", "tiny", "--steps", "9", "--batch-size", "8", "--checkpoint-every", "2", "--out",
             "runs/a"]


@pytest.mark.parametrize("tuning", [pytest.param("full", marks=pytest.mark.long), "lora"])
def test_a_killed_run_ends_with_the_same_bytes(tuning: str, tmp_path: Path, short_run: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = list(ARGUMENTS)
    whole.mkdir()
    monkeypatch.chdir(whole)
    make_inputs(Path())
    if tuning == "lora":
        shutil.copytree(short_run / "backbone", whole / "llama")
        shutil.copytree(short_run / "tokenizer", whole / "llama", dirs_exist_ok=True)
        arguments[2] = "./llama"
        arguments += ["--encoder", "resnet18-tiny", "--gradient-accumulation", "2", "--lora-rank", "4",
                      "--word-steps", "0"]
    shutil.copytree(whole, killed)
    finish(medreport(arguments, whole))
    run = killed / "runs/a"
    moments = [lambda: (run / "plan.json").exists(),
               lambda: (run / "checkpoints/step-00000002").exists(),
               lambda: any(run.glob("checkpoints/.step-00000006.tmp")) or (run / "checkpoints/step-00000006").exists(),
               lambda: (run / "signal.safetensors").exists()]
    for moment in moments if tuning == "full" else moments[2:3]:
        kill_when(medreport(arguments, killed), moment)
    assert "going on from the newest checkpoint" in finish(medreport(arguments, killed))
    assert contents(run) == contents(whole / "runs/a")
