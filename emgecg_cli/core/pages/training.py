"""The losses of a run by step: as charts of a page, as a page of the run's own, and as a line for a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emgecg_cli.core.pages import document
from emgecg_cli.core.pages.charts import line_chart

PAGE = "training.html"
_MOST_POINTS = 200  # of a curve; a point is then the mean of several steps
_LOGS = (("training", "metrics.jsonl"), ("validation", "validation.jsonl"))
_LOSSES = {"total": "loss", "report": "loss of the reports",
           "paired": "nats a token lost with another's signal"}
_SIDE_BY_SIDE = ("main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.5rem;"
                 "margin-top:1.5rem}figure{margin:0}")
_BARS = "▁▂▃▄▅▆▇█"
_STRETCHES = 40  # of a line for a terminal

Points = list[tuple[float, float]]


def training_charts(run: Path) -> list[str]:
    """The losses of a run by step, in training and validation; a chart for each loss that its logs have."""
    logs = _logs(run)
    charts = []
    for key, title in _LOSSES.items():
        series = [(name, line) for name, rows in logs.items() if len(line := _line(rows, key)) > 1]
        if series and (key != "report" or any(line != _line(logs[name], "total") for name, line in series)):
            per = math.ceil(max(len(logs[name]) for name, _ in series) / _MOST_POINTS)
            charts.append(line_chart(title, series, "step", f"each point of training is the mean of {per} steps"
                                     if per > 1 else ""))
    return charts


def training_page(run: Path, title: str) -> str | None:
    """A self-contained page of those charts; None of a run that is too short to draw."""
    charts = training_charts(run)
    figures = "".join(f"<figure>{chart}</figure>" for chart in charts)
    return document(title, figures, style=_SIDE_BY_SIDE) if charts else None


def training_lines(run: Path) -> list[str]:
    """Each log in a line: the first value, a bar for each of some stretches of steps, the last one, and its steps."""
    lines = []
    for name, rows in _logs(run).items():
        points = _line(rows, "report" if any("report" in row for row in rows) else "total", _STRETCHES)
        if len(points) > 1:
            values = [y for _, y in points]
            low, high = min(values), max(values)
            bars = "".join(_BARS[round((y - low) / ((high - low) or 1) * (len(_BARS) - 1))] for y in values)
            lines.append(f"loss, {name}: {values[0]:.4g} {bars} {values[-1]:.4g} (to step {points[-1][0]:,.0f})")
    return lines


def _logs(run: Path) -> dict[str, list[dict[str, Any]]]:
    return {title: rows for title, name in _LOGS if (rows := _rows(run / name))}


def _rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; none of one that is not there or is cut short in its last line."""
    found = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            found.append(row)
    return found


def _line(rows: Sequence[Mapping[str, Any]], key: str, most: int = _MOST_POINTS) -> Points:
    """Points (step, value), means of neighbours where there are many."""
    points = [(float(row["step"]), float(row[key])) for row in rows
              if isinstance(row.get(key), int | float) and math.isfinite(row[key])]
    per = math.ceil(len(points) / most) or 1
    return [(part[-1][0], sum(y for _, y in part) / len(part))
            for part in (points[i:i + per] for i in range(0, len(points), per))]
