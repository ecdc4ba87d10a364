"""The statistics of every report, kept beside the scores: from them any value and interval can be computed without
texts.

`NAME.parquet` beside `NAME.json` has a row for each record and system: `record_id`, `dataset`, `subject_id`, `system`,
and a column for each statistic, "metric (slice): statistic", null where the record is not in the slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.compute import Block, Computed, clusters_of, evaluate
from emgecg_cli.core.evaluation.slices import Slice
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.metrics import Metric, Restored
from emgecg_cli.core.store.table import frame_bytes

KEYS = ("record_id", "dataset", "subject_id", "system")


def statistics_path(scores: Path) -> Path:
    """Where the statistics of a file of scores lie."""
    return scores.with_suffix(".parquet")


def statistics_frame(rows: Sequence[PredictionRow], blocks: Sequence[Block]) -> polars.DataFrame:
    """The statistics of all systems, one below the other, each in the order of the rows."""
    keys = {name: polars.Series([_written(getattr(row, name)) for row in rows], dtype=polars.String)
            for name in KEYS[:3]}
    frames = []
    for system in dict.fromkeys(block.system for block in blocks):
        columns = dict(keys) | {"system": polars.repeat(system, len(rows), dtype=polars.String, eager=True)}
        for block in blocks:
            if block.system == system:
                columns |= _columns(block, len(rows))
        frames.append(polars.DataFrame(columns))
    return polars.concat(frames, how="diagonal")  # baselines lack what only a run has


def joined(frames: Mapping[str, polars.DataFrame], system: str) -> polars.DataFrame:
    """The statistics of one system under several names, from frames of the same records and columns; the other systems
    as the first has them."""
    named = [frame.filter(polars.col("system") == system).with_columns(system=polars.lit(name))
             for name, frame in frames.items()]
    return polars.concat([*named, next(iter(frames.values())).filter(polars.col("system") != system)])


def _written(key: str | None) -> str | None:
    """A key as it can be written: half a character is spelt out, as in the scores."""
    return key if key is None else key.encode("utf-8", "backslashreplace").decode()


def _columns(block: Block, n: int) -> dict[str, polars.Series]:
    """One column per statistic, by its full name."""
    whole = len(block.slice.index) == n
    at = np.full(n, -1, np.int64)
    at[block.slice.index] = np.arange(len(block.slice.index))
    there = polars.Series(at >= 0)
    found = {}
    for number, column in enumerate(block.metric.columns()):
        values = block.statistics[:, number]
        series = polars.Series(values if whole else values[at])
        found[f"{block.slice.named(block.metric.name)}: {column}"] = series if whole else \
            series.zip_with(there, polars.repeat(None, n, dtype=series.dtype, eager=True))
    return found


def write_statistics(path: Path, frame: polars.DataFrame) -> None:
    """Write them, atomically; the same statistics give the same bytes."""
    write_atomically(path, frame_bytes(frame))


def read_statistics(path: Path) -> polars.DataFrame:
    """The statistics beside some scores; raises MedReportError for a file that is none."""
    try:
        frame = polars.read_parquet(path, glob=False)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise MedReportError(f"{path}: not readable ({str(error).partition(chr(10))[0][:200]})",
                             "run `medreport score` again") from None
    if missing := [name for name in KEYS if name not in frame.columns]:
        raise MedReportError(f"{path}: lacks the column {missing[0]}", "it must be the .parquet beside some scores")
    return frame


def recompute(frame: polars.DataFrame, resamples: int, seed: int) -> Computed:
    """Values, intervals and tables of all systems from their statistics alone, as `compute` gives them from texts;
    signatures are those of the metrics' defaults."""
    systems = frame["system"].unique(maintain_order=True).to_list()
    first = frame.filter(polars.col("system") == systems[0])
    rows = [PredictionRow(*(row["record_id"], "", None), dataset=row["dataset"], subject_id=row["subject_id"])
            for row in first.select(KEYS).iter_rows(named=True)]
    of_metric: dict[str, list[str]] = {}
    for column in frame.columns[len(KEYS):]:
        of_metric.setdefault(column.partition(": ")[0], []).append(column)
    blocks = []
    for named, columns in of_metric.items():
        for system in systems:
            own = frame.filter(polars.col("system") == system).select(columns)
            index = np.flatnonzero(own[columns[0]].is_not_null().to_numpy())
            if len(index):
                statistics = own[index].to_numpy()
                name, _, label = named.partition(" (")
                part = Slice(label.removesuffix(")"), index, "all", "")
                blocks.append(Block(part, _restored(name, columns, statistics), system, statistics))
    return evaluate(blocks, clusters_of(rows)[0], resamples, seed)


def _restored(name: str, columns: Sequence[str], statistics: np.ndarray) -> Metric:
    kind: Any = names.resolve("metric", name)
    own = [column.partition(": ")[2] for column in columns]
    metric: Metric = kind.restored(own, statistics.sum(axis=0)) if issubclass(kind, Restored) else kind()
    return metric
