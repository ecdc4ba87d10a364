"""`accelerate launch` with files of `accelerate config`: they are honoured, and a killed run goes on exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from parallel_worker import furthest, train
from pipeline import contents, finish, kill_when, medreport, surroundings
from safetensors.torch import load_file

from emgecg_cli.core.manifest import read_manifest

CONFIG = {"compute_environment": "LOCAL_MACHINE", "debug": False, "machine_rank": 0, "main_process_port": 0,
          "num_machines": 1, "num_processes": 2, "same_network": True, "use_cpu": False, "mixed_precision": "no"}
FILES: dict[str, dict[str, Any]] = {
    "ddp": CONFIG | {"distributed_type": "MULTI_GPU"},
    "fsdp": CONFIG | {"distributed_type": "FSDP", "fsdp_config": {
        "fsdp_version": 2, "fsdp_reshard_after_forward": True, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer", "fsdp_activation_checkpointing": True,
        "fsdp_cpu_ram_efficient_loading": True, "fsdp_sync_module_states": True, "fsdp_offload_params": False,
        "fsdp_state_dict_type": "SHARDED_STATE_DICT"}},
    "zero3": CONFIG | {"distributed_type": "DEEPSPEED", "deepspeed_config": {
        "zero_stage": 3, "gradient_accumulation_steps": 2, "gradient_clipping": 0.5, "zero3_init_flag": True,
        "offload_optimizer_device": "none", "offload_param_device": "none"}}}
ROOT = Path(__file__).resolve().parents[2]


def accelerate(file: dict[str, Any], arguments: list[str], folder: Path,
               script: tuple[str, ...] = ("-m", "emgecg_cli")) -> subprocess.Popen[str]:
    """Start `accelerate launch --config_file … -m emgecg_cli ARGUMENTS`, or with another script."""
    path = folder / "accelerate.yaml"
    path.write_text(yaml.safe_dump(file))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(path), *script, *arguments]
    paths = [str(ROOT), str(ROOT / "tests/support"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(command, cwd=folder, env=surroundings() | {"PYTHONPATH": os.pathsep.join(paths)}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def arguments(inputs: tuple[Path, Path], run: Path, backbone: Path, batch: int) -> list[str]:
    return ["train", str(inputs[1]), "--backbone", str(backbone), "--tuning", "lora", "--lora-rank", "4",
            "--lora-dropout", "0", "--encoder", "resnet18-tiny", "--steps", "4", "--batch-size", str(batch),
            "--learning-rate", "1e-4", "--gradient-accumulation", "2", "--encoder-loss", "codes",
            "--word-steps", "3",
            "--checkpoint-every", "1", "--select", "last", "--out", str(run)]


@pytest.fixture(scope="module")
def alone(inputs: tuple[Path, Path], backbone_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process with the same batches."""
    folder = tmp_path_factory.mktemp("alone")
    finish(medreport(arguments(inputs, folder / "run", backbone_folder, 8), folder))
    return folder / "run"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_file_is_honoured_and_a_killed_run_goes_on_exactly(kind: str, inputs: tuple[Path, Path], tmp_path: Path,
                                                             backbone_folder: Path, alone: Path) -> None:
    def start(name: str) -> subprocess.Popen[str]:
        return accelerate(FILES[kind], arguments(inputs, tmp_path / name, backbone_folder, 4), tmp_path)

    finish(start("whole"))
    manifest = read_manifest(tmp_path / "whole", "run")
    assert manifest.details["machine"] | {"processes": 2, "parallel": kind, "precision": "fp32"} == \
        manifest.details["machine"]
    assert manifest.arguments["gradient_checkpointing"] is (kind == "fsdp")
    one, two = ([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
                for run in (alone, tmp_path / "whole"))
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        # AdamW makes tenfold of a rounding at each step, of which the encoder takes those on words too
        assert a.pop("encoder") == pytest.approx(b.pop("encoder"), rel=2e-3)
        assert a == pytest.approx(b, rel=3e-4)

    killed = start("killed")
    kill_when(killed, lambda: (tmp_path / "killed/checkpoints/step-00000002").is_dir(), whole_tree=True)
    assert not (tmp_path / "killed/manifest.json").exists()
    finish(start("killed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["fsdp", "zero3"])
def test_losses_weights_and_moments_are_those_of_one_process(kind: str, tmp_path: Path) -> None:
    if kind == "zero3" and find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed (extra `zero`)")
    case = {"kind": "as launched", "name": kind, "tuning": "lora", "accumulation": 2, "clip": 0.5}
    worker = str(ROOT / "tests/support/parallel_worker.py")
    finish(accelerate(FILES[kind], [json.dumps({"cases": [case], "folder": str(tmp_path)})], tmp_path, (worker,)))
    difference, where = furthest(train(case | {"kind": "none"}, tmp_path), load_file(tmp_path / f"{kind}.safetensors"))
    assert difference < 5e-5, where


def test_an_option_that_contradicts_the_file_is_refused_in_one_line(inputs: tuple[Path, Path], tmp_path: Path,
                                                                    backbone_folder: Path) -> None:
    process = accelerate(FILES["fsdp"] | {"mixed_precision": "bf16"}, [
        *arguments(inputs, tmp_path / "run", backbone_folder, 4), "--precision", "fp32"], tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode and not (tmp_path / "run").exists()
    said = {line for line in errors.splitlines() if "contradicts" in line}
    assert len(said) == 1 and "--precision fp32" in said.pop()
