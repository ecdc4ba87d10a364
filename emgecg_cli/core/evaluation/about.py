"""The head of scores: what was scored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emgecg_cli import __version__
from emgecg_cli.core.artifacts import PERTURBED, PerturbedRow, PredictionRow, read_rows
from emgecg_cli.core.evaluation.caveats import banner_of
from emgecg_cli.core.evaluation.store_check import columns_of, mixture, name_of
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.store import Store
from emgecg_cli.core.store.perturbed import perturbation_of

# The fields of `About` in the order in which they stand above scores, and whether one that is not known is left out.
_HEAD = {"predictions": True, "run": False, "store": False, "dataset": True, "split": False, "signal": False,
         "perturbation": True, "n": True, "date": False, "version": True}
_EPOCH = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True)
class About:
    """What was scored. None is not known; names of files and folders hold no path.

    `banner` says where the signal shown was not the record's own, `perturbation` what was done to the recordings.
    `date` is the day (UTC) on which the predictions were written, which stays the same when they are scored again.
    """

    predictions: str | None
    run: str | None
    store: str | None
    dataset: str | None
    split: str | None
    signal: str | None
    perturbation: str | None
    n: int
    date: str | None
    version: str
    banner: str | None


def about_of(rows: Sequence[PredictionRow], *, predictions: Path | None = None, manifest: Manifest | None = None,
             store: Store | None = None, shown: Store | None = None) -> About:
    """The head of the scores of some rows; `manifest` is that of their file, where `generate` finished one, `shown` the
    store whose recordings the model was shown, if that is another than the `store` they are scored with."""
    details = manifest.details if manifest else {}
    splits = Counter(columns_of(store, rows, "split")["split"].values() if store else ())
    split = mixture(splits) if splits else (manifest.arguments.get("split") if manifest else None)
    signals = Counter(row.signal or "not said" for row in rows)
    datasets = sorted({row.dataset for row in rows if row.dataset}) or ([store.dataset] if store else [])
    return About(
        predictions=predictions.name if predictions else None, run=details.get("run"),
        store=name_of(store) if store else None, dataset=", ".join(datasets) or None, split=split,
        signal=None if set(signals) == {"not said"} else mixture(signals),
        perturbation=_perturbation(source, rows) if (source := shown or store) else None, n=len(rows),
        date=day_of(predictions), version=__version__, banner=banner_of(rows))


def joined_about(systems: Mapping[str, About]) -> About:
    """One head for several systems on the same records: what differs is listed in their order."""
    abouts = list(systems.values())
    if len(abouts) == 1:
        return abouts[0]
    joined = {name: ", ".join(dict.fromkeys(str(value) for about in abouts if (value := getattr(about, name)))) or None
              for name in ("predictions", "run", "signal", "perturbation")}
    banners = [f"{name}: {about.banner}" for name, about in systems.items() if about.banner]
    days = [about.date for about in abouts if about.date]
    return replace(abouts[0], **joined,  # type: ignore[arg-type]
                   banner="; ".join(banners) or None, date=max(days, default=None))


def head_rows(about: Mapping[str, Any]) -> list[list[str]]:
    """The fields of `About` as rows of two columns: what it is, and which; none of an empty one."""
    return [[name, "not known" if about.get(name) is None else str(about[name])] for name, optional in _HEAD.items()
            if about and not (optional and about.get(name) is None)]


def day_of(predictions: Path | None) -> str | None:
    """The day (UTC) a file was written, or that of SOURCE_DATE_EPOCH; None of a stream."""
    given = os.environ.get(_EPOCH, "").strip()
    if given.isdigit() and len(given) < 12:
        seconds = float(given)
    elif predictions is not None:
        seconds = predictions.stat().st_mtime
    else:
        return None
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _reached(row: PerturbedRow) -> str:
    """What a perturbation did to a recording, in a word or two."""
    if not row.changed:
        return "unchanged"
    return "samples are missing" if row.snr_db is None else f"{row.snr_db:g} dB reached"


def perturbed_records(store: Store) -> dict[str, str]:
    """Record id -> what was done to its recording, of the perturbed records of a perturbed store."""
    kind = perturbation_of(store)
    if kind is None or not (store.path / PERTURBED).is_file():
        return {}
    return {row.record_id: f"{kind}; {_reached(row)}"
            for row in read_rows(store.path / PERTURBED, PerturbedRow)}


def _perturbation(store: Store, rows: Sequence[PredictionRow]) -> str | None:
    kind = perturbation_of(store)
    if kind is None:
        return None
    hit = perturbed_records(store)
    reached = store.manifest.details["perturbation"].get("achieved_snr_db")
    median = f", a median of {reached['p50']:g} dB reached in the store" if isinstance(reached, dict) else ""
    return f"{kind}: {sum(row.record_id in hit for row in rows)} of these {len(rows)} records{median}"
