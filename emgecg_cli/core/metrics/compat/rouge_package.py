"""ROUGE as the package `rouge` 1.0.1 computes it: of sets, each n-gram and each word once, sentences cut at periods."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np

from emgecg_cli.core.metrics.text.ngrams import unique_pairs

NAMES = ("ROUGE-1", "ROUGE-2", "ROUGE-L")
_EPSILON = 1e-8


def rouge_f(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """F of ROUGE-1, ROUGE-2 and ROUGE-L of each pair, (n, 3); 0 where the package raises, since a side has nothing but
    periods."""
    pairs = unique_pairs(hypotheses, references)
    found = [_pair(pairs.texts[h], pairs.texts[r]) for h, r in zip(pairs.hypothesis.tolist(), pairs.reference.tolist(),
                                                                   strict=True)]
    return np.array(found, np.float64).reshape(-1, 3)[pairs.pair]


@lru_cache(maxsize=1 << 18)
def sentences(text: str) -> tuple[str, ...]:
    """What stands between periods, runs of blanks as one."""
    return tuple(" ".join(part.split()) for part in text.split(".") if part)


def _pair(hypothesis: str, reference: str) -> tuple[float, float, float]:
    own, true = sentences(hypothesis), sentences(reference)
    if not own or not true:
        return 0.0, 0.0, 0.0
    left, right = _words(own), _words(true)
    grams = [_f(*(frozenset(zip(*(side[i:] for i in range(n)), strict=False)) for side in (left, right)))
             for n in (1, 2)]
    common: set[str] = set().union(*(_common(theirs, ours) for theirs in true for ours in own))
    return grams[0], grams[1], _f_of(len(common), len(set(left)), len(set(right)))


def _words(parts: Sequence[str]) -> list[str]:
    return list(chain.from_iterable(part.split(" ") for part in parts))


def _f(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> float:
    return _f_of(len(left & right), len(left), len(right))


def _f_of(common: int, left: int, right: int) -> float:
    precision, recall = (common / n if n else 0.0 for n in (left, right))
    return 2.0 * precision * recall / (precision + recall + _EPSILON)


@lru_cache(maxsize=1 << 18)
def _common(reference: str, hypothesis: str) -> frozenset[str]:
    """The words of the longest common subsequence of two sentences: of several the one that the package finds, which
    goes back from the ends and leaves out a word of the hypothesis first."""
    x, y = reference.split(" "), hypothesis.split(" ")
    table = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    for i, one in enumerate(x, 1):
        above, row = table[i - 1], table[i]
        for j, other in enumerate(y, 1):
            row[j] = above[j - 1] + 1 if one == other else max(above[j], row[j - 1])
    found, i, j = set(), len(x), len(y)
    while i and j:
        if x[i - 1] == y[j - 1]:
            found.add(x[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return frozenset(found)
