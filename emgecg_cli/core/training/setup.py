"""What a training needs before its first step: device, precision, backbone, model, optimiser."""

from __future__ import annotations

import os
from typing import Any

import torch

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.render import text_of
from emgecg_cli.core.models.backbones import build_tiny_llama, load_backbone, machine_at_hand, train_tokenizer
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.tuning import tune_backbone
from emgecg_cli.core.store import Store
from emgecg_cli.core.training.objective import Objective


def resolve_machine(precision: str) -> dict[str, str]:
    """Device type and precision a run depends on; "auto" is bf16 where the device has it, else fp32.

    Raises MedReportError for an unknown precision, and when a launcher started several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise MedReportError(f"train was started in {os.environ['WORLD_SIZE']} processes, it runs in one",
                             "start it without a launcher")
    if precision not in ("auto", "fp32", "bf16"):
        raise MedReportError(f"no precision '{precision}'", "available: auto, fp32, bf16")
    machine = machine_at_hand()
    return machine if precision == "auto" else machine | {"precision": precision}


def make_backbone(config: TrainConfig, machine: dict[str, str], store: Store, instructions: Instructions) \
        -> tuple[Any, Any]:
    """Model and tokenizer: loaded, or built from sizes with a tokenizer of the train split's reports and prompts."""
    if config.backbone != "tiny":
        # Frozen weights need no fp32 masters; trained ones do, also under bf16 autocast.
        frozen = config.tuning != "full" and machine == {"device": "cuda", "precision": "bf16"}
        return load_backbone(config.backbone, torch.bfloat16 if frozen else torch.float32)
    if config.tuning != "full":
        raise MedReportError(f"--tuning {config.tuning} with --backbone tiny: its random weights would stay random",
                             "use --tuning full")
    rows = instructions.of(store.records["record_id"].gather(store.indices("train")).to_list())
    tokenizer = train_tokenizer(sorted(text_of(message["content"]) for row in rows for message in row.messages))
    return build_tiny_llama(tokenizer, config.seed), tokenizer


def make_model(backbone: Any, config: TrainConfig) -> ReportModel:
    """Tune the backbone as asked and put encoder, projector and fusion on it."""
    tuned = tune_backbone(backbone, config.tuning, rank=config.lora_rank, alpha=config.lora_alpha,
                          dropout=config.lora_dropout)
    if config.gradient_checkpointing:
        tuned.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return build_report_model(tuned, encoder=config.encoder, projector=config.projector, fusion=config.fusion,
                              signal_tokens=config.signal_tokens, token_norm=config.token_norm, seed=config.seed)


def make_optimizer(objective: Objective, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over what trains, the signal side with its own learning rate if one is given."""
    backbone = [p for p in objective.model.backbone.parameters() if p.requires_grad]
    taken = {id(p) for p in backbone}
    signal = [p for p in objective.parameters() if p.requires_grad and id(p) not in taken]
    rate = config.learning_rate
    groups = [{"params": signal, "lr": config.encoder_learning_rate or rate}]
    if backbone:
        groups.insert(0, {"params": backbone, "lr": rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, betas=(0.9, config.adam_beta2))
