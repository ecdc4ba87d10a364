"""The tables of a task from the scores and costs of its finished cells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emgecg_cli.core.evaluation.compute import Interval
from emgecg_cli.core.evaluation.score import MODEL
from emgecg_cli.core.evaluation.tasks import headlines
from emgecg_cli.core.manifest import is_finished, read_manifest
from emgecg_cli.core.metrics.judged.meit import CRITERIA
from emgecg_cli.core.studies.benchmark.cells import Cell
from emgecg_cli.core.studies.benchmark.costs import costs_of
from emgecg_cli.core.studies.benchmark.published import published
from emgecg_cli.core.studies.benchmark.tables import OURS, Row, Table
from emgecg_cli.core.studies.robustness import WITHOUT

TITLES = {"quality": "Quality of the reports", "zero-shot": "Zero-shot transfer", "robustness": "Robustness to noise",
          "alignment": "Alignment with the reports of experts"}
_TEXT = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "ROUGE-1", "ROUGE-2", "CIDEr-D", "BERTScore-P",
         "BERTScore-R", "BERTScore-F1")
_JUDGED = tuple(f"judge-{key}" for key in CRITERIA.keys)
VALUES = {"quality": _TEXT, "zero-shot": ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D"),
          "robustness": ("ROUGE-L", "METEOR"), "alignment": _JUDGED}
COSTS = ("parameters, M", "trained, M", "training, h", "128 reports, min", "training, GB", "writing, GB")
_EXACT = "meit-exact-"
_REPORTS = 128  # the paper's unit of the cost of writing


def task_table(task: str, scores: Mapping[Cell, Path], judged: bool) -> Table:
    """The table of a task: our rows cell by cell, the baselines once for each set of records, what was published."""
    rows: list[Row] = []
    baselines: dict[tuple[str, str, str], Row] = {}
    unfinished = 0
    for cell, path in scores.items():
        if not is_finished(path):
            unfinished += 1
            continue
        labels = cell.labels()
        if task == "robustness":
            rows += _along_curves(labels, path)
            continue
        values = _values(path)
        rows += _own(labels, values.pop(MODEL))
        for name, own in values.items():
            baselines.setdefault((name, cell.target, cell.split), Row(
                {"backbone": name, "written on": cell.target}, f"{OURS}, baseline", own))
    ours = [*rows, *baselines.values()]
    more = {name for row in ours for name in row.values
            if name in headlines() or (name.startswith("judge-") and not name.startswith("judge-failed"))}
    columns = [*VALUES[task], *sorted(more - {*VALUES[task]})]
    return Table(TITLES[task], columns, [*ours, *published(task)], _notes(task, rows, judged), unfinished)


def _own(labels: Mapping[str, str], values: Mapping[str, Interval]) -> Iterator[Row]:
    """A cell's row, and where MEIT's arithmetic was asked for, one with that."""
    yield Row(labels, OURS, values)
    exact = {name.removeprefix(_EXACT): value for name, value in values.items() if name.startswith(_EXACT)}
    if exact:
        yield Row(labels, f"{OURS}, MEIT's arithmetic", exact)


def _along_curves(labels: Mapping[str, str], curves: Path) -> Iterator[Row]:
    """A row for the recordings as they are, for each proportion, and for what is left without the signal."""
    told: dict[str, Any] = json.loads(curves.read_text(encoding="utf-8"))
    points = [("0", told["clean"]), *((f"{point['level']:g}", point) for point in told["curves"][0]["points"]),
              *((WITHOUT.get(name, name), point) for name, point in told["no_signal"].items())]
    for proportion, point in points:
        yield Row({**labels, "proportion": proportion}, OURS,
                  {name: Interval(**value) for name, value in point["values"].items()})


def _values(scores: Path) -> dict[str, dict[str, Interval]]:
    """The values of a file of scores by system and name."""
    told: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
    return {system["name"]: {one["name"]: Interval(one["value"], one["ci_low"], one["ci_high"])
                             for one in system["values"]} for system in told["systems"]}


def _notes(task: str, rows: list[Row], judged: bool) -> list[str]:
    notes = ["95 % intervals in brackets, by patient"] if any(
        value.ci_low is not None for row in rows for value in row.values.values()) else []
    if task == "robustness":
        notes.append("proportion: the longest share of a recording that noise covers, which the paper calls an SNR; "
                     "scores are against the recordings without noise")
    if task == "alignment" and not judged and not any(name in row.values for row in rows for name in _JUDGED):
        notes.append("no judge was asked: --judge MODEL --base-url URL fills these columns")
    if task in ("quality", "zero-shot") and any(row.labels.get("instruction tuning") == "without" for row in rows):
        notes.append("without instruction tuning: trained on reports without a prompt, role tags and ends as they are; "
                     "untuned: the backbone as it came, with an encoder that has learnt nothing")
    return [*notes, "published values are by MEIT's arithmetic, on its own splits and texts"]


def cost_table(folder: Path, made: Mapping[Cell, tuple[Path, Path]]) -> Table:
    """What each run and its reports cost. Times are of this machine, and differ from one run to the next."""
    costs, rows, cut, seen = costs_of(folder), [], 0, set()
    for cell, (run, predictions) in made.items():
        if cell.run.name in seen or not is_finished(run):
            continue
        seen.add(cell.run.name)
        parts = read_manifest(run, "run").details["trains"]
        values = {COSTS[0]: sum(part["parameters"] for part in parts) / 1e6,
                  COSTS[1]: sum(part["trainable"] for part in parts) / 1e6}
        trained = costs.get(run.relative_to(folder).as_posix())
        written = costs.get(predictions.relative_to(folder).as_posix())
        cut += sum(one.cut for one in (trained, written) if one)
        if trained:
            values |= {COSTS[2]: trained.seconds / 3600, COSTS[4]: trained.peak_bytes / 1e9}
        if written and is_finished(predictions):
            records = read_manifest(predictions, "predictions").counts["records"]
            values |= {COSTS[3]: written.seconds / 60 / records * _REPORTS, COSTS[5]: written.peak_bytes / 1e9}
        rows.append(Row(cell.run.labels(), OURS, {name: Interval(value, None, None) for name, value in values.items()}))
    notes = ["memory: the most a stage held, of the GPU where there is one, else of its process"]
    notes += [f"{cut} sessions were cut short: the time until then is not in these values"] if cut else []
    return Table("Cost", COSTS, [*rows, *published("cost")], notes)
