"""Tables of any hospital: `cases.csv`, one row per case, and `emg.csv` and `ncv.csv`, one row per table row."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets.emg_tables.cases import RawExamination, read_id
from emgecg_cli.core.datasets.emg_tables.columns import VALUE_COLUMNS, Columns, find_columns, lacks, refuse_columns
from emgecg_cli.core.datasets.emg_tables.mapping import REPORT, EtmMapping
from emgecg_cli.core.datasets.emg_tables.shapes import MOST_ROWS, RawTable
from emgecg_cli.core.datasets.emg_tables.tables_form import build_case
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.delimited import detect, dialect_details, read_rows
from emgecg_cli.core.delimited.numerals import COMMA, Evidence, decide
from emgecg_cli.core.errors import MedReportError

CASES = "cases.csv"
TABLES = {"emg": "emg.csv", "ncv": "ncv.csv"}


@dataclass(frozen=True)
class Table:
    """The columns of a table that has been read, and the decimal mark of each column of numbers."""

    columns: Columns
    marks: Mapping[str, str | None]


def is_csv_form(root: Path) -> bool:
    """Whether the folder holds `cases.csv` and at least one of the tables."""
    return (root / CASES).is_file() and any((root / name).is_file() for name in TABLES.values())


def read_csv_form(root: Path, mapping: EtmMapping) -> Iterator[RawExamination | QuarantineRow]:
    """The cases in the order of `cases.csv`, each with its rows of the tables in their order.

    The rows may stand in any order of cases: they are kept in a temporary database on disk. A row that belongs to no
    case is set aside by itself, and one of another width too. Raises MedReportError for columns that do not map.
    """
    with closing(sqlite3.connect("")) as rows:
        rows.execute("CREATE TABLE cells (name TEXT, record_id TEXT, number INTEGER, cells TEXT)")
        tables: dict[str, Table] = {}
        for name, file in TABLES.items():
            if (root / file).is_file():
                tables[name] = yield from _load(rows, root / file, name, mapping)
        rows.execute("CREATE INDEX by_record ON cells (name, record_id, number)")
        rows.execute("CREATE TABLE seen (record_id TEXT PRIMARY KEY)")
        yield from _cases(rows, root / CASES, tables, mapping)
        for name, record_id, number in rows.execute(
                "SELECT name, record_id, number FROM cells WHERE record_id NOT IN seen ORDER BY name, number"):
            yield QuarantineRow(record_id, "no such case", f"{TABLES[name]}, row {number}, column 'record_id': "
                                f"'{record_id[:80]}' is not in {CASES}", TABLES[name])


def _open(path: Path, wanted: dict[str, tuple[str, ...]], essential: Sequence[str], group: str,
          needless: Sequence[str] = ()) -> tuple[Iterator[tuple[int, list[str]]], list[str], Columns]:
    try:
        rows = read_rows(path, detect(path, [name for key, names in wanted.items() for name in (key, *names)]))
        _, header = next(rows, (1, []))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedReportError(f"{path}: not a readable CSV ({str(error)[:120]})", "save it as CSV in UTF-8") from None
    twice = [name for name in header if name.strip() and header.count(name) > 1]
    columns = find_columns(header, wanted)
    if any(key not in columns.of for key in essential) or lacks(columns, wanted, needless) or twice:
        if twice:
            raise MedReportError(f"{path}: has the column '{twice[0][:40]}' twice", "keep one of the two")
        raise refuse_columns(str(path), header, columns, wanted, group, [[key] for key in essential])
    return rows, header, columns


def _rows(rows: Iterator[tuple[int, list[str]]], header: list[str], of: Mapping[str, str],
          file: str) -> Iterator[tuple[int, dict[str, str]] | QuarantineRow]:
    """The rows by canonical column; the fault of a broken one in its place."""
    places, number = {key: header.index(column) for key, column in of.items()}, 1
    try:
        for number, row in rows:
            if len(row) != len(header):
                found = row[places["record_id"]].strip() if len(row) > places["record_id"] else ""
                yield QuarantineRow(found or f"{file}:{number}", "row of another width",
                                    f"{file}, row {number}: {len(row)} cells under {len(header)} headings", file)
                continue
            yield number, {key: row[place] for key, place in places.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        yield QuarantineRow(f"{file}:{number + 1}", "unreadable file", f"{file}, row {number + 1}: {str(error)[:80]}; "
                            "nothing of the file is read from there on", file)


def _load(database: sqlite3.Connection, path: Path, name: str,
          mapping: EtmMapping) -> Generator[QuarantineRow, None, Table]:
    """Put a table's rows into the database; yields the rows that cannot be used."""
    rows, header, columns = _open_table(path, name, mapping)
    evidence = {key: Evidence() for key in VALUE_COLUMNS if key in columns.of}
    for row in _rows(rows, header, columns.of, path.name):
        if isinstance(row, QuarantineRow):
            yield row
            continue
        number, cells = row
        for key, found in evidence.items():
            found.look(cells[key])
        database.execute("INSERT INTO cells VALUES (?, ?, ?, ?)",
                         (name, read_id(cells.pop("record_id")), number, json.dumps(cells)))
    return Table(columns, decide(evidence, _usual(path)))


def _open_table(path: Path, name: str,
                mapping: EtmMapping) -> tuple[Iterator[tuple[int, list[str]]], list[str], Columns]:
    wanted = {"record_id": mapping["record"]["record_id"], **mapping[f"{name}_columns"]}
    return _open(path, wanted, ("record_id", "nerve" if name == "ncv" else "muscle"), f"{name}_columns")


def _usual(path: Path) -> str | None:
    """The decimal mark to assume: where semicolons separate the cells, a comma is not a separator."""
    return COMMA if detect(path).separator == ";" else None


def csv_form_details(root: Path, mapping: EtmMapping) -> dict[str, Any]:
    """How files are written that are not comma-separated UTF-8, by their names; raises MedReportError as
    `read_csv_form` does."""
    told: dict[str, Any] = {}
    for name, file in {"cases": CASES, **TABLES}.items():
        if not (root / file).is_file() or not (said := dialect_details(detect(root / file))):
            continue
        if name == "ncv":
            rows, header, columns = _open_table(root / file, name, mapping)
            evidence = {key: Evidence() for key in VALUE_COLUMNS if key in columns.of}
            for row in _rows(rows, header, columns.of, file):
                if not isinstance(row, QuarantineRow):
                    for key, found in evidence.items():
                        found.look(row[1][key])
            commas = [columns.of[key] for key, mark in decide(evidence, _usual(root / file)).items() if mark == COMMA
                      and (evidence[key].comma or evidence[key].either)]
            said |= {"decimal_comma": ", ".join(commas)} if commas else {}
        told[file] = said
    return told


def _cases(database: sqlite3.Connection, path: Path, tables: Mapping[str, Table],
           mapping: EtmMapping) -> Iterator[RawExamination | QuarantineRow]:
    wanted = {key: names for key, names in mapping["record"].items() if key not in TABLES}
    rows, header, columns = _open(path, wanted, ("record_id",), "record", () if mapping.reports else REPORT)
    found = {CASES: columns} | {TABLES[name]: table.columns for name, table in tables.items()}
    unused = tuple(f"{file}: {name}" for file, one in found.items() for name in one.unmapped)
    for row in _rows(rows, header, columns.of, path.name):
        if isinstance(row, QuarantineRow):
            yield row
            continue
        number, fields = row
        where, record_id = f"{CASES}, row {number}", read_id(fields["record_id"])
        database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (record_id,))
        try:
            if not record_id:
                raise RecordError("no record_id", f"{where}, column '{columns.of['record_id']}': empty")
            yield replace(_case(database, record_id, fields, where, tables, mapping), unused=unused)
        except RecordError as error:
            yield QuarantineRow(record_id or f"{CASES}:{number}", error.reason, error.detail, CASES)


def _case(database: sqlite3.Connection, record_id: str, fields: dict[str, str], where: str,
          loaded: Mapping[str, Table], mapping: EtmMapping) -> RawExamination:
    tables, numbers = {}, {}
    for name in TABLES:
        found = database.execute("SELECT number, cells FROM cells WHERE name = ? AND record_id = ? ORDER BY number "
                                 "LIMIT ?", (name, record_id, MOST_ROWS + 1)).fetchall()
        if len(found) > MOST_ROWS:
            raise RecordError("too large", f"{where}: more than {MOST_ROWS} rows of {TABLES[name]}")
        rows: list[dict[str, Any]] = [json.loads(cells) for _, cells in found]
        tables[name] = RawTable(rows, loaded[name].columns.of, loaded[name].columns.unmapped,
                                loaded[name].marks) if name in loaded else \
            RawTable([], {})
        numbers[name] = [number for number, _ in found]
    try:
        case = build_case(fields, tables["emg"], tables["ncv"], where, CASES, None, record_id, mapping)
    except RecordError as error:
        raise RecordError(error.reason, _in_file(error.detail, where, numbers)) from None
    return replace(case, flags=tuple((reason, _in_file(line, where, numbers)) for reason, line in case.flags))


def _in_file(line: str, where: str, numbers: dict[str, list[int]]) -> str:
    """The place in the table's own file: "cases.csv, row 2, ncv row 1, …" becomes "ncv.csv, row 7, …"."""
    for name, file in TABLES.items():
        head = f"{where}, {name} row "
        if line.startswith(head):
            row, _, rest = line.removeprefix(head).partition(",")
            return f"{file}, row {numbers[name][int(row) - 1]},{rest}"
    return line
