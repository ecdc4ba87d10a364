"""Counting n-grams of a whole set at once, on integer arrays: the engine under BLEU, ROUGE-N and CIDEr-D.

Each different text is one document, each different pair of texts is scored once. Shapes: D documents, P pairs, M
distinct (document, n-gram) entries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count

import numpy as np

from emgecg_cli.core.metrics.text.sorting import dense_numbers
from emgecg_cli.core.metrics.text.tokens import Tokenizer


@dataclass(frozen=True)
class Pairs:
    """The different texts of a set, and its different pairs as indices into them.

    `pair` maps each of the n given pairs to its row among the P different ones, (n,); `hypothesis` and `reference` are
    text indices, (P,).
    """

    texts: list[str]
    hypothesis: np.ndarray
    reference: np.ndarray
    pair: np.ndarray


def unique_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> Pairs:
    """Find the different texts and pairs; the order is that of first appearance."""
    return _unique_pairs(tuple(hypotheses), tuple(references))


@lru_cache(maxsize=1)  # the metrics of one set ask one after the other
def _unique_pairs(hypotheses: tuple[str, ...], references: tuple[str, ...]) -> Pairs:
    texts: dict[str, int] = {}
    pairs: dict[tuple[int, int], int] = {}
    rows = np.empty(len(references), dtype=np.int64)
    for row, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        key = (texts.setdefault(hypothesis, len(texts)), texts.setdefault(reference, len(texts)))
        rows[row] = pairs.setdefault(key, len(pairs))
    indices = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    return Pairs(list(texts), indices[:, 0], indices[:, 1], rows)


@dataclass(frozen=True)
class NgramCounts:
    """Counts of one order. Entries `start[d]:start[d + 1]` belong to document d and are sorted by n-gram id.

    `ngram` and `count` are (M,), `start` is (D + 1,); `n_ngrams` is the number of different n-grams.
    """

    start: np.ndarray
    ngram: np.ndarray
    count: np.ndarray
    n_ngrams: int

    @property
    def document(self) -> np.ndarray:
        """Document index of each entry, (M,)."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    @property
    def totals(self) -> np.ndarray:
        """Number of n-grams of each document, repeats counted, (D,)."""
        return np.bincount(self.document, self.count, minlength=len(self.start) - 1).astype(np.int64)


def tokenize_all(texts: Sequence[str], tokenize: Tokenizer) -> list[Sequence[str]]:
    """Tokens of each text; each different text is cut once, for all metrics and systems that ask for it."""
    return [_cut(tokenize, text) for text in texts]


@lru_cache(maxsize=1 << 19)
def _cut(tokenize: Tokenizer, text: str) -> tuple[str, ...]:
    return tuple(tokenize(text))


def number_tokens(documents: Sequence[Sequence[str]]) -> tuple[np.ndarray, list[str]]:
    """The tokens of all documents, one after the other, as numbers (W,), and the token of each number; they are
    numbered as they appear."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    tokens = np.fromiter(map(numbers.__getitem__, chain.from_iterable(documents)), np.int64, sum(map(len, documents)))
    return tokens, list(numbers)


def count_ngrams(documents: Sequence[Sequence[str]], max_order: int) -> list[NgramCounts]:
    """Counts of the n-grams of D tokenised documents, one entry per order 1..max_order."""
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    tokens, vocabulary = number_tokens(documents)
    owner = np.repeat(np.arange(len(documents)), lengths)
    ends = np.cumsum(lengths)
    remaining = ends[owner] - np.arange(len(tokens))
    ids, n_ids, counts = tokens, len(vocabulary), []
    for order in range(1, max_order + 1):
        if order > 1:
            # An n-gram is its (n-1)-gram and its last token; ids are made dense again, so the product cannot overflow.
            at = np.flatnonzero(remaining >= order)
            dense, n_ids = dense_numbers(ids[at] * len(vocabulary) + tokens[at + order - 1])
            ids = np.zeros(len(tokens), dtype=np.int64)
            ids[at] = dense
        else:
            at = np.arange(len(tokens))
        counts.append(_count(owner[at], ids[at], n_ids, len(documents)))
    return counts


def _count(owner: np.ndarray, ids: np.ndarray, n_ids: int, n_documents: int) -> NgramCounts:
    keys, counted = np.unique(owner * max(n_ids, 1) + ids, return_counts=True)
    document, ngram = np.divmod(keys, max(n_ids, 1))
    start = np.concatenate([[0], np.cumsum(np.bincount(document, minlength=n_documents))]).astype(np.int64)
    return NgramCounts(start, ngram, counted.astype(np.int64), n_ids)


@dataclass(frozen=True)
class Shared:
    """N-grams that both sides of a pair have: pair index and the entry on either side, all (Q,)."""

    pair: np.ndarray
    hypothesis: np.ndarray
    reference: np.ndarray


def shared_ngrams(counts: NgramCounts, hypothesis: np.ndarray, reference: np.ndarray) -> Shared:
    """Join the entries of P pairs of documents, given as (P,) indices."""
    n_entries = np.diff(counts.start)[hypothesis]
    pair = np.repeat(np.arange(len(hypothesis)), n_entries)
    offset = np.arange(len(pair)) - np.repeat(np.cumsum(n_entries) - n_entries, n_entries)
    left = counts.start[hypothesis][pair] + offset
    width = max(counts.n_ngrams, 1)
    keys = counts.document * width + counts.ngram
    wanted = reference[pair] * width + counts.ngram[left]
    right = np.searchsorted(keys, wanted)
    found = right < len(keys)
    found[found] = keys[right[found]] == wanted[found]
    return Shared(pair[found], left[found], right[found])


def clipped_matches(counts: NgramCounts, hypothesis: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sum over n-grams of the smaller of the two counts, (P,)."""
    shared = shared_ngrams(counts, hypothesis, reference)
    smaller = np.minimum(counts.count[shared.hypothesis], counts.count[shared.reference])
    return np.bincount(shared.pair, smaller, minlength=len(hypothesis)).astype(np.int64)
