"""Any folder of WFDB records (`.hea` files) with a CSV of reports, one row a record."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import SPLITS, QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.tables import file_hash, iterate_rows, scan_columns, told_of_tables
from emgecg_cli.core.datasets.wfdb_headers import RecordError, read_header
from emgecg_cli.core.datasets.wfdb_records import read_leads
from emgecg_cli.core.errors import MedReportError

COLUMNS = ("record", "report")
OPTIONAL = ("subject_id", "split", "language", "codes", "age", "sex")
NUMBERS = ("age",)
SEXES = {"": None, "f": "F", "female": "F", "m": "M", "male": "M"}
OLDEST = 130
_NAMES_PER_BATCH = 1 << 16


def open_source(root: Path, reports: Path) -> Source:
    """Open a folder of WFDB records; `reports` is a CSV with the columns `record` and `report`.

    `record` is the path of a header relative to the root, without `.hea`; it becomes the record id. Optional columns:
    `subject_id` (without it each record is a patient of its own), `split` (train, val or test), `language` ("en"),
    `codes` separated by ";", `age` in years, `sex` (M or F). A row that cannot be used is set aside with its number.
    Headers that no row names are counted; for a record of several segments that includes its segments. Raises
    MedReportError when the root is none, holds no header, or the CSV lacks a column.
    """
    root, reports = Path(root), Path(reports)
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", "--root is the folder that holds the .hea files")
    frame = scan_columns(reports, COLUMNS, OPTIONAL, NUMBERS)
    n_headers, without_report = _count_headers(root, _hashes_of(frame, reports))
    if not n_headers:
        raise MedReportError(f"{root}: no WFDB record, no file *.hea in it or below",
                             "--root is the folder that holds the .hea files")
    details = {"reports_sha256": file_hash(reports), "headers": n_headers, "records_without_report": without_report,
               **told_of_tables(reports, numbers=NUMBERS)}
    arguments = {"root": root.name or root.resolve().name, "reports": reports.name}
    return Source("wfdb", partial(_list, reports), partial(_read, str(root)), arguments, details,
                  population=f"wfdb/{arguments['root']}")


def _hashes_of(frame: polars.LazyFrame, path: Path) -> np.ndarray:
    """The 8-byte hashes of all records with a row, sorted: what is held of the table while headers are counted."""
    try:
        return np.unique(frame.select(polars.col("record").hash()).collect()["record"].to_numpy())
    except (polars.exceptions.PolarsError, OSError) as error:
        raise MedReportError(f"{path}: not a readable CSV ({str(error).partition(chr(10))[0][:200]})",
                             f"needed are the columns {', '.join(COLUMNS)}") from None


def _count_headers(root: Path, listed: np.ndarray) -> tuple[int, int]:
    """The number of headers under the root, and of those among them that no row of the table names."""
    names = (os.path.relpath(os.path.join(folder, name[:-4]), root).replace(os.sep, "/")
             for folder, _, files in os.walk(root) for name in files if name.endswith(".hea"))
    n_headers = without = 0
    while batch := list(islice(names, _NAMES_PER_BATCH)):
        n_headers += len(batch)
        without += int(np.isin(polars.Series(batch).hash().to_numpy(), listed, invert=True).sum())
    return n_headers, without


def _list(path: Path) -> Iterator[RecordRef | QuarantineRow]:
    for number, row in iterate_rows(path, COLUMNS, OPTIONAL, NUMBERS):
        record = row["record"]
        try:
            yield _ref(row)
        except RecordError as error:
            yield QuarantineRow(record, error.reason, f"{path.name}, row {number}: {error.detail}", record)


def _ref(row: Mapping[str, str]) -> RecordRef:
    record, split, language = row["record"], row.get("split", "").strip(), row.get("language", "").strip()
    if not record.strip():
        raise RecordError("bad record", "no record is named")
    if not row["report"].strip():
        raise RecordError("no report", "the report is empty")
    if split and split not in SPLITS:
        raise RecordError("bad split", f"'{split[:40]}' is none of {', '.join(SPLITS)}")
    if language and not (language.isascii() and language.isalpha() and language.islower() and len(language) < 4):
        raise RecordError("bad language", f"'{language[:40]}' is no code such as en")
    sex = row.get("sex", "").strip().lower()
    if sex not in SEXES:
        raise RecordError("bad sex", f"'{sex[:40]}' is neither M nor F")
    codes = [code.strip() for code in row.get("codes", "").split(";")]
    details: dict[str, Any] = {"report": row["report"], "language": language or None, "age": _age(row.get("age", "")),
                               "sex": SEXES[sex], "codes": list(dict.fromkeys(code for code in codes if code))}
    return RecordRef(record, row.get("subject_id", "").strip() or record, record, split or None, details)


def _age(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        age = float(text)
    except ValueError:
        age = math.nan
    if not 0 <= age <= OLDEST:
        raise RecordError("bad age", f"'{text[:40]}' is no age in years")
    return age


def _read(root: str, refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    return read_each(partial(_read_one, root), refs)


def _read_one(root: str, ref: RecordRef) -> Recording:
    leads, told = read_leads(read_header(root, ref.source)), ref.details
    return Recording(ref, leads.signal, leads.fs, told["report"], told["language"], list(told["codes"]),
                     age=told["age"], sex=told["sex"], **leads.facts())
