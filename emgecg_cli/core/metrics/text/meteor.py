"""METEOR as NLTK defines it (Lavie and Agarwal 2007): alpha 0.9, beta 3, gamma 0.5; not METEOR 1.5, the Java tool.

English reports match words exactly, then by Porter stem, then by WordNet synonym; reports in other languages exactly
only, Chinese ones character by character. The alignment is NLTK's, oddities included: each stage goes through the
hypothesis from the right and takes the rightmost free word of the reference, and the synonym stage sees the stems that
the stage before it left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.text.ngrams import unique_pairs
from emgecg_cli.core.metrics.text.segmentation import tokens_of
from emgecg_cli.core.metrics.text.tokens import Tokens, language_label, primary_language, treebank_words
from emgecg_cli.core.metrics.text.wordnet import synonyms

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5

Words = list[tuple[int, str]]
Match = tuple[int, int]


class Meteor:
    """METEOR, mean over the reports."""

    name = "meteor"
    declared = Declared(frozenset({"text"}), "tokens", headline={"METEOR": ""})

    def __init__(self, languages: Sequence[str] = ("en",), tokens: Tokens | None = None) -> None:
        self.languages = tuple(languages)
        self.tokens = tokens or Tokens(treebank_words, "treebank")

    @classmethod
    def of(cls, given: Given) -> Self:
        """In the languages given; texts without blanks by character, as no words are matched there but equal ones."""
        return cls(given.languages, tokens_of("char" if given.segmentation else None))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Always."""
        return None

    def columns(self) -> tuple[str, ...]:
        """The value of the pair, and the count."""
        return ("METEOR", "reports")

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """(n, 2): METEOR of the pair, and 1 to count it."""
        english = np.array([primary_language(row.language) == "en" for row in rows], dtype=bool)
        scores = np.zeros(len(references))
        for is_english in (True, False):
            at = np.flatnonzero(english == is_english)
            pairs = unique_pairs([hypotheses[i] for i in at], [references[i] for i in at])
            tokens = [self.tokens.tokenize(text) for text in pairs.texts]
            values = [meteor(tokens[h], tokens[r], is_english)
                      for h, r in zip(pairs.hypothesis.tolist(), pairs.reference.tolist(), strict=True)]
            scores[at] = np.array(values, dtype=np.float64)[pairs.pair]
        return np.stack([scores, np.ones_like(scores)], axis=1)

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """`METEOR`, 0-1: mean over the reports."""
        return {"METEOR": sums[..., 0] / sums[..., 1]}

    def signature(self) -> str:
        """Definition, parameters, kinds of match per language, tokenizer and languages."""
        full, exact = "exact+porter+wordnet-3.0", "exact-only"
        others = language_label([language for language in self.languages if language != "en"])
        match = exact if "en" not in self.languages else f"{full}(en),{exact}({others})" if others else full
        return (f"def:nltk|alpha:{ALPHA:g}|beta:{BETA:g}|gamma:{GAMMA:g}|match:{match}|tok:{self.tokens.name}"
                f"|lang:{language_label(self.languages)}")


def meteor(hypothesis: Sequence[str], reference: Sequence[str], english: bool) -> float:
    """METEOR of lower-case tokens, 0-1; 0 when nothing matches or a side is empty."""
    matches = align(hypothesis, reference, english)
    if not matches:
        return 0.0
    precision, recall = len(matches) / len(hypothesis), len(matches) / len(reference)
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    chunks = 1 + sum(b != (a[0] + 1, a[1] + 1) for a, b in pairwise(matches))
    return (1 - GAMMA * (chunks / len(matches)) ** BETA) * mean


def align(hypothesis: Sequence[str], reference: Sequence[str], english: bool) -> list[Match]:
    """Pairs (position in the hypothesis, position in the reference) in the order of the hypothesis."""
    matches, left, right = _match_equal(list(enumerate(hypothesis)), list(enumerate(reference)))
    if english and left and right:
        stemmed, left, right = _match_equal([(position, _stem(word)) for position, word in left],
                                            [(position, _stem(word)) for position, word in right])
        matches += stemmed
        if left and right:
            matches += _match_synonyms(left, right)
    return sorted(matches)


def _match_equal(left: Words, right: Words) -> tuple[list[Match], Words, Words]:
    """Match each word of `left`, from its end, to the last free equal word of `right`; also what is left of both."""
    free: dict[str, list[int]] = {}
    for position, word in right:
        free.setdefault(word, []).append(position)
    matches, left_over = [], []
    for pair in reversed(left):
        positions = free.get(pair[1])
        if positions:
            matches.append((pair[0], positions.pop()))
        else:
            left_over.append(pair)
    taken = {position for _, position in matches}
    return matches, left_over[::-1], [pair for pair in right if pair[0] not in taken]


def _match_synonyms(left: Words, right: Words) -> list[Match]:
    """Match each word of `left`, from its end, to the last free word of `right` that is a synonym of it."""
    free: dict[str, list[int]] = {}
    for position, word in right:
        free.setdefault(word, []).append(position)
    matches = []
    for position, word in reversed(left):
        found = [free[variant] for variant in free.keys() & synonyms(word) if free[variant]]
        if found:
            matches.append((position, max(found, key=lambda positions: positions[-1]).pop()))
    return matches


@lru_cache(maxsize=1)
def _porter() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer().stem


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return _porter()(word)
