"""What HeartLLM reports: means over the reports of NLTK's sentence BLEU (method1), METEOR, and ROUGE of the package
`rouge`, all of words between blanks. Its BLEU-3 weighs each order .33, so that the weights do not sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.compat import nltk_bleu
from emgecg_cli.core.metrics.compat.blanks import meteor_at_blanks, without_blanks
from emgecg_cli.core.metrics.compat.rouge_package import NAMES, rouge_f

_WEIGHTS = ((1, 0, 0, 0), (0.5, 0.5, 0, 0), (0.33, 0.33, 0.33, 0), (0.25, 0.25, 0.25, 0.25))
_VALUES = (*(f"BLEU-{n}" for n in range(1, 5)), "METEOR", *NAMES)


class HeartLLM:
    """BLEU-1..4, METEOR, ROUGE-1, ROUGE-2, ROUGE-L, each the mean of the reports' own; 0-1."""

    name = "heartllm"
    declared = Declared(frozenset({"text"}))

    @classmethod
    def of(cls, given: Given) -> Self:
        """Takes nothing but the texts."""
        return cls()

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs words with blanks between them."""
        return without_blanks(rows)

    def columns(self) -> tuple[str, ...]:
        """The values of the pair, and the count."""
        return (*_VALUES, "reports")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 9)."""
        counts = nltk_bleu.statistics(hypotheses, references)
        meteor = meteor_at_blanks(hypotheses, references, rows)
        return np.column_stack([*(nltk_bleu.bleu(counts, weights) for weights in _WEIGHTS), meteor,
                                rouge_f(hypotheses, references), np.ones(len(counts))])

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Means over the reports."""
        return {f"heartllm-{name}": sums[..., i] / sums[..., -1] for i, name in enumerate(_VALUES)}

    def signature(self) -> str:
        """The formulas."""
        return "bleu:nltk sentence,method1,mean|meteor:nltk|rouge:rouge package,sets|tok:blanks|empty:0|version:1"
