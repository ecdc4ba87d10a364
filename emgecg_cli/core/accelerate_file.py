"""What an `accelerate config` file, or `accelerate launch` itself, asks of a training that it starts.

Accelerate hands it on in the environment. Each thing asked is one of our settings, and stands as if it had been given
as an option: an option that says otherwise is refused, and so is what we do not do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from emgecg_cli.core.errors import MedReportError

MARK = "ACCELERATE_MIXED_PRECISION"  # which `accelerate launch` always sets
PRECISIONS = {"no": "fp32", "bf16": "bf16"}
OPEN = (None, "auto")  # values of an option that leave the choice open
# Of our setting -> what it is called in the file.
NAMES = {"precision": "mixed_precision", "parallel": "distributed_type", "compile": "dynamo_backend",
         "gradient_checkpointing": "fsdp_activation_checkpointing", "batch_size": "train_micro_batch_size_per_gpu",
         "gradient_accumulation": "gradient_accumulation_steps", "max_grad_norm": "gradient_clipping"}
GPUS = "ACCELERATE_USE_CPU"
SIZES = ("DP_REPLICATE_SIZE", "TP_SIZE", "CP_SIZE", "SP_SIZE")  # of PARALLELISM_CONFIG_…


def started_by_accelerate() -> bool:
    """Whether `accelerate launch` started this process."""
    return MARK in os.environ


def asked() -> dict[str, Any]:
    """Our settings that the file decides, by name; nothing where Accelerate did not start this process.

    Raises MedReportError for what the file asks for and we do not do.
    """
    if not started_by_accelerate():
        return {}
    _refuse_others()
    found: dict[str, Any] = {"precision": _precision(os.environ[MARK])}
    if _is_on("ACCELERATE_USE_FSDP"):
        found |= _of_fsdp()
    if _is_on("ACCELERATE_USE_DEEPSPEED"):
        found |= _of_deepspeed()
    backend = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if backend not in ("no", "inductor"):
        raise _unknown("dynamo_backend", backend, "give INDUCTOR, or NO")
    return found | ({"compile": True} if backend == "inductor" else {})


def confirmed(given: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    """What is `asked`, of the `known` settings, where what was `given` leaves it open or says the same.

    Raises MedReportError for an option that contradicts the file, and for something asked that is no setting.
    """
    found = asked()
    for name, value in found.items():
        if name not in known:
            raise _unknown(NAMES[name], value, "leave it out of the file")
        own = given.get(name)
        if own not in OPEN and own != value:
            raise MedReportError(f"--{name.replace('_', '-')} {own} contradicts the configuration of accelerate, where "
                                 f"{NAMES[name]} makes it {value}", "leave the option out, or change the configuration")
    return found


def deepspeed_config() -> dict[str, Any]:
    """The content of the file's `deepspeed_config_file`, "auto" values left out; nothing without one."""
    name = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if not _is_on("ACCELERATE_USE_DEEPSPEED") or name == "none":
        return {}
    try:
        config = json.loads(Path(name).read_bytes())
    except (OSError, ValueError) as error:
        raise MedReportError(f"{name}: cannot be read as JSON ({error})", "correct deepspeed_config_file") from None
    if not isinstance(config, dict):
        raise MedReportError(f"{name}: holds no configuration of DeepSpeed", "correct deepspeed_config_file")
    return _without_auto(config)


def _refuse_others() -> None:
    """What neither of the strategies does."""
    if _is_on("ACCELERATE_USE_MEGATRON_LM"):
        raise _unknown("distributed_type", "MEGATRON_LM", "use FSDP or DEEPSPEED")
    for size in SIZES:
        value = os.environ.get(f"PARALLELISM_CONFIG_{size}", "1")
        if value != "1":
            raise _unknown(f"parallelism_config_{size.lower()}", value, "records are shared out over all processes")
    if "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:
        raise MedReportError("accelerate started one process where several are asked for: on CPUs it leaves them to "
                             "mpirun", "use `medreport train --num-processes N`, or `torchrun --nproc_per_node N`")
    if _is_on(GPUS):
        import torch
        if torch.cuda.is_available():
            raise MedReportError("use_cpu: true in the configuration of accelerate, and this machine has GPUs",
                                 "hide them: CUDA_VISIBLE_DEVICES=")


def _precision(name: str) -> str:
    if name.lower() not in PRECISIONS:
        raise _unknown("mixed_precision", name, "use bf16 or no")
    return PRECISIONS[name.lower()]


def _of_fsdp() -> dict[str, Any]:
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise _unknown("fsdp_version", version, "give fsdp_version: 2; `accelerate to-fsdp2 --config_file FILE` "
                       "converts a file")
    for name in ("OFFLOAD_PARAMS", "ACTIVATION_CHECKPOINTING_OFFLOAD", "IGNORED_MODULES"):
        value = os.environ.get(f"FSDP_{name}", "false")
        if value.lower() not in ("false", "none", ""):
            raise _unknown(f"fsdp_{name.lower()}", value, "leave it out of the file")
    policy = os.environ.get("FSDP_AUTO_WRAP_POLICY", "TRANSFORMER_BASED_WRAP")
    if policy.upper() == "SIZE_BASED_WRAP":
        raise _unknown("fsdp_auto_wrap_policy", policy, "use TRANSFORMER_BASED_WRAP or NO_WRAP")
    checkpointing = {"gradient_checkpointing": True} if _is_on("FSDP_ACTIVATION_CHECKPOINTING") else {}
    return {"parallel": "fsdp"} | checkpointing


def _of_deepspeed() -> dict[str, Any]:
    """Of the file's own fields, or of the JSON file it names, where they may not stand twice."""
    config = deepspeed_config()
    for section in ("optimizer", "scheduler"):
        if section in config:
            raise _unknown(section, config[section], "leave it out: --learning-rate, --schedule and so on decide")
    if config.get("fp16", {}).get("enabled"):
        raise _unknown("fp16", "enabled", "use bf16")
    zero = config.get("zero_optimization", {})
    stage = str(zero.get("stage", os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")))
    if stage not in ("2", "3"):
        raise _unknown("zero_stage", stage, "use 2 or 3, or distributed_type: MULTI_GPU")
    for part in ("optimizer", "param"):
        device = zero.get(f"offload_{part}", {}).get("device", os.environ.get(
            f"ACCELERATE_DEEPSPEED_OFFLOAD_{part.upper()}_DEVICE", "none"))
        if device != "none":
            raise _unknown(f"offload_{part}_device", device, "use none")
    found: dict[str, Any] = {"parallel": f"zero{stage}"}
    for ours, key, variable in (("gradient_accumulation", "gradient_accumulation_steps",
                                 "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"),
                                ("max_grad_norm", "gradient_clipping", "ACCELERATE_GRADIENT_CLIPPING"),
                                ("batch_size", "train_micro_batch_size_per_gpu", "")):
        value = config.get(key, os.environ.get(variable, "auto"))
        if value not in ("auto", "none"):
            found[ours] = float(value) if ours == "max_grad_norm" else int(value)
    return found | ({"precision": "bf16"} if config.get("bf16", {}).get("enabled") else {})


def _without_auto(config: dict[str, Any]) -> dict[str, Any]:
    return {key: _without_auto(value) if isinstance(value, dict) else value for key, value in config.items()
            if value != "auto"}


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1", "yes")


def _unknown(name: str, value: object, hint: str) -> MedReportError:
    return MedReportError(f"{name}: {value} in the configuration of accelerate is nothing that medreport does", hint)
