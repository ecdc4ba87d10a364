"""Every default, once, in torch-free dataclasses. Commands borrow them; core functions take the values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from emgecg_cli.core.errors import MedReportError

LARGEST_SEED = 2**32 - 1  # what numpy and torch both take
SCHEDULES = ("linear", "cosine")
TOKEN_NORMS = ("unit", "rms")
STORES, INSTRUCTIONS, RUNS, PREDICTIONS, SCORES = "stores", "instructions", "runs", "predictions", "scores"


@dataclass(frozen=True)
class PrepareDefaults:
    """Defaults of `prepare`, shared by all datasets."""

    clean: str = "nan,numeric,ekg,stars,lower"
    min_words: int = 0
    seed: int = 0
    shard_size: int = 512


@dataclass(frozen=True)
class InstructionDefaults:
    """Defaults of `build-instructions` (MEIT: 32 hand-written prompts rephrased to a pool of 256)."""

    pool_size: int = 256
    rephraser: str = "offline"
    model: str = "gpt-4o"
    base_url: str = "https://api.openai.com/v1"
    seed: int = 0


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of `generate`: greedy unless `num_beams` says otherwise."""

    split: str = "test"
    signal: str = "real"
    batch_size: int = 64
    num_beams: int = 1
    max_new_tokens: int = 200
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class ScoreDefaults:
    """Defaults of `score`."""

    resamples: int = 1000
    examples: int = 6
    seed: int = 0


@dataclass(frozen=True)
class DemoDefaults:
    """Defaults of `demo`: sizes that end within five minutes on two cores."""

    records: int = 3600
    split: str = "80/10/10"
    steps: int = 1200
    snr_db: float = 0.0
    examples: int = 4


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `train`. The defaults are MEIT's paper (spec A5): LoRA 128/64/0.1 on all linear layers, one
    unit-norm signal token, linear schedule with 3 % warm-up. Two are ours: gradients are clipped, and the signal enters
    in millivolts rather than scaled to each record's own range, which would erase voltage.

    `encoder_loss` supervises the encoder directly besides the report loss: "codes" (the record's codes), "words" (a
    bag of the report's tokens) or "none". `augment` names what is done to a training signal: any of "roll", "gain",
    "noise". `eos_loss_weight` below 1 makes a model less eager to end a report, which omits findings. `steps`, when
    set, overrides `epochs`.
    """

    recipe: str = "meit"
    backbone: str = ""
    fusion: str = "prefix-kv"
    encoder: str = "resnet50"
    projector: str = "mlp"
    signal_tokens: int = 1
    token_norm: str = "unit"
    tuning: str = "lora"
    lora_rank: int = 128
    lora_alpha: int = 64
    lora_dropout: float = 0.1
    epochs: float = 5.0
    steps: int | None = None
    batch_size: int = 16
    gradient_accumulation: int = 4
    learning_rate: float = 1e-4
    encoder_learning_rate: float | None = None
    weight_decay: float = 0.0
    adam_beta2: float = 0.999
    schedule: str = "linear"
    warmup: float = 0.03
    max_grad_norm: float = 1.0
    max_length: int = 256
    eos_loss_weight: float = 1.0
    encoder_loss: str = "none"
    encoder_loss_weight: float = 3.0
    augment: str = "none"
    precision: str = "auto"
    gradient_checkpointing: bool = False
    checkpoint_every: int = 200
    workers: int = 0
    seed: int = 0


# A backbone trained from scratch needs more than MEIT's single token and LoRA: eight tokens, every weight tuned, the
# encoder supervised directly, augmented signals. Never the default for a pretrained backbone.
RECIPES: dict[str, dict[str, Any]] = {
    "meit": {},
    "tiny-from-scratch": {
        "encoder": "resnet18-tiny", "projector": "linear", "signal_tokens": 8, "token_norm": "rms", "tuning": "full",
        "batch_size": 32, "gradient_accumulation": 1,
        "epochs": 12.0, "learning_rate": 2e-3, "schedule": "cosine", "weight_decay": 0.01, "adam_beta2": 0.98,
        "eos_loss_weight": 0.3, "encoder_loss": "codes", "augment": "roll,gain,noise",
    },
}


def default_recipe(backbone: str) -> str:
    """The recipe a backbone gets when none is named."""
    return "tiny-from-scratch" if backbone == "tiny" else "meit"


def resolve_train_config(recipe: str | None = None, **given: Any) -> TrainConfig:
    """Defaults, then the recipe, then what was given; None means not given. Raises MedReportError on bad values."""
    name = recipe or default_recipe(given.get("backbone") or "")
    if name not in RECIPES:
        raise MedReportError(f"no recipe '{name}'", f"available: {', '.join(RECIPES)}")
    explicit = {key: value for key, value in given.items() if value is not None}
    unknown = set(explicit) - {f.name for f in fields(TrainConfig)}
    if unknown:
        raise TypeError(f"unknown settings {sorted(unknown)}")
    config = replace(TrainConfig(), **(RECIPES[name] | explicit | {"recipe": name}))
    _check(config)
    _check_effect(config, explicit)
    return config


def _check_effect(config: TrainConfig, explicit: Mapping[str, Any]) -> None:
    """Refuse what was given and would change nothing."""
    idle = {}
    if config.tuning != "lora":
        idle = dict.fromkeys(("lora_rank", "lora_alpha", "lora_dropout"), f"--tuning {config.tuning}")
    if config.encoder_loss == "none":
        idle["encoder_loss_weight"] = "--encoder-loss none"
    if config.steps is not None:
        idle["epochs"] = "--steps"
    for key, reason in idle.items():
        if key in explicit:
            raise MedReportError(f"{_option(key)} has no effect beside {reason}", "leave one of them out")


def _check(config: TrainConfig) -> None:
    for key, least in {"signal_tokens": 1, "lora_rank": 1, "batch_size": 2, "gradient_accumulation": 1,
                       "max_length": 8, "checkpoint_every": 1, "workers": 0, "seed": 0, "weight_decay": 0,
                       "max_grad_norm": 0}.items():
        if not least <= getattr(config, key) < math.inf:
            raise MedReportError(f"{_option(key)} is {getattr(config, key)}", f"give {least} or more")
    for key, most in {"seed": LARGEST_SEED, "signal_tokens": 1024, "max_length": 1_000_000}.items():
        if getattr(config, key) > most:
            raise MedReportError(f"{_option(key)} is {getattr(config, key)}", f"give {most} or less")
    for key in ("epochs", "learning_rate", "encoder_learning_rate", "lora_alpha", "encoder_loss_weight",
                "eos_loss_weight"):
        value = getattr(config, key)
        if value is not None and not 0 < value < math.inf:
            raise MedReportError(f"{_option(key)} is {value}", "give a number above 0")
    if config.steps is not None and config.steps < 1:
        raise MedReportError(f"--steps is {config.steps}", "give 1 or more, or --epochs instead")
    for key in ("lora_dropout", "warmup", "adam_beta2"):
        if not 0 <= getattr(config, key) < 1:
            raise MedReportError(f"{_option(key)} is {getattr(config, key)}", "give a share from 0 to below 1")
    for key, known in {"schedule": SCHEDULES, "token_norm": TOKEN_NORMS}.items():
        if getattr(config, key) not in known:
            raise MedReportError(f"no {key.replace('_', ' ')} '{getattr(config, key)}'",
                                 f"available: {', '.join(known)}")


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")
