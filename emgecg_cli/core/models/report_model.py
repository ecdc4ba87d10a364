"""The whole model: what a record shows goes in beside the text, logits or a report come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core import names
from emgecg_cli.core.models.decoding import Rows, read_prompts
from emgecg_cli.core.models.fusion import Fusion
from emgecg_cli.core.models.preprocessing import Preprocessing
from emgecg_cli.core.models.projector import Projector
from emgecg_cli.core.models.towers import Inputs, Joined, Towers

OWN_WEIGHTS = ("towers.", "fusion.")  # of the model's weights, those that are not the backbone's


class ReportModel(nn.Module):
    """towers -> fusion -> backbone: each tower makes signal tokens of one input of a record, the fusion joins them to
    the text.

    `forward` takes `inputs` by name, (B, …) as the towers' preprocessing gives them, or None for text alone. `present`
    (B) says of an input which records have it; an input that is not named there all have. It returns the backbone's
    output and the features (B, E) of the towers `supervised`, which a training loop may supervise directly.
    """

    def __init__(self, towers: Mapping[str, nn.Module], backbone: nn.Module, fusion: Fusion,
                 shared: Projector | None = None) -> None:
        super().__init__()
        self.towers = Towers(towers, shared)
        self.backbone = backbone
        self.fusion = fusion

    @property
    def placeholders(self) -> dict[str, int] | None:
        """How many placeholders stand for each part of a type in a prompt, in the order of the towers; None where none
        do."""
        if not len(self.towers) or not self.fusion.placeholders:
            return None
        return {names.INPUTS[name].part: self.towers[name].tokens for name in self.towers}

    @property
    def preprocessing(self) -> dict[str, Preprocessing]:
        """What makes network input of each tower's input."""
        return {name: self.towers[name].preprocessing for name in self.towers} | {
            name: prepare for tower in self.towers for name, prepare in self.towers[tower].beside.items()}

    @property
    def supervised(self) -> tuple[str, ...]:
        """The inputs whose towers give features: none of values alone."""
        return self.towers.supervised

    @property
    def encoder_decoder(self) -> bool:
        """Whether the backbone reads prompts with an encoder of its own (BART, T5)."""
        return bool(getattr(self.backbone.config, "is_encoder_decoder", False))

    def forward(self, inputs: Inputs | None, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int = 0,
                present: Inputs | None = None, repeats: int = 1, **prompt: Tensor) -> tuple[Tensor, Joined]:
        """input_ids and attention_mask (B, T) -> logits (B, T, vocabulary), and what the towers saw.

        `logits_to_keep` > 0 gives the logits of the last so many positions only. Of each record there may be several
        rows of text behind each other, `repeats`: its inputs are encoded once. An encoder-decoder backbone takes its
        decoder's ids as `input_ids`, and `prompt_ids` and `prompt_mask` for its encoder.
        """
        seen = self._seen(inputs, present, repeats)
        output = self.fusion.forward(seen.tokens, seen.valid, input_ids=input_ids, attention_mask=attention_mask,
                                     use_cache=False, logits_to_keep=logits_to_keep, **self._parts(seen), **prompt)
        return output.logits, seen

    def see(self, inputs: Inputs | None, present: Inputs | None = None) -> Joined:
        """What the towers make of the inputs there are."""
        return self.towers(inputs, present)

    def _seen(self, inputs: Inputs | None, present: Inputs | None, repeats: int) -> Joined:
        seen = self.see(inputs, present)
        return seen if repeats == 1 else seen.repeated(repeats)

    @torch.no_grad()
    def generate(self, inputs: Inputs | None, input_ids: Tensor, attention_mask: Tensor,
                 present: Inputs | None = None, repeats: int = 1, **settings: Any) -> Tensor:
        """Padded prompts (B, T) -> new token ids (B, new), greedy unless `settings` say otherwise; `repeats` as of
        `forward`."""
        seen = self._seen(inputs, present, repeats)
        return self.fusion.generate(seen.tokens, seen.valid, input_ids=input_ids, attention_mask=attention_mask,
                                    **self._parts(seen), **settings)

    def read_prompts(self, inputs: Inputs | None, input_ids: Tensor, attention_mask: Tensor,
                     present: Inputs | None = None) -> tuple[Rows, Tensor]:
        """Padded prompts (B, T) -> rows to be written word by word, and the logits of their first words (B,
        vocabulary); for backbones of which `decoding.why_not_refilled` says nothing."""
        with torch.no_grad():
            seen = self.see(inputs, present)
        return read_prompts(self.fusion, self.backbone, seen.tokens, seen.valid, input_ids, attention_mask,
                            **self._parts(seen))

    def _parts(self, seen: Joined) -> dict[str, Any]:
        """Where tokens take the places of placeholders, those of each tower take those of its own."""
        return {"parts": seen.parts} if self.fusion.placeholders and len(self.towers) > 1 else {}

    def own_weights(self) -> dict[str, Tensor]:
        """State of towers and fusion, as `signal.safetensors` holds it."""
        return {name: t for name, t in self.state_dict().items() if name.startswith(OWN_WEIGHTS)}


def pad_prompts(sequences: Sequence[Sequence[int]], pad: int, side: str) -> tuple[Tensor, Tensor]:
    """Prompts of different length -> input_ids and attention_mask (B, T), padding on the "left" or the "right"."""
    longest = max(len(sequence) for sequence in sequences)
    ids, mask = torch.full((len(sequences), longest), pad), torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        place = slice(longest - len(sequence), None) if side == "left" else slice(len(sequence))
        ids[row, place] = torch.tensor(sequence, dtype=torch.long)
        mask[row, place] = 1
    return ids, mask
