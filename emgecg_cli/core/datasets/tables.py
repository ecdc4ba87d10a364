"""Read the CSV files of a source by column name, all cells as text, a batch of rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.errors import MedReportError

ROWS_PER_BATCH = 8192


def scan_columns(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> polars.LazyFrame:
    """The named columns of a CSV as a lazy frame of text, "" for an empty cell; optional ones where they are there.

    Raises MedReportError when the file is missing, not CSV or lacks a column.
    """
    hint = f"needed are the columns {', '.join(columns)}"
    if not path.is_file():
        raise MedReportError(f"{path}: no such file", hint)
    try:
        frame = polars.scan_csv(path, infer_schema=False, glob=False)
        there = frame.collect_schema().names()
    except (polars.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, hint) from None
    twice = [name for name in (*columns, *optional) if f"{name}_duplicated_0" in there]
    if twice:
        raise MedReportError(f"{path}: has the column {', '.join(twice)} more than once", "keep one of them")
    missing = [name for name in columns if name not in there]
    if missing:
        raise MedReportError(f"{path}: lacks the column {', '.join(missing)}", hint)
    kept = [*columns, *(name for name in optional if name in there)]
    return frame.select(polars.col(kept).fill_null(""))


def iterate_rows(path: Path, columns: Sequence[str],
                 optional: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV in their order, each with its number (the header is row 1), without holding the whole file.

    Raises MedReportError as `scan_columns` does, and for a line that is not CSV when it is reached.
    """
    yield from iterate_frame(scan_columns(path, columns, optional), path)


def iterate_frame(frame: polars.LazyFrame, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a lazy frame made from the CSV `path`, in order and numbered from 2, a batch at a time."""
    number = 1
    try:
        for batch in frame.collect_batches(chunk_size=ROWS_PER_BATCH, maintain_order=True):
            for row in batch.iter_rows(named=True):
                number += 1
                yield number, row
    except (polars.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, f"the fault is somewhere after row {number}") from None


def read_columns(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> dict[str, list[str]]:
    """The named columns of a small CSV as lists of text; raises MedReportError as `scan_columns` does."""
    frame = scan_columns(path, columns, optional)
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
