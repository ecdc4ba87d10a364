"""The width adapter between encoder and backbone: features (B, M, E) to signal tokens (B, N, dim) of one length."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 512


class Projector(nn.Module):
    """Wraps `layers` (rows, E) -> (rows, tokens * dim), which turn each feature vector into `tokens` signal tokens.

    `norm` gives each token one length. "unit" is length 1 (MEIT). "rms" is length sqrt(dim), as long as a
    normed text state of a backbone that learns from scratch. "matched" is a length measured on the backbone's own text,
    which `token_length.match` sets. "none" leaves tokens as they are, as LLaVA does.
    """

    def __init__(self, layers: nn.Module, tokens: int, dim: int, norm: str) -> None:
        super().__init__()
        self.layers = layers
        self.tokens = tokens
        self.dim = dim
        self.length = {"unit": 1.0, "rms": math.sqrt(dim), "matched": 1.0, "none": None}[norm]

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


def gelu_projector(width: int, tokens: int, dim: int, norm: str = "unit") -> Projector:
    """LLaVA-1.5's projector, Linear E -> 512, GELU, Linear 512 -> N * dim, on standardised features.

    No BatchNorm follows the last layer, so that a token means the same in a batch of 8 as alone.
    """
    return Projector(nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, HIDDEN), nn.GELU(),
                                   nn.Linear(HIDDEN, tokens * dim)), tokens, dim, norm)


def llava_projector(width: int, tokens: int, dim: int, norm: str = "none") -> Projector:
    """LLaVA's "mlp2x_gelu", Linear E -> dim, GELU, Linear dim -> N * dim, without statistics of batches."""
    return Projector(nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, tokens * dim)), tokens, dim, norm)


def bridge(width: int, tokens: int, dim: int) -> Projector:
    """One linear layer, E -> N * dim, to the width of another tower."""
    return Projector(nn.Linear(width, tokens * dim), tokens, dim, "none")


def as_it_is(width: int, tokens: int) -> Projector:
    """No layer: features are tokens, `tokens` of them made of each where they are as many times as wide."""
    return Projector(nn.Identity(), tokens, width, "none")
