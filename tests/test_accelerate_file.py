"""What an `accelerate config` file asks for is done, or refused in one line; nothing of it is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emgecg_cli.core.accelerate_file import MARK, asked, confirmed
from emgecg_cli.core.config import PretrainConfig, TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.recipes import resolve_pretrain_config, resolve_train_config

FSDP = {MARK: "bf16", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "false",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_ACTIVATION_CHECKPOINTING": "true"}
ZERO = {MARK: "no", "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_GRADIENT_CLIPPING": "0.5",
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "none", "WORLD_SIZE": "2"}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the environment `accelerate launch` would."""
    def set_all(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_without_accelerate_nothing_is_asked() -> None:
    assert asked() == {}
    assert confirmed({"precision": None}, ()) == {}


def test_what_the_file_says_stands_as_if_it_were_given(launched: Any) -> None:
    launched(FSDP)
    config = resolve_train_config(backbone="somewhere")
    assert (config.parallel, config.precision, config.gradient_checkpointing) == ("fsdp", "bf16", True)
    same = resolve_train_config(backbone="somewhere", parallel="fsdp", precision="auto")
    assert same == config


def test_a_configuration_of_deepspeed(launched: Any, tmp_path: Path) -> None:
    launched(ZERO)
    config = resolve_pretrain_config()
    assert (config.parallel, config.precision, config.gradient_accumulation, config.max_grad_norm) == (
        "zero3", "fp32", 4, 0.5)
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}, "bf16": {
        "enabled": True}, "gradient_accumulation_steps": 2, "train_micro_batch_size_per_gpu": "auto"}))
    launched({"ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)})
    assert asked() == {"parallel": "zero2", "precision": "bf16", "gradient_accumulation": 2, "max_grad_norm": 0.5}
    file.write_text("{")
    with pytest.raises(MedReportError, match=r"ds\.json: cannot be read as JSON"):
        asked()


@pytest.mark.parametrize(("file", "option", "said"), [
    (FSDP, {"precision": "fp32"}, "--precision fp32 contradicts .* mixed_precision makes it bf16"),
    (FSDP, {"parallel": "ddp"}, "--parallel ddp contradicts .* distributed_type makes it fsdp"),
    (ZERO, {"gradient_accumulation": 8}, "--gradient-accumulation 8 contradicts"),
    ({MARK: "no"}, {"precision": "bf16"}, "--precision bf16 contradicts"),
])
def test_an_option_that_says_otherwise_is_refused(launched: Any, file: dict[str, str], option: dict[str, Any],
                                                  said: str) -> None:
    launched(file)
    with pytest.raises(MedReportError, match=said):
        resolve_train_config(backbone="somewhere", **option)
    with pytest.raises(MedReportError, match=said):
        confirmed(vars(TrainConfig(**option)), vars(TrainConfig()))


@pytest.mark.parametrize(("more", "said"), [
    ({MARK: "fp16"}, "mixed_precision: fp16"), ({"FSDP_VERSION": "1"}, "fsdp_version: 1"),
    ({"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params: true"),
    ({"FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP"}, "fsdp_auto_wrap_policy: SIZE_BASED_WRAP"),
    ({"ACCELERATE_DYNAMO_BACKEND": "TENSORRT"}, "dynamo_backend: tensorrt"),
    ({"PARALLELISM_CONFIG_TP_SIZE": "2"}, "parallelism_config_tp_size: 2"),
    ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "MEGATRON_LM"),
    ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"}, "zero_stage: 1"),
    ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": "cpu"},
     "offload_param_device: cpu"),
    ({"MASTER_PORT": "29500"}, "started one process where several are asked for"),
])
def test_what_is_not_done_is_refused(launched: Any, more: dict[str, str], said: str) -> None:
    launched(FSDP | more)
    with pytest.raises(MedReportError, match=said):
        asked()


def test_pretraining_has_no_checkpointing_of_activations(launched: Any) -> None:
    launched(FSDP)
    with pytest.raises(MedReportError, match="fsdp_activation_checkpointing: True"):
        confirmed({}, vars(PretrainConfig()))
