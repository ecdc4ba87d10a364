"""How signal tokens enter a backbone. One Protocol, so that training and generation know no fusion by name."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from emgecg_cli.core.models.fusion.frame import Frame


class Fusion(Protocol):
    """Joins signal tokens to a language model.

    `dim` is the width a signal token must have. `placeholders` tells that a prompt must hold one placeholder for each
    signal token, and `padding_side` how prompts of unlike length are padded for `generate`.

    `signal_tokens` is (B, N, dim), or None for text alone. `valid` marks the rows that have a signal (B), or the single
    signal tokens that are real (B, N); None means all of them. A row without any is what the backbone alone makes of
    it.
    Where there are several towers, a fusion with placeholders is told of each how many columns are its own, as `parts`.
    A fusion with weights of its own is an `nn.Module` that does not hold the backbone as a submodule.
    """

    dim: int
    placeholders: bool
    padding_side: str

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Any:
        """Run the backbone once; returns its output, with logits (B, T, vocabulary).

        `inputs` are the backbone's own. An encoder-decoder backbone takes the text of its encoder as `prompt_ids` and
        `prompt_mask`, and `input_ids` for its decoder.
        """

    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Tensor:
        """Run the backbone's own `generate` on padded prompts; returns the new token ids only, (B, new)."""

    def begin(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> tuple[Any, Frame]:
        """Read prompts, left-padded, into the empty cache given as `past_key_values`; returns the backbone's output and
        what `proceed` needs of the signal. An encoder-decoder fusion has neither of the two."""

    def proceed(self, frame: Frame, **inputs: Any) -> Any:
        """Run the backbone on the words behind what its cache holds; `frame` may have rows of several `begin`."""

    def detach(self) -> None:
        """Take the fusion off: the backbone is what it was before."""
