"""Folders of the PhysioNet/CinC Challenge 2020/2021: `.hea` + `.mat`, SNOMED CT codes in the header's `Dx` comment.

The labels lie in the headers alone, so listing walks names only and a header is opened once, when its record is read;
45,000 headers would otherwise be read twice. What is refused for its labels is therefore refused at reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.formats.csv_tables import table_details
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, find_records, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.datasets.header_comments import age_of, codes_of, read_comments, sex_of
from emgecg_cli.core.datasets.snomed import merged, read_statements
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.reports.templates import report_of

FS = 500

# The Challenge numbers the records of each set with letters of its own.
SETS = {"A": "cpsc2018", "Q": "cpsc2018", "E": "georgia", "JS": "chapman-ningbo", "HR": "ptb-xl", "I": "INCART"}
_NUMBERED = re.compile(r"([A-Z]+)\d{4,5}", re.ASCII)


def open_challenge(dataset: str, root: Path, codes: Path | None, no_reports: bool = False, **details: Any) -> Source:
    """Open a folder of Challenge records, in any depth of subfolders, as `dataset`.

    A report is written from the codes by the table of `snomed`; `codes` is a CSV `code,statement` that adds to it or
    replaces statements. With `no_reports` each header is read while listing too, to know which has no label. Raises
    MedReportError when the root is no folder or holds no header, or on a bad CSV.
    """
    root = check_folder(Path(root), dataset)
    if next(find_records(root), None) is None:
        raise MedReportError(f"{root}: no WFDB header (.hea) in it or below",
                             f"--root is the folder with the .hea and .mat files of {dataset}")
    given, said = read_statements(Path(codes)) if codes is not None else ({}, None)
    arguments = {"root": root.name or root.resolve().name, "codes": codes and Path(codes).name}
    details |= {"patients": "not published: one per record"} | ({"codes": said} if said else {}) | table_details(
        codes and Path(codes))
    return Source(dataset, partial(_list, dataset, root, no_reports), partial(_read, str(root), given), arguments,
                  details)


def check_folder(root: Path, dataset: str) -> Path:
    """The root, when it is a folder; raises MedReportError."""
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", f"--root is the folder that holds {dataset}")
    return root


def _list(dataset: str, root: Path, no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    for source in find_records(root):
        record_id = source.rpartition("/")[2]
        numbered = _NUMBERED.fullmatch(record_id)
        owner = SETS.get(numbered[1], dataset) if numbered else dataset
        if owner == dataset:
            yield RecordRef(record_id, record_id, source, unreported=no_reports and not _has_label(root, source))
        else:
            yield QuarantineRow(record_id, "other set", f"numbered as a record of {owner}, not of {dataset}", source)


def _has_label(root: Path, source: str) -> bool:
    """Whether a header names a code; one that cannot be read is refused later, when it is read."""
    try:
        return bool(codes_of(read_comments(read_header(root, source).comments)))
    except RecordError:
        return True


def _read(root: str, given: Mapping[str, str], refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    table = merged(given)
    return read_each(lambda ref: _read_one(root, ref, table), refs)


def _read_one(root: str, ref: RecordRef, table: Mapping[str, str]) -> Recording:
    header = read_header(root, ref.source)
    said = read_comments(header.comments)
    codes = [] if ref.unreported else _codes(said, table)
    leads = read_leads(header, FS)
    return Recording(ref, leads.signal, FS, report_of(codes, table) or None, "en", codes, "template",
                     age=age_of(said), sex=sex_of(said), **leads.facts())


def _codes(said: Mapping[str, str], table: Mapping[str, str]) -> list[str]:
    codes = codes_of(said)
    if not codes:
        raise RecordError("no label", f"the header's Dx is {said.get('dx', '')[:40]!r}")
    unknown = [code[:40] for code in codes if code not in table]
    if unknown:
        raise RecordError("unknown code", f"no statement for {', '.join(unknown[:10])}; give one by --codes, a CSV of "
                                          "code,statement")
    return codes
