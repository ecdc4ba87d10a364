"""The tasks of scoring: each metric on each part of a set that it applies to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.config import profiles
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.slices import Slice, token_slices, whole_slice
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.metrics import Given, Metric

_SEVERAL = {"first": "the first alone", "best": "the best of them", "mean": "their mean", "all": "all at once"}


@dataclass(frozen=True)
class Asked:
    """What is asked of a set of checked rows: the metrics by name, which section, how texts without blanks are cut; and
    what they may use: the train `reports`, what is true of the records, settings by the name of their metric, and a
    `judge` (`metrics.judged.panel`), who is not asked about the systems that are `unjudged`."""

    metrics: Sequence[str]
    section: str = "all"
    segmentation: str | None = None
    reports: Sequence[str] = ()
    evidence: Evidence | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    judge: Any = None
    unjudged: frozenset[str] = frozenset()

    def comparing(self, *what: str) -> list[str]:
        """Those of the metrics that compare this of the texts, in the order of the table."""
        return [name for name in names.choices("metric") if name in self.metrics
                and names.resolve("metric", name).declared.compares in what]


@dataclass(frozen=True)
class Task:
    """Metrics to compute on a slice; `rows` and `hypotheses`, by system, are those of the slice, cut to its section.
    The rows are of the first model, `own` those of every model, which differ in what a model was shown. `missing` maps
    the names of metrics that cannot be computed to the reason; `unjudged` are systems that no judge is asked about."""

    slice: Slice
    rows: list[PredictionRow]
    hypotheses: dict[str, list[str]]
    metrics: list[Metric]
    missing: dict[str, str]
    own: dict[str, list[PredictionRow]]
    unjudged: frozenset[str] = frozenset()

    def computable(self) -> list[Metric]:
        """The metrics that can be computed."""
        return [metric for metric in self.metrics if metric.name not in self.missing]


def metrics_asked(metrics: Sequence[str] | None, profile: str, compat: Sequence[str], judge: Any,
                  settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the metrics; of None those of the profile, without those that send texts to a judge where there is
    none; and those of other systems' arithmetic.

    Raises MedReportError for an unknown one, and for a judge, or a setting of one, that would have no effect.
    """
    for name in metrics or ():
        names.check("metric", name)
    judged = [name for name in names.choices("metric") if names.resolve("metric", name).declared.judged]
    chosen = [name for name in profiles.metrics_of(profile) if judge is not None or name not in judged] \
        if metrics is None else metrics
    if judge is None:
        idle = [names.METRIC_SETTINGS[name][key].called(name, key) for name in judged
                for key, value in settings.get(name, {}).items()
                if value is not None]
        if idle:
            raise MedReportError(f"{idle[0]} has no effect without a judge", "add --judge MODEL --base-url URL")
    elif not {*chosen} & {*judged}:
        raise MedReportError("a judge has no effect on the metrics asked for", f"add --metric {judged[0]}")
    for name, own in settings.items():
        unused = [key for key, value in own.items() if value is not None and name not in chosen]
        if unused:
            option = names.METRIC_SETTINGS[name][unused[0]].called(name, unused[0])
            raise MedReportError(f"{option} has no effect without the metric {name}", f"add --metric {name}")
    return list(dict.fromkeys([*chosen, *profiles.compat_of(compat)]))


def headlines() -> dict[str, str]:
    """The values of a short table and what they are, of whole reports first."""
    found: dict[str, str] = {}
    for what in (("reports",), ("tokens", "text")):
        for name in Asked(names.choices("metric")).comparing(*what):
            found |= names.resolve("metric", name).declared.headline
    return found


def languages_of(rows: Sequence[PredictionRow]) -> list[str]:
    """The primary languages of some rows, sorted."""
    return sorted({row.language or "en" for row in rows})


def tasks_of(models: Mapping[str, Sequence[PredictionRow]], hypotheses: Mapping[str, list[str]], asked: Asked
             ) -> list[Task]:
    """The tasks in the order in which their values are shown: what compares texts as they are, then the whole reports,
    then texts by section and by language. `models` have the same records in the same order."""
    rows = next(iter(models.values()))
    kept: dict[str, dict[str, Any]] = {name: {} for name in asked.metrics}
    of_texts = asked.comparing("tokens", "text")
    tasks = [_task(models, hypotheses, asked, part, of_texts, kept) for part in token_slices(rows, asked.section)]
    whole = whole_slice(rows, asked.section)
    tasks.insert(1, _task(models, hypotheses, asked, whole, asked.comparing("reports"), kept))
    return tasks


def _task(models: Mapping[str, Sequence[PredictionRow]], hypotheses: Mapping[str, list[str]], asked: Asked, part: Slice,
          wanted: Sequence[str], kept: Mapping[str, dict[str, Any]]) -> Task:
    of_models = {name: [_cut(rows[i], part) for i in part.index] for name, rows in models.items()}
    own = next(iter(of_models.values()))
    texts = {system: [part.text(written[i]) for i in part.index] for system, written in hypotheses.items()}
    given = Given(own, languages_of(own), asked.segmentation if part.group else None, part.reports(asked.reports),
                  asked.evidence, asked.judge)
    metrics, missing = [], {}
    for name in wanted:
        given = replace(given, settings=asked.settings.get(name, {}), kept=kept[name])
        metric: Metric = names.resolve("metric", name).of(given)
        metrics.append(metric)
        if reason := _inapplicable(metric, of_models) or given.lacks(metric.declared):
            missing[name] = reason
    return Task(part, own, texts, metrics, missing, of_models, asked.unjudged)


def _inapplicable(metric: Metric, of_models: Mapping[str, Sequence[PredictionRow]]) -> str | None:
    """Why a metric cannot be computed of the rows of one of the models."""
    for model, rows in of_models.items():
        if reason := metric.applicable(rows):
            return reason if len(of_models) == 1 else f"{model}: {reason}"
    return None


def _cut(row: PredictionRow, part: Slice) -> PredictionRow:
    """A row with the section of its texts."""
    if part.section == "all":
        return row
    more = [text for one in row.more_references or () if (text := part.text(one)).strip()]
    return replace(row, prediction=part.text(row.prediction), reference=part.text(row.reference or ""),
                   more_references=more or None)


def reference_notes(tasks: Sequence[Task]) -> list[str]:
    """What each metric made of records with several references, where there are any."""
    rows = tasks[0].rows
    n = sum(bool(row.more_references) for row in rows)
    made: dict[str, list[str]] = {}
    for task in tasks:
        for metric in task.computable():
            made.setdefault(metric.declared.several, []).append(metric.name)
    how = "; ".join(f"{', '.join(dict.fromkeys(names))}: {_SEVERAL[what]}" for what, names in made.items())
    return [f"{n} of {len(rows)} records have several references ({how})"] if n else []
