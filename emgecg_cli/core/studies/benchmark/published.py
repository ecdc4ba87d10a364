"""The published numbers that stand beside those of a benchmark, from `data/meit_published.txt`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from emgecg_cli.core.evaluation.compute import Interval
from emgecg_cli.core.studies.benchmark.tables import Row

FILE = "meit_published.txt"
SOURCE = "Wan et al. 2024, arXiv 2403.04945"


def published(task: str) -> list[Row]:
    """The rows of a task, in the file's order; `cost` is one as well."""
    return [row for own, row in _rows() if own == task]


def _rows() -> Iterator[tuple[str, Row]]:
    task, stands = "", ""
    shared: dict[str, str] = {}
    labels: list[str] = []
    values: list[str] = []
    for line in (files("emgecg_cli") / "data" / FILE).read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("["):
            task, _, stands = line[1:].partition("] ")
            shared = {}
        elif line.startswith("labels: "):
            labels = _cells(line.removeprefix("labels: "))
        elif line.startswith("values: "):
            values = _cells(line.removeprefix("values: "))
        elif "|" not in line:
            name, _, text = line.partition(" = ")
            shared[name] = text
        else:
            cells = _cells(line)
            said = dict(zip(labels, cells[:len(labels)], strict=True))
            numbers = zip(values, cells[len(labels):], strict=True)
            yield task, Row(shared | said, f"published: {SOURCE}, {stands}",
                            {name: Interval(float(text), None, None) for name, text in numbers if text != "-"}, True)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]
