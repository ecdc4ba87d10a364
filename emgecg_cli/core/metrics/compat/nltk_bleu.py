"""BLEU as NLTK computes it with `SmoothingFunction().method1`, of words between blanks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emgecg_cli.core.metrics.text.ngrams import clipped_matches, count_ngrams, tokenize_all, unique_pairs

MAX_ORDER = 4
_EPSILON = 0.1  # what an order without a match is taken to have


def statistics(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(n, 10): lengths, then matches and totals of orders 1..4; a total is at least 1, as NLTK has it."""
    pairs = unique_pairs(hypotheses, references)
    counts = count_ngrams(tokenize_all(pairs.texts, str.split), MAX_ORDER)
    lengths = counts[0].totals
    columns = [lengths[pairs.hypothesis], lengths[pairs.reference]]
    columns += [clipped_matches(order, pairs.hypothesis, pairs.reference) for order in counts]
    columns += [np.maximum(order.totals[pairs.hypothesis], 1) for order in counts]
    return np.stack(columns, axis=1).astype(np.float64)[pairs.pair]


def bleu(sums: np.ndarray, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """BLEU (...) from sums (..., 10); `weights` of the four orders, (4,) or (..., 4)."""
    sums, weights = np.asarray(sums, np.float64), np.asarray(weights, np.float64)
    matches, totals = sums[..., 2:2 + MAX_ORDER], sums[..., 2 + MAX_ORDER:2 + 2 * MAX_ORDER]
    length, reference = sums[..., 0], sums[..., 1]
    precisions = np.where(matches > 0, matches, _EPSILON) / np.maximum(totals, 1)
    penalty = np.where(length > reference, 1.0, np.exp(1 - reference / np.maximum(length, 1)))
    found = penalty * np.exp((weights * np.log(precisions)).sum(axis=-1))
    return np.where(matches[..., 0] > 0, found, 0.0)
