"""What is done to a training signal, on its device: each augmentation keeps what a report says about it.

Each record has its own generator, so what happens to it depends neither on its batch nor on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from emgecg_cli.core.errors import MedReportError

Augmentation = Callable[[Tensor, Sequence[Generator], float], Tensor]  # the last: microvolts in a unit of the signal


def generators(seeds: Sequence[int], device: torch.device) -> list[Generator]:
    """One generator for each record."""
    return [Generator(device).manual_seed(seed) for seed in seeds]


def uniform(generators: Sequence[Generator], device: torch.device) -> Tensor:
    """One number from [0, 1) for each record: (B, 1, 1)."""
    return torch.cat([torch.rand(1, 1, 1, generator=generator, device=device) for generator in generators])


def roll(signal: Tensor, generators: Sequence[Generator], scale: float) -> Tensor:
    """Shift each recording circularly in time, all leads alike: (B, C, L) -> (B, C, L)."""
    samples = signal.shape[-1]
    shift = (uniform(generators, signal.device) * samples).long()
    index = (torch.arange(samples, device=signal.device) + shift) % samples  # (B, 1, L)
    return signal.gather(2, index.expand(signal.shape))


def gain(signal: Tensor, generators: Sequence[Generator], scale: float) -> Tensor:
    """Scale each recording by up to 5 %, less than any voltage criterion turns on."""
    return signal * (uniform(generators, signal.device) * 0.1 + 0.95)


def noise(signal: Tensor, generators: Sequence[Generator], scale: float) -> Tensor:
    """Add white noise of up to 10 microvolts, one strength a recording."""
    strength = uniform(generators, signal.device) * (10 / scale)
    white = torch.stack([torch.randn(signal.shape[1:], generator=generator, device=signal.device)
                         for generator in generators])
    return signal + strength * white


AUGMENTATIONS: dict[str, Augmentation] = {"roll": roll, "gain": gain, "noise": noise}


def parse_augmentations(text: str) -> list[Augmentation]:
    """"roll,gain" -> functions, in the order given; "none" -> none. Raises MedReportError on an unknown name."""
    chosen = [] if text == "none" else [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in AUGMENTATIONS:
            raise MedReportError(f"no augmentation '{name}'", f"available: none, {', '.join(AUGMENTATIONS)}")
    return [AUGMENTATIONS[name] for name in chosen]


def network_input(batch: Any, device: torch.device, seed: int, step: int,
                  augmentations: Sequence[Augmentation] = ()) -> tuple[dict[str, Tensor], Any]:
    """What the towers take of a batch, by name, recordings augmented, and the batch on the device, with the records'
    seeds in it."""
    seeds = [((seed * 1_000_003 + step) * 1_000_003 + index) % 2**63 for index in batch.indices]
    on_device = replace(batch, seeds=seeds).to(device)
    inputs = on_device.network_input()
    drawn = generators(seeds, device) if augmentations and "ecg" in inputs else []
    for augment in augmentations if drawn else ():
        inputs["ecg"] = augment(inputs["ecg"], drawn, on_device.scale)
    return inputs, on_device
