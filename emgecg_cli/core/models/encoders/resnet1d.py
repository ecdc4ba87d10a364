"""ResNet-1D, MEIT's signal encoder, and a narrow one for backbones trained from scratch on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.patches import pool, stretches


class Block(nn.Module):
    """One residual block: two convolutions of the given kernel, or 1 - kernel - 1 as a bottleneck (expansion 4).

    The stride sits on the first convolution of a basic block and on the middle one of a bottleneck.
    """

    def __init__(self, channels: int, planes: int, stride: int, kernel: int, bottleneck: bool) -> None:
        super().__init__()
        out = planes * 4 if bottleneck else planes
        sizes = [(channels, planes, 1, 1), (planes, planes, kernel, stride), (planes, out, 1, 1)] if bottleneck else \
                [(channels, planes, kernel, stride), (planes, planes, kernel, 1)]
        layers: list[nn.Module] = []
        for c_in, c_out, k, s in sizes:
            layers += [_conv(c_in, c_out, k, s), nn.BatchNorm1d(c_out), nn.ReLU(inplace=True)]
        self.residual = nn.Sequential(*layers[:-1])
        self.shortcut = nn.Identity() if stride == 1 and channels == out else \
            nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm1d(out))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, L) -> (B, planes or 4 * planes, L / stride)."""
        return self.activation(self.residual(x) + self.shortcut(x))


class ResNet1d(nn.Module):
    """Four stages of residual blocks over time, pooled over N stretches of time: (B, C, L) -> (B, N, E).

    With the default stem there is no pooling after it, as in MEIT: 5,000 samples leave the stem as 2,500. `with_max`
    adds the maximum of each stretch, where single beats show that a mean dilutes, and a BatchNorm over all vectors to
    bring both to one scale.
    """

    def __init__(self, blocks: Sequence[int], *, bottleneck: bool = False, planes: int = 64, kernel: int = 3,
                 stem_kernel: int = 7, stem_pool: bool = False, with_max: bool = False, leads: int = 12) -> None:
        super().__init__()
        stem: list[nn.Module] = [_conv(leads, planes, stem_kernel, 2), nn.BatchNorm1d(planes), nn.ReLU(inplace=True)]
        if stem_pool:
            stem.append(nn.MaxPool1d(3, 2, padding=1))
        self.stem = nn.Sequential(*stem)
        stages: list[nn.Module] = []
        channels = planes
        for stage, count in enumerate(blocks):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                stages.append(Block(channels, planes * 2**stage, stride, kernel, bottleneck))
                channels = planes * 2**stage * (4 if bottleneck else 1)
        self.stages = nn.Sequential(*stages)
        self.width = channels * (2 if with_max else 1)
        self.max_norm = nn.BatchNorm1d(self.width, affine=False) if with_max else None

    def forward(self, signal: Tensor, tokens: int = 1) -> Tensor:
        """(B, C, L) -> (B, tokens, E)."""
        over_time = self.stages(self.stem(signal)).transpose(1, 2)  # (B, L / 16 or L / 32, channels)
        means = pool(over_time, tokens)
        if self.max_norm is None:
            return means
        peaks = torch.stack([over_time[:, stretch].amax(1) for stretch in stretches(over_time.shape[1], tokens)], 1)
        return self.max_norm(torch.cat([means, peaks], -1).flatten(0, 1)).unflatten(0, (-1, tokens))


def _conv(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Conv1d:
    return nn.Conv1d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)


def resnet18() -> ResNet1d:
    """ResNet-18: E = 512, 3,848,832 parameters."""
    return ResNet1d((2, 2, 2, 2))


def resnet34() -> ResNet1d:
    """ResNet-34: E = 512, 7,223,168 parameters."""
    return ResNet1d((3, 4, 6, 3))


def resnet50() -> ResNet1d:
    """ResNet-50, MEIT's default: E = 2048, 15,959,168 parameters."""
    return ResNet1d((3, 4, 6, 3), bottleneck=True)


def resnet101() -> ResNet1d:
    """ResNet-101: E = 2048, 28,266,624 parameters."""
    return ResNet1d((3, 4, 23, 3), bottleneck=True)


def resnet152() -> ResNet1d:
    """ResNet-152: E = 2048, 38,405,248 parameters."""
    return ResNet1d((3, 8, 36, 3), bottleneck=True)


def resnet18_tiny() -> ResNet1d:
    """A quarter as wide, with a long stem and mean and maximum over time, for 100 Hz on two CPU cores: E = 256."""
    return ResNet1d((2, 2, 2, 2), planes=16, kernel=5, stem_kernel=15, stem_pool=True, with_max=True)
