"""`score`: a predictions file or a stream in, `scores.json` and a page out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from emgecg_cli.core.artifacts import PredictionRow, parse_rows, read_rows
from emgecg_cli.core.claims import mark_path
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.about import about_of
from emgecg_cli.core.evaluation.inputs import completed, open_store_for, page_examples, store_of
from emgecg_cli.core.evaluation.page import POLICY, write_page
from emgecg_cli.core.evaluation.score import Scores, score_rows, write_scores
from emgecg_cli.core.evaluation.statistics import statistics_path
from emgecg_cli.core.evaluation.store_check import check_against_store, name_of
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    file_hashes,
    input_of,
    is_finished,
    manifest_hash,
    path_from,
    read_manifest,
)
from emgecg_cli.core.store import Store, open_store


def score_file(predictions: Path | IO[str], out: Path | None, *, store_path: Path | None = None,
               likely_store: Path | None = None, foreign: bool = False, page: Path | None = None, examples: int = 6,
               metrics: Sequence[str] | None = None, progress: Callable[..., None] | None = None,
               **settings: Any) -> Scores:
    """Score predictions, write the scores if `out` is given and a page if `page` is.

    The statistics they are made of are written beside the scores. The store, for the baselines, the drawings and what
    is true of the records, is the one the predictions name unless `store_path` gives another; `likely_store` is used
    for a stream, which names none, if it holds the same records. `foreign` says that the file is somebody else's: its
    records and references may be others than the store's. `settings` are those of `score_rows`. Raises MedReportError
    for unreadable predictions, for such as are not of the store, and for a page without a store.
    """
    _check_targets(out, page)
    rows, manifest = _read(predictions)
    rows, unreported = with_reference(rows)
    file = predictions if isinstance(predictions, Path) else None
    made_from = store_of(file) if file else None
    store_path = store_path or made_from
    store = open_store_for(rows, store_path, foreign) if store_path else None
    caveats = check_against_store(rows, store, foreign) if store else []
    if likely_store and store is None:
        store, caveats = _likely(rows, likely_store, foreign)
    if page and store is None:
        raise MedReportError(f"{page}: drawing ECGs needs their store", "give --store")
    if foreign and store is None:
        raise MedReportError("--foreign has no effect: there is no store to hold the predictions against",
                             "add --store STORE, or leave --foreign out")
    rows, taken = completed(rows, store)
    scored = score_rows(rows, metrics=metrics, train_reports=store.reports("train") if store else None,
                        evidence=Evidence(store) if store else None, progress=progress, **settings)
    shown = open_store(made_from) if made_from else store
    if store and manifest and manifest_hash(store.path) != manifest.inputs.get("store", {}).get("hash"):
        caveats.append(f"the predictions were not made from {name_of(store)}, but from "
                       f"{name_of(shown) if shown and made_from else 'another store, which is not there'}")
    about = about_of(rows, predictions=file, manifest=manifest, store=store, shown=shown)
    scores = scored.scores
    scores = replace(scores, about=about, caveats=[*unreported, *caveats, *taken, *scores.caveats])
    if out:
        inputs = {"store": input_of(store.path, out)} if store else {}
        if file:
            inputs["predictions"] = input_of(file, out) if manifest else _plain_input(file, out)
        arguments = {"metrics": metrics, **({"foreign": True} if foreign else {}), **_jsonable(settings)}
        write_scores(out, scores, inputs=inputs, arguments=arguments, statistics=scored.statistics)
    if page and shown:
        write_page(page, examples=page_examples(shown, {"model": rows}, examples), scores=asdict(scores))
    return scores


def _read(predictions: Path | IO[str]) -> tuple[list[PredictionRow], Manifest | None]:
    """The predictions, and the manifest of a file that `generate` finished."""
    manifest = None
    if isinstance(predictions, Path):
        if mark_path(predictions).exists() and not is_finished(predictions):
            raise MedReportError(f"{predictions}: `generate` has not finished it",
                                 "repeat that command: it goes on where it stopped")
        if is_finished(predictions):
            manifest = read_manifest(predictions, "predictions")
            check_files(predictions, manifest)
        rows = read_rows(predictions, PredictionRow)
    else:
        rows = list(parse_rows(predictions, PredictionRow, "stdin"))
    if not rows:
        raise MedReportError(f"{predictions if isinstance(predictions, Path) else 'stdin'}: holds no predictions",
                             "run `medreport generate`, or pipe `medreport generate RUN --out -` into it")
    return rows, manifest


def _likely(rows: Sequence[PredictionRow], path: Path, foreign: bool) -> tuple[Store | None, list[str]]:
    """The only store there is, if it is of the same dataset and holds these records; else why it is not used."""
    store = open_store(path)
    if {row.dataset for row in rows} != {store.dataset}:
        return None, []
    try:
        return store, check_against_store(rows, store, foreign)
    except MedReportError as error:
        return None, [f"the only store here was not used: {error.message}"]


def with_reference(rows: list[PredictionRow]) -> tuple[list[PredictionRow], list[str]]:
    """The predictions that can be scored, and a note on those whose recording has no report; raises MedReportError
    where none has one."""
    scored = [row for row in rows if row.reference is not None]
    if not scored:
        raise MedReportError(f"none of the {len(rows)} predictions has a reference: their recordings have no reports "
                             "(prepare --no-reports)", "there is nothing to score them against; read them, or score "
                             "predictions for recordings with reports")
    n = len(rows) - len(scored)
    return scored, [f"{n} of {len(rows)} predictions are not scored: their recordings have no report"] if n else []


def _check_targets(out: Path | None, page: Path | None) -> None:
    """Refuse to write over anything but earlier scores and pages."""
    if out and out.suffix != ".json":
        raise MedReportError(f"{out}: scores are written to a .json file", f"give --out {out}.json")
    if out and out.exists() and not mark_path(out).exists() and not (is_finished(out) and read_manifest(out, "scores")):
        raise MedReportError(f"{out}: exists, and holds no scores", "give another --out")
    if out and statistics_path(out).exists() and not mark_path(out).exists() and not _has_statistics(out):
        raise MedReportError(f"{statistics_path(out)}: exists, and is not of medreport", "give another --out")
    if page and page.suffix != ".html":
        raise MedReportError(f"{page}: a page is written to a .html file", f"give --page {page}.html")
    if page and page.exists() and POLICY.encode() not in page.read_bytes():
        raise MedReportError(f"{page}: exists, and is no page of medreport", "give another --page")


def _has_statistics(scores: Path) -> bool:
    """Whether these are scores, and the statistics beside them are theirs."""
    return is_finished(scores) and \
        statistics_path(scores).name in read_manifest(scores, "scores").details.get("files", {})


def _plain_input(path: Path, out: Path) -> dict[str, str]:
    """How a manifest names predictions that medreport did not make, or has not finished."""
    return {"path": path_from(path, out), "hash": file_hashes(path.parent, [path.name])[path.name]}


def _jsonable(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON: a setting of a metric that was not given is left out."""
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items() if one is not None}
        return value.as_posix() if isinstance(value, Path) else value

    return {key: plain(value) for key, value in settings.items() if value != {}}
