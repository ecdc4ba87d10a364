"""Records that hold an EMG and an NCV table beside age, sex, height and the report: the form of ETM-17k."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emgecg_cli.core.datasets.emg_tables.cases import (
    RawExamination,
    flag_lines,
    language_of,
    read_id,
    read_split,
    read_text,
)
from emgecg_cli.core.datasets.emg_tables.mapping import EtmMapping
from emgecg_cli.core.datasets.emg_tables.shapes import RawTable, read_table
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.emg.case import Case
from emgecg_cli.core.emg.rows import read_tables
from emgecg_cli.core.person import is_missing, read_age, read_height, read_sex

_PERSON = {"age": (read_age, "years from 0 to 130"), "sex": (read_sex, "male or female"),
           "height": (read_height, "centimetres from 30 to 250")}


def case_of(fields: Mapping[str, Any], where: str, source: str, split: str | None, default_id: str,
            mapping: EtmMapping) -> RawExamination:
    """The case of a record whose fields go by canonical names; raises RecordError when it is to be set aside."""
    tables = {}
    for name, group in (("emg", "emg_columns"), ("ncv", "ncv_columns")):
        try:
            tables[name] = read_table(fields.get(name), mapping[group], f"{where}, {name} table", group)
        except RecordError as error:
            if where in error.detail:
                raise
            raise RecordError(error.reason, f"{where}, {name} table: {error.detail}") from None
    case = build_case(fields, tables["emg"], tables["ncv"], where, source, split, default_id, mapping)
    return replace(case, unused=tuple(f"{name}: {column}" for name, table in tables.items() for column in table.unused))


def build_case(fields: Mapping[str, Any], emg: RawTable, ncv: RawTable, where: str, source: str, split: str | None,
               default_id: str, mapping: EtmMapping) -> RawExamination:
    """The case of a record's fields and its two tables; raises RecordError when it is to be set aside."""
    findings, impression = read_text(fields.get("findings")), read_text(fields.get("impression"))
    if not findings and not impression and mapping.reports:
        raise RecordError("no report", f"{where}: findings and impression are empty")
    tables = read_tables(emg.rows, ncv.rows, mapping.terms, ncv.marks)
    headings = {"emg": emg.headings, "ncv": ncv.headings}
    if tables.refused:
        (_, line), = flag_lines((tables.refused,), where, headings)
        unused = f"; columns not used: {', '.join(ncv.unused)[:200]}" if ncv.unused else ""
        raise RecordError(tables.refused.reason, line + unused)
    if not tables.emg and not tables.ncv:
        raise RecordError("no table", f"{where}: no row in either table")
    person, flags = _person(fields, where)
    record_id = read_id(fields.get("record_id")) or default_id
    case = Case(person["age"], person["sex"], person["height"], tables.emg, tables.ncv)
    words = (findings, impression) if findings or impression else map(str, (*emg.rows, *ncv.rows))
    return RawExamination(record_id, read_id(fields.get("subject_id")) or record_id,
                   read_split(fields.get("split")) or split, source,
                   language_of(*words, told=fields.get("language")), findings, impression, case,
                   flags=(*flags, *flag_lines(tables.flags, where, headings)))


def _person(fields: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    person, flags = {}, []
    for name, (read, meant) in _PERSON.items():
        person[name] = read(fields.get(name))
        if person[name] is None and not is_missing(fields.get(name)):
            flags.append((f"unreadable {name}",
                          f"{where}, column '{name}': '{str(fields.get(name))[:40]}' is not {meant}; left out"))
    return person, flags
