"""What ECG-Bench reports: NLTK's corpus BLEU and METEOR of words between blanks, ROUGE of the package `rouge`, and the
share of answers that are equal. Pairs with an empty side are left out, which no other metric here does; a note counts
them. Its BERTScore is `bertscore` without a baseline file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given, ratio
from emgecg_cli.core.metrics.compat import nltk_bleu
from emgecg_cli.core.metrics.compat.blanks import meteor_at_blanks, without_blanks
from emgecg_cli.core.metrics.compat.rouge_package import NAMES, rouge_f

_MEANS = ("BLEU-sentence", "METEOR", *NAMES, "accuracy")
_ORDERS = range(1, nltk_bleu.MAX_ORDER + 1)
_BLEU = 2 + 2 * nltk_bleu.MAX_ORDER


class EcgBench:
    """BLEU of the corpus and mean BLEU of the reports (orders up to the shorter side's length), METEOR, ROUGE-1,
    ROUGE-2 and ROUGE-L, and accuracy, of the pairs without an empty side; all in 0-1."""

    name = "ecgbench"
    declared = Declared(frozenset({"text"}))

    @classmethod
    def of(cls, given: Given) -> Self:
        """Takes nothing but the texts."""
        return cls()

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs words with blanks between them."""
        return without_blanks(rows)

    def columns(self) -> tuple[str, ...]:
        """What decides the corpus BLEU, the values of the pair, and the count of those kept."""
        return ("length", "reference length", *(f"matches {n}" for n in _ORDERS), *(f"total {n}" for n in _ORDERS),
                *_MEANS, "kept")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 17); zero for a pair that is left out."""
        counts = nltk_bleu.statistics(hypotheses, references)
        orders = np.minimum(np.minimum(counts[:, 0], counts[:, 1]), nltk_bleu.MAX_ORDER)[:, None]
        weights = np.where(np.arange(1, nltk_bleu.MAX_ORDER + 1) <= orders, 1 / np.maximum(orders, 1), 0.0)
        meteor = meteor_at_blanks(hypotheses, references, rows)
        equal = [one == other for one, other in zip(hypotheses, references, strict=True)]
        found = np.column_stack([counts, nltk_bleu.bleu(counts, weights), meteor, rouge_f(hypotheses, references),
                                 np.array(equal, float), np.ones(len(counts))])
        kept = np.array([bool(one and other) for one, other in zip(hypotheses, references, strict=True)])
        return np.where(kept[:, None], found, 0.0)

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """BLEU from its sums, means of the rest; 0 where every pair is left out."""
        sums = np.asarray(sums, np.float64)
        values = {"ecgbench-BLEU": nltk_bleu.bleu(sums[..., :_BLEU], (0.25,) * 4)}
        return values | {f"ecgbench-{name}": ratio(sums[..., _BLEU + i], sums[..., -1])
                         for i, name in enumerate(_MEANS)}

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """How many pairs were left out."""
        empty = sum(not text for text in hypotheses)
        return [f"ecgbench: {empty} of {len(hypotheses)} predictions are empty and left out of its values, as "
                "ECG-Bench does"] if empty else []

    def signature(self) -> str:
        """The formulas."""
        return ("bleu:nltk corpus,method1|meteor:nltk|rouge:rouge package,sets|tok:blanks|empty:left out|version:1")
