"""What trains, stated once: freeze, LoRA or full, and the table of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, TaskType, get_peft_model
from torch import nn

from emgecg_cli.core.errors import MedReportError

TUNINGS = ("lora", "full", "frozen")


@dataclass(frozen=True)
class PartRow:
    """One row of the table of what trains."""

    part: str
    tuning: str
    parameters: int
    trainable: int


def tune_backbone(backbone: Any, tuning: str, *, rank: int, alpha: int, dropout: float) -> Any:
    """Freeze the backbone, or tune it in full, or put LoRA on all its linear layers but the output head.

    Returns the model to use from now on. Raises MedReportError for an unknown tuning.
    """
    if tuning not in TUNINGS:
        raise MedReportError(f"no tuning '{tuning}'", f"available: {', '.join(TUNINGS)}")
    if tuning == "lora":
        return get_peft_model(backbone, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none",
                                                   target_modules="all-linear", task_type=TaskType.CAUSAL_LM))
    backbone.requires_grad_(tuning == "full")
    return backbone


def table_of_what_trains(parts: dict[str, tuple[nn.Module, str]]) -> list[PartRow]:
    """One row for each named part (module, how it is tuned), and their sum."""
    rows = [PartRow(name, tuning, count_parameters(module), count_parameters(module, trainable=True))
            for name, (module, tuning) in parts.items()]
    return [*rows, PartRow("total", "", sum(row.parameters for row in rows), sum(row.trainable for row in rows))]


def count_parameters(module: nn.Module, trainable: bool = False) -> int:
    """Number of parameters, shared ones once; only those that train if asked."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable)
