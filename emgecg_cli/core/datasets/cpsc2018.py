"""CPSC2018 (Liu et al. 2018): 6,877 recordings of 6-60 s at 500 Hz in nine classes, raw or as the Challenge has them.

Raw are MATLAB structs `A0001.mat` (ECG: sex, age, data 12 x N in millivolts, leads in the standard order) in one or
several folders, and `REFERENCE.csv` with up to three labels for each. The Challenge's copy is `.hea` + `.mat` with
SNOMED CT codes; its `cpsc_2018_extra` (`Q0001…`) may lie beside. REFERENCE.csv tells which of the two a folder is.
Columns of REFERENCE.csv beyond the official four are not read: the copies that have a text column made it from the
labels, as is done here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, read_each, snomed
from emgecg_cli.core.datasets.challenge import FS, check_folder, open_challenge
from emgecg_cli.core.datasets.formats.csv_tables import file_hash, iterate_rows, scan_columns, table_details
from emgecg_cli.core.datasets.formats.mat_struct import read_struct
from emgecg_cli.core.datasets.formats.wfdb_files import read_file
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, find_records
from emgecg_cli.core.datasets.snomed import read_statements
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import read_age, read_sex
from emgecg_cli.core.reports.templates import report_of
from emgecg_cli.core.signals.leads import LARGEST_UV, LEADS, MISSING, to_int16_uv

TABLE = "REFERENCE.csv"
LABEL_COLUMNS = ("First_label", "Second_label", "Third_label")
LARGEST_FILE = 2 ** 25

# The labels 1 to 9 of REFERENCE.csv.
CLASSES = ("Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")
# In the order of a report.
STATEMENTS = {
    "Normal": "normal ECG", "AF": "atrial fibrillation", "PAC": "premature atrial contractions",
    "PVC": "premature ventricular contractions", "I-AVB": "first-degree AV block", "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block", "STE": "ST elevation", "STD": "ST depression",
}


VOCABULARY = snomed.STATEMENTS | STATEMENTS  # what codes of either form mean


def open_source(root: Path, codes: Path | None = None, no_reports: bool = False) -> Source:
    """Open a CPSC2018 folder, raw or the Challenge's copy; recordings come whole, 6 to 60 s.

    Reports are written from the labels (`report_kind` "template"). Codes are the names of the nine classes where the
    folder is raw, and SNOMED CT codes in the Challenge's copy; `codes` is a CSV `code,statement` of further or other
    statements for them. Recordings without labels, but for `no_reports`, and rows without a file are set aside. No
    official split, and no patients are published. Raises MedReportError when the root is neither, or for several
    REFERENCE.csv that differ.
    """
    root = check_folder(Path(root), "CPSC2018")
    table = _find_table(root)
    if table is None:
        if next(find_records(root), None) is None:
            raise MedReportError(f"{root}: neither {TABLE} in it or one folder below, nor any WFDB header (.hea)",
                                 f"--root is the folder with {TABLE} and the .mat files, or a Challenge folder")
        return open_challenge("cpsc2018", root, codes, no_reports, layout="challenge")
    scan_columns(table, ("Recording", *LABEL_COLUMNS))
    given, said = read_statements(Path(codes)) if codes is not None else ({}, None)
    arguments = {"root": root.name or root.resolve().name, "codes": codes and Path(codes).name}
    details = {"layout": "raw", "table_sha256": file_hash(table), "patients": "not published: one per record"}
    return Source("cpsc2018", partial(_list, root, table, no_reports), partial(_read, str(root), STATEMENTS | given),
                  arguments, details | ({"codes": said} if said else {}) | table_details(table, codes and Path(codes)))


def _find_table(root: Path) -> Path | None:
    """REFERENCE.csv in the root or one folder below it; the same file in several folders counts once."""
    found = [path for path in (root / TABLE, *sorted(root.glob(f"*/{TABLE}"))) if path.is_file()]
    if len({file_hash(path) for path in found}) > 1:
        raise MedReportError(f"{root}: several {TABLE} that differ ({found[0]}, {found[1]})",
                             "--root is a folder with one of them; prepare the others as stores of their own")
    return found[0] if found else None


def _list(root: Path, table: Path, no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    """The rows of the table in their order, then the files that have no row."""
    files = _find_files(root)
    labelled = set()
    for number, row in iterate_rows(table, ("Recording", *LABEL_COLUMNS)):
        record_id = row["Recording"].strip()
        paths = files.get(record_id, [])
        labelled.add(record_id)
        try:
            codes = _codes([row[column] for column in LABEL_COLUMNS], no_reports)
            if not paths:
                raise RecordError("missing file", f"no {record_id[:40]}.mat in the root or below")
            if len(paths) > 1:
                raise RecordError("duplicate file", f"{' and '.join(paths[:2])}; keep one of them")
        except RecordError as error:
            detail = f"{TABLE}, row {number}: {error.detail}"
            yield QuarantineRow(record_id, error.reason, detail, paths[0] if paths else "")
        else:
            yield RecordRef(record_id, record_id, paths[0], None, {"codes": codes}, not codes)
    for record_id, paths in files.items():
        if record_id not in labelled and no_reports and len(paths) == 1:
            yield RecordRef(record_id, record_id, paths[0], None, {"codes": []}, True)
        elif record_id not in labelled:
            yield from (QuarantineRow(record_id, "no label", f"no row in {TABLE}", path) for path in paths)


def _find_files(root: Path) -> dict[str, list[str]]:
    """Name of a `.mat` -> where it lies below the root; linked folders are not entered."""
    files: dict[str, list[str]] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in sorted(names):
            if name.endswith(".mat") and name[0] != ".":
                files.setdefault(name[:-4], []).append(name if prefix == "." else f"{prefix}/{name}")
    return files


def _codes(labels: Sequence[str], no_reports: bool) -> list[str]:
    codes = set()
    for label in labels:
        number = label.strip().removesuffix(".0")
        if number in ("", "nan", "NaN"):
            continue
        if number not in {str(i + 1) for i in range(len(CLASSES))}:
            raise RecordError("unknown code", f"label {label[:40]!r} is none of 1 to {len(CLASSES)}")
        codes.add(CLASSES[int(number) - 1])
    if not codes and not no_reports:
        raise RecordError("no label", "all labels are empty")
    return sorted(codes)


def _read(root: str, table: Mapping[str, str], refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    return read_each(lambda ref: _read_one(root, ref, table), refs)


def _read_one(root: str, ref: RecordRef, table: Mapping[str, str]) -> Recording:
    content = read_file(root, os.path.join(root, ref.source), LARGEST_FILE)
    try:
        fields = read_struct(content, "ECG")
    except ValueError as error:
        raise RecordError("unreadable signal", f"{ref.source}: {error}") from None
    signal, n_clipped = _signal(fields.get("data"))
    codes, sex, age = list(ref.details["codes"]), fields.get("sex"), fields.get("age")
    return Recording(ref, signal, FS, report_of(codes, table) or None, "en", codes, "template",
                     age=read_age(str(age.flat[0])) if isinstance(age, np.ndarray) and age.size == 1 else None,
                     sex=read_sex(sex) if isinstance(sex, str) else None, n_clipped=n_clipped)


def _signal(data: np.ndarray | str | None) -> tuple[np.ndarray, int]:
    if not isinstance(data, np.ndarray):
        raise RecordError("unreadable signal", "ECG.data is missing or holds no real numbers")
    if data.shape[0] != len(LEADS) or not data.shape[1]:
        raise RecordError("wrong shape", f"ECG.data is {data.shape[0]} x {data.shape[1]}, expected {len(LEADS)} x N")
    with np.errstate(over="ignore"):  # what overflows is no number any more, and counts as missing
        microvolts = np.multiply(data, 1000.0, order="C", dtype=np.float64)
    if max(-microvolts.min(), microvolts.max()) <= LARGEST_UV:
        return np.rint(microvolts, out=microvolts).astype(np.int16), 0
    signal, n_clipped = to_int16_uv(microvolts)
    empty = [name for name, row in zip(LEADS, signal, strict=True) if (row == MISSING).all()]
    if empty:
        raise RecordError("nan lead", f"no sample in {', '.join(empty)}")
    return signal, n_clipped
