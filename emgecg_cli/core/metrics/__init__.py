"""How good reports are: per-report statistics first, corpus value second.

A metric turns every hypothesis-reference pair into a row of numbers whose column SUMS decide the corpus value.
Confidence intervals then cost one matrix product, and no metric has to know about resampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow


class Metric(Protocol):
    """What every metric offers; the table `names.METRICS` says which there are."""

    name: str

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Why the metric cannot be computed on these rows, in a few words; None when it can."""
        ...

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Statistics of n pairs, (n, k). `rows` gives language, codes and dataset of each pair, not its texts."""
        ...

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums, (..., k) -> value name -> (...). Values lie in 0-1, CIDEr-D in 0-10."""
        ...

    def signature(self) -> str:
        """The settings under which the values are true, `key:value` joined by `|`."""
        ...
