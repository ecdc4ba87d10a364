"""What only a GPU shows: bf16, attention kernels beside a prefix, compiled layers, 4-bit weights, FSDP2, resuming."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fuse import Fuse
from made_runs import make_folder
from pipeline import short_config
from tiny_backbones import make
from torch.nn.attention import SDPBackend, sdpa_kernel

from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.training.run import train

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
CLOSE = dict(rtol=0.03, atol=0.03)  # bf16 has eight bits


def losses_of(run: Path) -> list[float]:
    return [json.loads(line)["report"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("backbone") / "llama")


def test_bf16_follows_fp32_and_resumes_where_it_was_killed(inputs: tuple[Path, Path], tmp_path: Path,
                                                           fuse: Fuse) -> None:
    for precision in ("fp32", "bf16"):
        train(inputs[1], tmp_path / precision, short_config(precision=precision))
    assert losses_of(tmp_path / "bf16") == pytest.approx(losses_of(tmp_path / "fp32"), rel=0.05)

    def work(name: str) -> object:
        return train(inputs[1], tmp_path / name, short_config(precision="bf16"))

    operations = fuse.burn(lambda: work("whole"), tmp_path / "whole", -1)
    fuse.burn(lambda: work("killed"), tmp_path / "killed", operations // 2)
    assert not (tmp_path / "killed/manifest.json").exists()
    work("killed")
    assert losses_of(tmp_path / "killed") == pytest.approx(losses_of(tmp_path / "whole"), rel=1e-3)
    generate_reports(tmp_path / "killed", tmp_path / "p.jsonl", GenerateConfig(limit=4, max_new_tokens=6))


@pytest.mark.parametrize("kernel", [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION,
                                    SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_every_kernel_sees_the_prefix(family: str, kernel: SDPBackend) -> None:
    """An explicit mask stands before the text, which flash attention does not take; a single query needs none."""
    backbone = make(family, implementation="sdpa")
    fusion = PrefixKV(backbone)
    torch.manual_seed(0)
    token, ids = torch.nn.functional.normalize(torch.randn(2, 1, fusion.dim), dim=-1), torch.tensor([[5, 6, 7]] * 2)
    ids = ids[:, :1] if kernel == SDPBackend.FLASH_ATTENTION else ids
    with torch.no_grad():
        expected = fusion.forward(token, input_ids=ids, use_cache=False).logits
        plain = fusion.forward(None, input_ids=ids, use_cache=False).logits
        backbone.to(DEVICE, torch.bfloat16)
        try:
            with sdpa_kernel(kernel):
                seen = fusion.forward(token.to(DEVICE, torch.bfloat16), input_ids=ids.to(DEVICE), use_cache=False)
        except RuntimeError as error:
            if "No available kernel" in str(error) or "No viable backend" in str(error):
                pytest.skip(f"{kernel.name} does not take this head or type here")
            raise
    found = seen.logits.float().cpu()
    assert (found - expected).norm() / expected.norm() < 0.05 < 10 * (plain - expected).norm() / expected.norm()


def test_compiled_layers_train_alike(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    for name, compiled in (("plain", False), ("compiled", True)):
        train(inputs[1], tmp_path / name, short_config(compile=compiled, precision="fp32"))
    assert losses_of(tmp_path / "compiled") == pytest.approx(losses_of(tmp_path / "plain"), rel=1e-2)


def test_a_4_bit_backbone_trains_and_reports(inputs: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    settings: dict[str, Any] = dict(recipe="meit-paper", encoder="resnet18-tiny", backbone=str(folder), tuning="qlora",
                                    lora_rank=4, steps=4)
    train(inputs[1], tmp_path / "run", short_config(**settings))
    assert all(loss > 0 for loss in losses_of(tmp_path / "run"))
    written = generate_reports(tmp_path / "run", tmp_path / "p.jsonl", GenerateConfig(limit=4, max_new_tokens=6))
    assert written.records == 4


def test_fsdp_of_one_process_trains_as_one(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    train(inputs[1], tmp_path / "plain", short_config(precision="fp32", steps=4))
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "emgecg_cli",
            "train", str(inputs[1]), "--out", str(tmp_path / "fsdp"), "--backbone", "tiny", "--batch-size", "8",
            "--steps", "4", "--checkpoint-every", "4", "--precision", "fp32", "--parallel", "fsdp"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert losses_of(tmp_path / "fsdp") == pytest.approx(losses_of(tmp_path / "plain"), rel=1e-2)
