"""Any folder of WFDB records (`.hea` files), with a CSV of reports, one row per record, or without reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Listing, Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.formats.csv_tables import (
    column_names,
    file_hash,
    iterate_rows,
    scan_columns,
    table_details,
)
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, find_records, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.datasets.header_comments import age_of, codes_of, read_comments, sex_of
from emgecg_cli.core.datasets.record_names import RecordNames, match_names, spelled, unlisted
from emgecg_cli.core.datasets.report_rows import (
    NOTHING_SAID,
    NUMBERS,
    OPTIONAL,
    check_cells,
    details_of,
    unread_columns,
)
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import json_hash

COLUMNS = ("record", "report")
LOOKED_AT = 200  # rows in which records are looked for under another heading
_ROOT_HINT = "--root is the folder that holds the .hea files"


def open_source(root: Path, reports: Path | None = None, no_reports: bool = False) -> Source:
    """Open a folder of WFDB records; `reports` is a CSV with the columns `record` and `report`.

    `record` is the path of a header relative to the root, with or without `.hea`, or the end of such a path where only
    one header has it; the path becomes the record id. Optional columns: `subject_id` (without it each record is a
    patient of its own), `split` (train, val or test), `language` ("en"), `codes` separated by ";", `age` in years,
    `sex` (M or F). Where the CSV says nothing of age, sex or codes, the comments of the header do (`# Age: 54`,
    `# Sex: Male`, `# Dx: 426783006`). A row that cannot be used is set aside with its number. Headers that no row names
    are counted; for a record of several segments that includes its segments.

    With `no_reports` rows may lack a report, and headers that no row names are records without one; so are all where
    there is no CSV. Raises MedReportError when the root is none, holds no header, the CSV lacks a column or has the
    records under another heading, or when there is neither CSV nor `no_reports`.
    """
    root = Path(root)
    if reports is None and not no_reports:
        raise MedReportError("prepare wfdb needs --reports, a CSV of record,report",
                             "give it, or add --no-reports for recordings that have none")
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", _ROOT_HINT)
    arguments = {"root": root.name or root.resolve().name, "reports": reports and Path(reports).name}
    population = f"wfdb/{arguments['root']}"
    if reports is None:
        if not match_names(root, ()).n_headers:
            raise _no_header(root)
        return Source("wfdb", partial(_list_headers, root), partial(_read, str(root)), arguments, population=population)
    reports = Path(reports)
    needed, optional = (COLUMNS[:1], (*COLUMNS[1:], *OPTIONAL)) if no_reports else (COLUMNS, OPTIONAL)
    scan_columns(reports, needed, optional, NUMBERS)
    names = _match(root, reports)
    details = {"reports_sha256": file_hash(reports), "headers": names.n_headers,
               "records_without_report": names.n_unlisted, **table_details(reports, numbers=NUMBERS)}
    rest = partial(_list_headers, root, names) if no_reports else tuple
    rows = partial(_list, reports, needed, optional, names, rest)
    # with no_reports headers are listed too, and what they say of segments
    listing = rows if no_reports else Listing(rows, [details, json_hash(names.elsewhere)])
    return Source("wfdb", listing, partial(_read, str(root)), arguments,
                  details | unread_columns(reports, (*needed, *optional)), population=population)


def _no_header(root: Path) -> MedReportError:
    return MedReportError(f"{root}: no WFDB record, no file *.hea in it or below", _ROOT_HINT)


def _match(root: Path, path: Path) -> RecordNames:
    """Which headers the rows mean; raises MedReportError where there is none, or no row means one."""
    names = match_names(root, (row["record"] for _, row in iterate_rows(path, COLUMNS[:1])))
    if not names.n_headers:
        raise _no_header(root)
    if names.n_named:
        return names
    others = [name for name in column_names(path, COLUMNS) if name.strip().lower() != "record"]
    rows = [row for _, row in islice(iterate_rows(path, COLUMNS[:1], others), LOOKED_AT)]
    if not rows or any(_is_there(root, row["record"]) for row in rows):
        return names
    for column in others:
        n = match_names(root, (row[column] for row in rows)).n_named
        if 2 * n > len(rows):
            raise MedReportError(f"{path}: no cell of the column 'record' names a header below {root}, and {n} of "
                                 f"{len(rows)} of '{column}' do", "are the headings exchanged? 'record' is to stand "
                                 f"above what is under '{column}'")
    raise MedReportError(f"{path}: no cell of the column 'record' names a header below {root}: the first is "
                         f"'{rows[0]['record'][:80]}', a header there is '{next(find_records(root), '')}.hea'",
                         "write each header's path from the root, or its name where only one has it")


def _is_there(root: Path, record: str) -> bool:
    """Whether a record lies in a folder that is linked within the root, and so not walked."""
    try:
        return (root / f"{spelled(record)}.hea").is_file()
    except (OSError, ValueError):
        return False


def _list(path: Path, needed: Sequence[str], optional: Sequence[str], names: RecordNames,
          rest: Callable[[], Iterable[RecordRef]]) -> Iterator[RecordRef | QuarantineRow]:
    for number, row in iterate_rows(path, needed, optional, NUMBERS):
        try:
            yield _ref(row, names, "report" not in needed)
        except RecordError as error:
            yield QuarantineRow(row["record"], error.reason, f"{path.name}, row {number}: {error.detail}",
                                row["record"])
    yield from rest()


def _list_headers(root: Path, names: RecordNames | None = None) -> Iterator[RecordRef]:
    """The records that no row names."""
    for record in unlisted(root, names.listed if names else None):
        yield RecordRef(record, record, record, None, NOTHING_SAID, True)


def _ref(row: Mapping[str, str], names: RecordNames, no_reports: bool) -> RecordRef:
    if not row["record"].strip():
        raise RecordError("bad record", "no record is named")
    record, report = names.path_of(row["record"]), row.get("report", "")
    if not report.strip() and not no_reports:
        raise RecordError("no report", "the report is empty")
    check_cells(row)
    return RecordRef(record, row.get("subject_id", "").strip() or record, record, row.get("split", "").strip() or None,
                     details_of(row), not report.strip())


def _read(root: str, refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    return read_each(partial(_read_one, root), refs)


def _read_one(root: str, ref: RecordRef) -> Recording:
    header = read_header(root, ref.source)
    leads, told, said = read_leads(header), ref.details, read_comments(header.comments)
    return Recording(ref, leads.signal, leads.fs, told["report"], told["language"],
                     list(told["codes"]) or codes_of(said), age=age_of(said) if told["age"] is None else told["age"],
                     sex=told["sex"] or sex_of(said), **leads.facts())
