"""A prefilter: which patterns a sentence can match at all. Most need a piece of a word that it does not contain.

For every pattern a set of pieces is worked out, one of which is in whatever it matches; a sentence without any of
them is not searched. This only saves time: a report is short and the patterns are many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any


def pieces(pattern: re.Pattern[str]) -> frozenset[str] | None:
    """Pieces of words, one of which is in every match; None where there is no such set."""
    found = _of_sequence(_parser.parse(pattern.pattern))
    return frozenset(found) if found else None


def _of_sequence(items: Iterable[tuple[Any, Any]]) -> set[str] | None:
    """Of the sets that the parts of a sequence give, the one whose shortest piece is longest."""
    offered, run = [], ""
    for operator, argument in items:
        if operator is _constants.LITERAL:
            run += chr(argument)
            continue
        offered += _words(run)
        run = ""
        if (part := _of_part(operator, argument)) is not None:
            offered.append(part)
    offered += _words(run)
    return max(offered, key=lambda one: (min(map(len, one)), -len(one)), default=None)


def _of_part(operator: Any, argument: Any) -> set[str] | None:
    if operator is _constants.SUBPATTERN:
        return _of_sequence(argument[-1])
    if operator in (_constants.MAX_REPEAT, _constants.MIN_REPEAT) and argument[0]:
        return _of_sequence(argument[-1])
    if operator is _constants.BRANCH:
        branches = [_of_sequence(branch) for branch in argument[1]]
        return {piece for branch in branches for piece in branch or ()} if all(branches) else None
    return None


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
