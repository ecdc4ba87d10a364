"""What differs from one visit of a training record to the next: an input that is left out, a page that is distorted.

It depends on the seed, the record and the epoch alone, not on batches or processes, so that a killed run goes on with
the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.inputs.records import OWN, Inputs, Instead
from emgecg_cli.core.instructions.render import Renderer

_STREAM = 0x6D6F64616C  # its random numbers are others than those of the order of records


@dataclass(frozen=True)
class Visits:
    """The records of a training as each visit shows them.

    `dropout` is the chance that a record with several inputs is shown one less, any of them as likely; never the last.
    `renderer` makes its prompt anew, with the model's `placeholders`.
    """

    inputs: Inputs
    renderer: Renderer
    placeholders: Mapping[str, int] | None
    dropout: float
    seed: int

    def of(self, index: int, number: int, epoch: int) -> tuple[Instead, int]:
        """What a visit of a record, the `number`-th of the training, leaves out, and the seed of its distortions."""
        rng = np.random.default_rng([self.seed, _STREAM, epoch, number])
        drops, which, seed = rng.random() < self.dropout, rng.random(), int(rng.integers(2**31))
        held = [name for name in self.inputs.sources if self.inputs.has(index, name)]
        if not drops or len(held) < 2:
            return OWN, seed
        return {held[int(which * len(held))]: None}, seed

    def prompt(self, index: int, instead: Instead) -> np.ndarray:
        """Token ids of a record's prompt without what is left out."""
        counts = self.inputs.placeholders(index, self.placeholders, instead)
        return np.array(self.renderer.prompt(self.inputs.messages(index, instead), counts), np.int32)
