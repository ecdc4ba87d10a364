"""The train reports that baselines are made of: of the store that is scored, and of the one that a run was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.baselines import TrainReports
from emgecg_cli.core.evaluation.store_check import name_of
from emgecg_cli.core.manifest import input_path, is_finished, read_manifest
from emgecg_cli.core.metrics.text.tokens import normalise
from emgecg_cli.core.store import Store, open_store


class Encode(Protocol):
    """An encoder of recordings, which the caller brings: no network is known here. As text it is its name."""

    def __call__(self, store: Store, indices: Sequence[int]) -> np.ndarray:
        """Features of records of a store, float32 (n, E)."""
        ...


@dataclass(frozen=True)
class TrainSide:
    """The train reports of each store there is, the source of a transfer first; the features of the scored records by
    id; and the name of the source, None where there is no transfer."""

    trains: list[TrainReports] = field(default_factory=list)
    features: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    transfer_from: str | None = None


def trained_on(predictions: Path) -> Path | None:
    """The store that the run behind some predictions was trained on, if all of these are still there unchanged."""
    if not is_finished(predictions):
        return None
    try:
        run = input_path(predictions, read_manifest(predictions, "predictions"), "run")
        return input_path(run, read_manifest(run, "run"), "store")
    except MedReportError:  # moved, or made again: there are the target's own baselines
        return None


def train_side(rows: Sequence[PredictionRow], store: Store, source: Path | None, encode: Encode | None) -> TrainSide:
    """The train reports for rows of a store; `source` is the store that their run was trained on, whose reports come
    first where it is of another data set. `encode` gives the features for the nearest recording."""
    trained = open_store(source) if source else store
    transfer = trained.dataset != store.dataset
    stores = [trained, store] if transfer else [store]
    trains = [_reports_of(one, f"{name_of(one)}" if transfer else "", encode) for one in stores]
    return TrainSide(trains, _features_of(store, [row.record_id for row in rows], encode),
                     name_of(trained) if transfer else None)


def _reports_of(store: Store, name: str, encode: Encode | None) -> TrainReports:
    column = store.column("report").to_list()
    at = [int(i) for i in store.indices("train") if (column[int(i)] or "").strip()]
    reports = [normalise(column[i]) for i in at]
    if encode is None or not at:
        return TrainReports(reports, name)
    ids = store.column("record_id").to_list()
    return TrainReports(reports, name, [ids[i] for i in at], encode(store, at))


def _features_of(store: Store, record_ids: Sequence[str], encode: Encode | None) -> dict[str, np.ndarray]:
    if encode is None:
        return {}
    place = {record_id: i for i, record_id in enumerate(store.column("record_id").to_list())}
    known = [record_id for record_id in record_ids if record_id in place]
    return dict(zip(known, encode(store, [place[record_id] for record_id in known]), strict=True)) if known else {}
