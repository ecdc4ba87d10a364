"""Scoring a set of predictions: every metric over the whole set at once, beside baselines that see no signal."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow, write_atomically
from emgecg_cli.core.claims import claim
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, file_hashes, write_manifest
from emgecg_cli.core.metrics import Metric
from emgecg_cli.core.metrics.audit import TextSummary, check_rows, language_notes, summarise, text_notes
from emgecg_cli.core.metrics.baselines import baseline_predictions
from emgecg_cli.core.metrics.bootstrap import cluster_sums, percentile_interval, resample_sums
from emgecg_cli.core.metrics.findings import Findings, per_finding_table
from emgecg_cli.core.metrics.tokens import normalise

MODEL = "model"
_TEXT_METRICS = ("bleu", "meteor", "rouge", "cider", "bertscore")
# Sums of floats may differ in their last bits between machines; the written digits should not.
_DIGITS = 10


@dataclass(frozen=True)
class Value:
    """One corpus value with its 95 % interval. `value` is None where it cannot be computed; `reason` then says why."""

    name: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    signature: str
    n: int
    reason: str | None = None


@dataclass(frozen=True)
class System:
    """The values of one writer of reports, and what its texts look like."""

    name: str
    values: list[Value]
    texts: TextSummary


@dataclass(frozen=True)
class Scores:
    """What `scores.json` holds. `clustered_by` is the unit drawn in the bootstrap, `n_clusters` how many there are.

    `per_finding` says of the model which findings it misses: precision, recall, F1 and support by code, where a labeler
    reads the reports.
    """

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
    seed: int = 0, resamples: int = 1000, language: str | None = None,
) -> Scores:
    """Score predictions against their references, and two baselines made of train reports against the same references.

    Text is compared after Unicode NFC and nothing else: what the model wrote is what is scored. `metrics` are names of
    `names.METRICS`, None for all; `train_reports` also weigh CIDEr-D; `language` overrides that of every row. Intervals
    are percentile bootstrap, by patient where rows have a `subject_id`. Raises MedReportError for no rows, a record
    given twice, an empty reference, Chinese, an unknown metric, or when no metric can be computed.
    """
    checked = check_rows(rows, language)
    reports = [normalise(report) for report in train_reports or () if report.strip()]
    languages = sorted({row.language or "en" for row in checked})
    hypotheses = {MODEL: [row.prediction for row in checked]}
    if reports:
        hypotheses |= baseline_predictions(checked, reports, seed)
    given = {"model": bertscore_model, "layers": bertscore_layers, "baseline": bertscore_baseline}
    references = [row.reference for row in checked]
    idf = {"reports": reports, "origin": "train"} if reports else {"reports": references, "origin": "refs"}
    chosen = _build_metrics(metrics, languages, {"cider": idf, "bertscore": given})
    reasons = {metric.name: metric.applicable(checked) for metric in chosen}
    usable = [metric for metric in chosen if reasons[metric.name] is None]
    if not usable:
        first, reason = next(iter(reasons.items()))
        raise MedReportError(f"none of the metrics asked for can be computed ({first}: {reason})",
                             "ask for others, or leave --metric out")
    clusters, clustered_by = _clusters(checked)
    values = _compute(usable, hypotheses, checked, clusters, resamples, seed)
    missing = [Value(name, None, None, None, "", len(checked), reason) for name, reason in reasons.items() if reason]
    systems = [System(name, values[name] + missing, summarise(texts, references)) for name, texts in hypotheses.items()]
    notes = text_notes(checked, systems[0].texts) + language_notes(rows, checked, language)
    notes += [f"{name} not computed: {reason}" for name, reason in reasons.items() if reason]
    notes += _bootstrap_notes(checked, clustered_by, len(set(clusters)), resamples, seed)
    if not reports:
        notes.append("no baselines: there are no train reports (--store STORE takes those of its train split)")
    readable = any(isinstance(metric, Findings) for metric in usable)
    return Scores(len(checked), languages, seed, resamples, clustered_by, len(set(clusters)), len(reports), systems,
                  notes, per_finding_table(hypotheses[MODEL], checked) if readable else None)


def _build_metrics(wanted: Sequence[str] | None, languages: list[str], settings: Mapping[str, dict[str, Any]]
                   ) -> list[Metric]:
    """Metric objects in the order of the table; those that read text are told the languages, others take nothing."""
    arguments = {name: {"languages": languages, **settings.get(name, {})} for name in _TEXT_METRICS}
    asked = list(wanted) if wanted is not None else names.choices("metric")
    classes = {name: names.resolve("metric", name) for name in asked}
    return [classes[name](**arguments.get(name, {})) for name in names.choices("metric") if name in classes]


def _clusters(rows: Sequence[PredictionRow]) -> tuple[list[Hashable], str]:
    """The cluster of each row: its patient, else the record itself; and the name of the unit."""
    clusters: list[Hashable] = [("subject", row.dataset, row.subject_id) if row.subject_id else
                                ("record", row.dataset, row.record_id) for row in rows]
    return clusters, "subject_id" if any(row.subject_id for row in rows) else "record_id"


def _compute(metrics: Sequence[Metric], hypotheses: Mapping[str, list[str]], rows: Sequence[PredictionRow],
             clusters: Sequence[Hashable], resamples: int, seed: int) -> dict[str, list[Value]]:
    """System -> its values. All systems go through a metric together, which then handles each reference once; all
    statistics are resampled together, so that every value sees the same draws.
    """
    n, systems = len(rows), list(hypotheses)
    texts = [text for system in systems for text in hypotheses[system]]
    references = [row.reference for row in rows] * len(systems)
    blocks = [metric.segment_statistics(texts, references, [*rows] * len(systems)) for metric in metrics]
    statistics = [block[start * n:(start + 1) * n] for start in range(len(systems)) for block in blocks]
    sums = cluster_sums(np.concatenate(statistics, axis=1), clusters)
    drawn = resample_sums(sums, resamples, seed) if resamples > 0 and len(sums) > 1 else None
    values: dict[str, list[Value]] = {system: [] for system in systems}
    end = 0
    for (system, metric), block in zip(product(systems, metrics), statistics, strict=True):
        start, end = end, end + block.shape[1]
        resampled = metric.aggregate(drawn[:, start:end]) if drawn is not None else {}
        for name, value in metric.aggregate(block.sum(axis=0)).items():
            low, high = (percentile_interval(resampled[name]) if resampled else None) or (None, None)
            values[system].append(Value(name, _rounded(float(value)), _rounded(low), _rounded(high),
                                        metric.signature(), n))
    return values


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, _DIGITS)


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
