"""Numbers of tables as a model is shown them: matrices of references for the encoder, or text."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.drawn.words import class_word
from emgecg_cli.core.inputs.items import ITEMS, ItemWords
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.render import values_of, written_out
from emgecg_cli.core.references import PERCENTILES, Reference, References, abnormality, matrix

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Values:
    """How the value parts of a conversation are shown.

    `mode` "encoder" gives each the matrix of its references, "text" leaves its number in the text, "rules" puts the
    class that a rule gives it there. With `random_seed` each value gets the limits of an item drawn at random. `hidden`
    leaves all values out. `words` are token ids of the names of items, None where the encoder is not to know whose
    value is whose. `source` names the references in errors.
    """

    references: References | None
    mode: str = "encoder"
    random_seed: int | None = None
    hidden: bool = False
    source: str = "the store"
    words: ItemWords | None = None

    def shown(self, messages: Messages, record_id: str, language: str, person: Any = None) -> Messages:
        """The conversation with its values as text where they are to be text."""
        if self.hidden:
            return _map_values(messages, lambda part: written_out(part, ""))
        if self.mode != "rules":
            return _map_values(messages, written_out) if self.mode == "text" else messages
        pairs = iter(self._pairs(messages, record_id, person))
        lines = self.references.percentiles if self.references else PERCENTILES

        def word(part: Mapping[str, Any]) -> dict[str, Any]:
            return dict(part) if "text" in part else \
                written_out(part, class_word(abnormality(*next(pairs), lines), language))

        return _map_values(messages, word)

    def matrices(self, messages: Messages, record_id: str, person: Any = None) -> np.ndarray:
        """float32 (R, 3, 7), one for each value that is not text; raises MedReportError for one that is not finite."""
        made = [matrix(*pair) for pair in self._pairs(messages, record_id, person)]
        stacked = np.stack(made) if made else np.zeros((0, 3, len(PERCENTILES)), np.float32)
        if not np.isfinite(stacked).all():
            wrong = int((~np.isfinite(stacked).all((1, 2))).argmax())
            item = values_of(messages)[wrong]["item"]
            raise MedReportError(f"record {record_id}: value {wrong + 1} ({item}) has NaN or infinity in its reference "
                                 "matrix", "leave a missing value as text")
        return stacked

    def items(self, messages: Messages, language: str) -> dict[str, np.ndarray]:
        """Whose value each matrix is, for the towers: the "items" (R, P, W) of `ItemWords`; nothing without `words`."""
        return {} if self.words is None else {ITEMS: self.words.ids(values_of(messages), language)}

    def replaced(self, messages: Messages, others: Messages) -> Messages:
        """The conversation with another's values where both have the same item on the same side; elsewhere with the
        healthy median, or the own value where that is not known."""
        known = {_key_of(part): _number_of(part) for part in _value_parts(others)}

        def another(part: Mapping[str, Any]) -> dict[str, Any]:
            changed = _with_number(part, known.get(_key_of(part), self._usual(part)))
            return written_out(changed) if "text" in part else changed

        return _map_values(messages, another)

    def _pairs(self, messages: Messages, record_id: str, person: Any) -> list[tuple[Reference, float]]:
        """The limits and the value of each part that is not text."""
        parts = values_of(messages)
        limits = [self.limits(part, record_id) for part in parts]
        numbers = [self._number(part, own, person) for part, own in zip(parts, limits, strict=True)]
        if self.random_seed is not None and parts:
            entries = self.references.entries if self.references else {}
            pool = [entries[key] for key in sorted(entries)] or limits
            rng = np.random.default_rng([self.random_seed, zlib.crc32(record_id.encode())])
            limits = [pool[i] for i in rng.integers(len(pool), size=len(parts))]
        return list(zip(limits, numbers, strict=True))

    def limits(self, part: Mapping[str, Any], record_id: str) -> Reference:
        """The reference range of a value; raises MedReportError where there is none."""
        if "matrix" in part:
            return reference_of_matrix(part["item"], part["matrix"], record_id)
        found = self.references.of(part["item"]) if self.references else None
        if found is None:
            raise MedReportError(f"{self.source}: no reference for {part['item']} (record {record_id})",
                                 "give a file that has it with --references, or build the instructions again")
        return found

    def _usual(self, part: Mapping[str, Any]) -> float:
        if "matrix" in part:
            return reference_of_matrix(part["item"], part["matrix"], "").median
        found = self.references.of(part["item"]) if self.references else None
        return found.median if found else float(part["value"])

    def _number(self, part: Mapping[str, Any], own: Reference, person: Any) -> float:
        number = _number_of(part)
        return number if "matrix" in part or not self.references else self.references.adjusted(own, number, person)


def check_values(values: Values, instructions: Instructions) -> None:
    """Raise MedReportError unless every value that is to be shown beside references has them."""
    if values.hidden or values.mode == "text":
        return
    held = values.references
    if held and len(held.percentiles) != len(PERCENTILES):
        raise MedReportError(f"{values.source}: {len(held.percentiles)} percentiles on each side, where the "
                             f"encoder takes {len(PERCENTILES)}", "compute references with as many")
    lacking = {}
    for record_id, row in instructions.rows.items():
        for part in values_of(row.messages):
            if "matrix" not in part and part["item"] not in lacking and not (held and held.of(part["item"])):
                lacking[part["item"]] = record_id
    if lacking:
        more = f" and {len(lacking) - 1} more items" if len(lacking) > 1 else ""
        first = next(iter(lacking))
        raise MedReportError(f"{values.source}: no reference for {first}{more}, which record {lacking[first]} "
                             "has", "give a file that has them with --references")


def reference_of_matrix(item: str, rows: Sequence[Sequence[float]], record_id: str) -> Reference:
    """The limits in a matrix that came with its record: upper, value, lower; raises MedReportError for another shape.

    The middle of the mildest limits stands for the median.
    """
    array = np.array(rows, np.float64)
    if array.shape != (3, len(PERCENTILES)):
        raise MedReportError(f"record {record_id}: value {item} has a matrix of shape {array.shape}, not (3, 7)",
                             "build the instructions again")
    upper, lower = array[0], array[2]
    return Reference(item, "", 0, "item", tuple(lower.tolist()), tuple(upper.tolist()),
                     float(upper[-1] + lower[-1]) / 2, 0.0)


def _value_parts(messages: Messages) -> list[Mapping[str, Any]]:
    return [part for turn in messages if not isinstance(turn["content"], str) for part in turn["content"]
            if part.get("type") == "value"]


def _map_values(messages: Messages, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Messages:
    """The conversation with its value parts changed."""
    return [turn if isinstance(turn["content"], str) else
            {**turn, "content": [change(part) if part.get("type") == "value" else part for part in turn["content"]]}
            for turn in messages]


def _key_of(part: Mapping[str, Any]) -> tuple[str, str | None]:
    return part["item"], part.get("side")


def _number_of(part: Mapping[str, Any]) -> float:
    return float(part["matrix"][1][0] if "matrix" in part else part["value"])


def _with_number(part: Mapping[str, Any], number: float) -> dict[str, Any]:
    if "matrix" not in part:
        return {**part, "value": number}
    upper, middle, lower = part["matrix"]
    return {**part, "matrix": [upper, [number] * len(middle), lower]}
