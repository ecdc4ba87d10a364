"""What a model is shown of a record: text and a recording, or text and the values of tables beside their references.

Training and generation ask the same object, so that nothing else knows which of the two a store holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.values import Messages, Values
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.render import values_of
from emgecg_cli.core.manifest import path_from
from emgecg_cli.core.models.encoders.emg_alignment import TOKENS_PER_VALUE
from emgecg_cli.core.references import PERCENTILES, References, read_references
from emgecg_cli.core.references.files import hash_of
from emgecg_cli.core.store import Store


class Inputs(Protocol):
    """The records of a store as a model sees them. `source` is the record whose measurement is shown in place of the
    record's own; None is itself. `placeholders` are those whose number differs between prompts, as `render` takes them.
    """

    @property
    def placeholders(self) -> dict[str, int] | None: ...

    def messages(self, index: int, source: int | None = None) -> Messages:
        """The conversation of a record."""

    def signal(self, index: int, source: int | None = None) -> np.ndarray:
        """What the encoder takes: int16 (C, L) of recordings, float32 (R, 3, 7) of tables, R the values in the prompt.
        """


@dataclass(frozen=True)
class Signals:
    """Recordings: the text is the record's own, whatever is shown beside it."""

    store: Store
    instructions: Instructions
    placeholders: None = None

    def messages(self, index: int, source: int | None = None) -> Messages:
        """See `Inputs`."""
        return _row(self.store, self.instructions, index)

    def signal(self, index: int, source: int | None = None) -> np.ndarray:
        """See `Inputs`."""
        return self.store.signal(index if source is None else source)


@dataclass(frozen=True)
class Tables:
    """Tables: their numbers stand in the conversation, and are shown as `values` says."""

    store: Store
    instructions: Instructions
    values: Values
    _made: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def placeholders(self) -> dict[str, int] | None:
        """See `Inputs`."""
        return {"value": TOKENS_PER_VALUE} if self.values.mode == "encoder" else None

    def messages(self, index: int, source: int | None = None) -> Messages:
        """See `Inputs`."""
        return self.values.shown(self._said(index, source), self._id(index), self._of("language", index),
                                 self._person(index))

    def signal(self, index: int, source: int | None = None) -> np.ndarray:
        """See `Inputs`; a record's own are kept, since each epoch asks for them."""
        if source is None and index in self._made:
            return self._made[index]
        made = self.values.matrices(self.messages(index, source), self._id(index), self._person(index))
        if source is None:
            self._made[index] = made
        return made

    def check(self) -> None:
        """Raise MedReportError unless every value that is to be shown beside references has them."""
        if self.values.hidden or self.values.mode == "text":
            return
        held = self.values.references
        if held and len(held.percentiles) != len(PERCENTILES):
            raise MedReportError(f"{self.values.source}: {len(held.percentiles)} percentiles on each side, where the "
                                 f"encoder takes {len(PERCENTILES)}", "compute references with as many")
        lacking = {}
        for record_id, row in self.instructions.rows.items():
            for part in values_of(row.messages):
                if "matrix" not in part and part["item"] not in lacking and not (held and held.of(part["item"])):
                    lacking[part["item"]] = record_id
        if lacking:
            more = f" and {len(lacking) - 1} more items" if len(lacking) > 1 else ""
            first = next(iter(lacking))
            raise MedReportError(f"{self.values.source}: no reference for {first}{more}, which record {lacking[first]} "
                                 "has", "give a file that has them with --references")

    def _said(self, index: int, source: int | None) -> Messages:
        own = _row(self.store, self.instructions, index)
        if source is None or source == index:
            return own
        return self.values.replaced(own, _row(self.store, self.instructions, source))

    def _person(self, index: int) -> Any:
        if not self.values.references or self.values.references.covariates == "none":
            return None
        return _Person(*(self._of(name, index) for name in ("age", "height", "sex")))

    def _id(self, index: int) -> str:
        return str(self._of("record_id", index))

    def _of(self, column: str, index: int) -> Any:
        return self.store.column(column)[index]


@dataclass(frozen=True)
class _Person:
    age: float | None
    height: float | None
    sex: str | None


def open_inputs(store: Store, instructions: Instructions, *, encoder: str, values: Values, hint: str) -> Inputs:
    """The records of a store as this encoder's model sees them; raises MedReportError when it cannot read them.

    `hint` says what to do about a store of the other kind.
    """
    check_kind(store, encoder, hint)
    if not is_tables(store):
        return Signals(store, instructions)
    made = Tables(store, instructions, values)
    made.check()
    return made


def check_kind(store: Store, encoder: str, hint: str) -> None:
    """Raise MedReportError when a store holds what this encoder cannot read; `hint` says what to do about it."""
    tables = is_tables(store)
    if tables != (encoder in names.TABLE_ENCODERS):
        held, wanted = ("tables", "signals") if tables else ("signals", "tables")
        raise MedReportError(f"{store.path}: holds {held}, and encoder {encoder} reads {wanted}", hint)


def references_of(store: Store, file: Path | None) -> tuple[References | None, str]:
    """The references of a store of tables, or another hospital's, and where they are from, for errors."""
    if file is not None:
        return read_references(file), str(file)
    return store.references(), str(store.path)


def references_input(file: Path, out: Path) -> dict[str, str]:
    """A file of references as an input of an artefact; raises MedReportError when it is not one."""
    return {"path": path_from(file, out), "hash": hash_of(read_references(file))}


def is_tables(store: Store) -> bool:
    """Whether a store holds tables, not signals."""
    return store.modality == "tables"


def stack(shown: Sequence[np.ndarray]) -> np.ndarray:
    """What some records show, as one array: recordings (B, C, L); matrices (B, R, 3, 7), padded with NaN to the record
    with most of them, and to one at least, so that every weight of the encoder has a gradient."""
    if shown[0].ndim < 3:
        return np.stack(shown)
    stacked = np.full((len(shown), max(1, *map(len, shown)), *shown[0].shape[1:]), np.nan, np.float32)
    for row, matrices in zip(stacked, shown, strict=True):
        row[:len(matrices)] = matrices
    return stacked


def _row(store: Store, instructions: Instructions, index: int) -> Messages:
    return instructions.of([store.column("record_id")[index]])[0].messages
