"""The whole model: a signal goes in beside the text, logits or a report come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core.models.fusion import Fusion
from emgecg_cli.core.models.projector import Projector
from emgecg_cli.core.signals.leads import MISSING

# Microvolts to network input: R waves of 1 mV become 4. A fixed scale, since one per record would erase voltage, and
# with it low voltage and hypertrophy.
MICROVOLTS_PER_UNIT = 250.0


def to_input(signal: Tensor) -> Tensor:
    """int16 microvolts (B, C, L), missing marked, to float32 network input.

    A missing sample, and so an absent lead, is shown at the baseline; which ones were missing is not.
    """
    return torch.where(signal == int(MISSING), 0, signal).float() / MICROVOLTS_PER_UNIT


class ReportModel(nn.Module):
    """encoder -> projector -> fusion -> backbone.

    `forward` takes signal (B, C, L), as `to_input` gives it, or None for text alone, and returns the backbone's output
    and the encoder's features (B, E), which a training loop may supervise directly.
    """

    def __init__(self, encoder: nn.Module, projector: Projector, backbone: nn.Module, fusion: Fusion) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.backbone = backbone
        self.fusion = fusion

    def forward(self, signal: Tensor | None, input_ids: Tensor, attention_mask: Tensor,
                logits_to_keep: int = 0) -> tuple[Tensor, Tensor | None]:
        """input_ids and attention_mask (B, T) -> logits (B, T, vocabulary), features (B, E).

        `logits_to_keep` > 0 gives the logits of the last so many positions only.
        """
        features = None if signal is None else self.encoder(signal)
        signal_tokens = None if features is None else self.projector(features)
        output = self.fusion.forward(signal_tokens, input_ids=input_ids, attention_mask=attention_mask, use_cache=False,
                                     logits_to_keep=logits_to_keep)
        return output.logits, features

    @torch.no_grad()
    def generate(self, signal: Tensor | None, input_ids: Tensor, attention_mask: Tensor, **settings: Any) -> Tensor:
        """Left-padded prompts (B, T) -> token ids (B, T + new), greedy unless `settings` say otherwise."""
        signal_tokens = None if signal is None else self.projector(self.encoder(signal))
        return self.fusion.generate(signal_tokens, input_ids=input_ids, attention_mask=attention_mask, **settings)

    def signal_parts(self) -> dict[str, Tensor]:
        """State of encoder and projector, as `signal.safetensors` holds it."""
        return {name: t for name, t in self.state_dict().items() if name.startswith(("encoder.", "projector."))}


def left_pad(sequences: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Prompts of different length -> input_ids and attention_mask (B, T), padding in front."""
    longest = max(len(sequence) for sequence in sequences)
    ids = [[pad] * (longest - len(s)) + list(s) for s in sequences]
    mask = [[0] * (longest - len(s)) + [1] * len(s) for s in sequences]
    return torch.tensor(ids), torch.tensor(mask)
