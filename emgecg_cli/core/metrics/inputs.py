"""What scoring needs besides the predictions: the train reports of their store, and recordings to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.emg.sections import join_sections
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import input_path, is_finished, read_manifest
from emgecg_cli.core.metrics.page import PageExample
from emgecg_cli.core.metrics.statements import Tables
from emgecg_cli.core.store import Store, open_store


def store_of(predictions: Path) -> Path | None:
    """The store that predictions were made from, if they are finished and it is still there unchanged."""
    if not is_finished(predictions):
        return None
    try:
        return input_path(predictions, read_manifest(predictions, "predictions"), "store")
    except MedReportError:  # moved or made again: scoring goes on without baselines, and says so
        return None


def open_store_for(rows: Sequence[PredictionRow], path: Path) -> Store:
    """Open the store whose train reports are to be the baselines; raises MedReportError when it is of other data."""
    store = open_store(path)
    others = sorted({row.dataset for row in rows if row.dataset} - {store.dataset})
    if others:
        raise MedReportError(f"{path}: holds {store.dataset}, the predictions are of {', '.join(others)}",
                             "give their own store with --store")
    return store


def train_reports(store: Store) -> list[str]:
    """The reports of the train split, in record order; those of tables under the headings of their two sections."""
    reports = store.column("report").to_list()
    if has_tables(store):
        sections = zip(*(store.column(name).to_list() for name in ("findings", "impression", "language", "report")),
                       strict=True)
        reports = [join_sections(findings or "", impression or "", language or "en") or report
                   for findings, impression, language, report in sections]
    return [reports[i] for i in store.indices("train")]


def has_tables(store: Store) -> bool:
    """Whether a store holds EMG and nerve-conduction tables in place of signals."""
    return store.manifest.details.get("modality", "signals") == "tables"


def tables_of(store: Store, rows: Sequence[PredictionRow]) -> Tables | None:
    """The tables of the predicted records and the store's reference ranges; None for a store of signals, or where
    nobody was healthy enough for ranges. A record in the form for language models has no table."""
    references = store.references() if has_tables(store) else None
    if references is None:
        return None
    index = {record_id: i for i, record_id in enumerate(store.column("record_id").to_list())}
    found = {row.record_id: store.case(index[row.record_id]).case for row in rows if row.record_id in index}
    return Tables({record_id: case for record_id, case in found.items() if case is not None}, references)


def page_examples(store: Store, rows: Mapping[str, Sequence[PredictionRow]], count: int) -> list[PageExample]:
    """The first `count` recordings, in store order, that every system wrote about; `rows` by name of the system."""
    texts = {name: {row.record_id: row for row in given} for name, given in rows.items()}
    examples: list[PageExample] = []
    for index, record_id in enumerate(store.column("record_id").to_list()):
        if len(examples) == count:
            break
        if all(record_id in known for known in texts.values()):
            reference = next(iter(texts.values()))[record_id].reference
            signal = None if has_tables(store) else store.signal(index)
            examples.append(PageExample(record_id, signal, store.fs, reference,
                                        {name: known[record_id].prediction for name, known in texts.items()}))
    return examples
