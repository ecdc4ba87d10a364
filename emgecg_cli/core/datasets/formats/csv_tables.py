"""Read the CSV files of a source by column name, all cells as text, a batch of rows at a time, whatever their letters,
separator and decimal mark."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.delimited import detect, dialect_details, match_headings, utf8_content
from emgecg_cli.core.delimited.numerals import COMMA, decide, replaced, weigh
from emgecg_cli.core.errors import MedReportError

ROWS_PER_BATCH = 8192


def scan_columns(path: Path, columns: Sequence[str], optional: Sequence[str] = (),
                 numbers: Sequence[str] = ()) -> polars.LazyFrame:
    """The named columns of a CSV as a lazy frame of text, "" for an empty cell; optional ones where they are there.

    The CSV may be written in any way that `delimited.detect` knows, with headings in any case. Of the columns in
    `numbers` decimal commas are made points. Raises MedReportError when the file is missing, not CSV or lacks a column.
    """
    hint = f"needed are the columns {', '.join(columns)}"
    if not path.is_file():
        raise MedReportError(f"{path}: no such file", hint)
    try:
        frame = _scan(path, (*columns, *optional))
        there = frame.collect_schema().names()
    except (polars.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, hint) from None
    of = match_headings(path, there, columns, optional)
    twice = [name for name, heading in of.items() if f"{heading}_duplicated_0" in there]
    if twice:
        raise MedReportError(f"{path}: has the column {', '.join(twice)} more than once", "keep one of them")
    frame = frame.select(polars.col(heading).alias(name).fill_null("") for name, heading in of.items())
    try:
        return frame.with_columns(_with_points(frame, path, [name for name in numbers if name in of]))
    except (polars.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, hint) from None


def _scan(path: Path, known: Sequence[str] = ()) -> polars.LazyFrame:
    """Every column as text. A file that polars does not take as it lies is held in memory."""
    dialect = detect(path, known)
    source = path if dialect.is_utf8 else io.BytesIO(utf8_content(path, dialect))
    return polars.scan_csv(source, infer_schema=False, glob=False, separator=dialect.separator,
                           skip_lines=dialect.n_before if dialect.is_utf8 else 0)


def _with_points(frame: polars.LazyFrame, path: Path, numbers: Sequence[str]) -> list[polars.Expr]:
    """Expressions that turn decimal commas into points, for the columns in which there are commas."""
    marks = _decimal_marks(frame, path, numbers)
    return [polars.col(name).map_elements(partial(replaced, mark=mark), return_dtype=polars.String)
            for name, mark in marks.items()]


def _decimal_marks(frame: polars.LazyFrame, path: Path, numbers: Sequence[str]) -> dict[str, str | None]:
    """The decimal mark of each column of numbers in which a comma is met."""
    if not numbers:
        return {}
    comma = polars.col(numbers).str.contains(",", literal=True).any()
    if not any(frame.select(comma).collect(engine="streaming").row(0)):
        return {}
    texts = {name: frame.select(polars.col(name).unique()).collect(engine="streaming")[name] for name in numbers}
    usual = COMMA if detect(path).separator == ";" else None
    marks = decide({name: weigh(column) for name, column in texts.items()}, usual)
    return {name: mark for name, mark in marks.items() if texts[name].str.contains(",", literal=True).any()}


def table_details(*paths: Path | None, numbers: Sequence[str] = ()) -> dict[str, Any]:
    """What a manifest says of these CSVs under "tables": how those are written that are not comma-separated UTF-8,
    and in which of the columns `numbers` there are decimal commas; empty where there is nothing to say."""
    told: dict[str, Any] = {}
    for path in filter(None, paths):
        said = dialect_details(detect(path, numbers))
        of = match_headings(path, column_names(path, numbers), (), numbers)
        marks = _decimal_marks(scan_columns(path, list(of)), path, list(of))
        if commas := [name for name, mark in marks.items() if mark == COMMA]:
            said["decimal_comma"] = ", ".join(commas)
        told |= {path.name: said} if said else {}
    return {"tables": told} if told else {}


def column_names(path: Path, known: Sequence[str] = ()) -> list[str]:
    """The headings of a CSV, each once; raises MedReportError for what is no CSV."""
    try:
        return _scan(path, known).collect_schema().names()
    except (polars.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, "save it as CSV") from None


def iterate_rows(path: Path, columns: Sequence[str], optional: Sequence[str] = (),
                 numbers: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV in their order, each with its number (the header is row 1), without holding the whole file.

    Raises MedReportError as `scan_columns` does, and for a line that is not CSV when it is reached.
    """
    yield from iterate_frame(scan_columns(path, columns, optional, numbers), path)


def iterate_frame(frame: polars.LazyFrame, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a lazy frame made from the CSV `path`, in order, a batch at a time; the first is row 2 (3 where a
    line "sep=;" stands before the heading)."""
    number = first_row(path) - 1
    try:
        for batch in frame.collect_batches(chunk_size=ROWS_PER_BATCH, maintain_order=True):
            for row in batch.iter_rows(named=True):
                number += 1
                yield number, row
    except (polars.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, f"the fault is somewhere after row {number}") from None


def first_row(path: Path) -> int:
    """The number of the first row below the heading, line 1 of the file being row 1."""
    return 2 + detect(path).n_before


def read_columns(path: Path, columns: Sequence[str], optional: Sequence[str] = (),
                 numbers: Sequence[str] = ()) -> dict[str, list[str]]:
    """The named columns of a small CSV as lists of text; raises MedReportError as `scan_columns` does."""
    frame = scan_columns(path, columns, optional, numbers)
    try:
        return {series.name: series.to_list() for series in frame.collect()}
    except (polars.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, f"needed are the columns {', '.join(columns)}") from None


def _unreadable(path: Path, error: Exception, hint: str) -> MedReportError:
    said = "".join(c if c.isprintable() else " " for c in str(error).partition("\n")[0][:200]).strip()
    return MedReportError(f"{path}: not a readable CSV ({said})", hint)


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
