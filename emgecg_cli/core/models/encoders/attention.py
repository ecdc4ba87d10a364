"""Transformer blocks by the names that CLIP, and what was made of it, give their weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with the weights of torch's: (B, T, width) to (B, T, width), over (B, S, width).

    Written out, since the fused kernels sum their gradients in no fixed order on a GPU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, others: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attend from `x` to `others`, None: to itself. `mask` (…, T, S) is true where a position may be seen."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        sources = (x, *(2 * (x if others is None else others,)))
        q, k, v = (F.linear(source, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for source, weight, bias in zip(sources, weights, biases, strict=True))  # (B, H, T, width / H)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return self.out_proj((F.softmax(scores, -1) @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm attention and an MLP four times as wide. With `crosses` it attends to others, which have a norm of their
    own, instead of to itself."""

    def __init__(self, width: int, heads: int, crosses: bool = False) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        if crosses:
            self.ln_1_kv = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=nn.GELU(),
                                             c_proj=nn.Linear(4 * width, width)))

    def forward(self, x: Tensor, others: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        x = x + self.attn(self.ln_1(x), None if others is None else self.ln_1_kv(others), mask)
        return x + self.mlp(self.ln_2(x))
