"""EMG and nerve-conduction tables as what a store holds: one table of all rows, and the ranges of the healthy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import NO_REPORT, RecordRow, Sections
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import ReadExamination
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.references import References, read_references, write_references
from emgecg_cli.core.references.covariates import check_covariates
from emgecg_cli.core.reports.sections import join_sections
from emgecg_cli.core.reports.text import clean_report
from emgecg_cli.core.store.card.blocks import Section
from emgecg_cli.core.store.card.facts import CardFacts
from emgecg_cli.core.store.card.of_tables import sections_of_tables
from emgecg_cli.core.store.integrity import Integrity
from emgecg_cli.core.store.payloads import healthy
from emgecg_cli.core.store.payloads.table_rows import PERSON, TABLES, case_of, iterate_cases, tables_frame
from emgecg_cli.core.store.payloads.texts import check_text, counted
from emgecg_cli.core.store.stored_rows import StoredRows
from emgecg_cli.core.store.table import frame_bytes, merge_parts

UNUSED = "unused:"


@dataclass(frozen=True)
class Tables:
    """The kind of a store of EMG tables; see `payloads.Kind`."""

    name: str = "tables"
    input: str = "values"
    called: str = "values"
    has_signals: bool = False
    prompts: str = "tables"
    recipe: str | None = "emgllm"
    fewest: int = 1
    parts: tuple[str, ...] = ("findings", "impression")
    idle: tuple[str, ...] = ("fs", "seconds", "window", "measure", "derive_leads")
    files: tuple[str, ...] = (TABLES, healthy.REFERENCES)

    def check(self, config: PrepareConfig) -> None:
        """See `payloads.Kind`."""
        healthy.parse_percentiles(config.percentiles)
        check_covariates(config.covariates)
        healthy.check_healthy(config.healthy)

    def shape(self, config: PrepareConfig) -> tuple[int, int]:
        """See `payloads.Kind`; tables have no rate and no length."""
        return 0, 0

    def rows(self, item: ReadExamination, rules: tuple[str, ...], config: PrepareConfig) -> tuple[list, list[str]]:
        """See `payloads.Kind`."""
        report, case, changed = (None, replace(item.tables, findings="", impression=""), []) \
            if item.ref.unreported else clean_sections(item, rules, config.min_words)
        return [(_row(item, report, case), case)], counted(changed, item.flags) + [UNUSED + name
                                                                                   for name in item.unused]

    def write(self, out: Path, partial: Path, number: int, rows: Sequence[RecordRow],
              data: Sequence[Examination]) -> tuple[dict[Path, str], list[int] | None]:
        """See `payloads.Kind`; the tables of a shard wait until those of all shards are merged."""
        path = _waiting(partial, number)
        content = frame_bytes(tables_frame(zip((row.record_id for row in rows), data, strict=True)))
        write_atomically(path, content)
        return {path: hashlib.sha256(content).hexdigest()}, None

    def gather(self, out: Path, partial: Path, n_shards: int) -> None:
        """See `payloads.Kind`."""
        parts = [path for path in (_waiting(partial, number) for number in range(n_shards)) if path.is_file()]
        merge_parts(parts, partial / TABLES)
        (partial / TABLES).replace(out / TABLES)

    def finish(self, out: Path, records: polars.LazyFrame, config: PrepareConfig) -> dict[str, Any]:
        """See `payloads.Kind`: fit and write the references of the healthy of the train split."""
        train = records.filter(polars.col("split") == "train")
        references, made_of = healthy.fit_references(
            iterate_cases(out, train), healthy.parse_percentiles(config.percentiles), config.covariates,
            config.healthy)
        write_references(out / healthy.REFERENCES, references)
        return {"references": {"items": len(references.entries), "rule": references.rule} | made_of}

    def alike(self, out: Path, config: PrepareConfig) -> None:
        """Tables are not compared with each other."""

    def card(self, facts: CardFacts) -> list[Section]:
        """See `payloads.Kind`."""
        return sections_of_tables(facts)

    def reports(self, records: polars.LazyFrame) -> list[str | None]:
        """See `payloads.Kind`: both sections under their headings."""
        told = records.select("findings", "impression", "language", "report").collect()
        return [join_sections(findings or "", impression or "", language or "en") or report
                for findings, impression, language, report in told.iter_rows()]

    def open(self, path: Path, manifest: Manifest, rows: StoredRows, integrity: Integrity) -> OpenTables:
        """See `payloads.Kind`."""
        return OpenTables(path)


@dataclass(frozen=True, eq=False)
class OpenTables:
    """The tables of an open store; see `payloads.Payload`. They are read once, since such stores are small."""

    path: Path

    def signal(self, index: int) -> np.ndarray:
        """Raise MedReportError: there are no signals."""
        raise no_signals(self.path)

    def drawing(self, index: int) -> np.ndarray | None:
        """See `payloads.Payload`."""
        return None

    def case(self, index: int, values: Mapping[str, Any]) -> Examination:
        """See `payloads.Payload`."""
        return case_of(self._tables.get(values["record_id"], []), {**dict.fromkeys(PERSON), **values})

    @cached_property
    def _tables(self) -> dict[Any, list[dict[str, Any]]]:
        frame = polars.read_parquet(self.path / TABLES, glob=False)
        return {key[0]: rows.to_dicts() for key, rows in
                frame.partition_by("record_id", as_dict=True, maintain_order=True).items()}

    def references(self) -> References:
        """See `payloads.Payload`."""
        return read_references(self.path / healthy.REFERENCES)

    def shown(self, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `payloads.Payload`."""
        return {"tables": self.case(index, values)}

    def is_checked(self) -> bool:
        """See `payloads.Payload`."""
        return False


def no_signals(path: Path) -> MedReportError:
    """The error for a store of tables where signals are needed."""
    return MedReportError(f"{path}: a store of tables, which has no signals", "give a store of recordings")


def clean_sections(examination: ReadExamination, rules: tuple[str, ...],
                   min_words: int) -> tuple[str, Examination, list[str]]:
    """The report under headings and the tables, both with clean sections, and the rules that changed them; raises
    SetAside as `texts.clean_text` does."""
    findings, changed = clean_report(examination.tables.findings, rules)
    impression, more = clean_report(examination.tables.impression, rules)
    report = join_sections(findings, impression, examination.language)
    check_text(examination, examination.tables.findings + examination.tables.impression, report, min_words)
    tables = replace(examination.tables, findings=findings, impression=impression)
    return report, tables, sorted({*changed, *more})


def _row(examination: ReadExamination, report: str | None, tables: Examination) -> RecordRow:
    """The row of an examination; its tables lie in a table of their own."""
    ref, case = examination.ref, tables.case
    return RecordRow(
        record_id=ref.record_id, subject_id=ref.subject_id, split=str(ref.split), fs=0, sig_len=0, report=report,
        report_raw=None if report is None else join_sections(
            examination.tables.findings, examination.tables.impression, examination.language),
        report_kind=NO_REPORT if report is None else examination.report_kind, language=examination.language,
        codes=examination.codes, source=ref.source, shard=0, row=0, recording_id=ref.record_id,
        age=case.age if case else None, sex=case.sex if case else None, lead_check="not checked: tables",
        scale_check="not checked: tables",
        sections=Sections(tables.findings, tables.impression, case.height if case else None, examination.flags))


def _waiting(partial: Path, number: int) -> Path:
    return partial / f"cases-{number:05d}.parquet"
