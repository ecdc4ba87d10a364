"""A toy encoder of images: all that a new kind of input takes besides its line in the table of encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.patches import pool


class ToyImage(nn.Module):
    """Patches of 32 x 32 pixels, one after the other: (B, 3, H, W) -> (B, N, 16)."""

    width = 16

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, self.width, 32, stride=32)

    def forward(self, image: Tensor, tokens: int = 1) -> Tensor:
        """Means of `tokens` stretches of the patches."""
        return pool(torch.relu(self.patches(image)).flatten(2).transpose(1, 2), tokens)
