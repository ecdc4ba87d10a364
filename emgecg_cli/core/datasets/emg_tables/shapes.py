"""A table inside a record, whatever its shape: lists, groups, columns, JSON in text, or text with pipes or tabs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emgecg_cli.core.datasets.emg_tables.columns import (
    ONE_SIDED,
    OPTIONAL,
    Columns,
    find_columns,
    lacks,
    refuse_columns,
)
from emgecg_cli.core.datasets.emg_tables.mapping import Names
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.emg.sides import find_side
from emgecg_cli.core.emg.terms import SIDES
from emgecg_cli.core.errors import MedReportError

MOST_ROWS, MOST_COLUMNS = 2000, 200
_RULE = re.compile(r"[\s|:+=-]+")
_HEAD_KEYS, _ROW_KEYS = ("columns", "header", "headers"), ("data", "rows")


class UnmappedError(RecordError):
    """Columns that do not map; `error` is raised when this holds for the whole set."""

    def __init__(self, error: MedReportError) -> None:
        super().__init__("unmapped columns", error.message)
        self.error = error


@dataclass(frozen=True)
class RawTable:
    """The rows of a table by canonical column, for each column the heading it has in the file, the headings that
    stand for none, and the decimal mark of each column where the whole file tells it."""

    rows: list[dict[str, Any]]
    headings: Mapping[str, str]
    unused: tuple[str, ...] = ()
    marks: Mapping[str, str | None] | None = None


def read_table(value: Any, wanted: Names, where: str, group: str) -> RawTable:
    """Rows of a table given as a list of lists (with a heading or in the published order), a list of groups, a group of
    columns, `{"columns": …, "data": …}`, any of these as JSON text, or lines with pipes or tabs; or a group of such
    tables, one for each side.

    Raises UnmappedError for headings that do not map, and RecordError for what is no table.
    """
    value = _decoded(value)
    if parts := _of_sides(value):
        return _joined([(side, read_table(part, wanted, where, group)) for side, part in parts])
    header, rows = _grid(value)
    if len(rows) > MOST_ROWS or any(len(row) > MOST_COLUMNS for row in rows) or len(header or ()) > MOST_COLUMNS:
        raise RecordError("too large", f"{where}: a table of more than {MOST_ROWS} rows or {MOST_COLUMNS} columns")
    if not rows and not header:
        return RawTable([], {})
    if header is None:
        header, rows = _find_header(rows, wanted)
    columns = find_columns(header, wanted)
    essential = "nerve" if "nerve" in wanted else "muscle"
    if essential not in columns.of or lacks(columns, wanted):
        raise UnmappedError(refuse_columns(where, header, columns, wanted, group, [[essential]]))
    twice = [name for name in columns.of.values() if list(header).count(name) > 1]
    if twice:
        raise RecordError("unreadable table", f"{where}: the column '{twice[0][:40]}' is there twice")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header) and any(_told(cell) for cell in row[len(header):]):
            raise RecordError("row of another width", f"{where}, row {number}: {len(row)} cells under {len(header)} "
                              "headings")
    return RawTable([_row(row, header, columns) for row in rows], columns.of, columns.unmapped)


def _decoded(value: Any) -> Any:
    """The value of JSON text that may be a table; any other as it is."""
    if not isinstance(value, str) or not value.strip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RecordError("unreadable table", f"text that is not JSON ({str(error)[:60]})") from None


def _of_sides(value: Any) -> list[tuple[str, Any]]:
    """The tables of a group whose members are one for each side; empty for any other value."""
    sides = [find_side(str(key)) for key in value] if isinstance(value, dict) else []
    if not sides or any(side not in SIDES or rest for side, rest in sides):
        return []
    return [(str(side), part) for (side, _), part in zip(sides, value.values(), strict=True)]


def _joined(tables: Sequence[tuple[str, RawTable]]) -> RawTable:
    rows = [row if _told(row.get("side")) else {**row, "side": side} for side, table in tables for row in table.rows]
    headings = {key: heading for _, table in tables for key, heading in table.headings.items()}
    return RawTable(rows, headings, tuple(dict.fromkeys(name for _, table in tables for name in table.unused)))


def _row(row: Sequence[Any], header: Sequence[str], columns: Columns) -> dict[str, Any]:
    cells = dict(zip(header, row, strict=False))
    return {key: cells.get(column) for key, column in columns.of.items()}


def _told(value: Any) -> bool:
    return value is not None and str(value).strip() != ""


def _grid(value: Any) -> tuple[list[str] | None, list[list[Any]]]:
    """The headings, None where they may be the first row, and the rows."""
    if isinstance(value, str):
        return None, _text_rows(value.strip())
    if value is None or value != value or value in ([], {}):
        return None, []
    if isinstance(value, dict):
        return _of_group(value)
    if isinstance(value, list | tuple) and all(isinstance(row, dict) for row in value):
        header = list(dict.fromkeys(str(key) for row in value for key in row))
        return header, [[{str(key): cell for key, cell in row.items()}.get(name) for name in header] for row in value]
    if isinstance(value, list | tuple) and all(isinstance(row, list | tuple) for row in value):
        return None, [list(row) for row in value]
    if isinstance(value, list) and all(isinstance(row, str) for row in value):
        return None, _text_rows("\n".join(value))
    raise RecordError("unreadable table", f"a {type(value).__name__} that is neither rows, columns nor text")


def _of_group(value: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    head = next((value[key] for key in _HEAD_KEYS if key in value), None)
    data = next((value[key] for key in _ROW_KEYS if key in value), None)
    if isinstance(head, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [str(name) for name in head], data
    if not all(isinstance(column, list) for column in value.values()):
        raise RecordError("unreadable table", "a group whose members are not all columns")
    if len({len(column) for column in value.values()}) > 1:
        raise RecordError("unreadable table", "columns of different lengths")
    return [str(key) for key in value], [list(row) for row in zip(*value.values(), strict=True)]


def _text_rows(text: str) -> list[list[Any]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    mark = "|" if any("|" in line for line in lines) else "\t"
    if lines and not any(mark in line for line in lines):
        raise RecordError("unreadable table", f"text without pipes or tabs: '{lines[0].strip()[:40]}'")
    framed = all(line.strip().startswith("|") for line in lines)
    rows = []
    for line in lines:
        if mark in line and not _RULE.fullmatch(line):
            inner = line.strip().removeprefix("|").removesuffix("|") if framed else line
            rows.append([cell.strip() for cell in inner.split(mark)])
    return rows


def _find_header(rows: list[list[Any]], wanted: Names) -> tuple[list[str], list[list[Any]]]:
    """The first row where it is made of headings, else the published order where the width is that one."""
    first = [str(cell) if cell is not None else "" for cell in rows[0]]
    found = find_columns([cell for cell in first if cell.strip()], wanted)
    if len(found.of) >= 2 and len(found.of) * 2 >= len([cell for cell in first if cell.strip()]):
        return first, rows[1:]
    published = [key for key in wanted if key not in OPTIONAL and key not in ONE_SIDED]
    if all(len(row) <= len(published) for row in rows) and len(rows[0]) == len(published):
        return [wanted[key][0] if wanted[key] else key for key in published], rows
    return first, rows
