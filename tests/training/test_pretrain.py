"""Pretraining an encoder: AUROC, both objectives, what the artefact holds, and that a killed one ends the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars
import pytest
import torch
from fuse import Fuse
from pipeline import contents, finish, kill_when, make_store, medreport

from emgecg_cli.commands.app import run
from emgecg_cli.core import names
from emgecg_cli.core.config import PretrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import Totals
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.encoders import load_encoder_weights
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.models.run_files import train_subjects
from emgecg_cli.core.recipes import resolve_pretrain_config
from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.store import Store, open_store, subject_hashes
from emgecg_cli.core.training.augment import network_input, parse_augmentations
from emgecg_cli.core.training.auroc import auroc, macro
from emgecg_cli.core.training.parallel import open_parallel
from emgecg_cli.core.training.pretrain import make_objective, masked_encoders, pretrain, validate
from emgecg_cli.core.training.pretrain_objectives import (
    Masked,
    SignalBatch,
    Supervised,
    code_records,
    learnable_codes,
)

QUICK = dict(steps=3, batch_size=4, checkpoint_every=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated store; not to be written to."""
    return make_store(tmp_path_factory.mktemp("pretrain") / "stores/synthetic", 60)


@pytest.fixture(scope="module")
def encoder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished encoder of a few steps; not to be written to."""
    path = tmp_path_factory.mktemp("encoders") / "tiny"
    pretrain(store, path, quick())
    return path


def quick(**changes: Any) -> PretrainConfig:
    return resolve_pretrain_config(**{"encoder": "resnet18-tiny"} | QUICK | changes)


# --------------------------------------------------------------------------------------------------------------- AUROC
@pytest.mark.parametrize(("scores", "truth", "area"), [
    ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # scikit-learn's own example of roc_auc_score
    ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
    ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
    ([5, 5, 5, 5], [0, 1, 0, 1], 0.5),  # all tied
    ([0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 1], (3 * 1 + 0.5 + 2 + 2 * 0.5) / 9),  # by hand, pair by pair
    ([-1e30, 0, 1e-30], [0, 1, 1], 1.0),
    ([1, 2, 3], [1, 1, 1], None), ([1, 2, 3], [0, 0, 0], None), ([], [], None)])
def test_auroc_of_known_scores(scores: list[float], truth: list[int], area: float | None) -> None:
    found = auroc(np.array(scores, np.float32), np.array(truth, bool))
    assert found == (None if area is None else pytest.approx(area))


def test_auroc_counts_every_pair_and_ties_half() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, truth = rng.integers(0, 6, 40).astype(np.float32), rng.random(40) < 0.3
        gap = scores[truth][:, None] - scores[~truth][None]
        assert auroc(scores, truth) == pytest.approx(((gap > 0) + 0.5 * (gap == 0)).mean())


def test_the_macro_mean_leaves_out_what_is_unknown() -> None:
    assert macro({"a": 1.0, "b": None, "c": 0.5}) == 0.75
    assert macro({"a": None}) is None and macro({}) is None


# ---------------------------------------------------------------------------------------------------------- supervised
def test_rare_and_universal_codes_are_left_out_and_listed(store: Path) -> None:
    opened = open_store(store)
    train, codes = opened.indices("train"), opened.column("codes").to_list()
    counts = {code: sum(code in codes[i] for i in train) for held in codes for code in held}
    learnable, left_out = learnable_codes(opened)
    assert learnable == sorted(code for code, n in counts.items() if n >= 5)
    assert left_out == {code: n for code, n in counts.items() if 0 < n < 5} and left_out
    everywhere = replace(opened, _columns={"codes": polars.Series([[*held, "all"] for held in codes])})
    assert learnable_codes(everywhere) == (learnable, dict(sorted((left_out | {"all": len(train)}).items())))
    for split in ("train", "val"):
        records = code_records(opened, split, learnable, VOLTAGE)
        for row, target in zip(records.rows, records.targets, strict=True):
            held = {code for code, has in zip(learnable, target, strict=True) if has}
            assert held == set(codes[row]) & set(learnable)


def test_the_supervised_loss_is_the_weighted_cross_entropy() -> None:
    torch.manual_seed(0)
    shares = torch.tensor([0.5, 0.2, 0.01])  # weights 1, 4, and 99 cut to 20
    objective = Supervised(names.resolve("encoder", "resnet18-tiny")(), shares).eval()
    batch = signal_batch(torch.randn(3, 12, 200), torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 0]]))
    signal = batch.network_input()
    with torch.no_grad():
        chances = objective(signal, batch, None).sigmoid()
        loss = objective(signal, batch, Totals(0, 10)).total.item()
    each = -(batch.targets * torch.tensor([1.0, 4, 20]) * chances.log() + (1 - batch.targets) * (1 - chances).log())
    assert loss == pytest.approx(each.sum().item() / 3 / 10, rel=1e-4)


VOLTAGE = preprocessing_of("resnet18-tiny")


def signal_batch(millivolts: torch.Tensor, targets: torch.Tensor | None = None) -> SignalBatch:
    count = len(millivolts)
    return SignalBatch((millivolts * 1000).to(torch.int16), torch.zeros(count, 0) if targets is None else targets,
                       list(range(count)), VOLTAGE, list(range(100, 100 + count)))


def test_a_supervised_encoder_reads_unseen_patients(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 500)
    result = pretrain(store, tmp_path / "encoder", resolve_pretrain_config(
        encoder="resnet18-tiny", steps=150, batch_size=16, learning_rate=2e-3))
    assert result.validation["macro_auroc"] > 0.85
    assert set(result.validation["auroc"]) == set(read_manifest(tmp_path / "encoder", "encoder").details["codes"])


def test_scores_are_those_of_the_val_split_and_none_is_made_up(store: Path) -> None:
    opened = open_store(store)
    codes, _ = learnable_codes(opened)
    records = code_records(opened, "val", codes, VOLTAGE)
    parallel = open_parallel("auto", "fp32")
    torch.manual_seed(0)
    objective = Supervised(names.resolve("encoder", "resnet18-tiny")(), torch.full((len(codes),), 0.1))
    found = validate(parallel, objective, records, codes, quick())
    with torch.no_grad():
        signals = torch.from_numpy(np.stack([opened.signal(int(row)) for row in records.rows]))
        scores = objective.head(objective.encoder(VOLTAGE(signals))[:, 0]).numpy()
    for k, code in enumerate(codes):
        expected = auroc(scores[:, k], records.targets[:, k])
        assert found["auroc"][code] == (None if expected is None else pytest.approx(expected, abs=1e-6))
    assert None in found["auroc"].values()  # some code is in no val record of so small a store
    empty = code_records(replace(opened, _columns={"split": polars.Series(["train"] * len(opened))}), "val", codes,
                         VOLTAGE)
    assert validate(parallel, objective, empty, codes, quick()) == {}


# -------------------------------------------------------------------------------------------------------------- masked
def masked(ratio: float = 0.75, augment: str = "none") -> Masked:
    torch.manual_seed(0)
    return Masked(names.resolve("encoder", "vit1d-tiny")(), 12, ratio, parse_augmentations(augment))


@pytest.mark.parametrize(("ratio", "count", "kept"), [(0.75, 40, 10), (0.5, 40, 20), (0.75, 2, 1), (0.999, 8, 1),
                                                      (0.001, 8, 7)])
def test_a_share_of_the_patches_is_hidden_by_the_records_seed_alone(ratio: float, count: int, kept: int) -> None:
    objective = masked(ratio)
    visible, hidden = objective._draw([7, 8, 9], count, torch.device("cpu"))
    assert visible.shape == (3, kept) and hidden.sum(1).tolist() == [count - kept] * 3
    assert all(not row[seen].any() for row, seen in zip(hidden, visible, strict=True))
    alone, _ = objective._draw([8], count, torch.device("cpu"))
    assert torch.equal(alone[0], visible[1])
    if count > 8:
        assert not torch.equal(visible[0].sort()[0], visible[1].sort()[0])


def test_what_is_hidden_is_not_seen() -> None:
    objective = masked().eval()
    batch = signal_batch(torch.randn(2, 12, 1000) * 0.3)
    _, hidden = objective._draw(batch.seeds, 40, torch.device("cpu"))
    other = replace(batch, signal=torch.where(hidden.repeat_interleave(25, 1)[:, None] > 0, 500, batch.signal))
    guesses: list[torch.Tensor] = []
    objective.decoder.register_forward_hook(lambda _, __, out: guesses.append(out))
    for each in (batch, other):
        objective(each.network_input(), each, Totals(0, 2))
    assert not torch.equal(batch.signal, other.signal) and torch.equal(guesses[0], guesses[1])


def test_the_masked_loss_is_the_mean_square_over_hidden_samples_that_are_there() -> None:
    objective = masked(0.5).eval()
    batch = signal_batch(torch.randn(2, 12, 990) * 0.3)  # the last patch lacks ten samples
    batch.signal[0, 3] = int(MISSING)
    batch.signal[1, :, 100:400] = int(MISSING)
    signal = batch.network_input()["ecg"]
    guesses: list[torch.Tensor] = []
    objective.decoder.register_forward_hook(lambda _, __, out: guesses.append(out))
    with torch.no_grad():
        losses = objective({"ecg": signal}, batch, Totals(0, 2))
    _, hidden = objective._draw(batch.seeds, 40, torch.device("cpu"))
    guess = guesses[0].view(2, 40, 12, 25).transpose(1, 2).reshape(2, 12, 1000)[..., :990]
    loss, power = 0.0, 0.0
    for i in range(2):
        counted = (batch.signal[i] != int(MISSING)) & (hidden[i].repeat_interleave(25)[:990] > 0)
        loss += (guess[i] - signal[i])[counted].square().mean().item() / 2
        power += signal[i][counted].square().mean().item() / 2
    assert losses.total.item() == pytest.approx(loss, rel=1e-4)
    assert losses.parts["power"].item() == pytest.approx(power, rel=1e-4)


def test_missing_samples_stay_no_targets_when_the_signal_is_moved() -> None:
    objective = masked(augment="roll,gain,noise").train()
    batch = signal_batch(torch.randn(4, 12, 1000).abs() + 1.0)  # far from the baseline, where the missing are shown
    batch.signal[:, :, 200:300] = int(MISSING)
    inputs, on_device = network_input(batch, torch.device("cpu"), 3, 5, objective.augmentations)
    signal = inputs["ecg"]
    present = objective._present(signal, on_device)
    assert present.sum().item() == 4 * 12 * 900
    assert torch.equal(present, (signal.abs() > 1.0).float())
    assert torch.equal(objective.eval()._present(signal, on_device), (batch.signal != int(MISSING)).float())


def test_the_masked_loss_falls_on_recordings(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 100)
    result = pretrain(store, tmp_path / "encoder", resolve_pretrain_config(
        encoder="vit1d-tiny", objective="masked", steps=60, batch_size=8, learning_rate=2e-3, mask_ratio=0.5))
    rows = [json.loads(line) for line in (tmp_path / "encoder/metrics.jsonl").read_text().splitlines()]
    first, last = (np.mean([row["masked"] / row["power"] for row in part]) for part in (rows[:10], rows[-10:]))
    assert last < 0.9 * first
    assert result.validation["explained"] == 1 - result.validation["masked"] / result.validation["power"] > 0


def test_what_follows_from_the_visible_is_reconstructed() -> None:
    """Sines of one frequency and any phase: the hidden patches are known from a single visible one."""
    objective, generator = masked(0.5), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=2e-3, betas=(0.9, 0.98))
    gains, time, explained = torch.randn(12, 1, generator=generator), torch.arange(500) / 100, []
    for step in range(300):
        phases = 2 * torch.pi * torch.rand(16, 1, 1, generator=generator)
        batch = replace(signal_batch(torch.zeros(16, 12, 500)), seeds=list(range(16 * step, 16 * step + 16)))
        losses = objective({"ecg": torch.sin(2 * torch.pi * time + phases) * gains}, batch, Totals(0, 16))
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, step / 20, (300 - step) / 40)
        optimizer.step()
        optimizer.zero_grad()
        explained.append(1 - (losses.total / losses.parts["power"]).item())
    assert np.mean(explained[-10:]) > 0.5 and np.mean(explained[:10]) < 0


def test_masked_needs_an_encoder_of_patches_and_a_recording_of_two(store: Path, tmp_path: Path) -> None:
    assert masked_encoders() == ["vit1d", "vit1d-tiny"]
    for encoder in ("resnet18-tiny", "mamba-tiny"):
        with pytest.raises(MedReportError, match="no patches") as raised:
            pretrain(store, tmp_path / "x", quick(encoder=encoder, objective="masked"))
        assert "vit1d, vit1d-tiny" in str(raised.value.hint)
    short = SimpleNamespace(targets=np.zeros((9, 0), bool), store=SimpleNamespace(path="short", sig_len=25))
    with pytest.raises(MedReportError, match="25 samples is one patch"):
        make_objective(quick(encoder="vit1d-tiny", objective="masked"), short, [])  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


# -------------------------------------------------------------------------------------------------------- the artefact
def test_an_encoder_says_what_it_is(store: Path, encoder: Path) -> None:
    manifest = read_manifest(encoder, "encoder")
    assert set(contents(encoder)) == {"manifest.json", "encoder.safetensors", "metrics.jsonl", "validation.json",
                                      "train_subjects.txt", "config.yaml"}
    assert manifest.details["validation"] == json.loads((encoder / "validation.json").read_text())
    assert manifest.details["encoder"] == "resnet18-tiny" and manifest.counts["steps"] == 3
    assert train_subjects(encoder) == subject_hashes(open_store(store), "train")
    assert len((encoder / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_val_split_is_looked_at_and_the_test_split_never(store: Path, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    opened, read, original = open_store(store), set(), Store.signal

    def spy(self: Store, index: int) -> np.ndarray:
        read.add(index)
        return original(self, index)

    monkeypatch.setattr(Store, "signal", spy)
    pretrain(store, tmp_path / "x", quick(steps=1))
    train, val, test = (set(opened.indices(split).tolist()) for split in ("train", "val", "test"))
    assert val <= read and read & train and not read & test and test


def test_its_weights_are_loaded_from_folder_and_file_and_changed_ones_are_not(encoder: Path, tmp_path: Path) -> None:
    one, other = (names.resolve("encoder", "resnet18-tiny")() for _ in range(2))
    load_encoder_weights(one, encoder)
    load_encoder_weights(other, encoder / "encoder.safetensors")
    signal = torch.randn(2, 12, 300)
    assert torch.equal(one.eval()(signal), other.eval()(signal))
    with pytest.raises(MedReportError, match="encoder resnet18-tiny"):
        load_encoder_weights(names.resolve("encoder", "vit1d-tiny")(), encoder)
    shutil.copytree(encoder, tmp_path / "changed")
    file = tmp_path / "changed/encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\1")
    for path in (tmp_path / "changed", file):
        with pytest.raises(MedReportError, match="was changed after"):
            load_encoder_weights(one, path)


def test_a_finished_encoder_is_left_alone_and_other_settings_are_refused(store: Path, encoder: Path) -> None:
    before = contents(encoder)
    again = pretrain(store, encoder, quick())
    assert again.loop is None and again.validation == json.loads(before["validation.json"])
    assert pretrain(store, encoder, resolve_pretrain_config(file=encoder / "config.yaml")).loop is None
    with pytest.raises(MedReportError, match=r"steps: 3 \(now 4\)"):
        pretrain(store, encoder, quick(steps=4))
    assert contents(encoder) == before


def test_what_is_refused_leaves_the_place_free(store: Path, tmp_path: Path) -> None:
    for wrong in (dict(encoder="resnet99"), dict(augment="rol"), dict(encoder="mamba-tiny", objective="masked")):
        with pytest.raises(MedReportError):
            pretrain(store, tmp_path / "x", quick(**wrong))
        assert not (tmp_path / "x").exists()
    for wrong in (dict(mask_ratio=0.5), dict(objective="contrastive"), dict(objective="masked", mask_ratio=1.0)):
        with pytest.raises(MedReportError):
            quick(**wrong)


def test_a_store_without_codes_is_refused_and_masked_is_named(store: Path, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.training import pretrain as module
    bare = open_store(store)
    bare = replace(bare, _columns={"codes": bare.column("codes").list.head(0)})
    monkeypatch.setattr(module, "open_store", lambda path: bare)
    with pytest.raises(MedReportError, match="no code that occurs in 5") as raised:
        pretrain(store, tmp_path / "x", quick())
    assert "--objective masked" in str(raised.value.hint) and not (tmp_path / "x").exists()


# --------------------------------------------------------------------------------------------------------------- kills
@pytest.mark.parametrize("settings", [dict(), dict(encoder="vit1d-tiny", objective="masked")])
def test_killed_before_any_file_operation_it_ends_the_same(store: Path, tmp_path: Path, fuse: Fuse,
                                                           settings: dict[str, Any]) -> None:
    def work(name: str) -> object:
        return pretrain(store, tmp_path / name, quick(steps=2, **settings))

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    expected = contents(tmp_path / "whole")
    assert operations > 30
    for left in range(1 + len(settings), operations + 1, 5):
        name = f"killed-{left}"
        assert fuse.burn(lambda name=name: work(name), tmp_path / name, left) == left
        work(name)
        assert contents(tmp_path / name) == expected, f"killed before operation {left}"


def test_a_killed_process_goes_on_with_other_workers_to_the_same_weights(store: Path, tmp_path: Path) -> None:
    arguments = ["pretrain", str(store), "--encoder", "vit1d-tiny", "--objective", "masked", "--steps", "6",
                 "--batch-size", "8", "--checkpoint-every", "2"]
    where = "encoders/vit1d-tiny-masked-synthetic"
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        folder.mkdir()
    finish(medreport([*arguments, "--workers", "2"], tmp_path / "whole"))
    kill_when(medreport(arguments, tmp_path / "killed"),
              lambda: (tmp_path / "killed" / where / "checkpoints/step-00000002").exists())
    assert "going on from the newest checkpoint" in finish(medreport(arguments, tmp_path / "killed"))
    whole, killed = contents(tmp_path / "whole" / where), contents(tmp_path / "killed" / where)
    for name in ("encoder.safetensors", "metrics.jsonl", "validation.json"):
        assert whole[name] == killed[name], name


# ------------------------------------------------------------------------------------------------------- as it is typed
def test_the_command_shows_the_codes_and_gives_json(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["pretrain", str(store), "--encoder", "resnet18-tiny", "--steps", "1", "--batch-size", "8"]
    assert run(line) == 0
    out, err = capsys.readouterr()
    assert "encoders/resnet18-tiny-supervised-synthetic" in out and "val AUROC" in out
    assert "--encoder-weights encoders/resnet18-tiny-supervised-synthetic" in err and "were left out" in err
    assert run([*line, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["validation"]["auroc"].keys() and "is finished already" in err
    assert run(["pretrain", str(store), "--encoder", "resnet18-tny"]) == 2
    assert "did you mean 'resnet18-tiny'" in capsys.readouterr().err
