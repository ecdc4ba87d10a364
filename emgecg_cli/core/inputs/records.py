"""What a model is shown of a record, by name: its text, and any of the inputs its towers read.

Training and generation ask the same object, so that nothing else needs to know what a store holds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.items import ItemWords
from emgecg_cli.core.inputs.record import Record
from emgecg_cli.core.inputs.sources import InputSource
from emgecg_cli.core.inputs.values import Messages, Values, check_values
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.render import part_types, with_part
from emgecg_cli.core.manifest import path_from
from emgecg_cli.core.models.encoders.emg_alignment import TOKENS_PER_VALUE
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.references import References, read_references
from emgecg_cli.core.references.files import hash_of
from emgecg_cli.core.store import Store

# Input name -> the record whose measurement is shown in place of the record's own; None: nothing is shown
Instead = Mapping[str, int | None]
OWN: Instead = {}
_CALLED = {"ecg": "signals", "values": "tables", "image": "signals"}


@dataclass(frozen=True)
class Inputs:
    """The records of a store as a model sees them: `sources` are those of its towers, by name and in their order.

    `values` says how numbers of tables stand in the text; None where no conversation has any.
    """

    store: Store
    instructions: Instructions
    sources: Mapping[str, InputSource]
    values: Values | None = None
    _last: dict[int, tuple[Messages, set[str]]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The inputs that can be replaced by others; values count even if they are text."""
        return (*self.sources, *(("values",) if self.values and "values" not in self.sources else ()))

    def messages(self, index: int, instead: Instead = OWN) -> Messages:
        """The conversation of a record, with a part for each input it has."""
        said, types = self._row(index)
        for name in self.sources:
            part = names.INPUTS[name].part
            if part not in types and self.has(index, name):
                said = with_part(said, part)
        if self.values is None:
            return said
        shown = instead.get("values", index)
        if shown not in (None, index):
            said = self.values.replaced(said, self._row(int(shown))[0])
        values = replace(self.values, hidden=True) if shown is None else self.values
        return values.shown(said, self._id(index), self._of("language", index), self._person(index))

    def has(self, index: int, name: str) -> bool:
        """Whether a record has an input, as its conversation says."""
        source = self.sources[name] if name in self.sources else names.resolve("input", name)
        return bool(source.shown_by(self._row(index)[1]))

    def lacking(self, index: int, instead: Instead = OWN) -> tuple[str, ...]:
        """The inputs that a record lacks, or that are not to be shown."""
        return tuple(name for name in self.sources if instead.get(name, index) is None or not self.has(index, name))

    def arrays(self, index: int, instead: Instead = OWN, seed: int | None = None) -> dict[str, np.ndarray]:
        """What the towers take of a record, a blank for what it lacks. With a seed, as one visit of it in training."""
        messages, lacking, made = self.messages(index, instead), self.lacking(index, instead), {}
        for name, source in self.sources.items():
            made[name] = source.blank() if name in lacking else \
                source.read(self.record(index, name, messages, instead, seed))
        if "values" in self.sources and self.values:
            made |= self.values.items(messages, self._of("language", index))
        return made

    def record(self, index: int, name: str, messages: Messages, instead: Instead = OWN,
               seed: int | None = None) -> Record:
        """What the source of an input is told of a record."""
        shown = instead.get(name, index)
        return Record(index, index if shown is None else shown, messages, self._id(index), self._person(index), seed)

    def naming_items(self, tokenizer: Any) -> Inputs:
        """The same records, their values shown with the names of their items beside, which a tokenizer cuts."""
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers are forked, and cut names too
        return replace(self, values=replace(self.values, words=ItemWords(tokenizer))) if self.values else self

    @property
    def text_counts(self) -> dict[str, int] | None:
        """Placeholders for measuring the text of a prompt where no model is at hand: those that stand amid the words.
        """
        if "values" not in self.sources:
            return None
        return {names.INPUTS[name].part: TOKENS_PER_VALUE if name == "values" else 0 for name in self.sources}

    def placeholders(self, index: int, counts: Mapping[str, int] | None, instead: Instead = OWN) \
            -> dict[str, int] | None:
        """Of a model's `placeholders`, those of a record: none for a part of an input it lacks."""
        if counts is None:
            return None
        lacking = {names.INPUTS[name].part for name in self.lacking(index, instead)}
        return {part: 0 if part in lacking else count for part, count in counts.items()}

    def _row(self, index: int) -> tuple[Messages, set[str]]:
        """The conversation of the instructions, and the types of its parts."""
        found = self._last.get(index)
        if found is None:  # each record is asked for several times in a row
            said = self.instructions.of([self._id(index)])[0].messages
            found = said, part_types(said)
            self._last.clear()
            self._last[index] = found
        return found

    def _person(self, index: int) -> Any:
        held = self.values.references if self.values else None
        if held is None or held.covariates == "none":
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


def inputs_held(store: Store, instructions: Instructions) -> tuple[str, ...]:
    """The inputs that records of a store with these instructions may show."""
    drawn, values = store.kind.has_signals, instructions.manifest.counts.get("values") is not None
    return tuple(dict.fromkeys((store.kind.input, *(("image",) if drawn else ()), *(("values",) if values else ()))))


def open_inputs(store: Store, instructions: Instructions, *, encoder: str, hints: Mapping[str, str],
                references: Path | None = None, mode: str = "encoder", random_seed: int | None = None,
                hidden: bool = False, settings: Mapping[str, Any] | None = None,
                sizes: Mapping[str, Mapping[str, Any]] | None = None) -> Inputs:
    """The records of a store as the model with these encoders, of these `sizes` by name, sees them; `settings` are
    those of preprocessing.

    `references` is a file in place of the store's own; `mode`, `random_seed` and `hidden` are as in `Values`.
    Raises MedReportError when records cannot show what an encoder reads; `hints` says what to do then about a store
    that holds this.
    """
    held, encoders = inputs_held(store, instructions), names.encoders_of(encoder)
    check_held(store, instructions, encoder, hints)
    values = None
    if "values" in held:
        found, source = limits_for(store, instructions, references)
        values = Values(found, mode if "values" in encoders else "text", random_seed, hidden, source)
        check_values(values, instructions)
    elif references:
        raise MedReportError(f"--references {references}: {store.path} holds signals", "leave --references out")
    sources = {name: names.resolve("input", name).open(store, preprocessing_of(chosen, settings, sizes), values)
               for name, chosen in encoders.items() if name != "values" or mode == "encoder"}
    if "image" in sources:
        asked = any("image" in part_types(row.messages) for row in instructions.rows.values())
        sources["image"] = replace(sources["image"], everywhere=not asked)
    for name, one in sources.items():
        rows = (row.messages for row in instructions.rows.values())
        if name != "values" and not any(one.shown_by(part_types(messages)) for messages in rows):
            raise MedReportError(f"{instructions.path}: no prompt has a part '{names.INPUTS[name].part}', where a "
                                 "signal is to enter", "give instructions of the same kind of store")
    return Inputs(store, instructions, sources, values)


def check_held(store: Store, instructions: Instructions, encoder: str, hints: Mapping[str, str]) -> None:
    """Raise MedReportError when records of a store cannot show what an encoder reads; see `open_inputs`."""
    held = inputs_held(store, instructions)
    for name, chosen in names.encoders_of(encoder).items():
        if name not in held:
            raise MedReportError(f"{store.path}: holds {_CALLED[held[0]]}, and encoder {chosen} reads "
                                 f"{_CALLED.get(name, name)}", hints[held[0]])


def limits_for(store: Store, instructions: Instructions, file: Path | None) -> tuple[References | None, str]:
    """The reference ranges of a file, else those that came with the instructions or the store, and where they are from,
    for errors."""
    if file is not None:
        return read_references(file), str(file)
    kept = instructions.references()
    return (kept, str(instructions.path)) if kept else (store.references(), str(store.path))


def references_input(file: Path, out: Path) -> dict[str, str]:
    """A file of references as an input of an artefact; raises MedReportError when it is not one."""
    return {"path": path_from(file, out), "hash": hash_of(read_references(file))}
