"""What a training needs before its first step: device, precision, backbone, model, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.drawn.words import words_zh
from emgecg_cli.core.inputs.records import Inputs
from emgecg_cli.core.instructions.render import text_of
from emgecg_cli.core.instructions.template_settings import settle_template
from emgecg_cli.core.launch import world
from emgecg_cli.core.models.backbones import add_tokens, load_backbone, machine_at_hand
from emgecg_cli.core.models.builders import SETTINGS, Sizes, build_report_model, check_fusion
from emgecg_cli.core.models.encoders import load_encoder_weights
from emgecg_cli.core.models.fusion.attention_families import decoder_layers
from emgecg_cli.core.models.image_tower import load_image_weights, open_image_tower
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.tiny_backbone import ROLE_TAGS, build_tiny_llama, train_tokenizer
from emgecg_cli.core.models.tuning import base_of, tune_backbone

REPORTS_VOCABULARY, TABLES_VOCABULARY = 1000, 2000  # of a tokenizer that is trained; tables may come in two languages
REPORTS_HEADS, TABLES_HEADS = 4, 8  # of the backbone made from sizes
BACKBONE = "model.backbone."  # of an objective's parameters, those of the backbone
SHARDING = ("fsdp", "zero3")  # of which each process holds a part of the weights


def resolve_machine(precision: str, parallel: str) -> dict[str, Any]:
    """Device type, precision and processes a run depends on; "auto" is bf16 where the device has it, else fp32."""
    machine: dict[str, Any] = machine_at_hand()
    processes = world()
    kind = parallel if parallel != "auto" else ("ddp" if processes > 1 else "none")
    chosen = {} if precision == "auto" else {"precision": precision}
    return machine | chosen | {"processes": processes, "parallel": kind}


def make_backbone(config: TrainConfig, machine: dict[str, Any], shown: Inputs,
                  more_text: Iterable[str] = ()) -> tuple[Any, Any]:
    """Model and tokenizer: loaded, or built from sizes with a tokenizer of the train split's reports and prompts.

    Such a tokenizer is trained on `more_text` as well. The tokenizer's chat template holds what the run sets in it.
    """
    model, tokenizer = _make_backbone(config, machine, shown, more_text)
    settle_template(tokenizer, config.chat_template, config.template_options, config.system)
    return model, tokenizer


def _make_backbone(config: TrainConfig, machine: dict[str, Any], shown: Inputs,
                   more_text: Iterable[str]) -> tuple[Any, Any]:
    if config.backbone != "tiny":
        # Frozen weights need no fp32 masters; trained ones do, also under bf16 autocast.
        frozen = config.tuning != "full" and machine["device"] == "cuda" and machine["precision"] == "bf16"
        model, tokenizer = load_backbone(config.backbone, torch.bfloat16 if frozen else torch.float32,
                                         four_bit=config.tuning == "qlora", tuning=config.tuning,
                                         shards=machine["processes"] if machine["parallel"] in SHARDING else 1)
        if config.new_tokens != "none":
            add_tokens(model, tokenizer, parse_tokens(config.new_tokens))
        return model, tokenizer
    if config.tuning != "full":
        raise MedReportError(f"--tuning {config.tuning} with --backbone tiny: its random weights would stay random",
                             "use --tuning full")
    store = shown.store
    rows = shown.instructions.of(store.column("record_id").gather(store.indices("train")).to_list())
    texts = sorted(text_of(message["content"]) for row in rows for message in row.messages)
    size, words, heads = (TABLES_VOCABULARY, words_zh(), TABLES_HEADS) if shown.values else (
        REPORTS_VOCABULARY, [], REPORTS_HEADS)
    tokenizer = train_tokenizer([*texts, *more_text], size, words)
    return build_tiny_llama(tokenizer, config.seed, config.max_length, heads), tokenizer


def parse_tokens(text: str) -> list[str]:
    """"roles" -> the paper's role tags; "<a>,<b>" -> those."""
    tokens = list(ROLE_TAGS) if text == "roles" else [token.strip() for token in text.split(",")]
    if not all(tokens) or len(set(tokens)) < len(tokens):
        raise MedReportError(f"--new-tokens is '{text}'", "give roles, or different tokens separated by commas")
    return tokens


def make_model(backbone: Any, config: TrainConfig, sizes: Sizes | None = None) -> ReportModel:
    """Tune the backbone as asked and put encoders, projectors and fusion on it; whether they fit is asked first."""
    check_fusion(backbone, config.fusion, config.fusion_layers)
    tuned = tune_backbone(backbone, config.tuning, rank=config.lora_rank, alpha=config.lora_alpha,
                          dropout=config.lora_dropout, targets=config.lora_targets,
                          train_embeddings=config.new_tokens != "none")
    if config.gradient_checkpointing:
        tuned.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    settings = {key: getattr(config, key) for key in SETTINGS}
    model = build_report_model(tuned, **settings, sizes=sizes, seed=config.seed)
    if (folder := open_image_tower(config.image_tower).folder) and "image" in model.towers:
        load_image_weights(model.towers["image"].encoder, folder)
    if config.encoder_weights:  # `pretrain` makes those of encoders that read recordings
        load_encoder_weights(model.towers["ecg"].encoder, Path(config.encoder_weights))
    for name in model.towers:
        if config.freeze_encoder and name != "values":  # that of tables learns first, in its stage 1
            model.towers[name].freeze()
    if config.compile:  # layer by layer: one graph serves all of them, and compiling takes seconds, not minutes
        for layer in decoder_layers(base_of(tuned)):
            layer.compile(dynamic=True)
    return model


def optimizer_maker(config: TrainConfig) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """AdamW over what trains of an objective, the signal side with its own learning rate if one is given."""
    def make(objective: nn.Module) -> torch.optim.Optimizer:
        trained = [(name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad]
        backbone = [parameter for name, parameter in trained if name.startswith(BACKBONE)]
        signal = [parameter for name, parameter in trained if not name.startswith(BACKBONE)]
        rate = config.learning_rate
        groups = [{"params": backbone, "lr": rate}, {"params": signal, "lr": config.encoder_learning_rate or rate}]
        used = [group for group in groups if group["params"]]
        return torch.optim.AdamW(used, weight_decay=config.weight_decay, betas=(0.9, config.adam_beta2))

    return make
