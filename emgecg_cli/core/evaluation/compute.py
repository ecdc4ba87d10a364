"""Computing metrics on the slices of a set, for all systems at once, with intervals from the same draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.bootstrap import cluster_sums, percentile_interval, resample_sums
from emgecg_cli.core.evaluation.slices import Slice
from emgecg_cli.core.metrics import Metric
from emgecg_cli.core.metrics.text.segmentation import segmented_tokens
from emgecg_cli.core.metrics.text.tokens import TEXT_FORM

# These compare tokens; BERTScore has its model's own. None of the five is pooled over languages that are segmented and
# others.
TOKEN_METRICS = ("bleu", "meteor", "rouge", "cider")
TEXT_METRICS = (*TOKEN_METRICS, "bertscore")
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
class Task:
    """Metrics to compute on a slice; `rows` and `hypotheses`, by system, are those of the slice, cut to its section."""

    slice: Slice
    rows: list[PredictionRow]
    hypotheses: dict[str, list[str]]
    metrics: list[Metric]

    def reasons(self) -> dict[str, str]:
        """Why metrics of this task cannot be computed."""
        found = {metric.name: metric.applicable(self.rows) for metric in self.metrics}
        return {name: reason for name, reason in found.items() if reason is not None}


def languages_of(rows: Sequence[PredictionRow]) -> list[str]:
    """The primary languages of some rows, sorted."""
    return sorted({row.language or "en" for row in rows})


def idf_of(part: Slice, rows: Sequence[PredictionRow], reports: Sequence[str]) -> dict[str, Any]:
    """The texts that weigh CIDEr-D in a slice: train reports of its language and section, else its references."""
    own = part.reports(reports)
    return {"reports": own, "origin": "train"} if own else {"reports": [row.reference for row in rows],
                                                            "origin": "refs"}


def build_metrics(wanted: Sequence[str], languages: list[str], settings: Mapping[str, dict[str, Any]], part: Slice,
                   segmentation: str | None) -> list[Metric]:
    """Metric objects in the order of the table; those that read text are told the languages, and without blanks between
    words how these are cut into tokens: METEOR by character always, as no words are matched but equal ones."""
    arguments: dict[str, dict[str, Any]] = {name: dict(settings.get(name, {})) for name in wanted}
    classes = {name: names.resolve("metric", name) for name in wanted}
    for name in {*wanted} & {*TEXT_METRICS}:
        arguments[name]["languages"] = languages
        if part.group and segmentation is not None and name in TOKEN_METRICS:
            arguments[name]["tokens"] = segmented_tokens("char" if name == "meteor" else segmentation)
    return [classes[name](**arguments[name]) for name in names.choices("metric") if name in classes]


def clusters_of(rows: Sequence[PredictionRow]) -> tuple[list[Hashable], str]:
    """The cluster of each row: its patient, else the record itself; and the name of the unit."""
    clusters: list[Hashable] = [("subject", row.dataset, row.subject_id) if row.subject_id else
                                ("record", row.dataset, row.record_id) for row in rows]
    return clusters, "subject_id" if any(row.subject_id for row in rows) else "record_id"


def compute(tasks: Sequence[Task], rows: Sequence[PredictionRow], resamples: int, seed: int,
            progress: Callable[..., None] | None = None) -> tuple[dict[str, list[Value]], dict[str, str]]:
    """System -> its values, and why values are missing, by name. All systems go through a metric together, which then
    handles each reference once; all statistics are resampled together, so that every value sees the same draws.
    `progress(done, total, next=)` counts metrics.

    Raises MedReportError when nothing can be computed.
    """
    missing = [task.reasons() for task in tasks]
    jobs = [(task, metric) for task, own in zip(tasks, missing, strict=True) for metric in task.metrics
            if metric.name not in own]
    computed = {metric.name for _, metric in jobs}
    reasons: dict[str, str] = {}
    for task, own in zip(tasks, missing, strict=True):
        for name, reason in own.items():
            reasons.setdefault(task.slice.named(name) if name in computed else name, reason)
    if not jobs:
        first, reason = next(iter(reasons.items()))
        raise MedReportError(f"none of the metrics asked for can be computed ({first}: {reason})",
                             "ask for others, or leave --metric out")
    columns = []
    for number, (task, metric) in enumerate(jobs):
        if progress:
            progress(number, len(jobs), next=metric.name)
        columns += [(task, metric, system, block) for system, block in _statistics(task, metric, len(rows)).items()]
    if progress:
        progress(len(jobs), len(jobs), next="intervals")
    sums = cluster_sums(np.concatenate([block for *_, block in columns], axis=1), clusters_of(rows)[0])
    drawn = resample_sums(sums, resamples, seed) if resamples > 0 and len(sums) > 1 else None
    values: dict[str, list[Value]] = {system: [] for system in tasks[0].hypotheses}
    end = 0
    for task, metric, system, block in columns:
        start, end = end, end + block.shape[1]
        values[system] += _values(task, metric, block, None if drawn is None else drawn[:, start:end])
    for system in values:
        values[system] += [Value(name, None, None, None, "", len(rows), reason) for name, reason in reasons.items()]
    return values, reasons


def _statistics(task: Task, metric: Metric, n: int) -> dict[str, np.ndarray]:
    """System -> statistics of all n rows, (n, k), zero where a row is not in the slice."""
    systems = list(task.hypotheses)
    texts = [text for system in systems for text in task.hypotheses[system]]
    references = [row.reference or "" for row in task.rows] * len(systems)
    blocks = metric.segment_statistics(texts, references, [*task.rows] * len(systems))
    found = {}
    for number, system in enumerate(systems):
        found[system] = np.zeros((n, blocks.shape[1]))
        found[system][task.slice.index] = blocks[number * len(task.rows):(number + 1) * len(task.rows)]
    return found


def _values(task: Task, metric: Metric, block: np.ndarray, drawn: np.ndarray | None) -> list[Value]:
    """The values of one metric, slice and system, with their intervals; a draw without a row of the slice is left out.
    """
    part, signature = task.slice, metric.signature()
    if metric.name in TEXT_METRICS:
        signature += f"|text:{TEXT_FORM}"
    if part.section != "all":
        signature += f"|section:{part.section}"
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = metric.aggregate(drawn) if drawn is not None else {}
    found = []
    for name, value in metric.aggregate(block.sum(axis=0)).items():
        low, high = (percentile_interval(resampled[name]) if resampled else None) or (None, None)
        rounded = _rounded(float(value))
        reason = None if rounded is not None else "there is nothing in its denominator"
        found.append(Value(part.named(name), rounded, _rounded(low), _rounded(high), signature, len(task.rows), reason))
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, _DIGITS)
