"""Scores in a judge's answer, however it wraps them: fences, talk around them, broken JSON, numbers as strings.

What is not there is not made up: a score that is missing, no whole number, off the scale or said in two ways is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DECODER = json.JSONDecoder(strict=False)  # line breaks in strings are let pass
_QUOTES = str.maketrans({"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'", "\u2019": "'"})
_INNER = ("score", "value", "rating")
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?:/\s*\d+|out of \d+|points?)?\s*\.?\s*")
_MARKS = r"[\s\"'*{\[]{0,8}"
_MOST = 64  # objects looked at in one answer
_LONGEST = 1 << 17  # characters looked at


def read_scores(answer: str, names: Mapping[str, Sequence[str]], lowest: int, highest: int) -> dict[str, int]:
    """The scores of an answer by key; `names` are the spellings of each key. The best of the objects in it counts, of
    equally good ones the last, since what a model says last is its answer; where there is none, what stands behind the
    names in the text."""
    answer = answer[:_LONGEST]
    best: dict[str, int] = {}
    for found in objects_in(answer):
        scores = _of_object(found, names, lowest, highest)
        if scores and len(scores) >= len(best):
            best = scores
    return best if len(best) == len(names) else _of_text(answer, names, lowest, highest)


def objects_in(answer: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects in a text, outermost first, also with small faults mended."""
    for text in (answer, _mended(answer)):
        start, seen = text.find("{"), 0
        while start >= 0 and seen < _MOST:
            seen += 1
            try:
                found, end = _DECODER.raw_decode(text, start)
            except (ValueError, RecursionError):
                end = start + 1
            else:
                yield found
            start = text.find("{", end)


def _mended(text: str) -> str:
    """A text without typographic quotes and without a comma before a closing bracket, closed where it was cut off."""
    text = re.sub(r",\s*([}\]])", r"\1", text.translate(_QUOTES))
    start = text.find("{")
    if start >= 0 and text.count("{") > text.count("}"):
        text = text.rstrip().rstrip(",") + "}" * (text.count("{") - text.count("}"))
    return text


def _of_object(found: Mapping[str, Any], names: Mapping[str, Sequence[str]], lowest: int, highest: int
               ) -> dict[str, int]:
    given = {plain(key): value for key, value in found.items()}
    if len(given) == 1 and isinstance(inner := next(iter(given.values())), dict):  # {"scores": {…}}
        given = {plain(key): value for key, value in inner.items()}
    scores = {}
    for key, spellings in names.items():
        values = [_score(given[name], lowest, highest) for name in map(plain, spellings) if name in given]
        if values and values[0] is not None:
            scores[key] = values[0]
    return scores


def _score(value: Any, lowest: int, highest: int) -> int | None:
    """A score given as a number, a string, an object with one, or a list of just one of these."""
    if isinstance(value, list):
        return _score(value[0], lowest, highest) if len(value) == 1 else None
    if isinstance(value, dict):
        inner = {plain(key): one for key, one in value.items()}
        return next((_score(inner[name], lowest, highest) for name in _INNER if name in inner), None)
    if isinstance(value, str):
        said = _NUMBER.fullmatch(value)
        value = float(said[1]) if said else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value not in range(
            lowest, highest + 1):
        return None
    return int(value)


def _of_text(answer: str, names: Mapping[str, Sequence[str]], lowest: int, highest: int) -> dict[str, int]:
    """Scores that stand behind the names in a text that is no JSON; a name with two different ones has none."""
    scores = {}
    for key, spellings in names.items():
        name = "|".join(re.escape(one).replace("_", "[_ ]").replace(r"\ ", "[_ ]") for one in spellings)
        behind = re.compile(rf"(?i)(?:{name}){_MARKS}(?:\([^()]{{0,40}}\))?{_MARKS}[:=]{_MARKS}"
                            rf"(?:score{_MARKS}[:=]{_MARKS})?(-?\d+(?:\.\d+)?)(?!\d|\.\d|\s*[,-]\s*\d)")
        said = {_score(match[1], lowest, highest) for match in behind.finditer(answer)}
        if len(said) == 1 and (score := said.pop()) is not None:
            scores[key] = score
    return scores


def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
