"""Lists of scored items in a judge's answer: criterion -> [{Score, Explanation}, …], however they are wrapped.

Explanations may hold brackets and escaped quotes, since the answer is parsed as JSON and not searched; one that was cut
off is closed behind its last whole item. A range of scores is its middle. Nothing of it is ever evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emgecg_cli.core.metrics.judged.answers import objects_in, plain

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_SAID = re.compile(rf"\s*{_NUMBER}\s*(?:(?:-|–|to)\s*{_NUMBER})?\s*(?:/\s*\d+|%|out of \d+|points?)?\s*\.?\s*")
_SCORE = ("score", "scores", "value", "rating", "points")
_DEEP = 4
_LONGEST = 1 << 17


def read_items(answer: str, names: Mapping[str, Sequence[str]], highest: Mapping[str, float]
               ) -> dict[str, tuple[float, ...]]:
    """The scores of each criterion's items; `names` are the spellings of each key. A criterion that is not there, is
    empty, or has an item without a score from 0 to its `highest` is left out."""
    answer = answer[:_LONGEST]
    spelt = {plain(spelling): key for key, spellings in names.items() for spelling in (key, *spellings)}
    found: dict[str, tuple[float, ...]] = {}
    for text in (answer, _closed(answer)):
        for one in objects_in(text):
            for key, value in _criteria(one, spelt, 0):
                scores = [score for score in _scores(value) if score is not None]
                if scores and len(scores) == len(list(_scores(value))) and \
                        all(0 <= score <= highest[key] for score in scores):
                    found[key] = tuple(scores)
        if len(found) == len(names):
            break
    return found


def _criteria(found: Mapping[str, Any], spelt: Mapping[str, str], depth: int) -> Iterator[tuple[str, Any]]:
    """The criteria in an object, or in what it holds."""
    for name, value in found.items():
        if key := spelt.get(plain(name)):
            yield key, value
        elif isinstance(value, dict) and depth < _DEEP:
            yield from _criteria(value, spelt, depth + 1)


def _scores(value: Any, depth: int = 0) -> Iterator[float | None]:
    """The scores of a list of items, of one item, or of an object of items (by lead, say); None for one without."""
    if isinstance(value, list) and depth < _DEEP:
        for item in value:
            yield from _scores(item, depth + 1)
    elif isinstance(value, dict) and depth < _DEEP:
        own = [one for name, one in value.items() if plain(name) in _SCORE]
        inner = [one for one in value.values() if isinstance(one, dict | list)]
        if own:
            yield from _scores(own[0], depth + 1)
        elif inner:
            for item in inner:
                yield from _scores(item, depth + 1)
        else:
            yield None
    else:
        yield _number(value)


def _number(value: Any) -> float | None:
    """A number, also as text, of a range its middle."""
    if isinstance(value, str):
        said = _SAID.fullmatch(value)
        if said is None:
            return None
        return (float(said[1]) + float(said[2])) / 2 if said[2] else float(said[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return float(value)


def _closed(text: str) -> str:
    """A text that was cut off amid its JSON, up to its last whole item and closed; else as it is."""
    start = text.find("{")
    if start < 0:
        return text
    closers: list[str] = []
    last: tuple[int, list[str]] | None = None
    quoted = escaped = False
    for at in range(start, len(text)):
        letter = text[at]
        if quoted:
            escaped, quoted = letter == "\\" and not escaped, letter != '"' or escaped
        elif letter == '"':
            quoted = True
        elif letter in "{[":
            closers.append("}" if letter == "{" else "]")
        elif letter in "}]" and closers and closers[-1] == letter:
            closers.pop()
            if not closers:
                return text
            last = at + 1, closers.copy()
    if last is None:
        return text
    whole = text[start:last[0]] + "".join(reversed(last[1]))
    try:
        json.loads(whole, strict=False)
    except (ValueError, RecursionError):
        return text
    return whole
