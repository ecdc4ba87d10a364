"""Each fusion through `train`: killed and resumed, in one process and in two, tuned in full and by LoRA."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fuse import Fuse
from pipeline import contents, finish, medreport

from emgecg_cli.core import launch
from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.instructions.render import PLACEHOLDER
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.training.run import train

FUSIONS = ("prefix-kv", "splice", "cross-attention")


@pytest.fixture
def backbone(backbone_folder: Path) -> Path:
    """A tiny LLaMA with its tokenizer, as a folder."""
    return backbone_folder


def config(backbone: Path, fusion: str, tuning: str, **changes: Any) -> TrainConfig:
    lora = dict(lora_rank=4, lora_dropout=0.1) if tuning == "lora" else {}
    return resolve_train_config(**dict(
        backbone=str(backbone), recipe="meit-paper", fusion=fusion, tuning=tuning,
        encoder="resnet18-tiny", projector="linear", steps=5,
        batch_size=4, gradient_accumulation=2, signal_tokens=2, tokens_from="temporal", checkpoint_every=2,
        augment="roll,noise", learning_rate=1e-3, select="best", evaluate_every=2) | lora | changes)


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_killed_at_a_random_moment_the_loss_curve_is_the_same(inputs: tuple[Path, Path], tmp_path: Path, fuse: Fuse,
                                                              backbone: Path, fusion: str, tuning: str) -> None:
    def work(name: str) -> object:
        return train(inputs[1], tmp_path / name, config(backbone, fusion, tuning))

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    left = random.Random(f"{fusion} {tuning}").randrange(operations // 4, operations)
    assert fuse.burn(lambda: work("killed"), tmp_path / "killed", left) == left
    work("killed")
    whole, killed = ([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
                     for name in ("whole", "killed"))
    assert [row["step"] for row in whole] == [1, 2, 3, 4, 5]
    for one, other in zip(whole, killed, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_saved_run_gives_its_logits_back_and_reads_its_signal(inputs: tuple[Path, Path], tmp_path: Path,
                                                                backbone: Path, fusion: str,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.training import write_run as module
    kept: list[Any] = []
    original = module.save_run_files
    monkeypatch.setattr(module, "save_run_files", lambda *args: kept.append(args[1]) or original(*args))
    train(inputs[1], tmp_path / "run", config(backbone, fusion, "lora", select="last", learning_rate=1e-2))
    loaded, _, _ = load_run(tmp_path / "run", torch.device("cpu"))
    prompt = [PLACEHOLDER] * 2 if fusion == "splice" else []
    ids = torch.tensor([[5, *prompt, 9, 20], [7, *prompt, 8, 9]])
    signal = {"ecg": torch.randn(2, 12, 1000)}
    with torch.no_grad():
        expected = kept[0].eval()(signal, ids, torch.ones_like(ids))[0]
        assert torch.equal(loaded(signal, ids, torch.ones_like(ids))[0], expected)
        assert (loaded({"ecg": signal["ecg"].flip(0)}, ids, torch.ones_like(ids))[0] - expected).abs().max() > 1e-6


@pytest.mark.parametrize(("parallel", "fusion", "tuning"), [
    ("ddp", "cross-attention", "full"), ("fsdp", "splice", "lora")])
def test_two_processes_train_as_one_with_the_same_global_batch(inputs: tuple[Path, Path], tmp_path: Path,
                                                               backbone: Path, parallel: str, fusion: str,
                                                               tuning: str) -> None:
    def arguments(name: str, batch: int, *more: str) -> list[str]:
        lora = ["--lora-rank", "4", "--lora-dropout", "0"] if tuning == "lora" else []
        return ["train", str(inputs[1]), "--backbone", str(backbone), "--fusion", fusion, "--tuning", tuning, *lora,
                "--recipe", "meit-paper",
                "--encoder", "resnet18-tiny", "--steps", "3", "--batch-size", str(batch), "--learning-rate", "1e-4",
                "--gradient-accumulation", "2", "--augment", "roll,gain", "--encoder-loss", "codes",
                "--checkpoint-every", "2", "--evaluate-every", "2", "--out", str(tmp_path / name), *more]

    finish(medreport(arguments("one", 8), tmp_path))
    finish(medreport(arguments("two", 4, "--num-processes", "2", "--parallel", parallel), tmp_path))
    for name in ("metrics.jsonl", "validation.jsonl"):
        one, two = ([json.loads(line) for line in (tmp_path / run / name).read_text().splitlines()]
                    for run in ("one", "two"))
        assert len(one) == len(two) > 1
        for a, b in zip(one, two, strict=True):
            # A difference of 1e-7 in the input grows tenfold a step under AdamW, in one process as well.
            assert a == pytest.approx(b, rel=3e-4), name


def test_torchs_launcher_which_accelerate_uses_on_gpus_starts_it_too(inputs: tuple[Path, Path], tmp_path: Path,
                                                                     backbone: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port",
               str(launch.free_port()), "-m", "emgecg_cli", "train", str(inputs[1]), "--backbone", str(backbone),
               "--recipe", "meit-paper", "--encoder", "resnet18-tiny", "--steps", "2", "--batch-size", "4",
               "--lora-rank", "2",
               "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["counts"]["steps"] == 2  # one process speaks
    assert read_manifest(tmp_path / "run", "run").details["machine"]["processes"] == 2


def test_an_error_of_all_processes_is_said_once(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    process = medreport(["train", str(inputs[1]), "--backbone", "tiny", "--augment", "rol", "--num-processes", "2",
                         "--out", str(tmp_path / "run")], tmp_path)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and not out
    assert errors.count("no augmentation 'rol'") == 1 and "Traceback" not in errors


def test_another_number_of_loader_workers_goes_on_to_the_same_bytes(inputs: tuple[Path, Path], tmp_path: Path,
                                                                    fuse: Fuse, backbone: Path) -> None:
    def work(name: str, workers: int) -> object:
        return train(inputs[1], tmp_path / name, config(backbone, "prefix-kv", "lora", workers=workers, steps=4))

    operations = fuse.burn(lambda: work("whole", 0), tmp_path / "whole", -1)
    fuse.burn(lambda: work("killed", 0), tmp_path / "killed", operations // 2)
    work("killed", 2)
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")
    assert train(inputs[1], tmp_path / "whole",
                 config(backbone, "prefix-kv", "lora", workers=1, steps=4)).loop is None
