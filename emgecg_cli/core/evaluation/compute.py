"""Computing metrics on the slices of a set, for all systems at once, with intervals from the same draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.bootstrap import cluster_sums, percentile_interval, resample_all
from emgecg_cli.core.evaluation.slices import Slice
from emgecg_cli.core.evaluation.tasks import Task
from emgecg_cli.core.metrics import Metric, Tabled
from emgecg_cli.core.metrics.text.tokens import TEXT_FORM

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
    lower_is_better: bool = False


@dataclass(frozen=True)
class Interval:
    """A value and the bounds of its 95 % interval."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True)
class TableRow:
    """One item of a table, and what it is in words: how often it is true, how often it is stated, and so on, and its
    values by name."""

    item: str
    meaning: str
    counts: dict[str, int]
    values: dict[str, Interval]


@dataclass(frozen=True)
class ValueTable:
    """The values of a system broken down item by item."""

    name: str
    title: str
    system: str
    rows: list[TableRow]


@dataclass(frozen=True)
class Block:
    """Statistics of one metric, slice and system: (m, k), a row for each of the slice."""

    slice: Slice
    metric: Metric
    system: str
    statistics: np.ndarray


@dataclass(frozen=True)
class Computed:
    """Values and tables by system, why values are missing, by name, the statistics they are made of, and the resampled
    values (resamples,) by system and name."""

    values: dict[str, list[Value]]
    tables: list[ValueTable] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    draws: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False)


def clusters_of(rows: Sequence[PredictionRow]) -> tuple[list[Hashable], str]:
    """The cluster of each row: its patient, else the record itself; and the name of the unit."""
    clusters: list[Hashable] = [("subject", row.dataset, row.subject_id) if row.subject_id else
                                ("record", row.dataset, row.record_id) for row in rows]
    return clusters, "subject_id" if any(row.subject_id for row in rows) else "record_id"


def compute(tasks: Sequence[Task], rows: Sequence[PredictionRow], resamples: int, seed: int,
            progress: Callable[..., None] | None = None) -> Computed:
    """Values, tables and statistics of all systems. They go through a metric together, which then handles each
    reference once. `progress(done, total, next=)` counts metrics.

    Raises MedReportError when nothing can be computed.
    """
    jobs = [(task, metric) for task in tasks for metric in task.computable()]
    missing = _missing(tasks, {metric.name for _, metric in jobs})
    if not jobs:
        first, reason = next(iter(missing.items()))
        raise MedReportError(f"none of the metrics asked for can be computed ({first}: {reason})",
                             "ask for others, or leave --metric out")
    blocks: list[Block] = []
    for number, (task, metric) in enumerate(jobs):
        if progress:
            progress(number, len(jobs), next=metric.name)
        blocks += _blocks(task, metric)
    if progress:
        progress(len(jobs), len(jobs), next="intervals")
    found = evaluate(blocks, clusters_of(rows)[0], resamples, seed)
    values = {system: [*found.values.get(system, []), *(Value(name, None, None, None, "", len(rows), reason)
                                                        for name, reason in missing.items())]
              for system in tasks[0].hypotheses}
    return replace(found, values=values, missing=missing)


def evaluate(blocks: Sequence[Block], clusters: Sequence[Hashable], resamples: int, seed: int) -> Computed:
    """Values and tables from statistics alone. All are resampled together, so that every value sees the same draws;
    `clusters` has the cluster of each row of the set."""
    sums = [cluster_sums(block.statistics, clusters, block.slice.index) for block in blocks]
    drawn: Iterator[np.ndarray | None] = iter([None] * len(blocks))
    if resamples > 0 and len(set(clusters)) > 1:
        drawn = iter(resample_all(sums, resamples, seed))
    values: dict[str, list[Value]] = {}
    tables: list[ValueTable] = []
    draws: dict[tuple[str, str], np.ndarray] = {}
    for block, own in zip(blocks, drawn, strict=True):
        own = own if block.metric.declared.resampled else None
        values.setdefault(block.system, []).extend(_values(block, own, draws))
        tables += _tables(block, own)
    return Computed(values, tables, blocks=list(blocks), draws=draws)


def _missing(tasks: Sequence[Task], computed: set[str]) -> dict[str, str]:
    """Why metrics are missing: everywhere, or in a slice."""
    reasons: dict[str, str] = {}
    for task in tasks:
        for name, reason in task.missing.items():
            reasons.setdefault(task.slice.named(name) if name in computed else name, reason)
    return reasons


def _blocks(task: Task, metric: Metric) -> list[Block]:
    systems, n = list(task.hypotheses), len(task.rows)
    if metric.declared.kind == "loss":  # of the runs that wrote the rows
        systems = [name for name, own in task.own.items() if metric.applicable(own) is None]
    elif metric.declared.of_models:
        systems = list(task.own)
    if metric.declared.judged:
        systems = [name for name in systems if name not in task.unjudged]
    texts = [text for system in systems for text in task.hypotheses[system]]
    references = [row.reference or "" for row in task.rows] * len(systems)
    rows = [row for system in systems for row in task.own.get(system, task.rows)]
    found = metric.segment_statistics(texts, references, rows)
    if metric.declared.several in ("best", "mean") and any(row.more_references for row in rows):
        found = _against_more(metric, found, texts, rows)
    return [Block(task.slice, metric, system, found[number * n:(number + 1) * n])
            for number, system in enumerate(systems)]


def _against_more(metric: Metric, found: np.ndarray, texts: Sequence[str], rows: Sequence[PredictionRow]) -> np.ndarray:
    """Statistics of the first references (n, k) -> the best, or the mean, over all of each record."""
    pairs = [(i, text) for i, row in enumerate(rows) for text in row.more_references or ()]
    index = np.array([i for i, _ in pairs])
    more = metric.segment_statistics([texts[i] for i, _ in pairs], [text for _, text in pairs],
                                     [rows[i] for i, _ in pairs])
    found = found.astype(np.float64)
    if metric.declared.several == "best":
        np.maximum.at(found, index, more)
        return found
    np.add.at(found, index, more)
    return found / (1 + np.bincount(index, minlength=len(found)))[:, None]


def _values(block: Block, drawn: np.ndarray | None, draws: dict[tuple[str, str], np.ndarray]) -> list[Value]:
    """The values of one metric, slice and system, with their intervals; a draw without a row of the slice is left out.
    `draws` takes the resampled values."""
    part, metric = block.slice, block.metric
    signature = metric.signature()
    if metric.declared.compares != "reports":
        signature += f"|text:{TEXT_FORM}"
    if part.section != "all":
        signature += f"|section:{part.section}"
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = metric.aggregate(drawn) if drawn is not None else {}
        whole = metric.aggregate(block.statistics.sum(axis=0))
    found = []
    for name, value in whole.items():
        own = _interval(value, resampled.get(name))
        if name in resampled:
            draws[block.system, part.named(name)] = resampled[name]
        reason = None if own.value is not None else "there is nothing in its denominator"
        found.append(Value(part.named(name), own.value, own.ci_low, own.ci_high, signature, len(block.statistics),
                           reason, name in metric.declared.lower_is_better))
    return found


def _tables(block: Block, drawn: np.ndarray | None) -> list[ValueTable]:
    if not isinstance(block.metric, Tabled):
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = block.metric.tabulate(block.statistics.sum(axis=0))
        resampled = block.metric.tabulate(drawn) if drawn is not None else [None] * len(whole)
    tables = []
    for table, its in zip(whole, resampled, strict=True):
        rows = [TableRow(item, table.meanings.get(item, ""), counts, _cells(values, its.items[item] if its else {}))
                for item, values in table.items.items()
                if any((counts := {name: int(n) for name, n in table.counts[item].items()}).values())]
        tables.append(ValueTable(block.slice.named(table.name), table.title, block.system, rows))
    return tables


def _cells(values: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    return {name: _interval(value, drawn.get(name)) for name, value in values.items()}


def _interval(value: np.ndarray, drawn: np.ndarray | None) -> Interval:
    low, high = (percentile_interval(drawn) if drawn is not None else None) or (None, None)
    return Interval(_rounded(float(value)), _rounded(low), _rounded(high))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, _DIGITS)
