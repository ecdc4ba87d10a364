"""PTB-XL in PhysioNet's layout (Wagner et al. 2020, 1.0.3): `ptbxl_database.csv`, `records100/`, `records500/`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source
from emgecg_cli.core.datasets.language import detect_language
from emgecg_cli.core.datasets.tables import file_hash, read_columns
from emgecg_cli.core.datasets.wfdb_headers import RecordError, read_header
from emgecg_cli.core.datasets.wfdb_records import read_leads
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.resampling import resample

TABLE = "ptbxl_database.csv"
FOLDERS = {100: "records100", 500: "records500"}
FILE_COLUMNS = {100: "filename_lr", 500: "filename_hr"}
SECONDS = 10
LOWEST_FS, HIGHEST_FS = 50, 2000
# What translators wrote in place of a translation: MEIT's marker, and a chat model's in ECGBench.
REFUSALS = ("something wrong with the data", "please provide the ecg report")

SPLIT_OF_FOLD = {str(fold): "train" for fold in range(1, 9)} | {"9": "val", "10": "test"}


@dataclass(frozen=True)
class _Texts:
    """Reports joined from another file: ecg_id -> text, and what to say of the file in the manifest."""

    by_id: dict[str, str]
    details: dict[str, object]


@dataclass(frozen=True)
class _Entry:
    ref: RecordRef
    report: str
    language: str
    codes: list[str]


def open_source(root: Path, fs: int = 100, reports: Path | None = None) -> Source:
    """Open a PTB-XL root; its recordings come at `fs` Hz, 10 s each.

    100 and 500 Hz are read as they are; any other rate is resampled from 500 Hz, and so is 100 Hz where `records100/`
    is not there. `reports` is a CSV `ecg_id,report_en[,source]` of English texts that take the place of the (mostly
    German) originals. The official folds 1-8, 9, 10 are train, val, test. Codes are all SCP codes stated for a record,
    also those of likelihood 0, which PTB-XL uses for "likelihood unknown". Rows that cannot be used are set aside;
    raises MedReportError when the root is none, lacks the recordings for `fs`, or a CSV lacks a column.
    """
    root = Path(root)
    native = _native_fs(_check_root(root), fs)
    texts = _read_texts(Path(reports)) if reports is not None else None
    entries, set_aside = _list_records(root / TABLE, FILE_COLUMNS[native], texts)
    details: dict[str, object] = {"table_sha256": file_hash(root / TABLE), "native_fs": native}
    if texts is not None:
        listed = {*entries, *(row.record_id for row in set_aside)}
        details["reports"] = texts.details | {"unknown_ids": sum(key not in listed for key in texts.by_id)}
    arguments = {"root": root.name or root.resolve().name, "fs": fs, "reports": reports and Path(reports).name}
    return Source("ptb-xl", [entry.ref for entry in entries.values()], partial(_read, root, entries, native, fs), fs,
                  SECONDS * fs, arguments, set_aside, details)


def _check_root(root: Path) -> Path:
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", f"--root is the PTB-XL folder that holds {TABLE}")
    wanted = f"{TABLE} beside {FOLDERS[100]}/ or {FOLDERS[500]}/"
    if not (root / TABLE).is_file():
        nested = sorted(path.parent for path in root.glob(f"*/{TABLE}"))
        hint = f"did you mean --root {nested[0]}?" if nested else f"--root is the folder that holds {wanted}"
        raise MedReportError(f"{root}: not a PTB-XL root, no {TABLE} (looked for {wanted})", hint)
    if not any((root / folder).is_dir() for folder in FOLDERS.values()):
        raise MedReportError(f"{root}: not a PTB-XL root, neither {FOLDERS[100]}/ nor {FOLDERS[500]}/ beside {TABLE}",
                             "download the recordings too; the CSV alone holds no signal")
    return root


def _native_fs(root: Path, fs: int) -> int:
    if not LOWEST_FS <= fs <= HIGHEST_FS:
        raise MedReportError(f"--fs {fs}: outside {LOWEST_FS} to {HIGHEST_FS} Hz", "PTB-XL comes at 100 and 500 Hz")
    if fs == 100 and (root / FOLDERS[100]).is_dir():
        return 100
    if not (root / FOLDERS[500]).is_dir():
        raise MedReportError(f"{root}: --fs {fs} needs {FOLDERS[500]}/, which is not there",
                             f"download {FOLDERS[500]}/, or use --fs 100")
    return 500


def _read_texts(path: Path) -> _Texts:
    table = read_columns(path, ("ecg_id", "report_en"), optional=("source",))
    by_id: dict[str, str] = {}
    for number, (ecg_id, text) in enumerate(zip(table["ecg_id"], table["report_en"], strict=True), 2):
        key = _whole(ecg_id)
        if key is None:
            raise MedReportError(f"{path}, row {number}: ecg_id '{ecg_id[:40]}' is no whole number", "correct the file")
        if key in by_id:
            raise MedReportError(f"{path}, row {number}: ecg_id {key} a second time", "keep one text per record")
        by_id[key] = text
    details: dict[str, object] = {"sha256": file_hash(path), "texts": len(by_id)}
    if "source" in table:
        details["sources"] = dict(sorted(Counter(table["source"]).items()))
    return _Texts(by_id, details)


def _list_records(path: Path, file_column: str,
                  texts: _Texts | None) -> tuple[dict[str, _Entry], list[QuarantineRow]]:
    columns = ("ecg_id", "patient_id", "report", "scp_codes", "strat_fold", file_column)
    table = read_columns(path, columns)
    entries: dict[str, _Entry] = {}
    set_aside: list[QuarantineRow] = []
    for number, cells in enumerate(zip(*(table[name] for name in columns), strict=True), 2):
        where = f"{path.name}, row {number}"
        try:
            entry = _entry(cells, texts)
            if entry.ref.record_id in entries:
                raise RecordError("duplicate id", f"ecg_id {entry.ref.record_id} a second time")
            entries[entry.ref.record_id] = entry
        except RecordError as error:
            record_id, detail = _whole(cells[0]) or cells[0], f"{where}: {error.detail}"
            set_aside.append(QuarantineRow(record_id, error.reason, detail, cells[-1]))
    return dict(sorted(entries.items(), key=lambda item: int(item[0]))), set_aside


def _entry(cells: Sequence[str], texts: _Texts | None) -> _Entry:
    ecg_id, patient_id, report, scp_codes, fold, file_name = cells
    record_id, subject_id = _whole(ecg_id), _whole(patient_id)
    if record_id is None:
        raise RecordError("bad ecg_id", f"'{ecg_id[:40]}' is no whole number")
    if subject_id is None:
        raise RecordError("bad patient_id", f"'{patient_id[:40]}' is no whole number")
    split = SPLIT_OF_FOLD.get(_whole(fold) or "")
    if split is None:
        raise RecordError("bad fold", f"strat_fold '{fold[:40]}' is none of 1 to 10")
    codes = _codes(scp_codes)
    if texts is not None:
        if record_id not in texts.by_id:
            raise RecordError("no report", "not in the file of reports")
        report = texts.by_id[record_id]
        if any(refusal in report.lower() for refusal in REFUSALS):
            raise RecordError("refused translation", report[:80])
    language = "en" if texts is not None else detect_language(report)
    return _Entry(RecordRef(record_id, subject_id, file_name, split), report, language, codes)


def _whole(text: str) -> str | None:
    """A whole number as PTB-XL writes it ("17", "17.0") as text without zeros around it; None for anything else."""
    digits = text.strip().removesuffix(".0")
    return str(int(digits)) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None


def _codes(text: str) -> list[str]:
    try:
        codes = ast.literal_eval(text) if len(text) < 10_000 else None
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        codes = None
    if not isinstance(codes, dict) or not all(isinstance(code, str) for code in codes):
        raise RecordError("unreadable scp_codes", text[:80])
    return sorted(codes)


def _read(root: Path, entries: dict[str, _Entry], native: int, fs: int,
          refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    for ref in refs:
        try:
            yield _read_one(str(root), entries[ref.record_id], native, fs)
        except RecordError as error:
            yield QuarantineRow(ref.record_id, error.reason, error.detail, ref.source)


def _read_one(root: str, entry: _Entry, native: int, fs: int) -> Recording:
    if not entry.ref.source:
        raise RecordError("missing file", f"{TABLE} names no {FILE_COLUMNS[native]}")
    header = read_header(root, entry.ref.source)
    if header.fs != native:
        raise RecordError("wrong rate", f"{header.fs:g} Hz, expected {native}")
    if header.sig_len not in (None, SECONDS * native):
        raise RecordError("wrong length", f"{header.sig_len} samples, expected {SECONDS * native}")
    leads = read_leads(header)
    signal, n_clipped = leads.signal, leads.n_clipped
    if signal.shape[1] != SECONDS * native:
        raise RecordError("wrong length", f"{signal.shape[1]} samples, expected {SECONDS * native}")
    if fs != native:
        signal, more = resample(signal, native, fs)
        n_clipped += more
    return Recording(entry.ref, signal, fs, entry.report, entry.language, entry.codes, leads.absent_leads,
                     native if fs != native else None, n_clipped)
