"""PTB-XL in PhysioNet's layout (Wagner et al. 2020, 1.0.3): `ptbxl_database.csv`, `records100/`, `records500/`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Listing, Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.formats.csv_tables import (
    file_hash,
    first_row,
    iterate_rows,
    read_columns,
    scan_columns,
    table_details,
)
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import read_years
from emgecg_cli.core.reports.language import detect_language

TABLE = "ptbxl_database.csv"
FOLDERS = {100: "records100", 500: "records500"}
FILE_COLUMNS = {100: "filename_lr", 500: "filename_hr"}
SECONDS = 10
# What translators wrote in place of a translation: MEIT's marker, and a chat model's in ECGBench.
REFUSALS = ("something wrong with the data", "please provide the ecg report")

# whole numbers that a spreadsheet may have given a decimal mark
NUMBERS = ("ecg_id", "patient_id", "strat_fold", "age", "sex")
SEXES = {"0": "M", "1": "F"}
SPLIT_OF_FOLD = {str(fold): "train" for fold in range(1, 9)} | {"9": "val", "10": "test"}


@dataclass(frozen=True)
class _Texts:
    """Reports joined from another file: ecg_id -> text, what to say of the file in the manifest, and what becomes of a
    record for which it has no text: it keeps its original, it has no report, or it is refused."""

    by_id: dict[str, str]
    details: dict[str, object]
    keep_original: bool
    no_reports: bool


def open_source(root: Path, fs: int = 100, reports: Path | None = None, keep_original: bool = False,
                no_reports: bool = False) -> Source:
    """Open a PTB-XL root; its recordings are 10 s long.

    At 100 Hz they come from `records100/`, for any other rate, and where that folder is not there, from `records500/`.
    `reports` is a CSV `ecg_id,report_en[,source]` of English texts that take the place of the (mostly German)
    originals; a record for which it has none is set aside, or, with `keep_original`, keeps the original, or, with
    `no_reports`, is kept without a report. The official folds 1-8, 9, 10 are train, val, test. Codes are all SCP codes
    stated for a record, also those of likelihood 0, which PTB-XL uses for "likelihood unknown". Rows that cannot be
    used are set aside; raises MedReportError when the root is none, lacks the recordings for `fs`, or a CSV lacks a
    column.
    """
    root = Path(root)
    native = _native_fs(_check_root(root), fs)
    scan_columns(root / TABLE, _columns(native), numbers=NUMBERS)
    if keep_original and reports is None:
        raise MedReportError("--keep-original has no effect without --reports", "leave it out: all texts are originals")
    texts = _read_texts(Path(reports), keep_original, no_reports) if reports is not None else None
    details: dict[str, object] = {"table_sha256": file_hash(root / TABLE), "native_fs": native,
                                  **table_details(root / TABLE, reports and Path(reports), numbers=NUMBERS)}
    if texts is not None:
        listed = {_whole(cell) for cell in read_columns(root / TABLE, ("ecg_id",), numbers=NUMBERS)["ecg_id"]}
        details["reports"] = texts.details | {"unknown_ids": sum(key not in listed for key in texts.by_id)}
    arguments: dict[str, object] = {"root": root.name or root.resolve().name, "reports": reports and Path(reports).name}
    arguments |= {"keep_original": True} if keep_original else {}
    listing = Listing(partial(_list, root / TABLE, native, texts), [details, keep_original, no_reports])
    return Source("ptb-xl", listing, partial(_read, str(root), native), arguments, details)


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
    if fs == 100 and (root / FOLDERS[100]).is_dir():
        return 100
    if not (root / FOLDERS[500]).is_dir():
        raise MedReportError(f"{root}: --fs {fs} needs {FOLDERS[500]}/, which is not there",
                             f"download {FOLDERS[500]}/, or use --fs 100")
    return 500


def _read_texts(path: Path, keep_original: bool, no_reports: bool) -> _Texts:
    table = read_columns(path, ("ecg_id", "report_en"), ("source",), NUMBERS)
    by_id: dict[str, str] = {}
    for number, (ecg_id, text) in enumerate(zip(table["ecg_id"], table["report_en"], strict=True), first_row(path)):
        key = _whole(ecg_id)
        if key is None:
            raise MedReportError(f"{path}, row {number}: ecg_id '{ecg_id[:40]}' is no whole number", "correct the file")
        if key in by_id:
            raise MedReportError(f"{path}, row {number}: ecg_id {key} a second time", "keep one text per record")
        by_id[key] = text
    details: dict[str, object] = {"sha256": file_hash(path), "texts": len(by_id)}
    if "source" in table:
        details["sources"] = dict(sorted(Counter(table["source"]).items()))
    return _Texts(by_id, details, keep_original, no_reports)


def _columns(native: int) -> tuple[str, ...]:
    return "ecg_id", "patient_id", "report", "scp_codes", "strat_fold", FILE_COLUMNS[native]


def _list(path: Path, native: int, texts: _Texts | None) -> Iterator[RecordRef | QuarantineRow]:
    file_column = FILE_COLUMNS[native]
    for number, row in iterate_rows(path, _columns(native), ("age", "sex"), NUMBERS):
        try:
            yield _ref(row, row[file_column], texts)
        except RecordError as error:
            record_id = _whole(row["ecg_id"]) or row["ecg_id"]
            yield QuarantineRow(record_id, error.reason, f"{path.name}, row {number}: {error.detail}", row[file_column])


def _ref(row: Mapping[str, str], file_name: str, texts: _Texts | None) -> RecordRef:
    record_id, subject_id = _whole(row["ecg_id"]), _whole(row["patient_id"])
    if record_id is None:
        raise RecordError("bad ecg_id", f"'{row['ecg_id'][:40]}' is no whole number")
    if subject_id is None:
        raise RecordError("bad patient_id", f"'{row['patient_id'][:40]}' is no whole number")
    split = SPLIT_OF_FOLD.get(_whole(row["strat_fold"]) or "")
    if split is None:
        raise RecordError("bad fold", f"strat_fold '{row['strat_fold'][:40]}' is none of 1 to 10")
    report = _text(record_id, row["report"], texts)
    details = {"report": report, "language": detect_language(report or ""), "report_kind": "physician",
               "codes": _codes(row["scp_codes"]), "age": read_years(row.get("age", "")),  # 300 stands for all above 89
               "sex": SEXES.get(_whole(row.get("sex", "")) or "")}
    if texts is not None and report is not None and report is texts.by_id.get(record_id):
        details |= {"language": "en", "report_kind": "translation", "report_raw": row["report"]}
    return RecordRef(record_id, subject_id, file_name, split, details, report is None)


def _text(record_id: str, original: str, texts: _Texts | None) -> str | None:
    """The report of a record: its original, or the text of the other file; None for one that is to have none."""
    if texts is None:
        return original
    text = texts.by_id.get(record_id)
    if text is not None and any(refusal in text.lower() for refusal in REFUSALS):
        if not texts.keep_original:
            raise RecordError("refused translation", text[:80])
        text = None
    if texts.keep_original:
        return text if text and text.strip() else original
    if text is None and not texts.no_reports:
        raise RecordError("no report", "not in the file of reports")
    return text


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


def _read(root: str, native: int, refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    return read_each(lambda ref: _read_one(root, ref, native), refs)


def _read_one(root: str, ref: RecordRef, native: int) -> Recording:
    if not ref.source:
        raise RecordError("missing file", f"{TABLE} names no {FILE_COLUMNS[native]}")
    leads = read_leads(read_header(root, ref.source), native)
    if leads.signal.shape[1] != SECONDS * native:
        raise RecordError("wrong length", f"{leads.signal.shape[1]} samples, expected {SECONDS * native}")
    return Recording(ref, leads.signal, native, **leads.facts(), **ref.details)
