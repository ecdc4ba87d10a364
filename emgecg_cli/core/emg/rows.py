"""Both tables of a record from raw cells: rows of muscles here, rows of nerves in `ncv_rows`, slips across rows in
`swaps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from emgecg_cli.core.emg.case import EmgRow, NcvRow
from emgecg_cli.core.emg.ncv_rows import decimal_marks, read_ncv
from emgecg_cli.core.emg.reading import (
    HEADING,
    Extra,
    Flag,
    Reading,
    agree,
    cell_text,
    column_side,
    has_content,
    heading_side,
    name_of,
    part_side,
    sheet_side,
)
from emgecg_cli.core.emg.sides import BOTH
from emgecg_cli.core.emg.swaps import find_swaps
from emgecg_cli.core.emg.terms import SIDES, canonical

_EMG_WORDS = {"fibs": "grade", "psw": "grade", "fascics": "grade", "polyph": "grade", "others": "other",
              "form": "form", "recruitment": "recruitment"}


@dataclass(frozen=True)
class Tables:
    """The rows of both tables, what is wrong with them, and in `refused` why the whole record cannot be trusted."""

    emg: tuple[EmgRow, ...]
    ncv: tuple[NcvRow, ...]
    flags: tuple[Flag, ...] = ()
    refused: Flag | None = None


def read_tables(emg: Sequence[Mapping[str, object]], ncv: Sequence[Mapping[str, object]],
                extra: Extra | None = None, marks: Mapping[str, str | None] | None = None) -> Tables:
    """Read both tables; each row maps canonical column names to raw cells; columns may be absent. `marks` are the
    decimal marks of the columns of numbers, if they are known from more than these rows.

    An unknown nerve, muscle or site keeps its text and is flagged, so that it can be added to the vocabulary; a cell
    that is no number keeps its text in state "implausible"; a repeated row is left out. Empty rows are skipped.
    `refused` is set if latency, amplitude and velocity are swapped throughout, or if no row of nerves names its
    side.
    """
    reading = Reading(extra or {}, decimal_marks(ncv) if marks is None else marks)
    emg_rows = _emg_rows(reading, emg)
    placed, refused = read_ncv(reading, ncv)
    kept_emg = _without_repeats(reading, [pair for pair in emg_rows if pair[1].muscle])
    if refused is None:
        placed, refused = find_swaps(reading, placed)
    return Tables(tuple(kept_emg), tuple(one.row for one in placed), tuple(reading.flags), refused)


def _emg_rows(reading: Reading, rows: Sequence[Mapping[str, object]]) -> list[tuple[int, EmgRow]]:
    found: list[tuple[int, EmgRow]] = []
    section = ""
    for number, row in enumerate(rows, 1):
        if not any(map(has_content, row.values())):
            continue
        if (heading := heading_side(row, "muscle")) is not None:
            section = heading
            continue
        side, read = _emg_row(reading, number, row, section)
        found += [(number, replace(read, side=one)) for one in (SIDES if side == BOTH else (side,))]
    return found


def _emg_row(reading: Reading, number: int, row: Mapping[str, object],
             section: str) -> tuple[str | None, EmgRow]:
    """The side of a row ("both" for a muscle of each side), and the row without it."""
    told, rest = part_side(reading, "muscle", row.get("muscle"))
    side = agree(reading, "emg", number, [("side", column_side(reading, "emg", number, row.get("side"))),
                                          ("muscle", told), ("sheet", sheet_side(row.get("sheet"))),
                                          (HEADING, section)])
    muscle = name_of(reading, "emg", number, "muscle", "muscle", rest)
    if not muscle:
        reading.flag("emg", number, "muscle", "no muscle", "the cell is empty and the row left out")
    elif side == BOTH:
        reading.flag("emg", number, "muscle", "two sides", "one row for left and right; taken for both")
    words = {}
    for column, kind in _EMG_WORDS.items():
        text = cell_text(row.get(column))
        words[column] = canonical("grade", text) or canonical(kind, text, reading.extra.get(kind)) or text
    return side, EmgRow(None, muscle, **words)


def _without_repeats(reading: Reading, rows: Sequence[tuple[int, EmgRow]]) -> list[EmgRow]:
    first: dict[tuple[str | None, str], tuple[int, EmgRow]] = {}
    kept = []
    for number, row in rows:
        earlier, twin = first.setdefault((row.side, row.muscle), (number, row))
        if earlier == number or row != twin:
            kept.append(row)
        if earlier != number:
            told = "with other words; both are kept" if row != twin else "and left out"
            reading.flag("emg", number, "muscle", "duplicated row", f"the same muscle as row {earlier}, {told}")
    return kept
