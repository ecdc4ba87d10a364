"""The output head of a backbone on its own: logits of some hidden states at a time, as its family makes them.

Logits are tokens times vocabulary: 64 answers of 1,024 tokens in a vocabulary of 128,000 take 33 GB. To get only
a loss, take the states in front of the head, and send a few at a time through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emgecg_cli.core.models.fusion.attention_families import FAMILIES
from emgecg_cli.core.models.tuning import base_of


@dataclass(frozen=True)
class OutputHead:
    """The head of a causal language model `base` (no peft wrapper). It is looked up and called as a module each time,
    so that LoRA, tied and sharded weights apply."""

    base: Any

    @property
    def vocabulary(self) -> int:
        """Logits of a token."""
        return int(self.base.config.get_text_config().vocab_size)

    @contextmanager
    def aside(self) -> Iterator[list[Tensor]]:
        """While the backbone runs inside, its head sees one position of each row only; what it should have seen,
        (B, T, D), is put into the list."""
        seen: list[Tensor] = []

        def first_only(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.append(args[0])
            return (args[0][:, :1], *args[1:])

        handle = self.base.get_output_embeddings().register_forward_pre_hook(first_only)
        try:
            yield seen
        finally:
            handle.remove()
        if len(seen) != 1:
            raise RuntimeError(f"the output head of {type(self.base).__name__} ran {len(seen)} times in one pass")

    def logits(self, states: Tensor) -> Tensor:
        """Hidden states (…, D) -> logits (…, vocabulary)."""
        logits = self.base.get_output_embeddings()(states)
        config = self.base.config
        if getattr(config, "final_logit_softcapping", None) is not None:  # Gemma 2 and 3
            logits = torch.tanh(logits / config.final_logit_softcapping) * config.final_logit_softcapping
        if hasattr(self.base, "logit_scale"):  # Cohere
            logits = logits * self.base.logit_scale
        if hasattr(config, "logits_scaling"):  # Granite
            logits = logits / config.logits_scaling
        return logits


def output_head(backbone: Any) -> OutputHead | None:
    """The head of a backbone whose family is known (and tested) to make its logits so; None for others."""
    base = base_of(backbone)
    known = base.config.get_text_config().model_type in FAMILIES and not base.config.is_encoder_decoder
    return OutputHead(base) if known and base.get_output_embeddings() is not None else None
