"""From a local folder to cases: which form it is, whether its columns map, one record after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets.emg_tables import llm_form, tables_form
from emgecg_cli.core.datasets.emg_tables.cases import RawExamination
from emgecg_cli.core.datasets.emg_tables.columns import Columns, find_columns, lacks, refuse_columns
from emgecg_cli.core.datasets.emg_tables.csv_form import CASES, TABLES, csv_form_details, is_csv_form, read_csv_form
from emgecg_cli.core.datasets.emg_tables.files import TEXT_TABLES, EtmFile, RawRecord, find_files, iterate_records
from emgecg_cli.core.datasets.emg_tables.mapping import REPORT, EtmMapping, load_mapping
from emgecg_cli.core.datasets.emg_tables.shapes import UnmappedError
from emgecg_cli.core.datasets.formats.csv_tables import file_hash
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.delimited import detect, dialect_details
from emgecg_cli.core.errors import MedReportError

# After so many records whose columns do not map, and none whose columns do, the mapping is taken to be wrong.
PATIENCE = 20
_LLM = ("instruction", "output", "tensor")
# of each a record must have one
_NEEDED = (("emg", "ncv"), REPORT)


def read_etm(root: Path, mapping: Path | None = None,
             no_reports: bool = False) -> Iterator[RawExamination | QuarantineRow]:
    """The cases of a folder, in the order of its files and their rows, and what is set aside, with the reason.

    A folder with `cases.csv` is read as the CSV form; else every JSON, JSON lines, CSV, TSV and Parquet file in it,
    whose records hold tables (ETM-17k) or prompts with matrices (ETM-17k-LLM). `mapping` is a file of `load_mapping`. A
    case without a report is set aside, unless `no_reports` is given: then both its texts are empty. Nothing is held but
    the record at hand. Raises MedReportError when the folder or the mapping cannot be read, or when the columns do not
    map, with both sides in the message.
    """
    root, known = Path(root), replace(load_mapping(mapping), reports=not no_reports)
    if is_csv_form(root):
        yield from read_csv_form(root, known)
        return
    held: list[QuarantineRow] = []
    first: UnmappedError | None = None
    mapped = False
    for row, error in _read_files(find_files(root, mapping), known):
        if mapped or isinstance(row, RawExamination):
            yield from held
            held, mapped = [], True
            yield row
            continue
        held.append(row)
        first = first or error
        if first and sum(one.reason == first.reason for one in held) >= PATIENCE:
            raise first.error
    if first and not mapped:
        raise first.error
    yield from held


def survey_etm(root: Path, mapping: Path | None = None) -> dict[str, Any]:
    """What a manifest should say of a folder: which files are read, with their SHA-256, and the mapping's, if given.

    Raises MedReportError as `read_etm` does for the folder and the mapping.
    """
    root = Path(root)
    known = load_mapping(mapping)
    csv_form = is_csv_form(root)
    names = [CASES, *(name for name in TABLES.values() if (root / name).is_file())] if csv_form else [
        file.name for file in find_files(root, mapping)]
    told = csv_form_details(root, known) if csv_form else {
        name: said for name in names if name.lower().endswith(TEXT_TABLES) and (said := _told(root / name))}
    return {"form": "csv" if csv_form else "records", "files": {name: file_hash(root / name) for name in names},
            "mapping_sha256": file_hash(mapping) if mapping else None} | ({"tables": told} if told else {})


def _told(path: Path) -> dict[str, Any]:
    """How a file of records is written, where it is no comma-separated UTF-8 and can be read."""
    try:
        said = dialect_details(detect(path))
    except (MedReportError, OSError):
        return {}
    return {} if said == {"separator": "tab"} and path.suffix.lower() == ".tsv" else said


def _read_files(files: Sequence[EtmFile],
                mapping: EtmMapping) -> Iterator[tuple[RawExamination | QuarantineRow, UnmappedError | None]]:
    for file in files:
        stem = file.name.rpartition(".")[0].replace("/", "-")
        for raw in iterate_records(file):
            record_id = f"{stem}-{raw.number}"
            try:
                yield _case(raw, file, record_id, mapping), None
            except RecordError as error:
                detail = error.detail if error.detail.startswith(file.name) else f"{raw.where}: {error.detail}"
                unmapped = error if isinstance(error, UnmappedError) else None
                yield QuarantineRow(record_id, error.reason, detail, file.name), unmapped


def _case(raw: RawRecord, file: EtmFile, record_id: str, mapping: EtmMapping) -> RawExamination:
    if isinstance(raw.record, RecordError):
        raise raw.record
    found = flatten(raw.record, mapping)
    columns = find_columns(list(found), {**mapping["record"], **mapping["llm"]})
    fields = {key: found[column] for key, column in columns.of.items()}
    if "instruction" in fields and ("output" in fields or not mapping.reports):
        wanted = {key: mapping["llm"][key] for key in _LLM}
        if "tensor" not in fields and columns.unmapped:
            raise UnmappedError(refuse_columns(raw.where, list(found), columns, wanted, "llm"))
        case = llm_form.case_of(fields, raw.where, file.name, file.split, record_id, mapping)
        return replace(case, unused=columns.unmapped)
    columns = find_columns(list(found), mapping["record"])
    _check_columns(raw.where, found, columns, mapping)
    case = tables_form.case_of(fields, raw.where, file.name, file.split, record_id, mapping)
    return replace(case, unused=(*columns.unmapped, *case.unused))


def flatten(record: Mapping[str, Any], mapping: EtmMapping) -> dict[str, Any]:
    """A record with the members of its groups in their place, `{"basic": {"Age": 32}}` as `basic.Age`.

    A group that is itself a wanted column (a table, findings in two parts) stays whole.
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict) and not find_columns([key], mapping["record"]).of:
            flat |= {f"{key}.{name}": member for name, member in value.items()}
        else:
            flat[str(key)] = value
    return flat


def _check_columns(where: str, found: Mapping[str, Any], columns: Columns, mapping: EtmMapping) -> None:
    wanted, of = mapping["record"], columns.of
    needed = _NEEDED if mapping.reports else _NEEDED[:1]
    if any(not set(keys) & set(of) for keys in needed) or lacks(columns, wanted, () if mapping.reports else REPORT):
        raise UnmappedError(refuse_columns(where, list(found), columns, wanted, "record", needed))
