"""The table of a store: `RecordRow`s as a polars frame and back, and the streamed merge of the shards' tables.

A nested dataclass is flattened: `machine` to columns `machine_…`, the others to columns of their own. Where no record
of the whole store has any, the table has no such columns. `offset` is where the row's line begins in the rows of its
shard, `checksum` the CRC-32 of its signal's samples; a store of tables has no such column. `resampled_from` is a column
of whole numbers where all of them are.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.artifacts import MachineIntervals, Measurements, Reading, RecordRow, Sections

TABLE = "records.parquet"
ROW_GROUP = 8192

_DTYPES: dict[str, Any] = {"str": polars.String, "int": polars.Int64, "float": polars.Float64,
                           "bool": polars.Boolean, "list[str]": polars.List(polars.String),
                           "list[float | None]": polars.List(polars.Float64)}
# field of RecordRow -> its class and what its columns begin with
GROUPS: dict[str, tuple[type, str]] = {"machine": (MachineIntervals, "machine_"), "measurements": (Measurements, ""),
                                       "sections": (Sections, ""), "reading": (Reading, "")}


def _dtypes(kind: type, prefix: str = "") -> dict[str, Any]:
    return {prefix + field.name: _DTYPES[str(field.type).removesuffix(" | None")] for field in fields(kind)
            if field.name not in GROUPS or kind is not RecordRow}


BASE_SCHEMA = _dtypes(RecordRow)
GROUP_SCHEMAS = {name: _dtypes(kind, prefix) for name, (kind, prefix) in GROUPS.items()}
OFFSET, CHECKSUM = "offset", "checksum"
FULL_SCHEMA = BASE_SCHEMA | {OFFSET: polars.Int64, CHECKSUM: polars.Int64}
FULL_SCHEMA |= {name: dtype for schema in GROUP_SCHEMAS.values() for name, dtype in schema.items()}


def to_frame(rows: Sequence[RecordRow], offsets: Sequence[int] | None = None,
             checksums: Sequence[int | None] | None = None) -> polars.DataFrame:
    """Rows as a frame with all columns there can be."""
    places = zip(rows, offsets or [0] * len(rows), checksums or [None] * len(rows), strict=True)
    return polars.DataFrame([flat(row) | {OFFSET: offset, CHECKSUM: checksum} for row, offset, checksum in places],
                            schema=FULL_SCHEMA, orient="row")


def to_row(values: Mapping[str, Any]) -> RecordRow:
    """One row from the values of its columns; what is not there is null."""
    groups: dict[str, Any] = {}
    for name, (kind, prefix) in GROUPS.items():
        found = {field.name: values.get(prefix + field.name) for field in fields(kind)}
        groups[name] = kind(**found) if any(value is not None for value in found.values()) else None
    return RecordRow(**{name: values[name] for name in BASE_SCHEMA}, **groups)


def flat(row: RecordRow) -> dict[str, Any]:
    """The columns of one row, those of groups it does not have left out."""
    values = {name: getattr(row, name) for name in BASE_SCHEMA}
    for name, (_, prefix) in GROUPS.items():
        group = getattr(row, name)
        if group is not None:
            values |= {prefix + key: value for key, value in vars(group).items()}
    return values


def frame_bytes(frame: polars.DataFrame) -> bytes:
    """A frame as Parquet, deterministic."""
    stream = io.BytesIO()
    frame.write_parquet(stream, compression="zstd")
    return stream.getvalue()


def merge_tables(parts: Sequence[Path], out: Path) -> None:
    """Write the shards' tables one after the other as one, holding a few row groups at a time; the same bytes with any
    number of threads."""
    frame = polars.scan_parquet(list(parts), glob=False)
    groups = [list(schema) for schema in GROUP_SCHEMAS.values()] + [[CHECKSUM]]
    frame = frame.drop([column for columns in groups if not _any_value(frame, columns) for column in columns])
    rate = polars.col("resampled_from")
    if frame.select((rate == rate.round()).all()).collect(engine="streaming").item():
        frame = frame.with_columns(rate.cast(polars.Int64))
    _sink(frame, out)


def merge_parts(parts: Sequence[Path], out: Path) -> None:
    """Write tables of one schema one after the other as one."""
    _sink(polars.scan_parquet(list(parts), glob=False), out)


def _sink(frame: polars.LazyFrame, out: Path) -> None:
    frame.sink_parquet(out, compression="zstd", row_group_size=ROW_GROUP, maintain_order=True)
    with out.open("rb") as stream:
        os.fsync(stream.fileno())


def _any_value(frame: polars.LazyFrame, columns: list[str]) -> bool:
    counts = frame.select(polars.col(columns).count()).collect(engine="streaming")
    return any(count > 0 for count in counts.row(0))
