"""How settings are resolved: defaults, then the recipe, then a file, then what was given. Torch-free."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from emgecg_cli.core import names
from emgecg_cli.core.accelerate_file import confirmed
from emgecg_cli.core.config import PretrainConfig, TrainConfig
from emgecg_cli.core.config.files import read_config
from emgecg_cli.core.config.settings import DEFAULT, NOTHING, Idle, described, option_of, refuse_wrong, settings_of
from emgecg_cli.core.config.train import (
    GRPO,
    LOGS,
    MACHINE,
    OPTIMISATION,
    RECIPES,
    REPORT,
    REWARD,
    reads_values,
    reads_values_alone,
)
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import read_manifest

__all__ = ["RECIPES", "default_recipe", "parse_options", "resolve_pretrain_config", "resolve_train_config", "to_write"]

Config = TypeVar("Config", TrainConfig, PretrainConfig)
LEAST_OF_TILES = 64  # pixels an inch
SHARDED = ("fsdp", "zero2", "zero3")
# What a run that goes on from another does not take over from it: how that one was trained.
FROM_RUN: dict[str, Any] = {
    "encoder_weights": None, "epochs": 1.0, "steps": None, "batch_size": 8, "gradient_accumulation": 1,
    "learning_rate": 1e-5, "encoder_learning_rate": None, "weight_decay": 0.0, "adam_beta2": 0.999,
    "schedule": "linear", "warmup": 0.03, "max_grad_norm": 1.0, "stage1_steps": 0, "eos_loss_weight": 1.0,
    "encoder_loss": "none", "word_steps": 0, "word_loss": 0.0, "augment": "none",
    "image_distortion": "none", "modality_dropout": 0.0, "gradient_checkpointing": False,
    "compile": False, "parallel": "auto", "evaluate_every": None, "val_limit": None, "paired_loss": False,
    "select": "last", "track": "none", "checkpoint_every": 50}


def default_recipe(backbone: str, encoder: str = "") -> str:
    """The recipe a backbone gets when none is named; one for tables beside an `encoder` that reads them alone."""
    if encoder.strip() in names.encoders_reading("values"):
        return "emgllm"
    return "tiny-from-scratch" if backbone == "tiny" else "pretrained"


def resolve_train_config(recipe: str | None = None, *, file: Path | None = None, **given: Any) -> TrainConfig:
    """Defaults, then the recipe, then the settings of a YAML file, then what was given; None means not given.

    Raises MedReportError on bad values, on what was given and would change nothing, and on what cannot go together; the
    error names the option, or the file and its key.
    """
    asked = _asked(TrainConfig, "train", given | {"recipe": recipe}, file)
    if asked.values.get("objective", REPORT) != REPORT or "from_run" in asked.values:
        return _from_run(asked)
    if "backbone" not in asked.values:
        raise MedReportError("Missing option '--backbone'.", "see `medreport train --help`")
    name = _recipe(asked)
    config = _settle(_base(name), replace(asked, options={**asked.options, "recipe": name}))
    config = _without_idle(config, asked)
    _check_pairs(config, asked)
    if reads_values(config) and config.values != "encoder" and config.backbone != "tiny":
        config = replace(config, stage1_steps=0)  # nothing would train in it
    return config


def _from_run(asked: _Asked) -> TrainConfig:
    """The settings of a run that goes on from another: model and tuning are that one's, and what else is given must
    be of the way it is trained now."""
    run, objective = asked.values.get("from_run"), asked.values.get("objective", REPORT)
    if objective != GRPO:
        refuse_wrong(TrainConfig(backbone="tiny", objective=objective), asked.named, asked.file_of)
        raise MedReportError(f"{asked.named('from_run')} has no effect beside --objective report", "add --objective "
                             "grpo; encoder weights alone are taken by --encoder-weights")
    if not run:
        raise MedReportError("--objective grpo starts from a run that writes reports already", "give --from RUN")
    before = TrainConfig(**read_manifest(Path(run), "run", made_by="train").arguments)
    base = replace(before, **FROM_RUN, objective=GRPO, from_run=run)
    settings = described(TrainConfig)
    for key, value in asked.values.items():
        if settings[key].panel not in (OPTIMISATION, MACHINE, LOGS, REWARD) and value != getattr(base, key):
            raise MedReportError(f"{asked.named(key)} {value} has no effect beside --from {run}, which has "
                                 f"{getattr(base, key)}", "leave it out: model, tuning and texts are that run's")
    idle = {"gradient_checkpointing": False, "select": "last", "evaluate_every": None, "val_limit": None,
            "paired_loss": False}
    if wrong := next((key for key, value in idle.items() if asked.values.get(key, value) != value), None):
        raise MedReportError(f"{asked.named(wrong)} has no effect beside --objective grpo", "leave it out")
    config = _settle(base, asked)
    if config.parallel not in ("auto", "ddp"):
        raise MedReportError(f"--objective grpo with --parallel {config.parallel}: each process writes reports of its "
                             "own, with whole weights", "use --parallel ddp")
    return config


def resolve_pretrain_config(*, file: Path | None = None, **given: Any) -> PretrainConfig:
    """Defaults, then the settings of a YAML file, then what was given; raises as `resolve_train_config` does."""
    asked = _asked(PretrainConfig, "pretrain", given, file)
    config = _settle(PretrainConfig(), asked)
    reads = names.ENCODERS[config.encoder].reads
    if reads == "values":
        raise MedReportError(f"encoder {config.encoder} reads tables, which pretrain does not",
                             "its pretraining is the first stage of `train --recipe emgllm`")
    if reads != "ecg":
        raise MedReportError(f"encoder {config.encoder} reads the input '{reads}', which pretrain does not",
                             f"choose one of {', '.join(names.encoders_reading('ecg'))}")
    return config


def to_write(config: TrainConfig | PretrainConfig) -> dict[str, Any]:
    """The settings that resolve to this config again, alone in a file: all that a result depends on, but for those not
    set, and those that neither count beside the others nor differ from the recipe."""
    base: Any = _base(config.recipe) if isinstance(config, TrainConfig) else PretrainConfig()
    if isinstance(config, TrainConfig) and config.objective == GRPO:
        base = replace(base, **FROM_RUN)
    settings = described(type(config))

    def counts(key: str) -> bool:
        return not any(idle.when(config) for idle in settings[key].idle if not settings[idle.beside].free)

    return {key: value for key, value in settings_of(config).items()
            if value is not None and (value != getattr(base, key) or counts(key))}


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


@dataclass(frozen=True)
class _Asked:
    """What was asked for: by options, and by the file behind them."""

    kind: type
    options: Mapping[str, Any]
    written: Mapping[str, Any]
    file: Path | None

    @property
    def values(self) -> dict[str, Any]:
        """Both, the options before the file."""
        return {**self.written, **self.options}

    def in_file(self, key: str) -> bool:
        """Whether the file, and no option, says what this setting is."""
        return key in self.written and key not in self.options

    def file_of(self, key: str) -> str:
        """The file a setting comes from and a colon; "" for an option."""
        return f"{self.file}: " if self.in_file(key) else ""

    def named(self, key: str) -> str:
        """How a setting was given: "--batch-size", or "FILE: batch_size"."""
        return self.file_of(key) + key if self.in_file(key) else option_of(self.kind, key)


def _asked(kind: type, command: str, given: Mapping[str, Any], file: Path | None) -> _Asked:
    options = {key: value for key, value in given.items() if value is not None}
    if unknown := set(options) - set(described(kind)):
        raise TypeError(f"unknown settings {sorted(unknown)}")
    written = read_config(file, kind, command) if file else {}
    return _Asked(kind, options | confirmed({**written, **options}, described(kind)), written, file)


def _recipe(asked: _Asked) -> str:
    """The recipe that was asked for, or the backbone's own."""
    option, written = asked.options.get("recipe"), asked.written.get("recipe")
    if option and written and option != written:
        raise MedReportError(f"--recipe {option} beside {asked.file}, which says recipe: {written}",
                             "leave --recipe out, or take that line out of the file")
    backbone = asked.values["backbone"]
    name = option or written or default_recipe(backbone, asked.values.get("encoder", ""))
    if name not in RECIPES:
        error = names.unknown_name("recipe", name, RECIPES)
        raise MedReportError(asked.file_of("recipe") + error.message, error.hint)
    return "emgllm-tiny" if name == "emgllm" and backbone == "tiny" else name


def _base(recipe: str) -> TrainConfig:
    """The defaults with those of a recipe in their place."""
    return TrainConfig(recipe=recipe, **RECIPES[recipe])


def _settle(base: Config, asked: _Asked) -> Config:
    """The settings on their base, checked; those of the file that an option has left without effect stay the base's."""
    config = replace(base, **asked.values)
    refuse_wrong(config, asked.named, asked.file_of)
    overruled = set()
    for key, value in asked.values.items():
        for idle in described(type(base))[key].idle:
            if not idle.when(config) or _is_spared(idle, value, getattr(type(base), key)):
                continue
            if asked.in_file(key) and not asked.in_file(idle.beside) and (
                    idle.beside in asked.options or described(type(base))[idle.beside].free):
                overruled |= {key} if idle.beside in asked.options else set()
                continue
            raise _has_no_effect(key, idle, asked, config)
    return replace(config, **{key: getattr(base, key) for key in overruled})


def _is_spared(idle: Idle, value: Any, default: Any) -> bool:
    return (idle.spares == DEFAULT and value == default) or (idle.spares == NOTHING and not value)


def _has_no_effect(key: str, idle: Idle, asked: _Asked, config: Any) -> MedReportError:
    value = getattr(config, idle.beside)
    why = idle.why or f"{option_of(asked.kind, idle.beside)} {value}"
    if asked.in_file(idle.beside):
        why = f"{idle.beside}: {value}" + ("" if asked.in_file(key) else f" in {asked.file}")
    return MedReportError(f"{asked.named(key)} has no effect beside {why}", "leave one of them out")


def _without_idle(config: TrainConfig, asked: _Asked) -> TrainConfig:
    """Without what a recipe sets, unasked, and the fusion or the encoder that was asked for cannot take."""
    takes_words = config.fusion == "splice" and not reads_values_alone(config)
    given_up: dict[str, Any] = {} if takes_words else {"word_steps": 0, "word_loss": 0.0}
    if reads_values_alone(config) or (config.fusion == "cross-attention" and config.token_norm == "matched"):
        given_up["token_norm"] = TrainConfig.token_norm
    return replace(config, **{key: value for key, value in given_up.items() if key not in asked.values})


def _check_pairs(config: TrainConfig, asked: _Asked) -> None:
    """Refuse what cannot go together."""
    def refuse(message: str, hint: str, *keys: str) -> None:
        raise MedReportError(next(filter(None, map(asked.file_of, keys)), "") + message, hint)

    if config.backbone == "tiny" and config.new_tokens != "none":
        refuse("--new-tokens with --backbone tiny: its tokenizer is trained with the role tags",
               "leave --new-tokens out", "new_tokens", "backbone")
    if config.tuning == "qlora" and config.parallel in SHARDED:
        refuse(f"--tuning qlora with --parallel {config.parallel}: 4-bit weights cannot be sharded",
               "use --parallel ddp, or --tuning lora", "parallel", "tuning")
    if config.tuning == "frozen" and config.new_tokens != "none":
        refuse("--new-tokens with --tuning frozen: their embeddings would stay untrained", "use --tuning lora",
               "new_tokens", "tuning")
    if (config.word_steps or config.word_loss) and config.fusion != "splice":
        refuse(f"--word-steps and --word-loss with --fusion {config.fusion}: its signal tokens stand among no words",
               "use --fusion splice, or leave both out", "fusion", "word_steps", "word_loss")
    if config.token_norm == "matched" and config.fusion == "cross-attention":
        refuse("--token-norm matched with --fusion cross-attention: its projections are new, and have no text to be "
               "matched to", "give --token-norm unit, rms or none", "token_norm", "fusion")
    if config.word_steps and config.parallel in ("zero2", "zero3"):
        said = "" if "word_steps" in asked.values else f", which the recipe {config.recipe} sets,"
        refuse(f"--word-steps{said} with --parallel {config.parallel}, whose engine is made once",
               "use --parallel ddp, or --word-steps 0", "parallel", "word_steps")
    if config.projector in names.SHARED_PROJECTORS and reads_values(config):
        refuse(f"--projector {config.projector} with encoder {config.encoder}: the embeddings of values are as wide as "
               "words already", "give another --projector", "projector", "encoder")
    if config.image_mode == "anyres" and config.image_dpi < LEAST_OF_TILES:
        refuse(f"--image-mode anyres with --image-dpi {config.image_dpi}: its tiles would be larger than the page",
               f"give --image-dpi {LEAST_OF_TILES} or more, or --image-mode pad", "image_mode", "image_dpi")
    if config.freeze_encoder and not reads_values_alone(config):
        if "clip" in names.encoders_of(config.encoder).values() and config.image_tower == "tiny":
            refuse("--freeze-encoder with --image-tower tiny: nothing would ever train its new weights",
                   "give a folder or a hub id with --image-tower", "freeze_encoder", "image_tower")
        if not config.encoder_weights and "ecg" in names.encoders_of(config.encoder):
            refuse("--freeze-encoder without --encoder-weights: nothing would ever train the encoder",
                   "give --encoder-weights, made by `medreport pretrain`", "freeze_encoder")
        if config.encoder_loss != "none":
            refuse(f"--freeze-encoder with --encoder-loss {config.encoder_loss}, which would train a head alone",
                   "give --encoder-loss none", "freeze_encoder", "encoder_loss")
    if config.freeze_encoder and reads_values(config) and not config.stage1_steps and not config.encoder_weights:
        refuse("--freeze-encoder with --stage1-steps 0: nothing would ever train the encoder of values",
               "leave one of them out", "freeze_encoder", "stage1_steps")
    if reads_values_alone(config) and config.fusion != "splice":
        refuse(f"--fusion {config.fusion} with encoder {config.encoder}: its embeddings stand in the text, where the "
               "numbers stood", "use --fusion splice", "fusion", "encoder")
    if reads_values(config) and config.parallel in SHARDED:
        refuse(f"--parallel {config.parallel} with encoder {config.encoder}, which needs the whole vocabulary's "
               "embeddings in every process", "use --parallel ddp", "parallel", "encoder")
