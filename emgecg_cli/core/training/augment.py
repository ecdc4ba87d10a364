"""What is done to a training signal, on its device: each augmentation keeps what a report says about it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from emgecg_cli.core.errors import MedReportError

Augmentation = Callable[[Tensor, Generator], Tensor]


def roll(signal: Tensor, generator: Generator) -> Tensor:
    """Shift each recording circularly in time, all leads alike: (B, C, L) -> (B, C, L)."""
    batch, leads, samples = signal.shape
    shift = torch.randint(samples, (batch, 1), generator=generator, device=signal.device)
    index = (torch.arange(samples, device=signal.device) + shift) % samples  # (B, L)
    return signal.gather(2, index[:, None].expand(batch, leads, samples))


def gain(signal: Tensor, generator: Generator) -> Tensor:
    """Scale each recording by up to 5 %, less than any voltage criterion turns on."""
    factor = torch.rand(len(signal), 1, 1, generator=generator, device=signal.device) * 0.1 + 0.95
    return signal * factor


def noise(signal: Tensor, generator: Generator) -> Tensor:
    """Add white noise of up to 10 microvolts (0.04 units of network input), one strength a recording."""
    strength = torch.rand(len(signal), 1, 1, generator=generator, device=signal.device) * 0.04
    return signal + strength * torch.randn(signal.shape, generator=generator, device=signal.device)


AUGMENTATIONS: dict[str, Augmentation] = {"roll": roll, "gain": gain, "noise": noise}


def parse_augmentations(text: str) -> list[Augmentation]:
    """"roll,gain" -> functions, in the order given; "none" -> none. Raises MedReportError on an unknown name."""
    chosen = [] if text == "none" else [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in AUGMENTATIONS:
            raise MedReportError(f"no augmentation '{name}'", f"available: none, {', '.join(AUGMENTATIONS)}")
    return [AUGMENTATIONS[name] for name in chosen]
