"""Read the CSV files of a source by column name, all cells as text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import polars

from emgecg_cli.core.errors import MedReportError


def read_columns(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> dict[str, list[str]]:
    """The named columns of a CSV as lists of text, "" for an empty cell; optional ones only where they are there.

    Raises MedReportError when the file is missing, not CSV or lacks a column.
    """
    hint = f"needed are the columns {', '.join(columns)}"
    try:
        frame = polars.read_csv(path, infer_schema=False, glob=False)
    except FileNotFoundError:
        raise MedReportError(f"{path}: no such file", hint) from None
    except (polars.exceptions.PolarsError, OSError) as error:
        raise MedReportError(f"{path}: not a readable CSV ({str(error).partition(chr(10))[0][:200]})", hint) from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise MedReportError(f"{path}: lacks the column {', '.join(missing)}", hint)
    kept = [*columns, *(name for name in optional if name in frame.columns)]
    return {name: frame[name].fill_null("").to_list() for name in kept}


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
