"""CODE-15% as published (Ribeiro et al. 2021, Zenodo 4916206): `exams.csv` and the parts `exams_part{0..17}.hdf5`.

**The amplitude unit.** Zenodo states none; the authors' model page says "1e-4 V" and "multiply volts by 1000" in one
sentence, which contradict each other (0.1 mV, or 1 mV). Measured on 10 exams, band-pass 1-40 Hz, median over 1.2 s
windows of the peak-to-peak amplitude, then over records: leads I and II 2.02 and 1.81 units, against 0.82 and 0.92 mV
in 400 PTB-XL records, 0.83 and 1.01 in 15 of Georgia, 0.63 and 0.85 in 15 of Ningbo. The three limb leads together:
1.67 units against 0.75 to 0.84 mV. As tenths of a millivolt they would be 5 times too small, as millivolts they are
2.0 to 2.2 times too large; the authors told users to treat them as millivolts (automatic-ecg-diagnosis, issue 3). So
they are read as millivolts, as published, and the factor of two is not corrected: no source establishes it. Voltage
criteria and ST levels of this set are uncertain by that factor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Listing, Recording, RecordRef, Source
from emgecg_cli.core.datasets.formats.csv_tables import (
    file_hash,
    first_row,
    iterate_frame,
    scan_columns,
    table_details,
)
from emgecg_cli.core.datasets.formats.hdf5_parts import import_h5py, open_file, read_ids, read_recordings, recordings_of
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import json_hash
from emgecg_cli.core.person import read_years
from emgecg_cli.core.reports.templates import report_of
from emgecg_cli.core.signals.leads import LEADS, to_int16_uv

TABLE = "exams.csv"
FS = 400
UNITS_UV = 1000.0
NORMAL = "normal_ecg"
# column of exams.csv -> statement, in the order of a report
STATEMENTS = {NORMAL: "normal ECG", "AF": "atrial fibrillation", "SB": "sinus bradycardia", "ST": "sinus tachycardia",
              "1dAVb": "first-degree AV block", "RBBB": "right bundle branch block",
              "LBBB": "left bundle branch block"}
VOCABULARY = {label.lower(): words for label, words in STATEMENTS.items()}  # what codes mean
# Labels that cannot both be true of ten seconds: the first with any of the second.
CONTRADICTIONS = {NORMAL: frozenset(STATEMENTS) - {NORMAL}, "AF": frozenset({"SB", "ST", "1dAVb"}),
                  "SB": frozenset({"ST"})}
COLUMNS = ("exam_id", "patient_id", "trace_file", "age", "is_male", *STATEMENTS)
NUMBERS = ("exam_id", "patient_id", "age")

_PART = re.compile(r"exams_part(\d{1,4})\.hdf5")
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def open_source(root: Path, no_reports: bool = False) -> Source:
    """Open a CODE-15% root: 400 Hz, without the zeros that pad each exam to 4096 samples (`n_trimmed`).

    The order is that of the parts and their rows. Codes are the true columns of `exams.csv`, in lower case; the report
    is made from them (`report_kind` "template"). Set aside are exams without any true label (of which nothing can be
    said: the set has six abnormalities and "normal"; `no_reports` keeps them), with labels that contradict each other
    (normal with any other, bradycardia with tachycardia, atrial fibrillation with a sinus rhythm or a first-degree
    block), rows of a part that `exams.csv` does not place there (each published part ends with a row of zeros as exam
    0), exams whose part is not there or lacks them, and those of a part that cannot be read. Raises MedReportError when
    the root is none, no part can be read, the table lacks a column, or h5py is not installed.
    """
    root = Path(root)
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", f"--root is the folder that holds {TABLE} and exams_part0.hdf5")
    scan_columns(root / TABLE, COLUMNS, numbers=NUMBERS)
    parts = _parts(root)
    import_h5py()
    _check_one_is_readable(root, parts)
    details = {"table_sha256": file_hash(root / TABLE), "parts": parts, "microvolts_per_unit": UNITS_UV,
               **table_details(root / TABLE, numbers=NUMBERS)}
    listing = Listing(partial(_list, root, parts, no_reports),
                      [details, json_hash([_ids_or_why(root, part) for part in parts]), no_reports])
    return Source("code15", listing, partial(_read, str(root)), {"root": root.name or root.resolve().name}, details)


def _parts(root: Path) -> list[str]:
    names = [entry.name for entry in os.scandir(root) if _PART.fullmatch(entry.name) and entry.is_file()]
    if not names:
        zips = sorted(path.name for path in root.glob("exams_part*.zip"))
        hint = f"unzip {zips[0]} first" if zips else "download exams_part0.zip to exams_part17.zip and unzip them"
        raise MedReportError(f"{root}: not a CODE-15% root, no exams_part*.hdf5", hint)
    return sorted(names, key=lambda name: (int(_PART.fullmatch(name)[1]), name))  # type: ignore[index]


def _check_one_is_readable(root: Path, parts: Sequence[str]) -> None:
    first = None
    for part in parts:
        try:
            _ids(root, part)
            return
        except RecordError as error:
            first = first or error
    raise MedReportError(f"{root}: no part can be read; {first.detail if first else ''}",
                         "download it again; a part holds exam_id (N) and tracings (N, 4096, 12)")


def _ids(root: Path, part: str) -> list[int]:
    return read_ids(root / part, "exam_id", "tracings", len(LEADS)).tolist()


def _ids_or_why(root: Path, part: str) -> list[int] | list[str]:
    try:
        return _ids(root, part)
    except RecordError as error:
        return [error.reason, error.detail]


def _list(root: Path, parts: Sequence[str], no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    for part in parts:
        yield from _list_part(root, part, no_reports)
    frame = _numbered(root / TABLE).filter(~polars.col("trace_file").is_in(parts))
    for _, row in iterate_frame(frame, root / TABLE):
        yield _set_aside(row, RecordError("missing file", f"trace_file '{row['trace_file'][:80]}'"))


def _numbered(path: Path) -> polars.LazyFrame:
    return scan_columns(path, COLUMNS, numbers=NUMBERS).with_row_index("number", first_row(path))


def _list_part(root: Path, part: str, no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    exams: dict[str, list[dict[str, Any]]] = {}
    frame = _numbered(root / TABLE).filter(polars.col("trace_file") == part)
    for _, row in iterate_frame(frame, root / TABLE):
        exams.setdefault(_whole(row["exam_id"]) or row["exam_id"], []).append(row)
    try:
        ids = _ids(root, part)
    except RecordError as error:
        yield from (_set_aside(row, error) for rows in exams.values() for row in rows)
        return
    for place, number in enumerate(ids):
        rows = exams.get(str(number), [])
        try:
            yield _ref(str(number), part, place, rows, no_reports)
        except RecordError as error:
            yield QuarantineRow(str(number), error.reason, error.detail, f"{part}/{place}")
    there = {str(number) for number in ids}
    for exam_id, rows in exams.items():
        if exam_id not in there:
            reason, detail = ("bad exam_id", f"'{exam_id[:40]}' is no whole number") if _whole(exam_id) is None else (
                "missing exam", f"not in {part}")
            yield from (_set_aside(row, RecordError(reason, detail)) for row in rows)


def _set_aside(row: Mapping[str, Any], error: RecordError) -> QuarantineRow:
    return QuarantineRow(_whole(row["exam_id"]) or row["exam_id"], error.reason,
                         f"{TABLE}, row {row['number']}: {error.detail}", row["trace_file"])


def _ref(exam_id: str, part: str, place: int, rows: Sequence[Mapping[str, Any]], no_reports: bool) -> RecordRef:
    if not rows:
        what = "the zeros after the last exam" if exam_id == "0" else f"{TABLE} does not place it in {part}"
        raise RecordError("not in table", f"exam {exam_id}: {what}")
    where = f"{TABLE}, row{'s' * (len(rows) > 1)} {', '.join(str(row['number']) for row in rows[:5])}"
    if len(rows) > 1:
        raise RecordError("duplicate labels", f"{where}: exam {exam_id} {len(rows)} times")
    row = rows[0]
    subject = _whole(row["patient_id"])
    if subject is None:
        raise RecordError("bad patient_id", f"{where}: '{row['patient_id'][:40]}' is no whole number")
    labels = _labels(row, where, no_reports)
    male = _TRUTH.get(row["is_male"].strip().lower())
    details = {"row": place, "report": report_of(labels, STATEMENTS) or None,
               "codes": [label.lower() for label in labels],
               "age": read_years(row["age"]), "sex": None if male is None else "M" if male else "F"}
    return RecordRef(exam_id, subject, f"{part}/{place}", details=details, unreported=not labels)


def _labels(row: Mapping[str, str], where: str, no_reports: bool) -> list[str]:
    """The true columns in the order of STATEMENTS."""
    truths = {name: _TRUTH.get(row[name].strip().lower()) for name in STATEMENTS}
    for name, truth in truths.items():
        if truth is None:
            raise RecordError("unreadable label", f"{where}: {name} is '{row[name][:40]}', neither True nor False")
    labels = [name for name, truth in truths.items() if truth]
    if not labels and not no_reports:
        raise RecordError("no label", f"{where}: none of {', '.join(STATEMENTS)}")
    for name in labels:
        against = CONTRADICTIONS.get(name, frozenset()).intersection(labels)
        if against:
            raise RecordError("contradicting labels", f"{where}: {name} with {', '.join(sorted(against))}")
    return labels


def _whole(text: str) -> str | None:
    digits = text.strip().removesuffix(".0")
    return str(int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def _read(root: str, refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    for part, group in groupby(refs, key=lambda ref: ref.source.rpartition("/")[0]):
        members = list(group)
        try:
            if not _PART.fullmatch(part):
                raise RecordError("path outside root", repr(part))
            with open_file(Path(root) / part) as file:
                tracings = recordings_of(file, part, "tracings", len(LEADS))
                rows = [ref.details["row"] for ref in members]
                for ref, tracing in zip(members, read_recordings(tracings, part, rows), strict=True):
                    yield _recording(ref, tracing)
        except RecordError as error:
            yield from (QuarantineRow(ref.record_id, error.reason, error.detail, ref.source) for ref in members)


def _recording(ref: RecordRef, tracing: np.ndarray | RecordError) -> Recording | QuarantineRow:
    if isinstance(tracing, RecordError):
        return QuarantineRow(ref.record_id, tracing.reason, tracing.detail, ref.source)
    told = np.flatnonzero((tracing != 0).any(axis=1))
    if not len(told):
        return QuarantineRow(ref.record_id, "no signal", "all samples are 0", ref.source)
    with np.errstate(all="ignore"):  # a signalling NaN is as missing as a quiet one
        kept = tracing[told[0]:told[-1] + 1].astype(np.float64).T * UNITS_UV
    empty = [name for name, lead in zip(LEADS, kept, strict=True) if not np.isfinite(lead).any()]
    if empty:
        return QuarantineRow(ref.record_id, "nan lead", f"no sample in {', '.join(empty)}", ref.source)
    signal, n_clipped = to_int16_uv(kept)
    about = ref.details
    return Recording(ref, signal, FS, about["report"], "en", list(about["codes"]), "template", age=about["age"],
                     sex=about["sex"], n_clipped=n_clipped, n_trimmed=len(tracing) - kept.shape[1])
