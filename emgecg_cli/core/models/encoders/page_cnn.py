"""A small convolutional network for pages of ECG paper, which learns from scratch on two CPU cores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.patches import pool


class Halving(nn.Module):
    """A convolution that halves both sides of a picture, its BatchNorm over records and places, and a ReLU."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, 2, (kernel[0] // 2, kernel[1] // 2), bias=False)
        self.norm = nn.BatchNorm1d(after)  # of places in a row, since that is what is shared between processes

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, after, H / 2, W / 2)."""
        x = self.conv(x)
        return torch.relu(self.norm(x.flatten(2)).view_as(x))


class PageCnn(nn.Module):
    """Pages (B, 3, H, W), or K pictures of each (B, K, 3, H, W), to means and maxima over bands from top to bottom.

    Kernels grow longer than high on the way, since what is to be read lies side by side: the beats of a lead.
    """

    def __init__(self, planes: int = 16) -> None:
        super().__init__()
        self.width = 12 * planes
        self.layers = nn.Sequential(Halving(3, planes, (5, 5)), Halving(planes, 2 * planes, (3, 5)),
                                    Halving(2 * planes, 4 * planes, (3, 7)), Halving(4 * planes, 6 * planes, (3, 7)))

    def forward(self, images: Tensor, tokens: int = 1) -> Tensor:
        """-> (B, tokens, E): one token is the whole page, more are so many bands of it."""
        seen = self.layers(images.flatten(0, -4))  # (B, K, 3, H, W) -> (B * K, 3, H, W)
        rows = torch.cat([seen.mean(3), seen.amax(3)], 1).transpose(1, 2)  # (B * K, H / 16, E)
        return pool(rows.reshape(len(images), -1, self.width), tokens)


def page_tiny() -> PageCnn:
    """E = 192."""
    return PageCnn()
