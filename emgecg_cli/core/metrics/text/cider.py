"""CIDEr-D (Vedantam et al. 2015): tf-idf cosine of n-grams 1..4, clipped, with a Gaussian length penalty, times 10.

The inverse document frequencies come from the train reports when they are given, else from the references of the set;
their count N comes from the same texts. They stay fixed when the set is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.text.ngrams import (
    NgramCounts,
    Pairs,
    count_ngrams,
    shared_ngrams,
    tokenize_all,
    unique_pairs,
)
from emgecg_cli.core.metrics.text.segmentation import tokens_of
from emgecg_cli.core.metrics.text.tokens import Tokens, language_label, words_13a

MAX_ORDER = 4
SIGMA = 6.0


class CiderD:
    """CIDEr-D on the x10 scale, mean over the reports."""

    name = "cider"
    declared = Declared(frozenset({"text"}), "tokens", headline={"CIDEr-D": ""})

    def __init__(self, languages: Sequence[str] = ("en",), reports: Sequence[str] | None = None, origin: str = "train",
                 tokens: Tokens | None = None) -> None:
        """`reports` are the texts of the idf and `origin` their name; None takes the references that are scored."""
        self.languages = tuple(languages)
        self.reports, self.origin = reports, "refs" if reports is None else origin
        self.tokens = tokens or Tokens(words_13a, "13a-lc")
        self.n_documents = 0 if reports is None else len(reports)

    @classmethod
    def of(cls, given: Given) -> Self:
        """Weighed by the train reports given, else by the references of the set."""
        reports = given.reports or [row.reference or "" for row in given.rows]
        return cls(given.languages, reports, "train" if given.reports else "refs", tokens_of(given.segmentation))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Its weights need at least two different reports; with fewer every weight is log 1 = 0."""
        documents = self.reports if self.reports is not None else [row.reference for row in rows]
        if len(set(documents)) < 2:
            return f"its idf needs at least two different {'references' if self.origin == 'refs' else 'train reports'}"
        return None

    def columns(self) -> tuple[str, ...]:
        """The value of the pair, and the count."""
        return ("CIDEr-D", "reports")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 2): CIDEr-D of the pair, and 1 to count it."""
        pairs = unique_pairs(hypotheses, references)
        reports = references if self.reports is None else self.reports
        self.n_documents = len(reports)
        known = {text: index for index, text in enumerate(pairs.texts)}
        texts = list(pairs.texts)
        weight: dict[int, int] = {}
        for report in reports:
            index = known.setdefault(report, len(texts))
            if index == len(texts):
                texts.append(report)
            weight[index] = weight.get(index, 0) + 1
        copies = np.zeros(len(texts))
        copies[list(weight)] = list(weight.values())
        counts = count_ngrams(tokenize_all(texts, self.tokens.tokenize), MAX_ORDER)
        scores = _score_pairs(counts, pairs, copies)
        return np.stack([scores, np.ones_like(scores)], axis=1)[pairs.pair]

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """`CIDEr-D`, 0-10: mean over the reports."""
        return {"CIDEr-D": sums[..., 0] / sums[..., 1]}

    def signature(self) -> str:
        """Orders, sigma, scale, tokenizer, languages and where the document frequencies come from."""
        return (f"n:{MAX_ORDER}|sigma:{SIGMA:g}|scale:10|tok:{self.tokens.name}|lang:{language_label(self.languages)}"
                f"|df:{self.origin}|docs:{self.n_documents}")


def _score_pairs(counts: list[NgramCounts], pairs: Pairs, copies: np.ndarray) -> np.ndarray:
    """CIDEr-D of P pairs, (P,). `copies` says how often each text is among the N documents of the idf, (D,)."""
    log_n = np.log(max(copies.sum(), 1.0))
    lengths = counts[0].totals
    penalty = np.exp(-((lengths[pairs.hypothesis] - lengths[pairs.reference]) ** 2) / (2 * SIGMA**2))
    total = np.zeros(len(pairs.hypothesis))
    for order in counts:
        document = order.document
        frequency = np.bincount(order.ngram, copies[document], minlength=order.n_ngrams)
        weights = order.count * (log_n - np.log(np.maximum(1.0, frequency)))[order.ngram]
        norms = np.sqrt(np.bincount(document, weights**2, minlength=len(copies)))
        shared = shared_ngrams(order, pairs.hypothesis, pairs.reference)
        left, right = weights[shared.hypothesis], weights[shared.reference]
        products = np.bincount(shared.pair, np.minimum(left, right) * right, minlength=len(total))
        norm = norms[pairs.hypothesis] * norms[pairs.reference]
        total += np.where(norm > 0, products / np.where(norm > 0, norm, 1.0), 0.0)
    return total / MAX_ORDER * penalty * 10.0
