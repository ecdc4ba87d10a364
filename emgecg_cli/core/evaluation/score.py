"""Scoring a set of predictions: every metric over the whole set at once, beside baselines that see no signal."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.claims import claim
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.about import About
from emgecg_cli.core.evaluation.audit import (
    TextSummary,
    check_rows,
    check_tokens,
    language_notes,
    summarise,
    text_notes,
)
from emgecg_cli.core.evaluation.baselines import baseline_predictions
from emgecg_cli.core.evaluation.caveats import caveats_of
from emgecg_cli.core.evaluation.compute import (
    TEXT_METRICS,
    TOKEN_METRICS,
    Task,
    Value,
    build_metrics,
    clusters_of,
    compute,
    idf_of,
    languages_of,
)
from emgecg_cli.core.evaluation.slices import Slice, groups_of, per_language, section_notes, token_slices, whole_slice
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import Manifest, file_hashes, write_manifest
from emgecg_cli.core.metrics.clinical.findings import Findings, per_finding_table
from emgecg_cli.core.metrics.clinical.statements import Statements, Tables, statement_notes
from emgecg_cli.core.metrics.text.segmentation import check_segmentation
from emgecg_cli.core.metrics.text.tokens import normalise

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

    `per_finding` says of the model which findings it misses: precision, recall, F1 and support by code, where a labeler
    reads the reports.
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
    per_finding: dict[str, dict[str, float | int]] | None = None

    def value(self, name: str, system: str = MODEL) -> Value:
        """One value of one system; raises KeyError for a name that was not computed."""
        for candidate in self.systems:
            if candidate.name == system:
                for value in candidate.values:
                    if value.name == name:
                        return value
        raise KeyError(f"{system}: {name}")


def score_predictions(
    rows: Sequence[PredictionRow], *, metrics: Sequence[str] | None = None, train_reports: Sequence[str] | None = None,
    bertscore_model: Path | None = None, bertscore_layers: int | None = None, bertscore_baseline: Path | None = None,
    seed: int = 0, resamples: int = 1000, language: str | None = None, segmentation: str | None = None,
    section: str = "all", tables: Tables | None = None, progress: Callable[..., None] | None = None,
) -> Scores:
    """Score predictions against their references, and two baselines made of train reports against the same references.

    Texts are compared after `scripts.same_letters` and nothing else: what the model wrote is what is scored. `metrics`
    are names of `names.METRICS`, None for all; `train_reports` also weigh CIDEr-D; `language` overrides that of every
    row. Languages without blanks between words need a `segmentation`, "char", or "jieba" for Chinese, and are scored
    apart from each other and from all others. Reports with findings and impression are scored whole and by section, or
    on the `section` asked for alone; `tables` are what statements are held against. Intervals are percentile bootstrap,
    by patient where rows have a `subject_id`. Raises MedReportError for no rows, a record given twice, an empty
    reference, a language without blanks that has no segmentation or is called another one, an unknown metric, or when
    no metric can be computed.
    """
    checked = check_rows(rows, language)
    asked = list(metrics) if metrics is not None else names.choices("metric")
    if segmentation is not None:
        check_segmentation(segmentation)
    if set(asked) & {*TOKEN_METRICS}:
        check_tokens(checked, segmentation)
    reports = [normalise(report) for report in train_reports or () if report.strip()]
    hypotheses = {MODEL: [row.prediction for row in checked]}
    if reports:
        hypotheses |= per_language(checked, reports, lambda own, same: baseline_predictions(own, same, seed))
    given: dict[str, Any] = {"model": bertscore_model, "layers": bertscore_layers, "baseline": bertscore_baseline,
                             "encoders": {}}

    def task(part: Slice, wanted: Sequence[str]) -> Task:
        own = [replace(checked[i], prediction=part.text(checked[i].prediction),
                       reference=part.text(checked[i].reference)) for i in part.index]
        texts = {system: [part.text(written[i]) for i in part.index] for system, written in hypotheses.items()}
        settings: dict[str, dict[str, Any]] = {"bertscore": given, "statements": {"tables": tables},
                                               "cider": idf_of(part, own, reports)}
        return Task(part, own, texts, build_metrics(wanted, languages_of(own), settings, part, segmentation))

    tasks = [task(part, [name for name in asked if name in TEXT_METRICS]) for part in token_slices(checked, section)]
    whole = task(whole_slice(checked, section), [name for name in asked if name not in TEXT_METRICS])
    tasks.insert(1, whole)
    values, reasons = compute(tasks, checked, resamples, seed, progress)
    references = [row.reference or "" for row in checked]
    systems = [System(name, values[name], summarise(texts, references)) for name, texts in hypotheses.items()]
    clusters, clustered_by = clusters_of(checked)
    notes = text_notes(checked, systems[0].texts) + language_notes(rows, checked, language)
    notes += section_notes(checked, section)
    if segmentation is not None and not any(groups_of(checked)):
        notes.append(f"--segmentation {segmentation} changed nothing: all reports have blanks between words")
    notes += [f"{name} not computed: {reason}" for name, reason in reasons.items()]
    readable = {metric.name for metric in whole.metrics} - whole.reasons().keys()
    if Statements.name in readable:
        notes += statement_notes(whole.hypotheses[MODEL], whole.rows, tables)
    notes += _bootstrap_notes(checked, clustered_by, len(set(clusters)), resamples, seed)
    if not reports:
        notes.append("no baselines: there are no train reports (--store STORE takes those of its train split)")
    return Scores(len(checked), languages_of(checked), seed, resamples, clustered_by, len(set(clusters)), len(reports),
                  systems, notes, per_finding_table(whole.hypotheses[MODEL], whole.rows)
                  if Findings.name in readable else None, caveats=caveats_of(checked))


def _bootstrap_notes(rows: Sequence[PredictionRow], unit: str, n_clusters: int, resamples: int, seed: int) -> list[str]:
    """How the intervals were made, or why there are none."""
    if resamples < 1 or n_clusters < 2:
        reason = "no resamples were asked for" if resamples < 1 else f"there is one {unit} only"
        return [f"no confidence intervals: {reason}"]
    notes = [f"95 % intervals: percentile bootstrap, {resamples} draws of {n_clusters} by {unit}, seed {seed}"]
    alone = sum(not row.subject_id for row in rows)
    if unit == "subject_id" and alone:
        notes.append(f"{alone} of {len(rows)} records have no subject_id and count as a patient each")
    return notes


def write_scores(out: Path, scores: Scores, *, inputs: dict[str, dict[str, str]], arguments: dict[str, Any]) -> None:
    """Write a `.json` file of scores, then its manifest beside it (kind `scores`).

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
        write_manifest(out, Manifest(kind="scores", command="score", arguments=arguments, seed=scores.seed,
                                     counts=counts, inputs=inputs,
                                     details={"files": file_hashes(out.parent, [out.name])}))
        claimed.finish()
