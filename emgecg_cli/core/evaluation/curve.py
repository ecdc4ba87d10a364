"""Scores against the level of a perturbation, beside what is left without the signal: how robust a run is.

All files are of the same records and are scored together, against the recordings as they were before anything was
done to them: the truth about a patient does not change with the noise. The same patients are drawn for all, so that an
area, and what it is above the line without a signal, have intervals too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.audit import check_rows, check_tokens
from emgecg_cli.core.evaluation.bootstrap import percentile_interval
from emgecg_cli.core.evaluation.compute import Computed, Interval, clusters_of, compute
from emgecg_cli.core.evaluation.systems import aligned
from emgecg_cli.core.evaluation.tasks import Asked, headlines, metrics_asked, tasks_of
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.manifest import input_path, read_manifest
from emgecg_cli.core.predictions import read_predictions
from emgecg_cli.core.store import Store, open_store

NO_SIGNAL = ("none", "shuffled", "zeros", "noise")  # what `generate --signal` shows in place of a record's own
FALLING = ("snr_db", "ratio")  # levels of which less is more severe
_DIGITS = 10


@dataclass(frozen=True)
class Point:
    """The scores of one predictions file; `level` is that of its perturbation, None where there is none, and
    `reached_db` the median ratio that was reached in the store it was made from."""

    predictions: str
    level: float | None
    reached_db: float | None
    values: dict[str, Interval]


@dataclass(frozen=True)
class Curve:
    """One kind of perturbation from mild to severe. `areas` are means of the scores over the range of the levels
    (the area under the curve, divided by its width), and `above` by how much they are above each line without a
    signal; both empty for a single level."""

    kind: str
    level_name: str
    points: list[Point]
    areas: dict[str, Interval]
    above: dict[str, dict[str, Interval]]


@dataclass(frozen=True)
class Curves:
    """What a file of curves holds: the scores on the recordings as they are, without the signal, and along each
    perturbation. `headline` are the scores that are drawn."""

    store: str
    n: int
    patients: int
    seed: int
    resamples: int
    clean: Point | None
    no_signal: dict[str, Point]
    curves: list[Curve]
    headline: list[str]
    lower_is_better: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class File:
    """A predictions file of a curve: what its records were shown, and what had been done to it."""

    path: Path
    rows: list[PredictionRow]
    original: Path
    kind: str = ""
    level_name: str = ""
    level: float | None = None
    reached_db: float | None = None
    no_signal: str = ""


def curves_of(paths: Sequence[Path], *, seed: int = 0, resamples: int = 1000, metrics: Sequence[str] | None = None,
              segmentation: str | None = None) -> Curves:
    """Score predictions of the same records on stores that were perturbed more and more.

    Raises MedReportError for files that `generate` did not finish, for such as are of other records or of stores that
    come from different ones, for two of one level, and where none is of a perturbed store.
    """
    files = [read_file(path) for path in paths]
    _check(files)
    names_of = {file.path.name if sum(one.path.name == file.path.name for one in files) == 1 else
                file.path.as_posix(): file for file in files}
    same = aligned({name: check_rows(file.rows, None) for name, file in names_of.items()}, common=False)
    first = next(iter(same.rows.values()))
    check_tokens(first, segmentation)
    store = open_store(files[0].original)
    computed = _computed(same.rows, store, metrics, segmentation, resamples, seed)
    points = {name: Point(name, file.level, file.reached_db, _intervals(computed, name))
              for name, file in names_of.items()}
    lines = {file.no_signal: points[name] for name, file in names_of.items() if file.no_signal}
    kinds: dict[str, list[str]] = {}
    for name, file in names_of.items():
        if file.kind and not file.no_signal:
            kinds.setdefault(file.kind, []).append(name)
    curves = [_curve([names_of[name] for name in own], [points[name] for name in own], computed, lines)
              for own in kinds.values()]
    clean = next((points[name] for name, file in names_of.items() if not file.kind and not file.no_signal), None)
    own = computed.values[next(iter(names_of))]
    return Curves(store.path.resolve().name, len(first), len(set(clusters_of(first)[0])), seed, resamples, clean, lines,
                  curves, [name for name in headlines() if any(value.name == name for value in own)],
                  [value.name for value in own if value.lower_is_better],
                  [f"{name} not computed: {reason}" for name, reason in computed.missing.items()])


def read_file(path: Path) -> File:
    """A predictions file of `generate`, with what its manifest says of the store it was made from."""
    manifest = read_manifest(path, "predictions", made_by="generate")
    rows = [row for row in read_predictions(path).rows if row.reference is not None]
    made_from = input_path(path, manifest, "store")
    said = {row.signal or "real" for row in rows}
    no_signal = said.pop() if len(said) == 1 and said <= {*NO_SIGNAL} else ""
    store = read_manifest(made_from, "store")
    done = store.details.get("perturbation")
    if not done:
        return File(path, rows, made_from, no_signal=no_signal)
    level_name, level = next((name, float(value)) for name, value in done.items() if name != "kind"
                             and isinstance(value, int | float))
    if done.get("earlier"):
        raise MedReportError(f"{path}: of a store that was perturbed twice", "a curve is of one perturbation")
    reached = (done.get("achieved_snr_db") or {}).get("p50")
    return File(path, rows, input_path(made_from, store, "store"), f"{done['kind']}"
                f"{' (recorded)' if done.get('noise') else ''}", level_name, level, reached, no_signal)


def _check(files: Sequence[File]) -> None:
    if not any(file.kind and not file.no_signal for file in files):
        raise MedReportError("no predictions on a perturbed store are among these: there is no curve",
                             "make some: medreport perturb --kind gaussian --level 20,10,5,0, then generate --store")
    first = files[0].original
    for file in files:
        if file.original.resolve() != first.resolve():
            raise MedReportError(f"{file.path}: its recordings are those of {file.original}, those of {files[0].path} "
                                 f"of {first}", "a curve is of the same recordings, perturbed more and more")
    keys = [(file.no_signal,) if file.no_signal else (file.kind, file.level) for file in files]
    for number, (file, key) in enumerate(zip(files, keys, strict=True)):
        if key in keys[:number]:
            other = files[keys.index(key)].path
            raise MedReportError(f"{file.path} and {other} are of the same perturbation and level",
                                 "leave one of them out")


def _computed(rows: Mapping[str, list[PredictionRow]], store: Store, metrics: Sequence[str] | None,
              segmentation: str | None, resamples: int, seed: int) -> Computed:
    """Every metric of all files, with the same draws."""
    wanted = metrics_asked(metrics, "standard", (), None, {})
    reports = [report for report in store.reports("train") if report and report.strip()]
    asked = Asked(wanted, "all", segmentation, reports, Evidence(store))
    tasks = tasks_of(rows, {name: [row.prediction for row in own] for name, own in rows.items()}, asked)
    return compute(tasks, next(iter(rows.values())), resamples, seed)


def _curve(files: Sequence[File], points: Sequence[Point], computed: Computed, lines: Mapping[str, Point]) -> Curve:
    falling = files[0].level_name in FALLING
    order = sorted(range(len(files)), key=lambda i: (-1 if falling else 1) * float(files[i].level or 0))
    own = [points[i] for i in order]
    areas: dict[str, Interval] = {}
    above: dict[str, dict[str, Interval]] = {signal: {} for signal in lines}
    levels = np.array([float(files[i].level or 0) for i in order])
    # not every file has the losses of its references
    for name in [one for one in own[0].values if all(one in point.values for point in own)] if len(own) > 1 else ():
        values = [one.values[name].value for one in own]
        if any(value is None for value in values):
            continue
        draws = [computed.draws.get((one.predictions, name)) for one in own]
        drawn = None if any(one is None for one in draws) else mean_over(levels, np.stack(draws))  # type: ignore[arg-type]
        area = float(mean_over(levels, np.array(values, float)))
        areas[name] = _interval(area, drawn)
        for signal, line in lines.items():
            base, of_line = line.values.get(name), computed.draws.get((line.predictions, name))
            if base is not None and base.value is not None:
                above[signal][name] = _interval(area - base.value, None if drawn is None or of_line is None else
                                                drawn - of_line)
    return Curve(files[0].kind, files[0].level_name, own, areas, above if len(own) > 1 else {})


def mean_over(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of values (K, …) over the range of K levels, by the trapezoidal rule."""
    width = np.abs(np.diff(levels)).reshape(-1, *[1] * (values.ndim - 1))
    return ((values[1:] + values[:-1]) / 2 * width).sum(axis=0) / width.sum()


def _intervals(computed: Computed, system: str) -> dict[str, Interval]:
    return {value.name: Interval(value.value, value.ci_low, value.ci_high) for value in computed.values[system]
            if value.signature}


def _interval(value: float, drawn: np.ndarray | None) -> Interval:
    low, high = (percentile_interval(drawn) if drawn is not None else None) or (None, None)
    return Interval(round(value, _DIGITS), *(None if one is None else round(one, _DIGITS) for one in (low, high)))
