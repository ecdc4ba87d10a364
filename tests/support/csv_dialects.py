"""The same CSV in the ways in which people have it."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

Rows = Sequence[Sequence[str]]


def written(rows: Rows, separator: str = ",", encoding: str = "utf-8", end: str = "\r\n", before: str = "",
            mark: bytes = b"") -> bytes:
    """A CSV as bytes; `before` stands before its heading, `mark` before everything."""
    stream = io.StringIO(newline="")
    stream.write(before)
    # a cell with a line feed must be quoted, whatever ends the rows
    quoting = csv.QUOTE_ALL if end == "\r" else csv.QUOTE_MINIMAL
    csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    return mark + stream.getvalue().encode(encoding)


def in_any_case(rows: Rows) -> Rows:
    """With headings in other letters and with blanks around them."""
    return [[f" {name.upper()} " if i % 2 else name.title() for i, name in enumerate(rows[0])], *rows[1:]]


PLAIN: Callable[[Rows], bytes] = written
DIALECTS: dict[str, Callable[[Rows], bytes]] = {
    "semicolons, mark": lambda rows: written(rows, ";", mark=codecs.BOM_UTF8),
    "semicolons": lambda rows: written(rows, ";", end="\n"),
    "tabs": lambda rows: written(rows, "\t"),
    "sep line": lambda rows: written(rows, ";", before="sep=;\r\n"),
    "sep line, mark, tabs": lambda rows: written(rows, "\t", before="sep=\t\n", end="\n", mark=codecs.BOM_UTF8),
    "UTF-16, little": lambda rows: written(rows, "\t", "utf-16-le", mark=codecs.BOM_UTF16_LE),
    "UTF-16, big": lambda rows: written(rows, ",", "utf-16-be", mark=codecs.BOM_UTF16_BE),
    "UTF-16, sep line": lambda rows: written(rows, ";", "utf-16-le", before="sep=;\r\n", mark=codecs.BOM_UTF16_LE),
    "UTF-16 without a mark": lambda rows: written(rows, ";", "utf-16-le"),
    "UTF-16, big, without a mark": lambda rows: written(rows, ",", "utf-16-be"),
    "carriage returns": lambda rows: written(rows, ";", end="\r"),
    "lines of nothing": lambda rows: written(rows, ";", before="\r\n;;;\r\n"),
    "sep line, commas": lambda rows: written(rows, before="sep=,\n\n", end="\n"),
    "other case": lambda rows: written(in_any_case(rows), ";"),
    "other case, commas": lambda rows: written(in_any_case(rows)),
}
WINDOWS: Callable[[Rows], bytes] = lambda rows: written(rows, ";", "cp1252")  # noqa: E731


def write(path: Path, content: bytes) -> Path:
    """Write a file and the folders above it; returns its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path.parent
