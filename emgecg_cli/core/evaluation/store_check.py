"""Checks of a set of predictions against the store it is scored with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.caveats import plain
from emgecg_cli.core.store import Store
from emgecg_cli.core.store.selection import recording_in

_HINT = "score the file as it was generated, with its own --store; or add --foreign if it is someone else's"


def check_against_store(rows: Sequence[PredictionRow], store: Store, foreign: bool,
                        unseen: bool = False) -> list[str]:
    """Sentences, each with its count, on how predictions differ from the store they are scored with.

    Raises MedReportError for records that the store does not hold, and for references that are not its own, unless the
    file is said to be somebody else's (`foreign`). `unseen`: the run was trained on no patient of any split.
    """
    own = columns_of(store, rows, "split", "report", "codes", "subject_id", "language")
    name, n = name_of(store), len(rows)
    found = [row for row in rows if row.record_id in own["report"]]
    datasets = sorted({row.dataset for row in rows if row.dataset} - {store.dataset})
    notes = [f"the predictions are of {', '.join(datasets)}, {name} holds {store.dataset}"] * bool(datasets)
    notes += _outside(rows, store, own["report"], foreign)
    other = sum(row.reference_from is not None for row in found)
    if other:
        notes.append(f"{other} of {n} references are answers of the instructions, not the reports of {name}")
    differ = [row for row in found if row.reference_from is None
              and plain(row.reference or "") != plain(own["report"][row.record_id] or "")]
    if differ:
        says = f"{len(differ)} of {n} references are not the reports of {name}"
        if not foreign:
            raise MedReportError(f"{says}, first that of record {differ[0].record_id!r}", _HINT)
        notes.append(says)
    for field, what in (("codes", "codes"), ("subject_id", "patients (subject_id)"), ("language", "languages")):
        wrong = sum(_differs(getattr(row, field), own[field][row.record_id]) for row in found)
        if wrong:
            notes.append(f"{wrong} of {n} records have other {what} than {name} gives them")
    return notes + _split_notes(found, own["split"], store, unseen)


def columns_of(store: Store, rows: Sequence[PredictionRow], *names: str) -> dict[str, dict[str, Any]]:
    """Columns of the store by name, each record id -> value, of the records of these rows that it holds."""
    at = {record_id: i for i, record_id in enumerate(store.column("record_id").to_list())}
    found = {row.record_id: at[known] for row in rows if (known := recording_in(row.record_id, at)) is not None}
    wanted = sorted({*found.values()})
    place = {i: number for number, i in enumerate(wanted)}
    own = {name: store.column(name).gather(wanted).to_list() for name in names}
    return {name: {record_id: own[name][place[i]] for record_id, i in found.items()} for name in names}


def _outside(rows: Sequence[PredictionRow], store: Store, known: dict[str, Any], foreign: bool) -> list[str]:
    outside = [row.record_id for row in rows if row.record_id not in known]
    if not outside:
        return []
    says = f"{len(outside)} of {len(rows)} predictions are of records that {name_of(store)} does not hold"
    ids = {plain(record_id) for record_id in store.column("record_id").to_list()}
    if near := sum(plain(record_id) in ids for record_id in outside):
        says += f" ({near} of them but for blanks or the codes of letters)"
    if not foreign:
        raise MedReportError(f"{says}, first {outside[0]!r}", _HINT)
    return [says]


def _split_notes(rows: Sequence[PredictionRow], split: dict[str, str], store: Store, unseen: bool) -> list[str]:
    counts, notes = Counter(split[row.record_id] for row in rows), []
    if unseen and counts["train"]:
        notes.append(f"{counts['train']} of {len(rows)} records are of the train split: the run was trained on no "
                     "patient of this store, but baselines are made of these reports")
    elif counts["train"]:
        notes.append(f"{counts['train']} of {len(rows)} records are of the train split, whose reports models have seen")
    if len(counts) > 1:
        notes.append(f"splits are mixed ({mixture(counts)})")
    for name, count in sorted(counts.items()):
        whole = len(store.reported(name))
        if count < whole:
            notes.append(f"{count} of the {whole} records of the {name} split are scored: a part of it, not the split")
    return notes


def _differs(given: Any, own: Any) -> bool:
    """Whether a field that a row gives is not the store's; the order of codes means nothing."""
    if given is None:
        return False
    return sorted(given) != sorted(own or []) if isinstance(given, list) else given != own


def mixture(counts: Counter[str]) -> str | None:
    """"test", or "test 20, val 4"; None of nothing."""
    if len(counts) < 2:
        return next(iter(counts), None)
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def name_of(store: Store) -> str:
    """The name of a store's folder, without the path to it."""
    return store.path.resolve().name
