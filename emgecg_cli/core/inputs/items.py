"""Whose value a number is, as token ids: the names of its side, nerve, type, sites and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emgecg_cli.core.emg.case import item_of
from emgecg_cli.core.inputs.drawn.words import item_names, language_of

ITEMS = "items"  # beside "values" among what towers take
NO_TOKEN = -1  # fills names of fewer tokens, items of fewer names, and records of fewer values


@dataclass(frozen=True)
class ItemWords:
    """The names of items as a tokenizer cuts them; what was cut is kept."""

    tokenizer: Any
    _known: dict[tuple[str, str, str], list[list[int]]] = field(default_factory=dict, repr=False, compare=False)

    def ids(self, parts: Sequence[Mapping[str, Any]], language: str) -> np.ndarray:
        """Of R value parts, int64 (R, P, W): P names of up to W tokens each, NO_TOKEN behind them."""
        return _filled([self._names(part, language_of(language)) for part in parts])

    def _names(self, part: Mapping[str, Any], language: str) -> list[list[int]]:
        key = part["item"], part.get("side", ""), language
        if key not in self._known:
            item = part["item"] if "matrix" in part else item_of(part["item"])
            self._known[key] = [self._tokens(name, language) for name in item_names(item, key[1], language)]
        return self._known[key]

    def _tokens(self, name: str, language: str) -> list[int]:
        """A name as it stands amid a sentence: of the two ways to begin a word, the one of fewer tokens."""
        begun = [name] if language == "zh" else [f" {name}", name]
        return min((self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in begun), key=len)


def stack_items(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Items of records as one, int64 (B, R, P, W), R at least 1 as of values."""
    shape = np.max([(1, 1, 1), *(one.shape for one in arrays)], axis=0)
    stacked = np.full((len(arrays), *shape), NO_TOKEN, np.int64)
    for row, one in zip(stacked, arrays, strict=True):
        row[tuple(map(slice, one.shape))] = one
    return stacked


def _filled(items: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
    shape = len(items), max(map(len, items), default=0), max((len(name) for names in items for name in names),
                                                              default=0)
    ids = np.full(shape, NO_TOKEN, np.int64)
    for row, names in zip(ids, items, strict=True):
        for place, name in zip(row, names, strict=False):
            place[:len(name)] = name
    return ids
