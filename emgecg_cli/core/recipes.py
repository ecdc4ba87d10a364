"""Training recipes, and how settings are resolved: defaults, then the recipe, then what was given. Torch-free."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.config import (
    EMG_RESHAPES,
    LARGEST_SEED,
    PARALLEL,
    PRETRAIN_OBJECTIVES,
    SCHEDULES,
    SELECTIONS,
    STAGE1_TASKS,
    TOKEN_NORMS,
    TOKEN_SOURCES,
    VALUES,
    PretrainConfig,
    TrainConfig,
)
from emgecg_cli.core.errors import MedReportError

# "meit-paper" is what the paper says, "meit-code" what its released scripts do (spec A5.1, A5.2). A backbone trained
# from scratch needs more than MEIT's single token and LoRA: eight tokens, every weight tuned, the encoder supervised
# directly, augmented signals; its last weights are kept, since the report loss on the validation split turns before the
# findings do. Never the default for a pretrained backbone.
# "emgllm" is what is known of EMGLLM's training (a pretrained backbone, tables); "emgllm-tiny" takes its place where
# the backbone is built from sizes, which then trains in both stages.
RECIPES: dict[str, dict[str, Any]] = {
    "meit-paper": {},
    "meit-code": {
        "lora_rank": 64, "lora_alpha": 128, "lora_targets": "meit-code", "learning_rate": 2e-5, "max_length": 128,
        "max_grad_norm": 0.0, "select": "last",
    },
    "tiny-from-scratch": {
        "encoder": "resnet18-tiny", "projector": "linear", "signal_tokens": 8, "token_norm": "rms", "tuning": "full",
        "batch_size": 32, "gradient_accumulation": 1,
        "epochs": 12.0, "learning_rate": 2e-3, "schedule": "cosine", "weight_decay": 0.01, "adam_beta2": 0.98,
        "eos_loss_weight": 0.3, "encoder_loss": "auto", "augment": "roll,gain,noise", "select": "last",
    },
    "emgllm": {
        "encoder": "emg-alignment", "fusion": "splice", "stage1_steps": 2000, "lora_rank": 8, "lora_alpha": 16,
        "learning_rate": 5e-5, "batch_size": 1, "gradient_accumulation": 16, "max_length": 4096,
    },
    "emgllm-tiny": {
        "encoder": "emg-alignment", "emg_dropout": 0.0, "fusion": "splice", "stage1_steps": 4000,
        "stage1_tasks": "class,phrase,table", "tuning": "full", "batch_size": 16, "gradient_accumulation": 1,
        "epochs": 10.0, "learning_rate": 1e-3, "schedule": "cosine", "weight_decay": 0.01, "adam_beta2": 0.98,
        "max_length": 2048, "select": "last",
    },
}

FREE = ("workers", "track", "checkpoint_minutes")
SINCE = ("template_options", "system", "val_limit")  # settings runs did not always have; unsaid where they are not set


def default_recipe(backbone: str) -> str:
    """The recipe a backbone gets when none is named."""
    return "tiny-from-scratch" if backbone == "tiny" else "meit-paper"


def resolve_train_config(recipe: str | None = None, **given: Any) -> TrainConfig:
    """Defaults, then the recipe, then what was given; None means not given. Raises MedReportError on bad values."""
    name = recipe or default_recipe(given.get("backbone") or "")
    if name == "emgllm" and given.get("backbone") == "tiny":
        name = "emgllm-tiny"
    if name not in RECIPES:
        raise MedReportError(f"no recipe '{name}'", f"available: {', '.join(RECIPES)}")
    explicit = _given(TrainConfig, given)
    if not str(given.get("backbone", "x") or "").strip():
        raise MedReportError("--backbone is empty", "give a name, a folder or a hub id")
    if explicit.get("system", "x").strip() == "":
        raise MedReportError("--system is empty", "give a text, or none to have no system message")
    config = replace(TrainConfig(), **(RECIPES[name] | explicit | {"recipe": name}))
    for kind in ("encoder", "projector", "fusion"):
        names.check(kind, getattr(config, kind))
    _check(config)
    _check_effect(config, explicit)
    if config.encoder in names.TABLE_ENCODERS:
        config = _check_tables(config, explicit)
    return config


def resolve_pretrain_config(**given: Any) -> PretrainConfig:
    """Defaults, then what was given; None means not given. Raises MedReportError on bad values."""
    explicit = _given(PretrainConfig, given)
    config = replace(PretrainConfig(), **explicit)
    names.check("encoder", config.encoder)
    if config.encoder in names.TABLE_ENCODERS:
        raise MedReportError(f"encoder {config.encoder} reads tables, which pretrain does not",
                             "its pretraining is the first stage of `train --recipe emgllm`")
    _check(config)
    if config.steps is not None and "epochs" in explicit:
        raise _idle("epochs", "--steps")
    if config.objective != "masked" and "mask_ratio" in explicit:
        raise _idle("mask_ratio", f"--objective {config.objective}")
    return config


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """["enable_thinking=false", …] -> {"enable_thinking": False, …}: JSON's words and numbers, else texts.

    Raises MedReportError for what is not name=value, or is there twice.
    """
    parsed: dict[str, Any] = {}
    for text in given:
        name, is_there, value = text.partition("=")
        if not is_there or not name.isidentifier():
            raise MedReportError(f"--template-option is '{text}'", "give name=value: enable_thinking=false")
        if name in parsed:
            raise MedReportError(f"--template-option {name} is there twice", "give it once")
        parsed[name] = _value(value)
    return parsed


def _value(text: str) -> Any:
    """true, false, null or a number, where a text is one of them."""
    with suppress(ValueError):
        value = json.loads(text)
        if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
            return value
    return text


def settings_of(config: TrainConfig | PretrainConfig) -> dict[str, Any]:
    """The settings a result depends on: all but `FREE`, which may differ when a killed run goes on."""
    return {key: value for key, value in vars(config).items()
            if key not in FREE and not (key in SINCE and value is None)}


def looks_at_val(config: TrainConfig) -> bool:
    """Whether anything asks for the losses on the val split: the choice of weights, a tracker, or --evaluate-every."""
    return config.select == "best" or config.track != "none" or config.evaluate_every is not None


def _given(kind: type[TrainConfig] | type[PretrainConfig], given: Mapping[str, Any]) -> dict[str, Any]:
    explicit = {key: value for key, value in given.items() if value is not None}
    unknown = set(explicit) - {f.name for f in fields(kind)}
    if unknown:
        raise TypeError(f"unknown settings {sorted(unknown)}")
    return explicit


def _check_effect(config: TrainConfig, explicit: Mapping[str, Any]) -> None:
    """Refuse what was given and would change nothing."""
    idle = {}
    if config.tuning not in ("lora", "qlora"):
        idle = dict.fromkeys(("lora_rank", "lora_alpha", "lora_dropout", "lora_targets"), f"--tuning {config.tuning}")
    if config.encoder_loss == "none":
        idle["encoder_loss_weight"] = "--encoder-loss none"
    if config.steps is not None:
        idle["epochs"] = "--steps"
    if config.fusion == "splice":
        idle["fusion_layers"] = "--fusion splice"
    if config.encoder not in names.TABLE_ENCODERS:
        idle |= dict.fromkeys(OF_TABLES, f"--encoder {config.encoder}")
    if not looks_at_val(config):
        idle["val_limit"] = "--select last without --track or --evaluate-every, where nothing looks at the val split"
    for key, reason in idle.items():
        if key in explicit:
            raise _idle(key, reason)
    if config.backbone == "tiny" and config.new_tokens != "none":
        raise MedReportError("--new-tokens with --backbone tiny: its tokenizer is trained with the role tags",
                             "leave --new-tokens out")
    if config.tuning == "qlora" and config.parallel in ("fsdp", "zero2", "zero3"):
        raise MedReportError(f"--tuning qlora with --parallel {config.parallel}: 4-bit weights cannot be sharded",
                             "use --parallel ddp, or --tuning lora")
    if config.tuning == "frozen" and config.new_tokens != "none":
        raise MedReportError("--new-tokens with --tuning frozen: their embeddings would stay untrained",
                             "use --tuning lora")


def _check_tables(config: TrainConfig, explicit: Mapping[str, Any]) -> TrainConfig:
    """Refuse what does not go with tables; no first stage where nothing would train in it."""
    for key in OF_SIGNALS:
        if key in explicit and explicit[key] != getattr(TrainConfig(), key):
            raise _idle(key, f"--encoder {config.encoder}")
    if config.fusion != "splice":
        raise MedReportError(f"--fusion {config.fusion} with encoder {config.encoder}: its embeddings stand in the "
                             "text, where the numbers stood", "use --fusion splice")
    if config.parallel in ("fsdp", "zero2", "zero3"):
        raise MedReportError(f"--parallel {config.parallel} with encoder {config.encoder}, which needs the whole "
                             "vocabulary's embeddings in every process", "use --parallel ddp")
    tasks = config.stage1_tasks.split(",")
    if len(set(tasks)) < len(tasks) or not set(tasks) <= set(STAGE1_TASKS):
        raise MedReportError(f"--stage1-tasks is '{config.stage1_tasks}'",
                             f"give any of {','.join(STAGE1_TASKS)}, each once, without blanks")
    if not config.stage1_steps and "stage1_tasks" in explicit:
        raise _idle("stage1_tasks", "--stage1-steps 0")
    if config.values == "encoder":
        return config
    learns = config.backbone == "tiny"
    for key in ("emg_reshape", "emg_dropout", "freeze_encoder", *(() if learns else ("stage1_steps", "stage1_tasks"))):
        if explicit.get(key):
            raise _idle(key, f"--values {config.values}")
    if config.values == "text" and config.random_references:
        raise _idle("random_references", "--values text")
    return config if learns else replace(config, stage1_steps=0)


def _idle(key: str, reason: str) -> MedReportError:
    return MedReportError(f"{_option(key)} has no effect beside {reason}", "leave one of them out")


OF_TABLES = ("emg_reshape", "emg_dropout", "values", "references", "random_references", "stage1_steps", "stage1_tasks",
             "freeze_encoder")
OF_SIGNALS = ("projector", "signal_tokens", "tokens_from", "token_norm", "encoder_weights", "encoder_loss", "augment")
LEAST = {"signal_tokens": 1, "lora_rank": 1, "batch_size": 1, "gradient_accumulation": 1, "max_length": 8,
         "checkpoint_every": 1, "checkpoint_minutes": 0, "evaluate_every": 1, "val_limit": 1, "steps": 1, "workers": 0,
         "seed": 0, "weight_decay": 0, "max_grad_norm": 0, "stage1_steps": 0}
MOST = {"seed": LARGEST_SEED, "signal_tokens": 1024, "max_length": 1_000_000, "lora_rank": 4096, "epochs": 1e6,
        "batch_size": 1_000_000, "gradient_accumulation": 1_000_000, "steps": 10**9, "stage1_steps": 10**9}
ABOVE_ZERO = ("epochs", "learning_rate", "encoder_learning_rate", "lora_alpha", "encoder_loss_weight",
              "eos_loss_weight", "mask_ratio")
SHARES = ("lora_dropout", "emg_dropout", "warmup", "adam_beta2", "mask_ratio")
KNOWN = {"schedule": SCHEDULES, "token_norm": TOKEN_NORMS, "tokens_from": TOKEN_SOURCES, "parallel": PARALLEL,
         "select": SELECTIONS, "objective": PRETRAIN_OBJECTIVES, "precision": ("auto", "fp32", "bf16"),
         "values": VALUES, "emg_reshape": EMG_RESHAPES}


def _check(config: TrainConfig | PretrainConfig) -> None:
    values = {key: value for key, value in vars(config).items() if value is not None}
    for key, least in LEAST.items():
        if key in values and not least <= values[key] < math.inf:
            raise MedReportError(f"{_option(key)} is {values[key]}", f"give {least} or more")
    for key, most in MOST.items():
        if key in values and values[key] > most:
            raise MedReportError(f"{_option(key)} is {values[key]}", f"give {most} or less")
    for key in ABOVE_ZERO:
        if key in values and not 0 < values[key] < math.inf:
            raise MedReportError(f"{_option(key)} is {values[key]}", "give a number above 0")
    for key in SHARES:
        if key in values and not 0 <= values[key] < 1:
            raise MedReportError(f"{_option(key)} is {values[key]}", "give a share from 0 to below 1")
    for key, known in KNOWN.items():
        if key in values and values[key] not in known:
            raise MedReportError(f"{_option(key)} is '{values[key]}'", f"available: {', '.join(known)}")


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")
