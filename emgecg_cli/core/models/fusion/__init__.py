"""How signal tokens enter a backbone. One Protocol, so that training and generation know no fusion by name."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Fusion(Protocol):
    """Joins signal tokens to a causal language model.

    `dim` is the width a signal token must have. `signal_tokens` is (B, N, dim), or None for text alone; `valid` (B,)
    marks the rows that have a signal, None meaning all of them. Inputs and outputs are those of the language model.
    """

    dim: int

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Any:
        """Run the backbone once; returns its output, with logits (B, T, vocabulary)."""

    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Tensor:
        """Run the backbone's own `generate`; returns token ids."""

    def detach(self) -> None:
        """Take the fusion off: the backbone is what it was before."""
