"""`score`: a predictions file or a stream in, `scores.json` and a page out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from emgecg_cli.core.artifacts import PredictionRow, parse_rows, read_rows
from emgecg_cli.core.claims import mark_path
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import check_files, input_of, is_finished, path_from, read_manifest
from emgecg_cli.core.metrics.inputs import open_store_for, page_examples, store_of, tables_of, train_reports
from emgecg_cli.core.metrics.page import POLICY, write_page
from emgecg_cli.core.metrics.score import Scores, score_predictions, write_scores
from emgecg_cli.core.store import open_store


def score_file(predictions: Path | IO[str], out: Path | None, *, store_path: Path | None = None,
               likely_store: Path | None = None, page: Path | None = None, examples: int = 6,
               metrics: Sequence[str] | None = None, **settings: Any) -> Scores:
    """Score predictions, write the scores if `out` is given and a page if `page` is.

    The store, for the baselines, the drawings and the tables that statements are held against, is the one the
    predictions name unless `store_path` gives another; `likely_store` is used for a stream, which names none, if it is
    of the same dataset.
    `settings` are those of `score_predictions`. Raises MedReportError for unreadable predictions, or a page without a
    store.
    """
    _check_targets(out, page)
    if isinstance(predictions, Path):
        if mark_path(predictions).exists() and not is_finished(predictions):
            raise MedReportError(f"{predictions}: `generate` has not finished it",
                                 "repeat that command: it goes on where it stopped")
        if is_finished(predictions):
            check_files(predictions, read_manifest(predictions, "predictions"))
        rows = read_rows(predictions, PredictionRow)
        store_path = store_path or store_of(predictions)
    else:
        rows = list(parse_rows(predictions, PredictionRow, "stdin"))
        if likely_store and {row.dataset for row in rows} == {open_store(likely_store).dataset}:
            store_path = store_path or likely_store
    if not rows:
        raise MedReportError(f"{predictions if isinstance(predictions, Path) else 'stdin'}: holds no predictions",
                             "run `medreport generate`, or pipe `medreport generate RUN --out -` into it")
    if page and store_path is None:
        raise MedReportError(f"{page}: drawing ECGs needs their store", "give --store")
    store = open_store_for(rows, store_path) if store_path else None
    scores = score_predictions(rows, metrics=metrics, train_reports=train_reports(store) if store else None,
                               tables=tables_of(store, rows) if store else None, **settings)
    if out:
        inputs = {"store": input_of(store.path, out)} if store else {}
        if isinstance(predictions, Path):
            inputs["predictions"] = input_of(predictions, out) if is_finished(predictions) else \
                _plain_input(predictions, out)
        write_scores(out, scores, inputs=inputs, arguments={"metrics": metrics, **_jsonable(settings)})
    if page and store:
        write_page(page, examples=page_examples(store, {"model": rows}, examples), scores=asdict(scores))
    return scores


def _check_targets(out: Path | None, page: Path | None) -> None:
    """Refuse to write over anything but earlier scores and pages."""
    if out and out.suffix != ".json":
        raise MedReportError(f"{out}: scores are written to a .json file", f"give --out {out}.json")
    if out and out.exists() and not mark_path(out).exists() and not (is_finished(out) and read_manifest(out, "scores")):
        raise MedReportError(f"{out}: exists, and holds no scores", "give another --out")
    if page and page.suffix != ".html":
        raise MedReportError(f"{page}: a page is written to a .html file", f"give --page {page}.html")
    if page and page.exists() and POLICY.encode() not in page.read_bytes():
        raise MedReportError(f"{page}: exists, and is no page of medreport", "give another --page")


def _plain_input(path: Path, out: Path) -> dict[str, str]:
    """How a manifest names predictions that medreport did not make, or has not finished."""
    return {"path": path_from(path, out), "hash": hashlib.sha256(path.read_bytes()).hexdigest()}


def _jsonable(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value.as_posix() if isinstance(value, Path) else value for key, value in settings.items()}
