"""ETM-17k and ETM-17k-LLM (Fudan University, EMGLLM), or any hospital's EMG and nerve-conduction tables, as a source.

docs/emg-tables.md says what a folder may hold; `emg_tables` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Listing, ReadExamination, RecordRef, Source
from emgecg_cli.core.datasets.emg_tables import RawExamination, read_etm, survey_etm
from emgecg_cli.core.emg.case import case_from_dict, case_to_dict
from emgecg_cli.core.emg.examination import Examination

TABLES_FORM = "ETM-17k"


def open_source(root: Path, mapping: Path | None = None, no_reports: bool = False) -> Source:
    """Open a folder of tables; `mapping` is a JSON file that names its columns (docs/emg-tables.md).

    A folder as `--download` leaves it holds both published forms; the one with tables is read, and the other one where
    the root is its own folder, `ETM-17k-LLM`. `no_reports` keeps examinations whose report is empty. The official split
    is kept where the files have one. Raises MedReportError when the folder or the mapping cannot be used.
    """
    root = Path(root)
    if (root / TABLES_FORM).is_dir():
        root = root / TABLES_FORM
    details = survey_etm(root, mapping)
    arguments = {"root": root.name or root.resolve().name, "mapping": mapping and Path(mapping).name}
    listing = Listing(partial(_list, root, mapping, no_reports), [details, no_reports])
    return Source("etm", listing, read, arguments, details, population=f"etm/{arguments['root']}", modality="tables")


def _list(root: Path, mapping: Path | None, no_reports: bool) -> Iterator[RecordRef | QuarantineRow]:
    for item in read_etm(root, mapping, no_reports):
        if isinstance(item, QuarantineRow):
            yield item
        else:
            yield replace(ref_of(item), unreported=no_reports and not item.findings and not item.impression)


def ref_of(found: RawExamination, kind: str = "physician") -> RecordRef:
    """A case as a reference: the tables travel in its details."""
    details: dict[str, Any] = {
        "findings": found.findings, "impression": found.impression, "language": found.language, "report_kind": kind,
        "flags": [f"{reason}: {line}" for reason, line in found.flags],
        "case": None if found.case is None else case_to_dict(found.case), "instruction": found.instruction,
        "matrices": [[one.item, one.rows] for one in found.tensors]} | (
            {"unused": list(found.unused)} if found.unused else {})
    return RecordRef(found.record_id, found.subject_id, found.source, found.split, details)


def read(refs: Sequence[RecordRef]) -> Iterator[ReadExamination]:
    """The examinations of references made by `ref_of`."""
    for ref in refs:
        told = ref.details
        case = None if told["case"] is None else case_from_dict(told["case"])
        matrices = tuple((name, np.array(rows, np.float32)) for name, rows in told["matrices"])
        examination = Examination(told["findings"], told["impression"], case, told["instruction"], matrices)
        yield ReadExamination(ref, examination, told["language"], told["report_kind"], flags=told["flags"],
                              unused=told.get("unused", []))
