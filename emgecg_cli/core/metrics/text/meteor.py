"""METEOR as NLTK defines it (Lavie and Agarwal 2007): alpha 0.9, beta 3, gamma 0.5; not METEOR 1.5, the Java tool.

English reports match words exactly, then by Porter stem, then by WordNet synonym; reports in other languages exactly
only, Chinese ones character by character. The alignment is NLTK's, oddities included: each stage goes through the
hypothesis from the right and takes the rightmost free word of the reference, and the synonym stage sees the stems that
the stage before it left over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.text.alignment import Side, count_chunks, match_equal, match_synonyms
from emgecg_cli.core.metrics.text.ngrams import number_tokens, tokenize_all, unique_pairs
from emgecg_cli.core.metrics.text.segmentation import tokens_of
from emgecg_cli.core.metrics.text.tokens import Tokens, language_label, primary_language, treebank_words
from emgecg_cli.core.metrics.text.wordnet import synonyms

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5

PAIRS_AT_ONCE = 20_000  # of so many the alignment is made at once, in some tens of megabytes


class Meteor:
    """METEOR, mean over the reports."""

    name = "meteor"
    declared = Declared(frozenset({"text"}), "tokens", headline={"METEOR": ""}, several="best")

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
            if not len(at):
                continue
            pairs = unique_pairs([hypotheses[i] for i in at], [references[i] for i in at])
            words = _number(tokenize_all(pairs.texts, self.tokens.tokenize))
            values = [_scores(words, pairs.hypothesis[start:start + PAIRS_AT_ONCE],
                              pairs.reference[start:start + PAIRS_AT_ONCE], is_english)
                      for start in range(0, len(pairs.hypothesis), PAIRS_AT_ONCE)]
            scores[at] = np.concatenate(values)[pairs.pair]
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


@dataclass(frozen=True)
class Words:
    """The words of D texts one after the other, by number (W,); text d has `start[d]:start[d + 1]`, (D + 1,), and
    `names` are the words by number. `behind` (W,) says how many equal words of the text stand behind each."""

    number: np.ndarray
    start: np.ndarray
    names: list[str]
    behind: np.ndarray

    def stems(self) -> tuple[np.ndarray, list[str]]:
        """The number of the stem of each different word, and the stems by number."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(_stem(name), len(known)) for name in self.names]
        return np.array(numbers, dtype=np.int64), list(known)

    def side(self, texts: np.ndarray) -> Side:
        """The words of P texts (P,)."""
        lengths = self.start[texts + 1] - self.start[texts]
        pair = np.repeat(np.arange(len(texts)), lengths)
        position = np.arange(len(pair)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        at = self.start[texts][pair] + position
        return Side(pair, position, self.number[at], self.behind[at])


def _number(documents: Sequence[Sequence[str]]) -> Words:
    numbers, names = number_tokens(documents)
    start = np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64)
    text = np.repeat(np.arange(len(documents)), np.diff(start))
    return Words(numbers, start, names, Side(text, np.arange(len(text)), numbers).equal_behind())


def _scores(words: Words, hypothesis: np.ndarray, reference: np.ndarray, english: bool) -> np.ndarray:
    """METEOR of P pairs of texts, (P,), 0-1; 0 when nothing matches or a side is empty."""
    equal, left, right = match_equal(words.side(hypothesis), words.side(reference))
    stages = [equal]
    if english:
        stem_of, stems = words.stems()
        stemmed, left, right = match_equal(left.named(stem_of), right.named(stem_of))
        stages += [stemmed, match_synonyms(left, right, stems, synonyms)]
    matches, chunks = count_chunks(stages, len(hypothesis))
    lengths = np.diff(words.start)
    some = np.maximum(matches, 1)
    precision, recall = matches / np.maximum(lengths[hypothesis], 1), matches / np.maximum(lengths[reference], 1)
    mean = precision * recall / np.where(matches > 0, ALPHA * precision + (1 - ALPHA) * recall, 1.0)
    return (1 - GAMMA * (chunks / some) ** BETA) * mean


@lru_cache(maxsize=1)
def _porter() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer().stem


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return _porter()(word)
