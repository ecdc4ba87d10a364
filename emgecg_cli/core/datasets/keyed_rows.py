"""Rows of a large CSV by a whole-number key: the file stays on disk, an index of 24 bytes a row is held."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emgecg_cli.core.errors import MedReportError

# A longer row is a quotation mark that is never closed.
LONGEST_ROW = 1 << 16
NO_KEY = -1


@dataclass(frozen=True)
class KeyedRows:
    """Where the rows of `path` lie. `keys` are sorted, `order` gives for each the row's place in the file.

    `starts[i]` is the byte at which row i begins; there is one more, the end of the file. A row whose key is no whole
    number has the key NO_KEY. `columns` maps a name to its place in a row of `width` cells.
    """

    path: Path
    key: str
    columns: Mapping[str, int]
    width: int
    keys: np.ndarray
    order: np.ndarray
    starts: np.ndarray


def index_rows(path: Path, key: str, columns: Sequence[str] = (), optional: Sequence[str] = ()) -> KeyedRows:
    """Read a CSV once and note where each row lies.

    Raises MedReportError when the file is missing, is not CSV or lacks a column.
    """
    hint = f"needed are the columns {', '.join((key, *columns))}"
    try:
        with path.open("rb") as stream:
            records = _records(stream, path)
            position, header = next(records, (0, b""))
            names = _cells(header.removeprefix(b"\xef\xbb\xbf")) or []
            missing = [name for name in (key, *columns) if name not in names]
            if missing:
                raise MedReportError(f"{path}: lacks the column {', '.join(missing)}", hint)
            twice = [name for name in (key, *columns, *optional) if names.count(name) > 1]
            if twice:
                raise MedReportError(f"{path}: has the column {twice[0]} twice", "keep one of the two")
            place = names.index(key)
            starts, keys = array("q"), array("q")
            for position, record in records:
                starts.append(position)
                keys.append(_key_of(record, place))
            starts.append(stream.tell())
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise MedReportError(f"{path}: {reason}", hint) from None
    kept = {name: names.index(name) for name in (key, *columns, *optional) if name in names}
    unsorted = np.frombuffer(keys, np.int64)
    order = np.argsort(unsorted, kind="stable")
    return KeyedRows(path, key, kept, len(names), unsorted[order], order, np.frombuffer(starts, np.int64))


def find_rows(rows: KeyedRows, keys: np.ndarray) -> list[np.ndarray]:
    """For each key the places in the file of the rows that have it: none, one or several, in the file's order."""
    first, end = np.searchsorted(rows.keys, keys, "left"), np.searchsorted(rows.keys, keys, "right")
    return [rows.order[a:b] for a, b in zip(first.tolist(), end.tolist(), strict=True)]


def row_number(place: int) -> int:
    """The number by which an editor shows a row, the header being row 1."""
    return int(place) + 2


def read_rows(rows: KeyedRows, places: Sequence[int]) -> dict[int, dict[str, str] | None]:
    """The named cells of the rows at these places; None for a row that is not UTF-8 or of another width.

    Reads forwards through the file, whatever the order of `places`.
    """
    found: dict[int, dict[str, str] | None] = {}
    with rows.path.open("rb") as stream:
        for place in sorted(places):
            start, end = rows.starts[place:place + 2].tolist()
            stream.seek(start)
            cells = _cells(stream.read(end - start))
            fits = cells is not None and len(cells) == rows.width
            found[place] = {name: cells[i] for name, i in rows.columns.items()} if cells and fits else None
    return found


def _records(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """The rows of a CSV with the byte at which each begins; a row runs on while a quotation mark is open."""
    position, number, held = 0, 1, b""
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


def _key_of(record: bytes, place: int) -> int:
    if b'"' in record:
        cells = _cells(record) or []
        text = cells[place].strip().encode() if place < len(cells) else b""
    else:
        parts = record.split(b",", place + 1)
        text = parts[place].strip() if place < len(parts) else b""
    return int(text) if text.isdigit() and len(text) < 19 else NO_KEY


def _cells(record: bytes) -> list[str] | None:
    try:
        return next(csv.reader([record.decode("utf-8")]), [])
    except (UnicodeDecodeError, csv.Error):
        return None
