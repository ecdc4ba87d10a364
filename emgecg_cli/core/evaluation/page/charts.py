"""Scores as charts: item by item with intervals, and the model minus its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.bootstrap import percentile_interval
from emgecg_cli.core.evaluation.compute import Computed
from emgecg_cli.core.manifest import input_path, read_manifest
from emgecg_cli.core.pages.charts import interval_chart

MOST_ITEMS = 24  # bars of a chart; the table has all


@dataclass(frozen=True)
class Difference:
    """A value of the model minus that of a baseline, better high, with its interval by the paired bootstrap."""

    name: str
    baseline: str
    value: float
    ci_low: float | None
    ci_high: float | None


def differences(computed: Computed, model: str, baselines: Sequence[str]) -> list[Difference]:
    """The model against each baseline, in each value that says which is better and lies in 0-1, its sign turned where
    low is better."""
    left_out = {block.slice.named(name) for block in computed.blocks for name in block.metric.declared.descriptive}
    found = []
    for baseline in baselines:
        theirs = {value.name: value for value in computed.values[baseline]}
        for own in computed.values[model]:
            other = theirs.get(own.name)
            if other is None or own.value is None or other.value is None or own.name in left_out:
                continue
            if max(abs(own.value), abs(other.value)) > 1:
                continue
            sign = -1 if own.lower_is_better else 1
            drawn = [computed.draws.get((system, own.name)) for system in (model, baseline)]
            bounds = None if drawn[0] is None or drawn[1] is None else percentile_interval(sign * (drawn[0] - drawn[1]))
            low, high = bounds or (None, None)
            found.append(Difference(own.name, baseline, sign * (own.value - other.value), low, high))
    return found


def difference_charts(found: Sequence[Difference]) -> list[str]:
    """A chart for each baseline."""
    charts = []
    for baseline in dict.fromkeys(one.baseline for one in found):
        own = [one for one in found if one.baseline == baseline]
        reach = max(abs(end) for one in own for end in (one.value, one.ci_low or 0.0, one.ci_high or 0.0)) or 1.0
        charts.append(interval_chart(f"model − {baseline}", [(one.name, one.value, one.ci_low, one.ci_high)
                                                             for one in own], -reach, reach,
                                     "right of the line: the model is better"))
    return charts


def item_charts(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """The items of each table with its F1, or with precision and recall where it has none; the most frequent first."""
    several, charts = len({table["system"] for table in tables}) > 1, []
    for table in tables:
        rows = sorted(table["rows"], key=lambda row: -max(row["counts"].values(), default=0))
        for name in _charted(rows):
            shown = [(row["item"], row["values"][name]["value"], row["values"][name]["ci_low"],
                      row["values"][name]["ci_high"]) for row in rows if row["values"][name]["value"] is not None]
            title = f"{table['name']}: {name}" + (f", {table['system']}" if several else "")
            note = f"the {MOST_ITEMS} most frequent of {len(shown)}" if len(shown) > MOST_ITEMS else ""
            if shown:
                charts.append(interval_chart(title, shown[:MOST_ITEMS], note=note))
    return charts


def _charted(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = rows[0]["values"] if rows else ()
    return ["F1"] if "F1" in names else [name for name in ("precision", "recall") if name in names]


def run_of(predictions: Path | None) -> Path | None:
    """The run that wrote predictions, where they name it and it is still there unchanged."""
    if predictions is None:
        return None
    try:
        return input_path(predictions, read_manifest(predictions, "predictions"), "run")
    except MedReportError:  # of somebody else, moved, or trained again: the page goes on without curves
        return None
