"""Any folder of recordings, one a file in the formats that hospitals have, with a CSV of reports or without reports."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.file_names import FileNames, file_names, recording_files
from emgecg_cli.core.datasets.formats.csv_tables import (
    column_names,
    file_hash,
    iterate_rows,
    scan_columns,
    table_details,
)
from emgecg_cli.core.datasets.formats.recording_files import (
    Stated,
    format_of,
    open_recording,
    read_recording,
    stated_by,
)
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.datasets.report_rows import (
    NOTHING_SAID,
    NUMBERS,
    OPTIONAL,
    check_cells,
    details_of,
    unread_columns,
)
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import is_missing

HEADINGS = ("file", "file_name", "filename", "path", "record", "record_id")
READERS = ("ecgdatakit", "pydicom", "pyedflib")
_NOBODY = {"0", "x", "xx", "xxx", "anonymous", "anon", "anonymized", "anonymised", "test", "?"}


def open_source(root: Path, reports: Path | None = None, no_reports: bool = False, file_fs: float | None = None,
                file_units: str | None = None, file_leads: str | None = None) -> Source:
    """Open a folder of recordings in any format of `formats.FILE_FORMATS`; `reports` is a CSV with the columns `file`
    and `report`, or `record` or `record_id` in place of `file`.

    A file is named by its path from the root or the end of it, with its ending or without; its path becomes the record
    id. Optional columns are those of a WFDB folder. Where the CSV does not name the patient, the file's own id of the
    patient does, of which a hash is kept; a file without one is a patient of its own. Age and sex are the file's where
    the CSV does not say them. `file_fs`, `file_units` and `file_leads` are of files that do not say them.

    With `no_reports` rows may lack a report, and files that no row names are recordings without one; so are all where
    there is no CSV. Raises MedReportError when the root is none or holds no file, the CSV lacks a column, or there is
    neither CSV nor `no_reports`.
    """
    root = Path(root)
    if reports is None and not no_reports:
        raise MedReportError("prepare files needs --reports, a CSV of file,report",
                             "give it, or add --no-reports for recordings that have none")
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", "--root is the folder that holds the recordings")
    stated = stated_by(file_fs, file_units, file_leads)
    arguments: dict[str, Any] = {"root": root.name or root.resolve().name, "reports": reports and Path(reports).name}
    arguments |= {name: value for name, value in (("file_fs", file_fs), ("file_units", file_units),
                                                  ("file_leads", file_leads)) if value is not None}
    files = recording_files(root, [Path(reports)] if reports else [])
    if not files:
        raise MedReportError(f"{root}: no file in it or below", "--root is the folder that holds the recordings")
    details: dict[str, Any] = {"n_files": len(files), "readers": _versions()}
    read = partial(_read, str(root), stated)
    population = f"files/{arguments['root']}"
    if reports is None:
        return Source("files", partial(_list_files, str(root), files, stated), read, arguments, details, population)
    reports = Path(reports)
    heading = _heading(reports)
    needed, optional = ((heading,), ("report", *OPTIONAL)) if no_reports else ((heading, "report"), OPTIONAL)
    scan_columns(reports, needed, optional, NUMBERS)
    details |= {"reports_sha256": file_hash(reports), **table_details(reports, numbers=NUMBERS)}
    details |= unread_columns(reports, (*needed, *optional))
    rows = partial(_list, str(root), reports, needed, optional, file_names(files), stated, no_reports)
    return Source("files", rows, read, arguments, details, population)


def _versions() -> dict[str, str]:
    """The libraries that read some of the formats, where they are installed."""
    found = {}
    for name in READERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _heading(reports: Path) -> str:
    """What the column of the files is called."""
    if not reports.is_file():
        raise MedReportError(f"{reports}: no such file", "needed are the columns file, report")
    there = {name.strip().lower() for name in column_names(reports, HEADINGS)}
    return next((name for name in HEADINGS if name in there), HEADINGS[0])


def _list(root: str, path: Path, needed: Sequence[str], optional: Sequence[str], names: FileNames, stated: Stated,
          no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    named = set()
    for number, row in iterate_rows(path, needed, optional, NUMBERS):
        try:
            ref = _ref(root, row, needed[0], names, stated, no_reports)
        except RecordError as error:
            yield QuarantineRow(row[needed[0]], error.reason, f"{path.name}, row {number}: {error.detail}",
                                row[needed[0]])
            continue
        named.add(ref.record_id)
        yield ref
    if no_reports:
        yield from _list_files(root, [one for one in names.files if one not in named], stated)


def _ref(root: str, row: Mapping[str, str], heading: str, names: FileNames, stated: Stated,
         no_reports: bool) -> RecordRef:
    file, report = names.path_of(row[heading]), row.get("report", "")
    if not report.strip() and not no_reports:
        raise RecordError("no report", "the report is empty")
    check_cells(row)
    subject = row.get("subject_id", "").strip() or _patient_of(root, file, stated)
    return RecordRef(file, subject, file, row.get("split", "").strip() or None, details_of(row), not report.strip())


def _list_files(root: str, files: Sequence[str], stated: Stated) -> Iterator[RecordRef]:
    for file in files:
        yield RecordRef(file, _patient_of(root, file, stated), file, None, NOTHING_SAID, True)


def _patient_of(root: str, file: str, stated: Stated) -> str:
    """A hash of the file's own id of the patient, so that one patient is on one side of a split; the file's path where
    it has none, or is to be set aside when it is read."""
    try:
        opened = open_recording(root, os.path.join(root, file), stated)
        found = format_of(opened)
        patient = found.read(opened).patient if found.names_patients else ""
    except RecordError:
        return file
    if is_missing(patient) or patient.lower() in _NOBODY:
        return file
    return f"patient-{hashlib.sha256(patient.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _read(root: str, stated: Stated, refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    return read_each(partial(_read_one, root, stated), refs)


def _read_one(root: str, stated: Stated, ref: RecordRef) -> Recording:
    found, told = read_recording(root, os.path.join(root, ref.source), stated), ref.details
    return Recording(ref, found.leads.signal, found.leads.fs, told["report"], told["language"],
                     list(told["codes"]) or list(found.codes), age=found.age if told["age"] is None else told["age"],
                     sex=told["sex"] or found.sex, limb_leads_follow=found.has_two_limb_leads, **found.leads.facts())
