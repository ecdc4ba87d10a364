"""LUDB 1.0.1 (Kalyakulina et al. 2020): 200 recordings of 200 people, 10 s at 500 Hz; `ludb.csv` and `data/`.

A diagnosis there is a set of statements which cardiologists chose from fixed lists, one column per list. The report
is those statements, one sentence each, in the order of the columns; nobody wrote it as a text, so that its kind is
"template". The annotations of waves beside the signals are not read.

The headers of 1.0.1 give each lead the gain that makes it 1 mV from its lowest to its highest sample, and so hide how
large the leads are beside each other. The stored numbers do not: they obey Einthoven's law to the last unit and
Goldberger's to rounding, and read as microvolts they are as large as other databases' leads. So they are read, one
unit a microvolt, wherever every lead's gain is just its range; a record with any other gain is read by its header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Listing, Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.challenge import FS, check_folder
from emgecg_cli.core.datasets.formats.csv_tables import file_hash, iterate_rows, scan_columns, table_details
from emgecg_cli.core.datasets.formats.wfdb_headers import Header, RecordError, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import Leads, read_leads
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import read_age, read_sex
from emgecg_cli.core.reports.templates import write_report
from emgecg_cli.core.signals.lead_names import lead_rows
from emgecg_cli.core.signals.leads import LEADS

TABLE = "ludb.csv"
FOLDER = "data"
STATEMENT_COLUMNS = ("Rhythms", "Electric axis of the heart", "Conduction abnormalities", "Extrasystolies",
                     "Hypertrophies", "Cardiac pacing", "Ischemia", "Non-specific repolarization abnormalities",
                     "Other states")
COLUMNS = ("ID", "Sex", "Age", *STATEMENT_COLUMNS)
NUMBERS = ("ID", "Age")

# The table has all but the first letter of a cell in lower case, also these; and one word is misspelt.
_SHORT = re.compile(r"\b(i{1,3} degree|stemi|nstemi|pac|pvc|av|sa|lv|ivs|rvot|lvot|lvs)\b", re.IGNORECASE)
_MISSPELT = ("intravintricular", "intraventricular")


def open_source(root: Path, no_reports: bool = False) -> Source:
    """Open the LUDB folder; recordings come whole, 10 s.

    Codes are the statements in lower case with hyphens for what is no letter or digit. An age given as ">89" is
    unknown. `no_reports` keeps recordings without a statement. Rows that cannot be used are set aside. No official
    split; every record is another person's. Raises MedReportError when the root is none, or the table lacks a column.
    """
    root = check_folder(Path(root), "LUDB")
    if not (root / TABLE).is_file() or not (root / FOLDER).is_dir():
        raise MedReportError(f"{root}: not an LUDB root, no {TABLE} beside {FOLDER}/",
                             f"--root is the folder that holds {TABLE} and {FOLDER}/")
    scan_columns(root / TABLE, COLUMNS, numbers=NUMBERS)
    details = {"table_sha256": file_hash(root / TABLE), "patients": "one per record, by the set's own word",
               "reports": "cardiologists' statements from fixed lists, one sentence each",
               "amplitudes": "stored numbers as microvolts where a header's gains are the ranges of its leads",
               **table_details(root / TABLE, numbers=NUMBERS)}
    return Source("ludb", Listing(partial(_list, root / TABLE, no_reports), [details, no_reports]),
                  partial(_read, str(root)), {"root": root.name or root.resolve().name}, details)


def _list(table: Path, no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    for number, row in iterate_rows(table, COLUMNS, numbers=NUMBERS):
        try:
            record_id = row["ID"].strip()
            if not record_id.isascii() or not record_id.isdecimal() or len(record_id) > 9:
                raise RecordError("bad ID", f"{record_id[:40]!r} is no whole number")
            record_id = str(int(record_id))
            statements = _statements(row)
            if not statements and not no_reports:
                raise RecordError("no label", "all cells of statements are empty")
        except RecordError as error:
            yield QuarantineRow(record_id, error.reason, f"{TABLE}, row {number}: {error.detail}", "")
        else:
            details = {"report": write_report(statements) or None,
                       "codes": sorted({_code(text) for text in statements}),
                       "age": read_age(row["Age"]), "sex": read_sex(row["Sex"])}
            yield RecordRef(record_id, record_id, f"{FOLDER}/{record_id}", None, details, not statements)


def _statements(row: Mapping[str, str]) -> list[str]:
    lines = (line.strip() for column in STATEMENT_COLUMNS for line in row[column].splitlines())
    return [_SHORT.sub(_upper, line).replace(*_MISSPELT) for line in lines if line]


def _upper(match: re.Match[str]) -> str:
    first, blank, rest = match[0].partition(" ")
    return first.upper() + blank + rest


def _code(statement: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", statement.lower()).strip("-")


def _read(root: str, refs: Sequence[RecordRef]) -> Iterator[Recording | QuarantineRow]:
    return read_each(partial(_read_one, root), refs)


def _read_one(root: str, ref: RecordRef) -> Recording:
    leads = _read_leads(read_header(root, ref.source))
    return Recording(ref, leads.signal, FS, language="en", report_kind="template", **leads.facts(), **ref.details)


def _read_leads(header: Header) -> Leads:
    """The leads with one stored unit a microvolt where the gains are the ranges of the leads, else by the header."""
    if {line.units for line in header.signals} != {"mV"}:
        return read_leads(header, FS)
    leads = read_leads(replace(header, signals=tuple(replace(line, gain=1000.0, baseline=0)
                                                     for line in header.signals)), FS)
    rows = lead_rows([line.name for line in header.signals])
    gains = [header.signals[rows[i]].gain if i in rows else 0.0 for i in range(len(LEADS))]
    if isinstance(leads.signal, np.ndarray) and np.ptp(leads.signal.astype(np.int32), axis=1).tolist() == gains:
        return leads
    return read_leads(header, FS)
