"""The whole model: a signal goes in beside the text, logits or a report come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core.models.encoders.emg_alignment import TOKENS_PER_VALUE
from emgecg_cli.core.models.fusion import Fusion
from emgecg_cli.core.models.projector import Projector
from emgecg_cli.core.signals.leads import MISSING

# Microvolts to network input: R waves of 1 mV become 4. A fixed scale, since one per record would erase voltage, and
# with it low voltage and hypertrophy.
MICROVOLTS_PER_UNIT = 250.0
SIGNAL_PARTS = ("encoder.", "projector.", "fusion.")


def to_input(signal: Tensor) -> Tensor:
    """int16 microvolts (B, C, L), missing marked, to float32 network input.

    A missing sample, and so an absent lead, is shown at the baseline; which ones were missing is not. Reference
    matrices (B, R, 3, 7) are network input as they are.
    """
    if signal.is_floating_point():
        return signal
    return torch.where(signal == int(MISSING), 0, signal).float() / MICROVOLTS_PER_UNIT


class ReportModel(nn.Module):
    """encoder -> projector -> fusion -> backbone.

    Of a recording: the encoder cuts it into `pieces` stretches of time, one feature vector each; the projector makes
    signal tokens of them. Of tables: the encoder takes reference matrices (B, R, 3, 7), rows that are all NaN being
    padding, and gives tokens as wide as words, so that there is no projector. Where numbers stay text there is no
    encoder either.

    `forward` takes a signal (B, C, L) as `to_input` gives it, matrices, or None for text alone, and returns the
    backbone's output and the encoder's features (B, E), which a training loop may supervise directly; None of tables.
    """

    def __init__(self, encoder: nn.Module | None, projector: Projector | None, backbone: nn.Module, fusion: Fusion,
                 pieces: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.backbone = backbone
        self.fusion = fusion
        self.pieces = pieces

    @property
    def placeholders(self) -> dict[str, int] | None:
        """How many placeholders stand for each part of a type in a prompt; None where none do."""
        if self.encoder is None or not self.fusion.placeholders:
            return None
        return {"value": TOKENS_PER_VALUE} if self.projector is None else {"ecg": self.pieces * self.projector.tokens}

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
        tokens, valid, features = self.see(signal)
        output = self.fusion.forward(tokens, valid, input_ids=input_ids, attention_mask=attention_mask, use_cache=False,
                                     logits_to_keep=logits_to_keep, **prompt)
        return output.logits, features

    def see(self, signal: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Signal tokens (B, N, D), which of them are real (B, N) or None for all, and features (B, E) or None."""
        if signal is None or self.encoder is None:
            return None, None, None
        if self.projector is None:
            return *self.encoder.encode_records(signal, ~signal.isnan().flatten(2).all(2)), None  # type: ignore[operator]
        features = self.encoder(signal, self.pieces)
        return self.projector(features), None, features.mean(1)

    @torch.no_grad()
    def generate(self, signal: Tensor | None, input_ids: Tensor, attention_mask: Tensor, **settings: Any) -> Tensor:
        """Padded prompts (B, T) -> new token ids (B, new), greedy unless `settings` say otherwise."""
        tokens, valid, _ = self.see(signal)
        return self.fusion.generate(tokens, valid, input_ids=input_ids, attention_mask=attention_mask, **settings)

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
