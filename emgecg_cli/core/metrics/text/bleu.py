"""BLEU-1..4 as sacrebleu computes it over a corpus (Papineni et al. 2002; Post 2018).

Tokenizer 13a unless another is given, lower case, exponential smoothing, which acts only where an order has no match
at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.text.ngrams import clipped_matches, count_ngrams, tokenize_all, unique_pairs
from emgecg_cli.core.metrics.text.segmentation import tokens_of
from emgecg_cli.core.metrics.text.tokens import Tokens, language_label, words_13a

MAX_ORDER = 4


class Bleu:
    """BLEU-1..4; statistics per pair: hypothesis length, reference length, four match counts, four totals."""

    name = "bleu"
    declared = Declared(frozenset({"text"}), "tokens", headline={"BLEU-4": ""}, several="all")

    def __init__(self, languages: Sequence[str] = ("en",), tokens: Tokens | None = None) -> None:
        self.languages = tuple(languages)
        self.tokens = tokens or Tokens(words_13a, "13a")

    @classmethod
    def of(cls, given: Given) -> Self:
        """In the languages given, with their tokenizer."""
        return cls(given.languages, tokens_of(given.segmentation))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Always."""
        return None

    def columns(self) -> tuple[str, ...]:
        """Lengths, matches and totals."""
        orders = range(1, MAX_ORDER + 1)
        return ("length", "reference length", *(f"matches {n}" for n in orders), *(f"total {n}" for n in orders))

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 10): lengths, then matches and totals of orders 1..4."""
        pairs = unique_pairs(hypotheses, references)
        counts = count_ngrams(tokenize_all(pairs.texts, self.tokens.tokenize), MAX_ORDER)
        lengths = counts[0].totals
        columns = [lengths[pairs.hypothesis], lengths[pairs.reference]]
        columns += [clipped_matches(order, pairs.hypothesis, pairs.reference) for order in counts]
        columns += [order.totals[pairs.hypothesis] for order in counts]
        found = np.stack(columns, axis=1).astype(np.float64)[pairs.pair]
        for i, row in enumerate(rows):
            if row.more_references:
                found[i] = self._against_all(hypotheses[i], [references[i], *row.more_references])
        return found

    def _against_all(self, hypothesis: str, references: Sequence[str]) -> list[int]:
        """The statistics of a pair with several references: an n-gram counts as often as in the one that has it most,
        and the length is that of the nearest one, of equally near ones the shorter."""
        said, *others = tokenize_all([hypothesis, *references], self.tokens.tokenize)
        matches, totals = [], []
        for n in range(1, MAX_ORDER + 1):
            counts, *known = (Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (said, *others))
            matches.append(sum(min(count, max(one[gram] for one in known)) for gram, count in counts.items()))
            totals.append(counts.total())
        return [len(said), min((abs(len(one) - len(said)), len(one)) for one in others)[1], *matches, *totals]

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """`BLEU-1` .. `BLEU-4`, 0-1: geometric mean of the precisions up to that order, times the brevity penalty."""
        sums = np.asarray(sums, dtype=np.float64)
        length, reference_length = sums[..., 0], sums[..., 1]
        matches, totals = sums[..., 2:2 + MAX_ORDER], sums[..., 2 + MAX_ORDER:]
        penalty = np.exp(np.minimum(0.0, 1 - reference_length / np.maximum(length, 1)))
        # Each order without a match counts as half of the smoothed one before it.
        smoothed = np.where(matches > 0, matches, 0.5 ** np.cumsum(matches == 0, axis=-1))
        logarithms = np.cumsum(np.log(smoothed / np.maximum(totals, 1)), axis=-1)
        defined = (totals > 0) & (matches[..., :1] > 0)
        return {f"BLEU-{n}": np.where(defined[..., n - 1], penalty * np.exp(logarithms[..., n - 1] / n), 0.0)
                for n in range(1, MAX_ORDER + 1)}

    def signature(self) -> str:
        """sacrebleu's own signature with the name of the tokenizer, and the languages."""
        from sacrebleu.metrics import BLEU

        scorer = BLEU(tokenize="13a", lowercase=True)
        scorer.corpus_score(["a"], [["a"]])
        settings = str(scorer.get_signature()).replace("tok:13a", f"tok:{self.tokens.name}")
        return f"{settings}|lang:{language_label(self.languages)}"
