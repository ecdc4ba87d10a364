"""METEOR's alignment of many pairs of texts at once, on integer arrays.

A stage goes through the hypothesis from the right and takes the rightmost free equal word of the reference. So of the
occurrences of a word the last is matched with the last, the last but one with the last but one, and so on: two words
match when they are equal and as many equal free ones stand behind each. Only synonyms, which are not equal words, need
to be taken one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.metrics.text.sorting import stable_order


@dataclass(frozen=True)
class Side:
    """Words of one side of P pairs: pair, position in the text and number of the word, all (W,), by pair and position.
    `behind` says how many equal words stand behind each in its text, if that is known."""

    pair: np.ndarray
    position: np.ndarray
    word: np.ndarray
    behind: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> Side:
        """Some of the words."""
        return Side(self.pair[chosen], self.position[chosen], self.word[chosen])

    def named(self, names: np.ndarray) -> Side:
        """The words under other numbers, `names` by number."""
        return Side(self.pair, self.position, names[self.word])

    def equal_behind(self) -> np.ndarray:
        """How many equal words stand behind each in its text, (W,)."""
        if self.behind is not None:
            return self.behind
        behind = np.empty(len(self.word), dtype=np.int64)
        if not len(behind):
            return behind
        key = self.pair * (self.word.max() + 1) + self.word
        order = stable_order(key[::-1])  # of equal ones the last first
        keys = key[::-1][order]
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        runs = np.diff(np.concatenate([first, [len(keys)]]))
        behind[len(behind) - 1 - order] = np.arange(len(keys)) - np.repeat(first, runs)
        return behind


@dataclass(frozen=True)
class Matches:
    """Matched words: pair, position in the hypothesis, position in the reference, all (M,)."""

    pair: np.ndarray
    hypothesis: np.ndarray
    reference: np.ndarray


def match_equal(left: Side, right: Side) -> tuple[Matches, Side, Side]:
    """One stage over all pairs; also the words it leaves over on either side."""
    words = 1 + max(left.word.max(initial=0), right.word.max(initial=0))
    behind = left.equal_behind(), right.equal_behind()
    deep = 1 + max(behind[0].max(initial=0), behind[1].max(initial=0))
    keys = [(side.pair * words + side.word) * deep + rank for side, rank in zip((left, right), behind, strict=True)]
    at_left, at_right = _equal_keys(*keys)
    free_left, free_right = np.ones(len(left.word), bool), np.ones(len(right.word), bool)
    free_left[at_left], free_right[at_right] = False, False
    found = Matches(left.pair[at_left], left.position[at_left], right.position[at_right])
    return found, left.at(free_left), right.at(free_right)


def _equal_keys(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the keys that both have stand in either, in ascending order of the key; none is there twice."""
    orders = stable_order(left), stable_order(right)
    wanted, known = left[orders[0]], right[orders[1]]
    at = np.searchsorted(known, wanted)
    found = at < len(known)
    found[found] = known[at[found]] == wanted[found]
    return orders[0][found], orders[1][at[found]]


def match_synonyms(left: Side, right: Side, names: Sequence[str],
                   synonyms: Callable[[str], Collection[str]]) -> Matches:
    """Match each word of a hypothesis, from its end, to the last free word of the reference that is a synonym of it;
    `names` are the words by number. No word of a pair is on both sides: equal ones have been matched."""
    there = {names[number]: number for number in np.unique(right.word).tolist()}
    related = {number: found for number in np.unique(left.word).tolist()
               if (found := {there[one] for one in synonyms(names[number]) if one in there} - {number})}
    left = left.at(np.isin(left.word, list(related)))
    right = right.at(np.isin(right.word, list(set().union(*related.values()))))
    both = np.intersect1d(left.pair, right.pair)
    found_at: list[tuple[int, int]] = []
    left_words, right_words = left.word.tolist(), right.word.tolist()
    for own in zip(*(np.searchsorted(side.pair, both, side=end).tolist() for side in (left, right)
                     for end in ("left", "right")), strict=True):
        free: dict[int, list[int]] = {}
        for at in range(own[2], own[3]):
            free.setdefault(right_words[at], []).append(at)
        for at in range(own[1] - 1, own[0] - 1, -1):
            places = [free[word] for word in related[left_words[at]] & free.keys() if free[word]]
            if places:
                found_at.append((at, max(places, key=lambda positions: positions[-1]).pop()))
    at_left, at_right = np.array(found_at, dtype=np.int64).reshape(-1, 2).T
    return Matches(left.pair[at_left], left.position[at_left], right.position[at_right])


def count_chunks(stages: Sequence[Matches], pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """How many matches each pair has, and how many chunks of matches that are neighbours on both sides, (P,)."""
    pair, left, right = (np.concatenate([getattr(stage, name) for stage in stages])
                         for name in ("pair", "hypothesis", "reference"))
    order = stable_order(pair * (1 + left.max(initial=0)) + left)
    pair, left, right = pair[order], left[order], right[order]
    goes_on = (np.diff(pair) == 0) & (np.diff(left) == 1) & (np.diff(right) == 1)
    begins = np.concatenate([[True], ~goes_on])[:len(pair)]
    return np.bincount(pair, minlength=pairs), np.bincount(pair[begins], minlength=pairs)
