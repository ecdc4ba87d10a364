"""What scoring needs besides the predictions: the store they were made from, and what it knows of their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.store_check import columns_of, name_of
from emgecg_cli.core.manifest import input_path, is_finished, read_manifest
from emgecg_cli.core.store import Store, open_store


def store_of(predictions: Path) -> Path | None:
    """The store that predictions were made from, if they are finished and it is still there unchanged."""
    if not is_finished(predictions):
        return None
    try:
        return input_path(predictions, read_manifest(predictions, "predictions"), "store")
    except MedReportError:  # moved or made again: scoring goes on without baselines, and says so
        return None


def open_store_for(rows: Sequence[PredictionRow], path: Path, foreign: bool = False) -> Store:
    """Open the store whose train reports are to be the baselines; raises MedReportError when it is of other data than
    predictions that are not `foreign`."""
    store = open_store(path)
    others = sorted({row.dataset for row in rows if row.dataset} - {store.dataset})
    if others and not foreign:
        raise MedReportError(f"{path}: holds {store.dataset}, the predictions are of {', '.join(others)}",
                             "give their own store with --store, or --foreign if the file is someone else's")
    return store


def completed(rows: Sequence[PredictionRow], store: Store | None) -> tuple[list[PredictionRow], list[str]]:
    """The rows with what the store knows of their records where they do not say it themselves: dataset, codes, patient
    and language; and a note on how many were completed. Rows of another dataset stay as they are."""
    fields = ("codes", "subject_id", "language")
    open_ended = [row for row in rows if store is not None and row.dataset in (None, store.dataset)
                  and (row.dataset is None or any(getattr(row, name) is None for name in fields))]
    if store is None or not open_ended:
        return list(rows), []
    own = columns_of(store, open_ended, *fields)
    known = {id(row): {name: column[row.record_id] for name, column in own.items() if getattr(row, name) is None}
             for row in open_ended if row.record_id in own["codes"]}
    said = Counter(name for row in open_ended if id(row) in known for name in ("dataset", *fields)
                   if getattr(row, name) is None)
    notes = [f"{name} of {count} records as in {name_of(store)}" for name, count in said.items()]
    return [replace(row, dataset=store.dataset, **known[id(row)]) if id(row) in known else row for row in rows], \
        [f"what the predictions do not say was taken from the store: {', '.join(notes)}"] if notes else []
