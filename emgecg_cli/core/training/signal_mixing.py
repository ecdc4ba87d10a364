"""What contrastive pretraining does to the recordings of a batch: baseline wander, CutMix, masked windows.

Each record's random numbers depend on its seed alone. Texts are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

WANDER, CUTMIX, MASK = 0.5, 0.5, 0.3  # how likely each is
_WAVES = 3
_MASKED = (0.08, 0.18)  # seconds
MIXES = ("wander", "cutmix", "mask")


def mix(signal: Tensor, names: Sequence[str], drawn: Sequence[Generator], fs: float, scale: float) -> Tensor:
    """Recordings (B, C, L) at `fs` Hz, `scale` microvolts in a unit, with some of `MIXES`, in that order."""
    for name in MIXES:
        if name in names:
            signal = _MIXERS[name](signal, drawn, fs, scale)
    return signal


def _uniform(drawn: Sequence[Generator], count: int, device: torch.device) -> Tensor:
    return torch.stack([torch.rand(count, generator=one, device=one.device) for one in drawn]).to(device)


def wander(signal: Tensor, drawn: Sequence[Generator], fs: float, scale: float) -> Tensor:
    """To half of the records add three slow cosines of up to 0.5 mV each, with a gain of its own in each lead."""
    device, leads = signal.device, signal.shape[1]
    numbers = _uniform(drawn, 1 + 3 * _WAVES, device)
    gains = torch.stack([1 + 0.5 * torch.randn(leads, generator=one, device=one.device) for one in drawn]).to(device)
    rate, phase, size = numbers[:, 1:].unflatten(1, (3, _WAVES)).unbind(1)  # each (B, 3)
    time = torch.arange(signal.shape[-1], device=device) / fs
    angles = 2 * math.pi * ((0.01 + 0.19 * rate)[..., None] * time + phase[..., None])
    waves = ((0.5 * size)[..., None] * angles.cos()).sum(1)  # (B, L), mV
    added = waves[:, None] * gains[..., None] * (1000 / scale)
    return signal + added * (numbers[:, 0] < WANDER)[:, None, None]


def cutmix(signal: Tensor, drawn: Sequence[Generator], fs: float, scale: float) -> Tensor:
    """In half of the records put a stretch of another one, of the same time, whose length is drawn from Beta(½, ½)."""
    rows, samples = len(signal), signal.shape[-1]
    if rows < 2:
        return signal
    numbers = _uniform(drawn, 4, signal.device)
    length = (torch.sin(math.pi / 2 * numbers[:, 1]).square() * samples).round()  # the arcsine law is Beta(½, ½)
    start = (numbers[:, 2] * (samples - length)).round()
    order = numbers[:, 3].argsort()
    other = torch.empty_like(order)
    other[order] = order.roll(1)  # one ring of all records: nobody is mixed with itself
    place = torch.arange(samples, device=signal.device)
    taken = (place >= start[:, None]) & (place < (start + length)[:, None]) & (numbers[:, :1] < CUTMIX)
    return torch.where(taken[:, None], signal[other], signal)


def mask(signal: Tensor, drawn: Sequence[Generator], fs: float, scale: float) -> Tensor:
    """In three of ten records set many short windows to the baseline, all leads alike: some 27 in ten seconds."""
    samples = signal.shape[-1]
    short, long = (round(seconds * fs) for seconds in _MASKED)
    mean = 0.5 / long * max(0, samples - long)
    hidden = torch.zeros(len(signal), samples, dtype=torch.bool)
    for row, one in zip(hidden, drawn, strict=True):
        if torch.rand((), generator=one, device=one.device) >= MASK:
            continue
        count = round(mean + mean / 3 * float(torch.randn((), generator=one, device=one.device)))
        for start, size in torch.rand(max(0, count), 2, generator=one, device=one.device).tolist():
            first = int(start * samples)
            row[first:first + short + round(size * (long - short))] = True
    return signal.masked_fill(hidden.to(signal.device)[:, None], 0.0)


_MIXERS = {"wander": wander, "cutmix": cutmix, "mask": mask}
