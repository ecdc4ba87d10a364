"""ViT-1D, the transformer encoder of MEIT's ablation, and a small one that learns from scratch on a CPU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.patches import PatchStem, cut, linear_stem, pool, positions


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP: (B, T, width) -> the same shape.

    The attention is written out, since the fused kernels sum their gradients in no fixed order on a GPU, and
    recordings are short.
    """

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, mlp), nn.GELU(), nn.Linear(mlp, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        x = x + self.out(self._attend(self.attention_norm(x)))
        return x + self.mlp(self.mlp_norm(x))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, T, width / H)
        weights = F.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
        return (weights @ v).transpose(1, 2).flatten(2)


class Vit1d(nn.Module):
    """Patches of all leads, sinusoidal positions, pre-norm blocks, the mean over N stretches: (B, C, L) -> (B, N, E).

    Any L works: its end is padded to a whole patch with the baseline. `embed` and `encode` are apart for masked
    pre-training, which masks patches between them.
    """

    def __init__(self, stem: nn.Module, *, patch: int, width: int, depth: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.patch = patch
        self.width = width
        self.stem = stem
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, mlp) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, signal: Tensor, tokens: int = 1) -> Tensor:
        """(B, C, L) -> (B, tokens, E)."""
        return pool(self.encode(self.embed(cut(signal, self.patch))), tokens)

    def embed(self, patches: Tensor) -> Tensor:
        """(B, P, C, patch) -> (B, P, E), positions added."""
        return self.stem(patches) + positions(patches.shape[1], self.width, patches.device)

    def encode(self, embedded: Tensor) -> Tensor:
        """Any of the embedded patches, (B, T, E) -> (B, T, E)."""
        for block in self.blocks:
            embedded = block(embedded)
        return self.norm(embedded)


def vit1d() -> Vit1d:
    """ViT-1D: E = 768, 98,142,336 parameters.

    MEIT says the patch, 75 samples of all leads, and the size, 98 M, and no more. This is ViT-B (width 768, 12 blocks
    of 12 heads) with an MLP as wide as gives that size: 3,744.
    """
    return Vit1d(linear_stem(12, 75, 768), patch=75, width=768, depth=12, heads=12, mlp=3744)


def vit1d_tiny() -> Vit1d:
    """Patches of 0.25 s at 100 Hz, with a convolutional stem, for two CPU cores: E = 96."""
    return Vit1d(PatchStem(12, 25, 24, 96), patch=25, width=96, depth=3, heads=6, mlp=192)
