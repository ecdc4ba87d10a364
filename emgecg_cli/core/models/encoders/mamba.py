"""A bidirectional Mamba encoder (MEIT's ablation has one), and a small one that learns on a CPU.

The mixer is the one of Mamba (Gu and Dao, 2023) with the parameters, names and initial values of transformers'
`MambaMixer`, which gives the same numbers. That one's plain path is not used, since it costs the square of the length
where gradients are needed; neither are kernels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.patches import PatchStem, cut, linear_stem, pool

KERNEL, EXPAND, SHORTEST_STEP, LONGEST_STEP = 4, 2, 1e-3, 0.1


def selective_scan(x: Tensor, steps: Tensor, decay: Tensor, into: Tensor, out_of: Tensor) -> Tensor:
    """The recurrence s <- exp(step * decay) s + step * into * x, read out as s @ out_of.

    Time comes first: x and steps (T, B, W), decay (W, S), into and out_of (T, B, S) -> (T, B, W).
    """
    kept = torch.exp(steps[..., None] * decay).unbind(0)  # T times (B, W, S)
    added = ((steps * x)[..., None] * into[:, :, None]).unbind(0)
    states = [added[0]]
    for keep, add in zip(kept[1:], added[1:], strict=True):
        states.append(torch.addcmul(add, keep, states[-1]))
    return (torch.stack(states) @ out_of[..., None]).squeeze(-1)


class Mixer(nn.Module):
    """Mamba's gated selective state space, causal in the order it is given: (B, T, width) -> the same shape."""

    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        inner, rank = EXPAND * width, math.ceil(width / 16)
        self.sizes = [rank, state, state]
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, KERNEL, groups=inner, padding=KERNEL - 1)
        self.x_proj = nn.Linear(inner, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -rank**-0.5, rank**-0.5)
        drawn = torch.empty_like(self.dt_proj.bias).uniform_(math.log(SHORTEST_STEP), math.log(LONGEST_STEP)).exp()
        with torch.no_grad():
            self.dt_proj.bias.copy_(drawn + torch.log(-torch.expm1(-drawn)))  # softplus gives the drawn step again

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        inner, gate = self.in_proj(x).chunk(2, -1)  # each (B, T, W)
        inner = F.silu(self.conv1d(inner.transpose(1, 2))[..., :x.shape[1]]).permute(2, 0, 1)  # (T, B, W)
        step, into, out_of = self.x_proj(inner).split(self.sizes, -1)
        steps = F.softplus(self.dt_proj(step).float())
        read = selective_scan(inner.float(), steps, -self.A_log.float().exp(), into.float(), out_of.float())
        return self.out_proj((read + inner * self.D).transpose(0, 1) * F.silu(gate))


class MambaLayer(nn.Module):
    """Pre-norm residual mixer that goes through time forwards or backwards: (B, T, width) -> the same shape."""

    def __init__(self, width: int, state: int, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.mixer = Mixer(width, state)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        normed = self.norm(x)
        return x + (self.mixer(normed.flip(1)).flip(1) if self.backwards else self.mixer(normed))


class Mamba1d(nn.Module):
    """Patches of all leads, Mamba layers of alternating direction, the mean over N stretches: (B, C, L) -> (B, N, E).

    Every second layer goes backwards, so that each state knows the whole recording, as in Vim. The order of the patches
    is in the recurrence itself, so there are no positions. Any L works: its end is padded with the baseline.
    """

    def __init__(self, stem: nn.Module, *, patch: int, width: int, depth: int, state: int = 16) -> None:
        super().__init__()
        self.patch = patch
        self.width = width
        self.stem = stem
        self.layers = nn.Sequential(*[MambaLayer(width, state, backwards=i % 2 == 1) for i in range(depth)])
        self.norm = nn.RMSNorm(width, eps=1e-5)

    def forward(self, signal: Tensor, tokens: int = 1) -> Tensor:
        """(B, C, L) -> (B, tokens, E)."""
        return pool(self.norm(self.layers(self.stem(cut(signal, self.patch)))), tokens)


def mamba() -> Mamba1d:
    """Mamba: E = 744, 85,719,216 parameters.

    MEIT says the size, 86 M, and no more. This is as deep as Vim-B (24 layers, state of 16) and as wide as gives that
    size with one direction a layer; patches as in the ViT, 75 samples of all leads.
    """
    return Mamba1d(linear_stem(12, 75, 744), patch=75, width=744, depth=24)


def mamba_tiny() -> Mamba1d:
    """Patches of 0.25 s at 100 Hz, a convolutional stem, one layer in each direction, for two CPU cores: E = 96."""
    return Mamba1d(PatchStem(12, 25, 24, 96), patch=25, width=96, depth=2, state=8)
