"""Rows of a large CSV by a whole-number key: the file stays on disk, an index of 24 bytes a row is held."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emgecg_cli.core.delimited import detect, match_headings, utf8_content
from emgecg_cli.core.errors import MedReportError

# A longer row is a quotation mark that is never closed.
LONGEST_ROW = 1 << 16
NO_KEY = -1


@dataclass(frozen=True)
class KeyedRows:
    """Where the rows of `path` lie. `keys` are sorted, `order` gives for each the row's place in the file.

    `starts[i]` is the byte at which row i begins; there is one more, the end of the file. A row whose key is no whole
    number has the key NO_KEY. `columns` maps a name to its place in a row of `width` cells, which `separator` parts.
    `content` is the file as UTF-8 where it is written otherwise; `n_before` lines stand before its heading.
    """

    path: Path
    key: str
    columns: Mapping[str, int]
    width: int
    keys: np.ndarray
    order: np.ndarray
    starts: np.ndarray
    separator: str = ","
    n_before: int = 0
    content: bytes | None = None


def index_rows(path: Path, key: str, columns: Sequence[str] = (), optional: Sequence[str] = ()) -> KeyedRows:
    """Read a CSV once and note where each row lies.

    Raises MedReportError when the file is missing, is not CSV or lacks a column.
    """
    hint = f"needed are the columns {', '.join((key, *columns))}"
    try:
        dialect = detect(path, (key, *columns, *optional))
        content = None if dialect.is_utf8 else utf8_content(path, dialect)
        with _open(path, content) as stream:
            stream.seek(dialect.n_bom if content is None else 0)
            for _ in range(dialect.n_before if content is None else 0):
                stream.readline()
            records = _records(stream, path)
            _, header = next(records, (0, b""))
            names = _cells(header, dialect.separator) or []
            of = match_headings(path, names, (key, *columns), optional)
            place, parting = names.index(of[key]), dialect.separator.encode()
            starts, keys = array("q"), array("q")
            for position, record in records:
                starts.append(position)
                keys.append(_key_of(record, place, parting))
            starts.append(stream.tell())
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise MedReportError(f"{path}: {reason}", hint) from None
    kept = {name: names.index(heading) for name, heading in of.items()}
    unsorted = np.frombuffer(keys, np.int64)
    order = np.argsort(unsorted, kind="stable")
    return KeyedRows(path, key, kept, len(names), unsorted[order], order, np.frombuffer(starts, np.int64),
                     dialect.separator, dialect.n_before, content)


def _open(path: Path, content: bytes | None) -> BinaryIO:
    return path.open("rb") if content is None else io.BytesIO(content)


def find_rows(rows: KeyedRows, keys: np.ndarray) -> list[np.ndarray]:
    """For each key the places in the file of the rows that have it: none, one or several, in the file's order."""
    first, end = np.searchsorted(rows.keys, keys, "left"), np.searchsorted(rows.keys, keys, "right")
    return [rows.order[a:b] for a, b in zip(first.tolist(), end.tolist(), strict=True)]


def row_number(rows: KeyedRows, place: int) -> int:
    """The number by which an editor shows a row, the first line of the file being row 1."""
    return int(place) + 2 + rows.n_before


def read_rows(rows: KeyedRows, places: Sequence[int]) -> dict[int, dict[str, str] | None]:
    """The named cells of the rows at these places; None for a row that is not UTF-8 or of another width.

    Reads forwards through the file, whatever the order of `places`.
    """
    found: dict[int, dict[str, str] | None] = {}
    with _open(rows.path, rows.content) as stream:
        for place in sorted(places):
            start, end = rows.starts[place:place + 2].tolist()
            stream.seek(start)
            cells = _cells(stream.read(end - start), rows.separator)
            fits = cells is not None and len(cells) == rows.width
            found[place] = {name: cells[i] for name, i in rows.columns.items()} if cells and fits else None
    return found


def _records(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """The rows of a CSV with the byte at which each begins; a row runs on while a quotation mark is open."""
    position, number, held = stream.tell(), 1, b""
    for line in iter(partial(stream.readline, LONGEST_ROW), b""):
        held = held + line if held else line
        if len(held) >= LONGEST_ROW:
            raise MedReportError(f"{path}, row {number}: longer than {LONGEST_ROW} bytes",
                                 "look for a quotation mark that is never closed")
        if b'"' in held and held.count(b'"') % 2:
            continue
        if not held.isspace():
            yield position, held
            number += 1
        position += len(held)
        held = b""
    if held:
        raise MedReportError(f"{path}, row {number}: a quotation mark is never closed", "correct the row")


def _key_of(record: bytes, place: int, parting: bytes) -> int:
    if b'"' in record:
        cells = _cells(record, parting.decode()) or []
        text = cells[place].strip().encode() if place < len(cells) else b""
    else:
        parts = record.split(parting, place + 1)
        text = parts[place].strip() if place < len(parts) else b""
    return int(text) if text.isdigit() and len(text) < 19 else NO_KEY


def _cells(record: bytes, separator: str) -> list[str] | None:
    try:
        return next(csv.reader([record.decode("utf-8")], delimiter=separator), [])
    except (UnicodeDecodeError, csv.Error):
        return None
