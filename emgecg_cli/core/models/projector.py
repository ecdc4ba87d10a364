"""The width adapter between encoder and backbone: features (B, M, E) to signal tokens (B, N, dim) of one length."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Projector(nn.Module):
    """Wraps `layers` (rows, E) -> (rows, tokens * dim), which turn each feature vector into `tokens` signal tokens.

    `norm` gives each token one length. "unit" is length 1 (MEIT). "rms" is length sqrt(dim), as long as a
    normed text state: a unit token tiled over the heads is far shorter, which pretrained projections may
    tolerate and random ones learn to use only slowly. "none" leaves tokens as they are, as LLaVA does.
    """

    def __init__(self, layers: nn.Module, tokens: int, dim: int, norm: str) -> None:
        super().__init__()
        self.layers = layers
        self.tokens = tokens
        self.dim = dim
        self.length = {"unit": 1.0, "rms": math.sqrt(dim), "none": None}[norm]

    def forward(self, features: Tensor) -> Tensor:
        """(B, M, E) -> (B, M * tokens, dim). BatchNorm layers see all B * M vectors."""
        rows, pieces, _ = features.shape
        projected = self.layers(features.flatten(0, 1)).view(rows, pieces * self.tokens, self.dim)
        return projected if self.length is None else F.normalize(projected, dim=-1) * self.length


def mlp_projector(width: int, tokens: int, dim: int, norm: str = "unit") -> Projector:
    """MEIT's projector: Linear E -> E, BatchNorm, ReLU, Linear E -> N * dim, BatchNorm."""
    out = tokens * dim
    return Projector(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True),
                                   nn.Linear(width, out), nn.BatchNorm1d(out)), tokens, dim, norm)


def linear_projector(width: int, tokens: int, dim: int, norm: str = "unit") -> Projector:
    """One linear layer and a BatchNorm without scale: enough for a backbone that learns to read it from scratch."""
    out = tokens * dim
    return Projector(nn.Sequential(nn.Linear(width, out), nn.BatchNorm1d(out, affine=False)), tokens, dim, norm)
