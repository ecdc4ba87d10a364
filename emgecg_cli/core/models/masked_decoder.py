"""The decoder of masked pre-training: it reconstructs masked patches from the states of the visible ones, and is
discarded after training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.patches import positions
from emgecg_cli.core.models.encoders.vit1d import TransformerBlock

HEAD_WIDTH = 16


class MaskedDecoder(nn.Module):
    """A few narrow transformer blocks over all patches, masked ones represented by one learned vector (MAE, He et al.
    2022).

    `encoder_width` is that of the states, `out` what a patch holds: leads times samples.
    """

    def __init__(self, encoder_width: int, out: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.into = nn.Linear(encoder_width, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.Sequential(*[TransformerBlock(width, width // HEAD_WIDTH, 2 * width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, out)

    def forward(self, states: Tensor, visible: Tensor, count: int) -> Tensor:
        """States (B, V, E) of the `visible` patches (B, V), of `count` in all -> every patch (B, count, out)."""
        known = self.into(states)
        patches = self.hidden.to(known.dtype).expand(len(states), count, -1)
        patches = patches.scatter(1, visible[..., None].expand_as(known), known)
        return self.out(self.norm(self.blocks(patches + positions(count, self.width, states.device))))
