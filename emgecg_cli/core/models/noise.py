"""Sampling that knows no batch: Gumbel noise of each row's own, so that the likeliest token is a draw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LogitsProcessor


class GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise to log-probabilities, from one generator a row that advances with every step."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores (B, vocabulary) of any scale; float32 from here on."""
        return with_noise(scores, self.generators)


def with_noise(scores: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Gumbel noise of each row's own generator on its scores (B, vocabulary); float32 from here on."""
    noise = torch.empty(scores.shape, dtype=torch.float32, device=scores.device)
    for row, generator in zip(noise, generators, strict=True):
        row.exponential_(generator=generator)
    # An exponential draw of exactly 0 would be infinite noise, and no number beside a ruled-out token's -inf.
    return scores.float() - noise.clamp_min(torch.finfo(torch.float32).tiny).log()


def noise_of(seed: int, record_id: str, device: torch.device) -> torch.Generator:
    """Where the noise of a record comes from."""
    digest = hashlib.sha256(f"{seed} {record_id}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)
