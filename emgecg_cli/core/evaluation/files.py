"""`score`: a predictions file or a stream in, `scores.json` and a page out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.claims import mark_path
from emgecg_cli.core.config import ALL_SPLITS, SCORES
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.about import about_of, joined_about
from emgecg_cli.core.evaluation.curve import Curves
from emgecg_cli.core.evaluation.curve_files import curves_with
from emgecg_cli.core.evaluation.inputs import completed, open_store_for, store_of
from emgecg_cli.core.evaluation.page import page_examples, write_page
from emgecg_cli.core.evaluation.page.charts import differences, run_of
from emgecg_cli.core.evaluation.page.ranking import report_scores
from emgecg_cli.core.evaluation.score import MODEL, Scored, Scores, score_rows, write_scores
from emgecg_cli.core.evaluation.statistics import statistics_path
from emgecg_cli.core.evaluation.store_check import check_against_store, name_of
from emgecg_cli.core.evaluation.systems import Aligned, aligned, said_by
from emgecg_cli.core.evaluation.train_side import Encode, train_side, trained_on
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.manifest import (
    ENDPOINT,
    file_hashes,
    input_of,
    is_finished,
    manifest_hash,
    path_from,
    read_manifest,
)
from emgecg_cli.core.metrics.judged.panel import Panel
from emgecg_cli.core.pages import POLICY
from emgecg_cli.core.pages.training import training_charts
from emgecg_cli.core.predictions import Predictions, read_predictions
from emgecg_cli.core.store import Store, open_store

Source = Path | IO[str]


def score_file(predictions: Source | Mapping[str, Source], out: Path | None, *, store_path: Path | None = None,
               likely_store: Path | None = None, foreign: bool = False, page: Path | None = None, examples: int = 100,
               metrics: Sequence[str] | None = None, fields: Mapping[str, str] | None = None, common: bool = False,
               judge: Panel | None = None, progress: Callable[..., None] | None = None,
               encode: Encode | None = None, train_store: Path | None = None, task: str | None = None,
               **settings: Any) -> Scores:
    """Score predictions, write the scores if `out` is given and a page if `page` is.

    Several systems are a mapping, name -> file or stream; they must be of the same records, or with `common` those are
    scored that all have. The statistics they are made of are written beside the scores. The store, for the baselines,
    the drawings and what is true of the records, is the one the predictions name unless `store_path` gives another;
    `likely_store` is used for a stream, which names none, if it holds the same records. `foreign` says that the files
    are somebody else's: their records and references may be others than the store's; `fields` which of their fields is
    which of ours (`predictions.parse_fields`); `task` what task of a benchmark those rows are of that do not say it. A
    `judge` is asked as well, closed at the end, and what its answers took
    stands in the manifest. Baselines are made of the store's train reports, and where the run was trained on another
    data set, of those of `train_store` or of the store that it names; `encode` gives the features by which the nearest
    recording is found. `settings` are those of `score_rows`. Raises MedReportError for unreadable predictions, for such
    as are not of the store, and for a page without a store.
    """
    _check_targets(out, page)
    sources = dict(predictions) if isinstance(predictions, Mapping) else {MODEL: predictions}
    read = {name: _System(source, _of_task(read_predictions(source, fields), task)) for name, source in sources.items()}
    store_path = store_path or next((one.made_from for one in read.values() if one.made_from), None)
    for one in read.values():
        one.hold_against(store_path, likely_store, foreign)
    store = next(iter(read.values())).store
    if page and store is None:
        raise MedReportError(f"{page}: drawing ECGs needs their store", "give --store")
    if foreign and store is None:
        raise MedReportError("--foreign has no effect: there is no store to hold the predictions against",
                             "add --store STORE, or leave --foreign out")
    if store is None and (train_store or encode):
        raise MedReportError("there is no store, whose records are needed for these baselines", "add --store STORE")
    if common and len(read) < 2:
        raise MedReportError("--common has no effect on one predictions file", "give several, or leave it out")
    same = aligned({name: one.rows for name, one in read.items()}, common) if len(read) > 1 else \
        Aligned({name: one.rows for name, one in read.items()}, [])
    if judge:
        judge.progress = progress
    source = train_store or next((there for one in read.values() if one.file and (there := trained_on(one.file))), None)
    side = train_side(next(iter(same.rows.values())), store, source, encode) if store else None
    with judge or nullcontext():
        scored = score_rows(same.rows, metrics=metrics, train_reports=store.reports("train") if store else None,
                            baselines=side, evidence=Evidence(store) if store else None, judge=judge,
                            progress=progress, **settings)
    shown = {name: open_store(one.made_from) if one.made_from else store for name, one in read.items()}
    about = joined_about({name: about_of(same.rows[name], predictions=one.file, manifest=one.predictions.manifest,
                                         store=store, shown=shown[name]) for name, one in read.items()})
    said = said_by({name: one.caveats for name, one in read.items()})
    scores = replace(scored.scores, about=about, caveats=[*said, *same.caveats, *scored.scores.caveats])
    for metric in scored.keeping:
        metric.keep()
    if out:
        told = {"foreign": foreign, "common": common, "task": task, "fields": dict(fields or {}),
                "judges": judge and judge.asked(),
                "baseline_encoder": encode and str(encode), "train_store": train_store and train_store.as_posix()}
        arguments = {"metrics": metrics, **{name: value for name, value in told.items() if value},
                     **_jsonable(settings)}
        write_scores(out, scores, inputs=_inputs(read, store, out), arguments=arguments, statistics=scored.statistics,
                     details={ENDPOINT: took} if judge and (took := judge.took()) else {})
    drawn = next(iter(shown.values()))
    if page and drawn:
        written = {name: one.file for name, one in read.items()}
        places = [Path(SCORES), *([out.parent] if out else [])]
        _write_page(page, drawn, same.rows, scored, scores, written, examples,
                    curves_with([one for one in written.values() if one], places))
    return scores


def _of_task(predictions: Predictions, task: str | None) -> Predictions:
    """The predictions with their task, where they do not say one."""
    if task is None:
        return predictions
    return replace(predictions, rows=[replace(row, task=row.task or task) for row in predictions.rows])


def _write_page(page: Path, store: Store, rows: Mapping[str, Sequence[PredictionRow]], scored: Scored, scores: Scores,
                written: Mapping[str, Path | None], count: int, robustness: Mapping[str, Curves]) -> None:
    """The page of some scores, with the losses of the runs that predictions were `written` by."""
    systems = list(rows)
    baselines = [system.name for system in scores.systems if system.name not in rows]
    shown = page_examples(store, rows, count, seed=scores.seed,
                          scores=report_scores(scored.computed, systems, scores.n))
    runs = dict.fromkeys(run for name in systems if (run := run_of(written[name])) is not None)
    write_page(page, examples=shown, scores=asdict(scores),
               differences=differences(scored.computed, systems[0], baselines),
               robustness=robustness, training={f"Training of {run.name}": training_charts(run) for run in runs})


@dataclass
class _System:
    """One predictions file on its way: its rows with what the store knows of them, and what limits their scores."""

    source: Source
    predictions: Predictions
    rows: list[PredictionRow] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    store: Store | None = None

    @property
    def file(self) -> Path | None:
        return self.source if isinstance(self.source, Path) else None

    @property
    def made_from(self) -> Path | None:
        return store_of(self.file) if self.file else None

    def hold_against(self, path: Path | None, likely: Path | None, foreign: bool) -> None:
        """Hold the predictions against the store at `path`, else against the likely one, and complete them from it."""
        rows, unreported = with_reference(self.predictions.rows)
        store = open_store_for(rows, path, foreign) if path else None
        unseen = self.predictions.manifest is not None and \
            self.predictions.manifest.arguments.get("split") == ALL_SPLITS  # which generate made sure of
        caveats = check_against_store(rows, store, foreign, unseen) if store else []
        if likely and store is None:
            store, caveats = _likely(rows, likely, foreign)
        manifest, made_from = self.predictions.manifest, self.made_from
        if store and manifest and manifest_hash(store.path) != manifest.inputs.get("store", {}).get("hash"):
            caveats.append(f"the predictions were not made from {name_of(store)}, but from "
                           f"{name_of(open_store(made_from)) if made_from else 'another store, which is not there'}")
        self.rows, taken = completed(rows, store)
        self.store, self.caveats = store, [*unreported, *caveats, *taken]


def _inputs(read: Mapping[str, _System], store: Store | None, out: Path) -> dict[str, dict[str, str]]:
    """What the scores are made of, for their manifest."""
    inputs = {"store": input_of(store.path, out)} if store else {}
    for number, one in enumerate(read.values(), 1):
        if one.file:
            role = "predictions" if number == 1 else f"predictions {number}"
            inputs[role] = input_of(one.file, out) if one.predictions.manifest else _plain_input(one.file, out)
    return inputs


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
