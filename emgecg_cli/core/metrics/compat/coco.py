"""BLEU, ROUGE-L and CIDEr-D as pycocoevalcap computes them, from texts whose periods are set apart."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from emgecg_cli.core.metrics.text.ngrams import (
    clipped_matches,
    count_ngrams,
    shared_ngrams,
    tokenize_all,
    unique_pairs,
)
from emgecg_cli.core.metrics.text.rouge import common_subsequence

MAX_ORDER = 4
_BETA = 1.2  # of ROUGE-L: recall counts more
_SIGMA = 6.0
# What pycocoevalcap adds to matches and to totals, so that nothing is divided by zero.
_TINY, _SMALL = 1e-15, 1e-9
_BLANKS = re.compile(" +")


def period_apart(text: str) -> str:
    """A period is a word of its own, and runs of blanks are one."""
    return _BLANKS.sub(" ", text.replace(".", " ."))


def words(text: str) -> list[str]:
    """The words of a text whose periods are set apart."""
    return period_apart(text).split()


def statistics(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(n, 12): lengths, matches and totals of orders 1..4, then ROUGE-L and CIDEr-D without idf of each pair."""
    pairs = unique_pairs(hypotheses, references)
    counts = count_ngrams(tokenize_all(pairs.texts, words), MAX_ORDER)
    left, right = pairs.hypothesis, pairs.reference
    columns = [counts[0].totals[left], counts[0].totals[right]]
    columns += [clipped_matches(order, left, right) for order in counts]
    columns += [order.totals[left] for order in counts]
    cut = [period_apart(text).split(" ") for text in pairs.texts]
    columns.append(np.array([_rouge_l(cut[h], cut[r]) for h, r in zip(left.tolist(), right.tolist(), strict=True)]))
    cider = np.zeros(len(left))
    for order in counts:
        norms = np.sqrt(np.bincount(order.document, order.count.astype(float)**2, minlength=len(pairs.texts)))
        shared = shared_ngrams(order, left, right)
        h, r = order.count[shared.hypothesis], order.count[shared.reference]
        products = np.bincount(shared.pair, np.minimum(h, r) * r, minlength=len(left))
        norm = norms[left] * norms[right]
        cider += np.where(norm > 0, products / np.where(norm > 0, norm, 1.0), 0.0)
    # The length that is compared is the number of bigrams.
    apart = counts[1].totals[left] - counts[1].totals[right]
    columns.append(10.0 / MAX_ORDER * cider * np.exp(-(apart**2) / (2 * _SIGMA**2)))
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)[pairs.pair]


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU-1..4, (..., 4), from the sums of the first ten columns."""
    sums = np.asarray(sums, np.float64)
    matches, totals = sums[..., 2:2 + MAX_ORDER], sums[..., 2 + MAX_ORDER:2 + 2 * MAX_ORDER]
    orders = np.arange(1, MAX_ORDER + 1)
    values = np.cumprod((matches + _TINY) / (totals + _SMALL), axis=-1) ** (1 / orders)
    ratio = (sums[..., :1] + _TINY) / (sums[..., 1:2] + _SMALL)
    return values * np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)


def _rouge_l(hypothesis: Sequence[str], reference: Sequence[str]) -> float:
    common = common_subsequence(hypothesis, reference)
    if not common:
        return 0.0
    precision, recall = common / len(hypothesis), common / len(reference)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)
