"""What encoders share: a signal cut into patches, positions in time, and states pooled over stretches of time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cut(signal: Tensor, size: int) -> Tensor:
    """Patches of `size` samples of all leads, (B, C, L) -> (B, P, C, size); the end is padded with the baseline, 0."""
    padded = F.pad(signal, (0, -signal.shape[-1] % size))
    return padded.unflatten(-1, (-1, size)).transpose(1, 2)  # (B, C, P, size) -> (B, P, C, size)


def positions(count: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (count, width): any number of patches, also more than were trained on."""
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angles = torch.arange(count, device=device)[:, None] * rates  # (count, width / 2)
    return torch.cat([angles.sin(), angles.cos()], -1)


def stretches(length: int, count: int) -> list[slice]:
    """`count` stretches of equal length, as adaptive pooling cuts them: they overlap where `length` is no multiple."""
    return [slice(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def pool(states: Tensor, tokens: int) -> Tensor:
    """Mean of the states of each of `tokens` stretches of time, (B, T, E) -> (B, tokens, E).

    Not torch's adaptive pooling, whose gradient is summed in no fixed order on a GPU.
    """
    return torch.stack([states[:, stretch].mean(1) for stretch in stretches(states.shape[1], tokens)], 1)


def linear_stem(leads: int, size: int, width: int) -> nn.Module:
    """One linear layer on each patch, as in a ViT: (B, P, C, size) -> (B, P, width)."""
    return nn.Sequential(nn.Flatten(2), nn.Linear(leads * size, width))


class PatchStem(nn.Module):
    """Two convolutions inside each patch, a linear layer and a LayerNorm: (B, P, C, size) -> (B, P, width).

    No convolution sees beyond its patch, so that a patch can be masked. It gives a small encoder what a linear layer
    learns from very many recordings only: that a wave is the same wave a few samples later. The norm makes it as large
    as the positions that are added to it.
    """

    def __init__(self, leads: int, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(leads, channels, 7, padding=3), nn.GELU(),
            nn.Conv1d(channels, channels, 5, 2, padding=2), nn.GELU())
        self.out = nn.Sequential(nn.Linear(channels * -(-size // 2), width), nn.LayerNorm(width))

    def forward(self, patches: Tensor) -> Tensor:
        """(B, P, C, size) -> (B, P, width)."""
        return self.out(self.convolutions(patches.flatten(0, 1)).flatten(1)).unflatten(0, patches.shape[:2])
