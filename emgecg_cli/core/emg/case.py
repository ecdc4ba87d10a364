"""One examined person: the rows of the EMG table and of the nerve-conduction table, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emgecg_cli.core.emg.cells import STATES, Cell
from emgecg_cli.core.emg.terms import EMG_COLUMNS, MEASURES, SIDES
from emgecg_cli.core.errors import MedReportError

# The order in which a row's numbers are read: left to right.
READING_ORDER = tuple((measure, side) for measure in MEASURES for side in SIDES)


@dataclass(frozen=True)
class EmgRow:
    """A row of the needle EMG table: words and grades, canonical where the vocabulary knows them, else as given.

    `side` is "left", "right" or None. "-" means none was seen, "" that nothing was written.
    """

    side: str | None
    muscle: str
    fibs: str = ""
    psw: str = ""
    fascics: str = ""
    others: str = ""
    polyph: str = ""
    form: str = ""
    recruitment: str = ""


@dataclass(frozen=True)
class NcvRow:
    """A row of the nerve-conduction table. `cells` maps (measure, side) to what was found, in READING_ORDER.

    `nerve`, `type`, `stim` and `rec` are canonical where the vocabulary knows them, else as given.
    """

    nerve: str
    type: str
    stim: str
    rec: str
    cells: Mapping[tuple[str, str], Cell] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.nerve, self.type, self.stim, self.rec, *self.cells.items()))


@dataclass(frozen=True)
class Case:
    """One examination. `age` in years, `height` in cm, `sex` "F", "M" or None; None is unknown."""

    age: float | None
    sex: str | None
    height: float | None
    emg: tuple[EmgRow, ...]
    ncv: tuple[NcvRow, ...]


@dataclass(frozen=True, order=True)
class Item:
    """What a number measures, of either side; the key of a reference range."""

    nerve: str
    type: str
    stim: str
    rec: str
    measure: str

    @property
    def key(self) -> str:
        """`median|motor|wrist|apb|lat`."""
        return "|".join((self.nerve, self.type, self.stim, self.rec, self.measure))


def item_of(key: str) -> Item:
    """The item of a key; raises MedReportError for any other text."""
    parts = key.split("|")
    if len(parts) != 5 or parts[4] not in MEASURES or not parts[0] or not parts[1]:
        raise MedReportError(f"'{key[:80]}' is no item",
                             "an item is nerve|type|stim|rec|measure, such as median|motor|wrist|apb|lat")
    return Item(*parts)


def values(case: Case) -> Iterator[tuple[Item, str, Cell]]:
    """Every cell of the nerve-conduction table with its item and side, in reading order: row by row, left to right.

    Missing and absent cells come too; those in state "value" are the numbers an encoder takes.
    """
    for row in case.ncv:
        for measure, side in READING_ORDER:
            cell = row.cells.get((measure, side))
            if cell is not None:
                yield Item(row.nerve, row.type, row.stim, row.rec, measure), side, cell


def case_to_dict(case: Case) -> dict[str, Any]:
    """A case as JSON values; `case_from_dict` gives an equal case back."""
    return {"age": case.age, "sex": case.sex, "height": case.height, "emg": [asdict(row) for row in case.emg],
            "ncv": [{"nerve": row.nerve, "type": row.type, "stim": row.stim, "rec": row.rec,
                     "cells": {f"{measure}_{side}": [cell.state, cell.value, cell.text, cell.reason]
                               for (measure, side), cell in row.cells.items()}} for row in case.ncv]}


def case_from_dict(values: Mapping[str, Any]) -> Case:
    """The case of JSON values as `case_to_dict` writes them; raises MedReportError for others."""
    try:
        emg = tuple(EmgRow(row["side"], **{name: str(row[name]) for name in EMG_COLUMNS}) for row in values["emg"])
        ncv = tuple(NcvRow(row["nerve"], row["type"], row["stim"], row["rec"],
                           {key: _cell(*row["cells"]["_".join(key)]) for key in READING_ORDER
                            if "_".join(key) in row["cells"]}) for row in values["ncv"])
        return Case(values["age"], values["sex"], values["height"], emg, ncv)
    except (KeyError, TypeError, ValueError) as error:
        raise MedReportError(f"not a case of EMG and NCV tables ({type(error).__name__}: {str(error)[:80]})",
                             "prepare the store again") from None


def _cell(state: str, value: float | None, text: str, reason: str) -> Cell:
    number = isinstance(value, float | int) and not isinstance(value, bool)
    if state not in STATES or (state == "value") != number:
        raise ValueError(f"a cell in state {str(state)[:40]} with value {str(value)[:40]}")
    return Cell(state, None if value is None else float(value), text, reason)
