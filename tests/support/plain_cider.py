"""CIDEr-D written from its paper, one pair at a time."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence


def plain_cider(pairs: Sequence[tuple[str, str]], documents: Sequence[str], tokenize: Callable[[str], list[str]]
                ) -> list[float]:
    """CIDEr-D as Vedantam et al. write it, one pair at a time."""
    def grams(text: str) -> dict[int, Counter[tuple[str, ...]]]:
        words = tokenize(text)
        return {n: Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1)) for n in (1, 2, 3, 4)}

    frequency: dict[tuple[str, ...], int] = defaultdict(int)
    for document in documents:
        for counter in grams(document).values():
            for gram in counter:
                frequency[gram] += 1
    scores = []
    for hypothesis, reference in pairs:
        left, right = grams(hypothesis), grams(reference)
        total = 0.0
        for n in (1, 2, 3, 4):
            weigh = [{gram: count * (math.log(len(documents)) - math.log(max(1, frequency[gram])))
                      for gram, count in side[n].items()} for side in (left, right)]
            product = sum(min(weight, weigh[1].get(gram, 0.0)) * weigh[1].get(gram, 0.0)
                          for gram, weight in weigh[0].items())
            norms = [math.sqrt(sum(weight**2 for weight in side.values())) for side in weigh]
            total += product / (norms[0] * norms[1]) if norms[0] and norms[1] else 0.0
        difference = sum(left[2].values()) - sum(right[2].values())
        scores.append(10 * total / 4 * math.exp(-difference**2 / (2 * 6**2)))
    return scores
