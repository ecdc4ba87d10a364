"""Rows of a nerve-conduction table, with both sides in a row or one side per row; they become one row per item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from emgecg_cli.core.delimited.numerals import decide, weigh
from emgecg_cli.core.emg.case import READING_ORDER, NcvRow
from emgecg_cli.core.emg.cells import Cell, CellError, read_cell
from emgecg_cli.core.emg.reading import (
    HEADING,
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
from emgecg_cli.core.emg.terms import MEASURES, SIDES, TYPES

_NAMES = {"nerve": "nerve", "type": "type", "stim": "place", "rec": "place"}
_MISSING = Cell("missing", None, "")
Key = tuple[str, str]
VALUE_COLUMNS = (*MEASURES, *(f"{measure}_{side}" for measure, side in READING_ORDER))


@dataclass(frozen=True)
class Placed:
    """A row with where it comes from: its number, and for each (measure, side) the row and column in the table.

    `one_sided`: the row names its side, and all its numbers belong to it.
    """

    row: NcvRow
    number: int
    at: Mapping[Key, tuple[int, str]]
    one_sided: bool = False


def read_ncv(reading: Reading, rows: Sequence[Mapping[str, object]]) -> tuple[list[Placed], Flag | None]:
    """The rows of a table, those of one side joined with those of the other, and why none of them can be used.

    A row maps canonical columns to raw cells: `lat_left` … `cv_right`, or `lat`, `amp`, `cv` of the side that the
    column `side` or a name gives. A row that names one side but has its numbers in the other side's columns counts as
    the side it names, with a flag. A row that names no side is left out, with a flag.
    """
    found: list[Placed] = []
    section = ""
    lost: Flag | None = None
    for number, row in enumerate(rows, 1):
        if not any(map(has_content, row.values())):
            continue
        if (heading := heading_side(row, "nerve")) is not None:
            section = heading
            continue
        n_flags = len(reading.flags)
        placed = _ncv_row(reading, number, row, found[-1] if found else None, section)
        found += [placed] if placed else []
        lost = lost or next((flag for flag in reading.flags[n_flags:] if not placed and flag.reason == "no side"), None)
    return _joined(reading, found), lost if not found else None


def decimal_marks(rows: Sequence[Mapping[str, object]]) -> dict[str, str | None]:
    """The decimal mark of each column of numbers in which there is a comma, from the rows of one table."""
    if not any(isinstance(cell, str) and "," in cell for row in rows for cell in row.values()):
        return {}
    return decide({column: weigh(row.get(column) for row in rows) for column in VALUE_COLUMNS})


def _ncv_row(reading: Reading, number: int, row: Mapping[str, object], above: Placed | None,
             section: str) -> Placed | None:
    told: list[tuple[str, str | None]] = [("side", column_side(reading, "ncv", number, row.get("side")))]
    names = {}
    for column, kind in _NAMES.items():
        side, names[column] = part_side(reading, kind, row.get(column))
        told.append((column, side))
    side = agree(reading, "ncv", number, [*told, ("sheet", sheet_side(row.get("sheet"))),
                                          (HEADING, section)])
    nerve = name_of(reading, "ncv", number, "nerve", "nerve", names["nerve"])
    if not nerve and above:
        nerve, more = above.row.nerve, ""
        if side is None and above.one_sided:
            side, more = _side_of(above), ", and its side"
        reading.flag("ncv", number, "nerve", "no nerve",
                     f"the cell is empty; '{nerve}' of the row above is taken{more}")
    if not nerve:
        reading.flag("ncv", number, "nerve", "no nerve", "the cell is empty and the row left out")
        return None
    type, stim, rec = (name_of(reading, "ncv", number, column, _NAMES[column], names[column])
                       for column in ("type", "stim", "rec"))
    told_by = next((column for column, one in told if one), "nerve")
    placed = Placed(NcvRow(nerve, type or "unknown", stim, rec, dict.fromkeys(READING_ORDER, _MISSING)), number, {})
    placed = _of_columns(reading, placed, row, side, told_by)
    return _of_one_side(reading, placed, row, side)


def _of_columns(reading: Reading, placed: Placed, row: Mapping[str, object], side: str | None,
                told_by: str) -> Placed:
    """The row with the numbers of the columns that name a side."""
    number = placed.number
    cells, at = dict(placed.row.cells), {}
    for measure, one in READING_ORDER:
        column = f"{measure}_{one}"
        at[measure, one] = number, column
        cells[measure, one] = _cell(reading, number, column, measure, placed.row.type, row.get(column))
    filled = [one for one in SIDES if any(cells[measure, one].state != "missing" for measure in MEASURES)]
    if side in SIDES and filled and filled != [side]:
        column = next(f"{measure}_{one}" for measure, one in READING_ORDER
                      if one != side and cells[measure, one].state != "missing")
        taken = side if len(filled) == 1 else "the columns"
        reading.flag("ncv", number, told_by, "two sides", f"'{side}' here, numbers under {column}; {taken} taken")
        if len(filled) == 1:
            other = {key: (key[0], SIDES[key[1] == "left"]) for key in READING_ORDER}
            cells = {key: cells[other[key]] for key in READING_ORDER}
            at = {key: at[other[key]] for key in READING_ORDER}
    for one in SIDES:
        _settle_zeros(reading, one, cells, at)
    return Placed(replace(placed.row, cells=cells), number, at, side in SIDES and len(filled) <= 1)


def _of_one_side(reading: Reading, placed: Placed, row: Mapping[str, object], side: str | None) -> Placed | None:
    """The row with the numbers of the columns that name no side; None if it names none itself and has no other
    number."""
    number = placed.number
    columns = [measure for measure in MEASURES if has_content(row.get(measure))]
    if not columns:
        return placed
    if side is None:
        wide = any(cell.state != "missing" for cell in placed.row.cells.values())
        reading.flag("ncv", number, "side" if "side" in row else "nerve", "no side",
                     f"neither a column 'side' nor a name says of which side {', '.join(columns)} are; "
                     + ("they are" if wide else "the row is") + " left out")
        return placed if wide else None
    sides = SIDES if side == BOTH else (side,)
    if side == BOTH:
        reading.flag("ncv", number, columns[0], "two sides", "one number for left and right; taken for both")
    cells, at = dict(placed.row.cells), dict(placed.at)
    for measure in columns:
        cell = _cell(reading, number, measure, measure, placed.row.type, row[measure])
        for one in sides:
            if cells[measure, one].state != "missing" and cell.state != "missing":
                reading.flag("ncv", number, measure, "two values", f"another number under {measure}_{one}, which is "
                             "taken")
            elif cell.state != "missing":
                cells[measure, one], at[measure, one] = cell, (number, measure)
    for one in sides:
        _settle_zeros(reading, one, cells, at)
    return replace(placed, row=replace(placed.row, cells=cells), at=at)


def _side_of(placed: Placed) -> str | None:
    filled = {side for (_, side), cell in placed.row.cells.items() if cell.state != "missing"}
    return filled.pop() if len(filled) == 1 else None


def _cell(reading: Reading, number: int, column: str, measure: str, type: str, value: object) -> Cell:
    try:
        cell = read_cell(value, measure, type, reading.marks.get(column))  # type: ignore[arg-type]
    except CellError as error:
        reading.flag("ncv", number, column, error.reason, f"{error.detail}; kept as text")
        return Cell("implausible", None, cell_text(value), error.reason)
    if cell.state == "implausible" and type in TYPES:  # an unknown type has its own flag
        slip = "unit slip" if "looks like" in cell.reason else "implausible value"
        reading.flag("ncv", number, column, slip, f"{cell.reason}; kept as text")
    return cell


def number_of(cell: Cell) -> float | None:
    """The number of a cell, also of one that is kept as text."""
    if cell.value is not None or cell.state != "implausible":
        return cell.value
    try:
        return float(cell.text)
    except ValueError:
        return None


def _settle_zeros(reading: Reading, side: str, cells: dict[Key, Cell], at: Mapping[Key, tuple[int, str]]) -> None:
    """Zeros where nothing else was measured mean an absent response, not a number."""
    if any(cells[measure, side].state == "value" for measure in MEASURES):
        return
    for measure in MEASURES:
        cell = cells[measure, side]
        if number_of(cell) == 0:
            cells[measure, side] = Cell("absent", None, cell.text)
            reading.drop_flags([at[measure, side]])


def _joined(reading: Reading, rows: Sequence[Placed]) -> list[Placed]:
    """The rows without repeats; a row of one side goes into the row that has the other side of the same item."""
    kept: list[Placed] = []
    of_item: dict[tuple[str, ...], list[int]] = {}
    for placed in rows:
        row = placed.row
        earlier = of_item.setdefault((row.nerve, row.type, row.stim, row.rec), [])
        met = [i for i in earlier if not placed.one_sided or _overlap(placed, kept[i])]
        twin = next((kept[i] for i in met if placed.one_sided and _same(placed, kept[i])),
                    kept[met[0]] if met else None)
        same = twin is not None and _same(placed, twin)
        host = next((i for i in earlier if placed.one_sided and kept[i].one_sided and i not in met), None)
        if host is not None and not same:
            kept[host] = _merged(kept[host], placed)
            continue
        # Left in one row and right in the next is one way to write a table, not a repetition.
        if twin is not None and (same or _overlap(placed, twin)):
            told = "and left out" if same else "with other numbers; both are kept"
            reading.flag("ncv", placed.number, "nerve", "duplicated row", f"the same item as row {twin.number}, {told}")
        if not same:
            earlier.append(len(kept))
            kept.append(placed)
    return kept


def _overlap(one: Placed, other: Placed) -> bool:
    return any("missing" not in (one.row.cells[key].state, other.row.cells[key].state) for key in READING_ORDER)


def _same(placed: Placed, twin: Placed) -> bool:
    """Whether the twin holds all that the row says and, for a row of both sides, nothing else."""
    told = [key for key in READING_ORDER if not placed.one_sided or placed.row.cells[key].state != "missing"]
    return all(_told_by(placed.row.cells[key]) == _told_by(twin.row.cells[key]) for key in told)


def _told_by(cell: Cell) -> tuple[str, float | str]:
    return cell.state, cell.text if cell.value is None else cell.value


def _merged(host: Placed, guest: Placed) -> Placed:
    own = {key: guest.row.cells[key].state != "missing" for key in READING_ORDER}
    cells = {key: (guest if own[key] else host).row.cells[key] for key in READING_ORDER}
    return replace(host, row=replace(host.row, cells=cells),
                   at={key: (guest if own[key] else host).at[key] for key in READING_ORDER})
