"""ROUGE-1, ROUGE-2 and ROUGE-L as rouge-score computes them (Lin 2004): the mean of the reports' F1, no stemmer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.text.ngrams import clipped_matches, count_ngrams, tokenize_all, unique_pairs
from emgecg_cli.core.metrics.text.segmentation import tokens_of
from emgecg_cli.core.metrics.text.sorting import stable_order
from emgecg_cli.core.metrics.text.tokens import Tokens, ascii_words, language_label, unicode_words


class Rouge:
    """ROUGE-1/2/L F1. A set that is not all English gets a tokenizer that knows the letters beyond a-z, unless `tokens`
    gives another."""

    name = "rouge"
    declared = Declared(frozenset({"text"}), "tokens", headline={"ROUGE-L": ""}, several="best")

    def __init__(self, languages: Sequence[str] = ("en",), tokens: Tokens | None = None) -> None:
        self.languages = tuple(languages)
        english = set(languages) <= {"en"}
        self.tokens = tokens or (Tokens(ascii_words, "rouge-score") if english else
                                 Tokens(unicode_words, "unicode-words-2"))

    @classmethod
    def of(cls, given: Given) -> Self:
        """In the languages given, with their tokenizer."""
        return cls(given.languages, tokens_of(given.segmentation))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Always."""
        return None

    def columns(self) -> tuple[str, ...]:
        """F1 of the three, and the count."""
        return ("ROUGE-1", "ROUGE-2", "ROUGE-L", "reports")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 4): F1 of ROUGE-1, ROUGE-2 and ROUGE-L, and 1 to count the pair."""
        pairs = unique_pairs(hypotheses, references)
        documents = tokenize_all(pairs.texts, self.tokens.tokenize)
        columns = []
        for order in count_ngrams(documents, 2):
            totals = order.totals
            matches = clipped_matches(order, pairs.hypothesis, pairs.reference)
            columns.append(f_measure(matches, totals[pairs.hypothesis], totals[pairs.reference]))
        lengths = np.array([len(document) for document in documents], dtype=np.int64)
        common = common_subsequences(documents, pairs.hypothesis, pairs.reference)
        columns.append(f_measure(common, lengths[pairs.hypothesis], lengths[pairs.reference]))
        columns.append(np.ones(len(common)))
        return np.stack(columns, axis=1)[pairs.pair]

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """`ROUGE-1`, `ROUGE-2`, `ROUGE-L`, 0-1: means over the reports."""
        return {name: sums[..., column] / sums[..., 3] for column, name in enumerate(("ROUGE-1", "ROUGE-2", "ROUGE-L"))}

    def signature(self) -> str:
        """Variant, tokenizer, languages and the version of rouge-score the values equal."""
        return (f"f1:mean|stem:no|tok:{self.tokens.name}|lang:{language_label(self.languages)}"
                f"|rouge-score:{version('rouge-score')}")


def f_measure(matches: np.ndarray, hypothesis: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """F1 from match counts and the two lengths, all (P,); 0 where nothing matches or a side is empty."""
    precision = matches / np.maximum(hypothesis, 1)
    recall = matches / np.maximum(reference, 1)
    total = precision + recall
    return np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)


def common_subsequences(documents: Sequence[Sequence[str]], hypothesis: np.ndarray, reference: np.ndarray
                        ) -> np.ndarray:
    """Length of the longest common subsequence of P pairs of documents, given as (P,) indices, (P,)."""
    order = stable_order(reference)
    found = np.zeros(len(order), dtype=np.int64)
    lengths = []
    for own, others in groupby(order.tolist(), key=reference.tolist().__getitem__):
        positions = _positions(documents[own])
        lengths += [_common(positions, len(documents[own]), documents[hypothesis[at]]) for at in others]
    found[order] = lengths
    return found


def common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence of two texts."""
    return _common(_positions(left), len(left), right)


def _positions(tokens: Sequence[str]) -> dict[str, int]:
    """Where each token stands, as the bits of an integer."""
    found: dict[str, int] = {}
    for index, token in enumerate(tokens):
        found[token] = found.get(token, 0) | 1 << index
    return found


def _common(positions: Mapping[str, int], length: int, other: Sequence[str]) -> int:
    """The bit-parallel recurrence of Hyyrö (2004), for a text of this length with its tokens at these positions.

    One integer holds a whole column of the table, so that long texts need neither recursion nor a table.
    """
    full = (1 << length) - 1
    column = full
    for known in filter(None, map(positions.get, other)):
        hits = column & known
        column = column + hits | column - hits   # what is carried beyond the text never comes back
    return length - (column & full).bit_count()
