"""MIMIC-IV-ECG 1.0 in PhysioNet's layout (Gow et al. 2023): `record_list.csv`, `machine_measurements.csv`, `files/`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from emgecg_cli.core.artifacts import MachineIntervals, QuarantineRow
from emgecg_cli.core.datasets import Listing, Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.formats.csv_tables import (
    file_hash,
    iterate_frame,
    iterate_rows,
    scan_columns,
    table_details,
)
from emgecg_cli.core.datasets.formats.keyed_rows import NO_KEY, KeyedRows, find_rows, index_rows, read_rows, row_number
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.delimited.numerals import with_point
from emgecg_cli.core.errors import MedReportError

RECORDS, MEASUREMENTS = "record_list.csv", "machine_measurements.csv"
RECORD_COLUMNS = ("subject_id", "study_id", "path")
STATEMENTS = tuple(f"report_{i}" for i in range(18))
# column -> field of MachineIntervals
TIMES = {"rr_interval": "rr_ms", "p_onset": "p_onset_ms", "p_end": "p_end_ms", "qrs_onset": "qrs_onset_ms",
         "qrs_end": "qrs_end_ms", "t_end": "t_end_ms"}
AXES = {"p_axis": "p_axis_deg", "qrs_axis": "qrs_axis_deg", "t_axis": "t_axis_deg"}
# The set's own 29999, "missing", lies beyond both.
LONGEST_MS, WIDEST_DEG = 10_000, 360
_STUDIES_PER_BATCH = 2048


def open_source(root: Path, no_reports: bool = False) -> Source:
    """Open a MIMIC-IV-ECG root; a record is a study, its id the `study_id`, its report the machine's statements.

    The two tables are joined on `study_id`, whatever the order of their rows; a study without statements (unless
    `no_reports` keeps it), with two rows of measurements, or whose two rows name different patients is set aside, and
    so is one whose files are not there. Each of `report_0` to `report_17` that is not empty becomes a sentence. Of the
    machine's measurements these are missing, never a number: 29999, what is no number, times outside (0, 10 s], axes
    beyond 360 degrees, and an end that is not after its onset, with that onset. Rows of measurements that belong to no
    record are counted in `details`. Raises MedReportError when the root is none or a table lacks a column.
    """
    root = Path(root)
    _check_root(root)
    studies = _study_ids(root / RECORDS)
    rows = index_rows(root / MEASUREMENTS, "study_id", STATEMENTS, ("subject_id", *TIMES, *AXES))
    keyed = rows.keys[rows.keys != NO_KEY]
    details = {"records_sha256": file_hash(root / RECORDS), "measurements_sha256": file_hash(root / MEASUREMENTS),
               "measurements_without_record": int(np.isin(keyed, studies, invert=True).sum()),
               "measurements_without_study_id": len(rows.keys) - len(keyed),
               **table_details(root / RECORDS, root / MEASUREMENTS)}
    listing = Listing(partial(_list, root / RECORDS, rows, no_reports), [details, no_reports])
    return Source("mimic-iv-ecg", listing, partial(_read, str(root)), {"root": root.name or root.resolve().name},
                  details)


def _check_root(root: Path) -> None:
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", f"--root is the MIMIC-IV-ECG folder that holds {RECORDS}")
    for name in (RECORDS, MEASUREMENTS):
        if not (root / name).is_file():
            nested = sorted(path.parent for path in root.glob(f"*/{name}"))
            hint = f"did you mean --root {nested[0]}?" if nested else f"--root holds {RECORDS} beside {MEASUREMENTS}"
            raise MedReportError(f"{root}: not a MIMIC-IV-ECG root, no {name}", hint)


def _study_ids(path: Path) -> np.ndarray:
    scan_columns(path, RECORD_COLUMNS)  # to name all that is missing, not only the study_id
    frame = scan_columns(path, ("study_id",))
    return np.fromiter((_study(row["study_id"]) for _, row in iterate_frame(frame, path)), np.int64)


def _study(text: str) -> int:
    """A study_id as a number, NO_KEY for what is none."""
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else NO_KEY


def _list(path: Path, rows: KeyedRows, no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    records = iterate_rows(path, RECORD_COLUMNS)
    while batch := list(islice(records, _STUDIES_PER_BATCH)):
        places = find_rows(rows, np.array([_study(record["study_id"]) for _, record in batch], np.int64))
        measured = read_rows(rows, [int(found[0]) for found in places if len(found) == 1])
        for (number, record), found in zip(batch, places, strict=True):
            try:
                yield _ref(record, rows, found, measured, no_reports)
            except RecordError as error:
                yield QuarantineRow(record["study_id"].strip(), error.reason,
                                    f"{path.name}, row {number}: {error.detail}", record["path"])


def _ref(record: Mapping[str, str], rows: KeyedRows, places: np.ndarray,
         measured: Mapping[int, Mapping[str, str] | None], no_reports: bool) -> RecordRef:
    study, subject = _study(record["study_id"]), _study(record["subject_id"])
    if study == NO_KEY:
        raise RecordError("bad study_id", f"'{record['study_id'][:40]}' is no whole number")
    if subject == NO_KEY:
        raise RecordError("bad subject_id", f"'{record['subject_id'][:40]}' is no whole number")
    if not len(places) and no_reports:
        return RecordRef(str(study), str(subject), record["path"], details={"report": None}, unreported=True)
    if not len(places):
        raise RecordError("no report", f"study {study} is not in {MEASUREMENTS}")
    where = f"{MEASUREMENTS}, row{'s' * (len(places) > 1)} {', '.join(str(row_number(rows, i)) for i in places[:5])}"
    if len(places) > 1:
        raise RecordError("two reports", f"{where}: study {study} {len(places)} times")
    cells = measured[int(places[0])]
    if cells is None or _study(cells["study_id"]) != study:
        raise RecordError("unreadable measurements", f"{where}: not a row of {rows.width} cells")
    if _study(cells.get("subject_id", str(subject))) != subject:
        raise RecordError("two patients", f"{where}: subject '{cells['subject_id'][:40]}', not {subject}")
    statements = [cells[name].strip() for name in STATEMENTS]
    report = " ".join(_sentence(statement) for statement in statements if statement)
    if not report and not no_reports:
        raise RecordError("no report", f"{where}: no statement")
    return RecordRef(str(study), str(subject), record["path"],
                     details={"report": report or None, "machine": _intervals(cells)}, unreported=not report)


def _sentence(statement: str) -> str:
    return statement if statement.endswith((".", "!", "?")) else statement + "."


def _intervals(cells: Mapping[str, str]) -> dict[str, float | None]:
    """The fields of MachineIntervals."""
    found = {field: _number(cells.get(name, ""), LONGEST_MS) for name, field in TIMES.items()}
    values = {field: time if time is not None and time > 0 else None for field, time in found.items()}
    for onset, end in (("p_onset_ms", "p_end_ms"), ("qrs_onset_ms", "qrs_end_ms")):
        first, last = values[onset], values[end]
        if first is not None and last is not None and last <= first:
            values[onset] = values[end] = None
    t_end = values["t_end_ms"]
    if t_end is not None and t_end <= (values["qrs_end_ms"] or 0):
        values["t_end_ms"] = None
    return values | {field: _number(cells.get(name, ""), WIDEST_DEG) for name, field in AXES.items()}


def _number(text: str, largest: float) -> float | None:
    try:
        value = float((with_point(text.strip()) if "," in text else text) or text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) <= largest else None


def _read(root: str, refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    return read_each(partial(_read_one, root), refs)


def _read_one(root: str, ref: RecordRef) -> Recording:
    leads = read_leads(read_header(root, ref.source))
    measured = ref.details.get("machine")
    return Recording(ref, leads.signal, leads.fs, ref.details["report"], "en", report_kind="machine",
                     machine=MachineIntervals(**measured) if measured else None, **leads.facts())
