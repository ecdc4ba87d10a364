"""Scoring a set of predictions: every metric over the whole set at once, beside baselines that see no signal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.claims import claim
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.about import About
from emgecg_cli.core.evaluation.audit import (
    TextSummary,
    check_rows,
    check_tokens,
    language_notes,
    mean_words,
    summarise,
    text_notes,
)
from emgecg_cli.core.evaluation.baselines import TrainReports, write_baselines
from emgecg_cli.core.evaluation.caveats import caveats_of
from emgecg_cli.core.evaluation.comparison import Comparison, compare, comparison_notes
from emgecg_cli.core.evaluation.compute import Computed, Value, ValueTable, clusters_of, compute
from emgecg_cli.core.evaluation.slices import groups_of, section_notes
from emgecg_cli.core.evaluation.statistics import statistics_frame, statistics_path, write_statistics
from emgecg_cli.core.evaluation.systems import said_by
from emgecg_cli.core.evaluation.tasks import Asked, Task, languages_of, metrics_asked, reference_notes, tasks_of
from emgecg_cli.core.evaluation.train_side import TrainSide
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import Manifest, file_hashes, write_manifest
from emgecg_cli.core.metrics import Keeping, Noted
from emgecg_cli.core.metrics.text.segmentation import check_segmentation
from emgecg_cli.core.metrics.text.tokens import normalise

if TYPE_CHECKING:
    import polars

    from emgecg_cli.core.metrics.judged.panel import Panel

MODEL = "model"


@dataclass(frozen=True)
class System:
    """The values of one writer of reports, and what its texts look like."""

    name: str
    values: list[Value]
    texts: TextSummary


@dataclass(frozen=True)
class Scores:
    """What `scores.json` holds. `about` is what was scored and `caveats` what limits it, to be read before any value.
    `clustered_by` is the unit drawn in the bootstrap, `n_clusters` how many there are.

    `tables` break the models' values down item by item: by finding, say, with precision, recall, F1 and support.
    `comparison` holds the paired tests where there are several models.
    """

    about: About | None = field(default=None, kw_only=True)
    caveats: list[str] = field(default_factory=list, kw_only=True)
    n: int
    languages: list[str]
    seed: int
    resamples: int
    clustered_by: str
    n_clusters: int
    n_train_reports: int
    systems: list[System]
    notes: list[str]
    tables: list[ValueTable] = field(default_factory=list)
    comparison: Comparison | None = None

    def value(self, name: str, system: str = MODEL) -> Value:
        """One value of one system; raises KeyError for a name that was not computed."""
        for candidate in self.systems:
            if candidate.name == system:
                for value in candidate.values:
                    if value.name == name:
                        return value
        raise KeyError(f"{system}: {name}")

    def frame(self) -> polars.DataFrame:
        """A row for each value of each system, with its interval and signature."""
        from emgecg_cli.core.evaluation.tables import as_frame

        return as_frame(self)

    def _repr_html_(self) -> str:
        from emgecg_cli.core.evaluation.tables import as_html

        return as_html(self)


@dataclass(frozen=True)
class Scored:
    """Scores, the statistics of every report that they are made of (`statistics.statistics_frame`), with their metrics
    and draws, and the metrics of whole reports that may keep files."""

    scores: Scores
    statistics: polars.DataFrame
    computed: Computed
    keeping: list[Keeping] = field(default_factory=list)


def score_predictions(rows: Sequence[PredictionRow], **settings: Any) -> Scores:
    """The scores of `score_rows` alone."""
    return score_rows(rows, **settings).scores


def score_rows(
    rows: Sequence[PredictionRow] | Mapping[str, Sequence[PredictionRow]], *, metrics: Sequence[str] | None = None,
    profile: str = "standard", compat: Sequence[str] = (),
    train_reports: Sequence[str | None] | None = None, baselines: TrainSide | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    evidence: Evidence | None = None, seed: int = 0, resamples: int = 1000, randomisations: int = 10_000,
    language: str | None = None, segmentation: str | None = None, section: str = "all",
    judge: Panel | None = None, progress: Callable[..., None] | None = None,
) -> Scored:
    """Score predictions against their references, and reports written without a model against the same references.

    Several systems are a mapping, name -> rows, of the same records in the same order; the others are then compared
    with the first by paired tests, of so many `randomisations`. Texts are compared after `scripts.same_letters` and
    nothing else: what the model wrote is what is scored. `metrics` are names of `names.METRICS`, None for those of
    the `profile`, with those that ask a `judge` only where there is one; `compat` names other systems' arithmetic
    beside them; `settings` are theirs, by name. `train_reports` serve metrics that weigh words, and baselines where
    `baselines` say no more of these; `evidence` is what is true of the records; `language` overrides that of every
    row. Languages without blanks between words need a `segmentation`, "char", or "jieba" for Chinese, and are scored
    apart from each other and from all others. Reports with findings and impression are scored whole and by section, or
    on the `section` asked for alone. Intervals are
    percentile bootstrap, by patient where rows have a `subject_id`. Raises MedReportError for no rows, a record given
    twice, an empty reference, a language without blanks that has no segmentation or is called another one, an unknown
    metric, or when no metric can be computed.
    """
    given = dict(rows) if isinstance(rows, Mapping) else {MODEL: rows}
    systems = {name: check_rows(own, language) for name, own in given.items()}
    model, *_ = systems
    checked = systems[model]
    wanted = metrics_asked(metrics, profile, compat, judge, settings or {})
    reports = [normalise(report) for report in train_reports or () if report and report.strip()]
    asked = Asked(wanted, section, segmentation, reports, evidence, settings or {}, judge)
    if segmentation is not None:
        check_segmentation(segmentation)
    if asked.comparing("tokens"):
        check_tokens(checked, segmentation)
    hypotheses = {name: [row.prediction for row in own] for name, own in systems.items()}
    side = baselines or TrainSide([TrainReports(reports)])
    written = write_baselines(checked, side.trains, seed, side.features)
    hypotheses |= written.texts
    tasks = tasks_of(systems, hypotheses, replace(asked, unjudged=written.unjudged))
    computed = compute(tasks, checked, resamples, seed, progress)
    scores = _scores(systems, hypotheses, computed, seed, resamples)
    notes = said_by({one.name: text_notes(systems[one.name], one.texts) for one in scores.systems[:len(systems)]})
    notes += [*language_notes(given[model], checked, language), *_notes(systems, asked, tasks, computed),
              *_bootstrap_notes(checked, scores)]
    if len(systems) > 1:
        compared = compare(computed, list(systems), clusters_of(checked)[0], randomisations, seed)
        scores = replace(scores, comparison=compared)
        notes += comparison_notes(compared, scores.clustered_by)
    notes += [*reference_notes(tasks), *written.notes]
    if side.transfer_from:
        notes.append(f"the run was trained on {side.transfer_from}: its train reports make baselines too")
    if not any(train.reports for train in side.trains):
        notes.append("no baselines of train reports: there are none (--store STORE takes those of its train split)")
    return Scored(replace(scores, n_train_reports=len(reports), notes=notes),
                  statistics_frame(checked, computed.blocks), computed,
                  [metric for task in tasks if task.slice.section == "all" for metric in task.computable()
                   if isinstance(metric, Keeping)])


def _scores(systems: Mapping[str, Sequence[PredictionRow]], hypotheses: Mapping[str, list[str]], computed: Computed,
            seed: int, resamples: int) -> Scores:
    """The scores, without notes."""
    rows = next(iter(systems.values()))
    words = mean_words([row.reference or "" for row in rows])
    found = [System(name, computed.values[name], summarise(texts, words)) for name, texts in hypotheses.items()]
    clusters, clustered_by = clusters_of(rows)
    caveats = said_by({name: caveats_of(own) for name, own in systems.items()})
    return Scores(len(rows), languages_of(rows), seed, resamples, clustered_by, len(set(clusters)), 0, found, [],
                  [table for table in computed.tables if table.system in systems], caveats=caveats)


def _notes(systems: Mapping[str, Sequence[PredictionRow]], asked: Asked, tasks: Sequence[Task], computed: Computed
           ) -> list[str]:
    """The notes of the sections and the metrics."""
    rows = next(iter(systems.values()))
    notes = said_by({name: section_notes(own, asked.section) for name, own in systems.items()})
    if asked.segmentation is not None and not any(groups_of(rows)):
        notes.append(f"--segmentation {asked.segmentation} changed nothing: all reports have blanks between words")
    notes += [f"{name} not computed: {reason}" for name, reason in computed.missing.items()]
    return notes + [note for task in tasks for metric in task.computable() if isinstance(metric, Noted)
                    for note in said_by({name: metric.notes(task.hypotheses[name], task.own[name])
                                         for name in systems})]


def _bootstrap_notes(rows: Sequence[PredictionRow], scores: Scores) -> list[str]:
    """How the intervals were made, or why there are none."""
    unit, n_clusters, resamples = scores.clustered_by, scores.n_clusters, scores.resamples
    if resamples < 1 or n_clusters < 2:
        reason = "no resamples were asked for" if resamples < 1 else f"there is one {unit} only"
        return [f"no confidence intervals: {reason}"]
    notes = [f"95 % intervals: percentile bootstrap, {resamples} draws of {n_clusters} by {unit}, seed {scores.seed}"]
    alone = sum(not row.subject_id for row in rows)
    if unit == "subject_id" and alone:
        notes.append(f"{alone} of {len(rows)} records have no subject_id and count as a patient each")
    return notes


def write_scores(out: Path, scores: Scores, *, inputs: dict[str, dict[str, str]], arguments: dict[str, Any],
                 statistics: polars.DataFrame | None = None, details: Mapping[str, Any] | None = None) -> None:
    """Write a `.json` file of scores, the `statistics` they are made of beside it as `.parquet`, then its manifest
    (kind `scores`).

    `inputs` maps "predictions", and "store" where there is one, to a path and a hash; raises MedReportError for another
    suffix.
    """
    if out.suffix != ".json":
        raise MedReportError(f"{out}: scores are written to a .json file", f"--out {out}.json")
    text = json.dumps(asdict(scores), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    counts = {"records": scores.n, "train_reports": scores.n_train_reports, "systems": len(scores.systems),
              "empty_predictions": scores.systems[0].texts.empty}
    with claim(out, {"command": "score"}, replaces=True) as claimed:
        claimed.begin()
        write_atomically(out, text.encode("utf-8", "backslashreplace"))
        files = [out.name]
        if statistics is not None:
            write_statistics(statistics_path(out), statistics)
            files.append(statistics_path(out).name)
        write_manifest(out, Manifest(kind="scores", command="score", arguments=arguments, seed=scores.seed,
                                     counts=counts, inputs=inputs,
                                     details={**(details or {}), "files": file_hashes(out.parent, files)}))
        claimed.finish()
