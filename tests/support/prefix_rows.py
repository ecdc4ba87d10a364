"""Three prompts of unlike length, their signal tokens, and what a fusion makes of them in one padded batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from oracle import oracle
from torch import Tensor

from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

# The longest has more tokens than any window of the tiny models.
PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 21, 22, 23]]


def pad(side: str = "left", prompts: Sequence[Sequence[int]] = PROMPTS) -> dict[str, Tensor]:
    """input_ids and attention_mask (B, T)."""
    longest = max(map(len, prompts))
    ids, mask = torch.zeros(len(prompts), longest, dtype=torch.long), torch.zeros(len(prompts), longest).long()
    for i, prompt in enumerate(prompts):
        place = slice(longest - len(prompt), None) if side == "left" else slice(len(prompt))
        ids[i, place], mask[i, place] = torch.tensor(prompt), 1
    return {"input_ids": ids, "attention_mask": mask}


def signal_tokens(dim: int, count: int = 2, batch: int = 3, seed: int = 0) -> Tensor:
    """(B, N, dim), another for every row."""
    return torch.randn(batch, count, dim, generator=torch.Generator().manual_seed(seed))


def fused_rows(fusion: PrefixKV, tokens: Tensor | None, side: str = "left", valid: Tensor | None = None,
               **inputs: Any) -> list[Tensor]:
    """Logits of the three prompts from one padded batch, padding cut off."""
    batch = pad(side)
    with torch.no_grad():
        logits = fusion.forward(tokens, valid, **batch, **inputs).logits
    return [row[keep.bool()] for row, keep in zip(logits, batch["attention_mask"], strict=True)]


def oracle_rows(lm: Any, tokens: Tensor | None, layers: Collection[int] | None = None) -> list[Tensor]:
    """What the oracle says of the three prompts."""
    return [oracle(lm, prompt, None if tokens is None else tokens[i], layers) for i, prompt in enumerate(PROMPTS)]


def error(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest absolute difference of two lists of logits."""
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(got, expected, strict=True))
