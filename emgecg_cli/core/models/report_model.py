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
SIGNAL_PARTS = ("encoder.", "projector.", "fusion.")


def to_input(signal: Tensor) -> Tensor:
    """int16 microvolts (B, C, L), missing marked, to float32 network input.

    A missing sample, and so an absent lead, is shown at the baseline; which ones were missing is not.
    """
    return torch.where(signal == int(MISSING), 0, signal).float() / MICROVOLTS_PER_UNIT


class ReportModel(nn.Module):
    """encoder -> projector -> fusion -> backbone.

    The encoder cuts a recording into `pieces` stretches of time, one feature vector each; the projector makes signal
    tokens of them. `forward` takes signal (B, C, L), as `to_input` gives it, or None for text alone, and returns the
    backbone's output and the encoder's features (B, E), which a training loop may supervise directly.
    """

    def __init__(self, encoder: nn.Module, projector: Projector, backbone: nn.Module, fusion: Fusion,
                 pieces: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.backbone = backbone
        self.fusion = fusion
        self.pieces = pieces

    @property
    def placeholders(self) -> list[int] | None:
        """How many placeholders stand for the signal in a prompt; None where it enters beside the text."""
        return [self.pieces * self.projector.tokens] if self.fusion.placeholders else None

    @property
    def encoder_decoder(self) -> bool:
        """Whether the backbone reads prompts with an encoder of its own (BART, T5)."""
        return bool(getattr(self.backbone.config, "is_encoder_decoder", False))

    def forward(self, signal: Tensor | None, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int = 0,
                **prompt: Tensor) -> tuple[Tensor, Tensor | None]:
        """input_ids and attention_mask (B, T) -> logits (B, T, vocabulary), features (B, E).

        `logits_to_keep` > 0 gives the logits of the last so many positions only. An encoder-decoder backbone takes its
        decoder's ids as `input_ids`, and `prompt_ids` and `prompt_mask` for its encoder.
        """
        features = None if signal is None else self.encoder(signal, self.pieces)
        signal_tokens = None if features is None else self.projector(features)
        output = self.fusion.forward(signal_tokens, input_ids=input_ids, attention_mask=attention_mask, use_cache=False,
                                     logits_to_keep=logits_to_keep, **prompt)
        return output.logits, None if features is None else features.mean(1)

    @torch.no_grad()
    def generate(self, signal: Tensor | None, input_ids: Tensor, attention_mask: Tensor, **settings: Any) -> Tensor:
        """Padded prompts (B, T) -> new token ids (B, new), greedy unless `settings` say otherwise."""
        signal_tokens = None if signal is None else self.projector(self.encoder(signal, self.pieces))
        return self.fusion.generate(signal_tokens, input_ids=input_ids, attention_mask=attention_mask, **settings)

    def signal_parts(self) -> dict[str, Tensor]:
        """State of encoder, projector and fusion, as `signal.safetensors` holds it."""
        return {name: t for name, t in self.state_dict().items() if name.startswith(SIGNAL_PARTS)}


def pad_prompts(sequences: Sequence[Sequence[int]], pad: int, side: str) -> tuple[Tensor, Tensor]:
    """Prompts of different length -> input_ids and attention_mask (B, T), padding on the "left" or the "right"."""
    longest = max(len(sequence) for sequence in sequences)
    ids, mask = torch.full((len(sequences), longest), pad), torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        place = slice(longest - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[row, place] = torch.tensor(sequence, dtype=torch.long)
        mask[row, place] = 1
    return ids, mask
