"""A prefilter: which patterns a sentence can match at all. Most need a piece of a word that it does not contain.

For every pattern a set of pieces is worked out, one of which is in whatever it matches; a sentence without any of
them is not searched. This only saves time: a report is short and the patterns are many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

# One item of a pattern: a group opens ("look" around what is no part of the match) or closes, alternatives part, or a
# character: one of a set, a kind of character, or itself.
_ITEM = re.compile(r"(?P<open>\((?!\?)|\(\?(?::|P<\w+>|(?P<look><?[=!])))|(?P<close>\))|(?P<bar>\|)|"
                   r"(?P<kind>\[\^?\]?(?:\\.|[^\]\\])*\]|\\[A-Za-z0-9]|[.^$])|\\?(?P<itself>[^()\[\\]|(?<=\\).)", re.S)
_REPEAT = re.compile(r"(?:(?P<optional>[?*]|\{0?(?:,\d*)?\})|\+|\{[1-9]\d*(?:,\d*)?\})[?+]?")
Pieces = set[str] | None


def pieces(pattern: re.Pattern[str]) -> frozenset[str] | None:
    """Pieces of words, one of which is in every match; None where there is no such set, or where the pattern is written
    with more than groups, alternatives, repeats and sets."""
    found, end = _alternatives(pattern.pattern, 0)
    return frozenset(found) if found and end >= len(pattern.pattern) else None


def _alternatives(text: str, at: int) -> tuple[Pieces, int]:
    """The pieces of what stands from `at` to the end of its group, and where that ends: those of all alternatives, or
    None where one of them has none."""
    branches: list[Pieces] = []
    while True:
        branch, at, goes_on = _sequence(text, at)
        branches.append(branch)
        if not goes_on:
            whole = {piece for one in branches for piece in one or ()} if all(branches) else None
            return whole, at


def _sequence(text: str, at: int) -> tuple[Pieces, int, bool]:
    """Of the sets that the parts of one alternative give, the one whose shortest piece is longest; where it ends, and
    whether another alternative follows."""
    offered, run, goes_on = [], "", False
    while at < len(text):
        item = _ITEM.match(text, at)
        if item is None:   # something this cannot read: nothing is known of the pattern
            return None, -1, False
        at, part, letter = item.end(), None, item["itself"]
        if item["close"] or item["bar"]:
            goes_on = item["bar"] is not None
            break
        if item["open"]:
            part, at = _alternatives(text, at)
            if at < 0:
                return None, -1, False
            part = None if item["look"] else part
        repeat = _REPEAT.match(text, at)
        at = repeat.end() if repeat else at
        if letter and not repeat:
            run += letter
            continue
        offered += _words(run)
        run = ""
        if not (repeat and repeat["optional"]):
            offered += _words(letter) if letter else [part] if part else []
    offered += _words(run)
    return max(offered, key=lambda one: (min(map(len, one)), -len(one)), default=None), at, goes_on


def _words(run: str) -> list[set[str]]:
    return [{word} for word in run.split()]


class Sieve:
    """Numbered patterns of which a sentence gets those that it may match."""

    def __init__(self, patterns: Iterable[re.Pattern[str]]) -> None:
        self._needed = [pieces(pattern) for pattern in patterns]
        self._always = frozenset(i for i, needed in enumerate(self._needed) if needed is None)
        self._of_word = lru_cache(maxsize=1 << 16)(self._find)

    def _find(self, word: str) -> frozenset[int]:
        return frozenset(i for i, needed in enumerate(self._needed) if needed and any(one in word for one in needed))

    def candidates(self, sentence: str) -> list[int]:
        """The numbers of the patterns that the sentence may match, in ascending order."""
        return sorted(self._always.union(*map(self._of_word, sentence.split())))
