"""What every fusion asks of its signal tokens: their shape, which are real, how often generation repeats a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def check_tokens(fusion: str, signal_tokens: Tensor, dim: int, rows: int) -> None:
    """Raise RuntimeError unless `signal_tokens` is (rows, N, dim)."""
    if signal_tokens.ndim != 3 or signal_tokens.shape[-1] != dim:
        raise RuntimeError(f"{fusion} fusion: signal tokens {tuple(signal_tokens.shape)}, need (B, N, {dim})")
    if signal_tokens.shape[0] != rows:
        raise RuntimeError(f"{fusion} fusion: {rows} rows of text, {signal_tokens.shape[0]} of signal")


def real_tokens(signal_tokens: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """(B, N, dim) and `valid` (B,) or (B, N), None for all -> the tokens, (B, N) bool which are real.

    Those that are not become zero: a mask alone would let a NaN among them through.
    """
    rows, count, _ = signal_tokens.shape
    if valid is None:
        return signal_tokens, torch.ones(rows, count, dtype=torch.bool, device=signal_tokens.device)
    if valid.shape not in ((rows,), (rows, count)):
        raise RuntimeError(f"valid is {tuple(valid.shape)}, need ({rows},) or ({rows}, {count})")
    valid = valid.to(signal_tokens.device, torch.bool)
    real = valid if valid.ndim == 2 else valid[:, None].expand(rows, count)
    return signal_tokens.masked_fill(~real[..., None], 0.0), real


def copies_of_a_row(backbone: Any, settings: Mapping[str, Any]) -> int:
    """How often `generate` repeats each row, by `repeat_interleave`, for beams or several returned sequences."""
    configs = [settings.get("generation_config"), backbone.generation_config]  # what one leaves open, the next says

    def setting(name: str) -> int:
        return next((int(n) for n in (settings.get(name), *(getattr(c, name, None) for c in configs)) if n), 1)

    return max(setting("num_beams"), setting("num_return_sequences"))


def sequences(generated: Any) -> Tensor:
    """The token ids of whatever `generate` returned."""
    return getattr(generated, "sequences", generated)
