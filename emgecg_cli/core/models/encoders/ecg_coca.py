"""ECG-CoCa, the encoder of GEM and ECG-Chat: a ViT over patches of all leads, with the published names of weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.attention import Block
from emgecg_cli.core.models.encoders.patches import pool

HEAD_WIDTH = 64


class EcgCoca(nn.Module):
    """Recordings (B, C, L) in mV to a class token and one token for each patch of time.

    A recording is cut after `samples`, or padded behind with 0. A language model is given all tokens as they leave the
    last block, before the last norm. `latent` is the vector that pretraining compares with texts: norm and projection
    serve that alone, and train only where `train_latent` says so.
    """

    def __init__(self, *, samples: int = 5000, leads: int = 12, patch: int = 50, width: int = 768, layers: int = 12,
                 latent: int = 512, heads: int | None = None) -> None:
        super().__init__()
        self.samples, self.width = samples, width
        self.tokens = 1 + samples // patch
        scale = width ** -0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(self.tokens, width))
        self.proj = nn.Parameter(scale * torch.randn(width, latent))
        self.conv1 = nn.Conv1d(leads, width, patch, stride=patch, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        blocks = (Block(width, heads or max(1, width // HEAD_WIDTH)) for _ in range(layers))
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.ln_post = nn.LayerNorm(width)
        self.train_latent(False)

    def train_latent(self, trains: bool) -> None:
        """Whether the norm and the projection behind the last block train."""
        self.proj.requires_grad_(trains)
        self.ln_post.requires_grad_(trains)

    def forward(self, signal: Tensor, tokens: int = 1) -> Tensor:
        """(B, C, L) -> (B, tokens, E): as many as it has are all of them, one is the class token, any other number is
        the mean of so many stretches of time."""
        states = self.states(signal)
        if tokens == self.tokens:
            return states
        return states[:, :1] if tokens == 1 else pool(states[:, 1:], tokens)

    def states(self, signal: Tensor) -> Tensor:
        """(B, C, L) -> (B, 1 + patches, E), the class token first."""
        signal = F.pad(signal[..., :self.samples], (0, max(0, self.samples - signal.shape[-1])))
        patches = self.conv1(signal).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(signal), 1, -1), patches], 1) + self.positional_embedding
        x = self.ln_pre(x)
        for block in self.transformer["resblocks"]:  # type: ignore[attr-defined]
            x = block(x)
        return x

    def compared(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, L) -> the vector of a recording (B, latent), not yet of length 1, and its normed patches (B, P, E)."""
        states = self.ln_post(self.states(signal))
        return states[:, 0] @ self.proj, states[:, 1:]

    def latent(self, signal: Tensor) -> Tensor:
        """(B, C, L) -> (B, latent), of length 1."""
        return F.normalize(self.compared(signal)[0], dim=-1)


def ecg_coca(**sizes: int) -> EcgCoca:
    """The published size, 101 tokens of E = 768 from 10 s at 500 Hz, 85,989,888 parameters, or those given."""
    return EcgCoca(**sizes)


def ecg_coca_tiny() -> EcgCoca:
    """For two CPU cores: 41 tokens of E = 96 from 10 s at 100 Hz."""
    return EcgCoca(samples=1000, patch=25, width=96, layers=3, latent=64, heads=6)
