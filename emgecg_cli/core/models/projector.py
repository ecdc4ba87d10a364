"""The width adapter between encoder and backbone: features (B, E) to unit-norm signal tokens (B, N, dim)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Projector(nn.Module):
    """Wraps `layers` (B, E) -> (B, N * dim) and normalises each token to length 1 (MEIT, spec A3.2)."""

    def __init__(self, layers: nn.Module, tokens: int, dim: int) -> None:
        super().__init__()
        self.layers = layers
        self.tokens = tokens
        self.dim = dim

    def forward(self, features: Tensor) -> Tensor:
        """(B, E) -> (B, N, dim), each token of length 1."""
        projected = self.layers(features).unflatten(-1, (self.tokens, self.dim))  # (B, N * dim) -> (B, N, dim)
        return F.normalize(projected, dim=-1)


def mlp_projector(width: int, tokens: int, dim: int) -> Projector:
    """MEIT's projector: Linear E -> E, BatchNorm, ReLU, Linear E -> N * dim, BatchNorm."""
    out = tokens * dim
    return Projector(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
                                   nn.Linear(width, out), nn.BatchNorm1d(out)), tokens, dim)


def linear_projector(width: int, tokens: int, dim: int) -> Projector:
    """One linear layer and a BatchNorm without scale: enough for a backbone that learns to read it from scratch."""
    out = tokens * dim
    return Projector(nn.Sequential(nn.Linear(width, out), nn.BatchNorm1d(out, affine=False)), tokens, dim)
