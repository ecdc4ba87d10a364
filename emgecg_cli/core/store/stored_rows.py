"""The rows of a store on disk: a table for its columns, and a line of JSON for each row, to be read one at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.store.integrity import SIGNAL_HASH, Integrity
from emgecg_cli.core.store.table import BASE_SCHEMA, CHECKSUM, FULL_SCHEMA, OFFSET, TABLE

_HINT = "remove the folder and run `medreport prepare` again"


def rows_file(number: int) -> str:
    """The name of the file with a shard's rows as lines."""
    return f"rows-{number:05d}.jsonl"


class Rows(Protocol):
    """The rows of an open store, numbered from 0 in record order."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of the table."""

    @property
    def home(self) -> Path:
        """The folder of the store whose own rows these are, or were made from."""

    def __len__(self) -> int: ...

    def scan(self) -> polars.LazyFrame:
        """The table as a lazy frame."""

    def values(self, index: int) -> dict[str, Any]:
        """The columns of a row that it has."""


@dataclass(frozen=True, eq=False)
class StoredRows:
    """The rows of a store, numbered from 0 in record order.

    `shards`, `ends` and `sizes` are the shards that have rows: their numbers, the rows up to their ends, and how many
    each has; `offsets` says where the line of each row begins. A row is a line of a file, so that reading one costs
    little, no set is too large, and workers may be forked or spawned.
    """

    path: Path
    columns: tuple[str, ...]
    shards: np.ndarray = field(repr=False)
    sizes: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)
    offsets: np.ndarray = field(repr=False)
    integrity: Integrity = field(repr=False)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def home(self) -> Path:
        """See `Rows`."""
        return self.path

    def scan(self) -> polars.LazyFrame:
        """See `Rows`."""
        return polars.scan_parquet(self.path / TABLE, glob=False)

    def place(self, index: int) -> tuple[int, int]:
        """Which of the shards a row is in, and which of its rows it is."""
        place = int(np.searchsorted(self.ends, index, side="right"))
        return place, index - (int(self.ends[place - 1]) if place else 0)

    def values(self, index: int) -> dict[str, Any]:
        """The columns of a row that it has, from its line; the lines of a shard are checked against their hash when
        the first of them is read."""
        path = self.path / rows_file(int(self.shards[self.place(index)[0]]))
        self.integrity.check_file(path.name)
        try:
            with path.open("rb") as lines:
                lines.seek(int(self.offsets[index]))
                values = json.loads(lines.readline().decode("utf-8", "surrogatepass"))
            if not isinstance(values, dict) or not values.keys() >= BASE_SCHEMA.keys():
                raise ValueError("not a row")
            return values
        except (OSError, ValueError, RecursionError):
            raise MedReportError(f"{path}: row {index} of the store cannot be read there", _HINT) from None


def read_places(path: Path) -> tuple[tuple[str, ...], polars.DataFrame]:
    """The columns of a table, and those that say where each row lies and what its signal is known by; raises
    MedReportError for a damaged table."""
    try:
        there = polars.read_parquet_schema(path)
        missing = [name for name in (*BASE_SCHEMA, OFFSET) if name not in there]
        if missing:
            raise MedReportError(f"{path}: lacks the column {', '.join(missing)}", _HINT)
        odd = [name for name, dtype in there.items() if name in FULL_SCHEMA and not _fits(dtype, FULL_SCHEMA[name])]
        if odd:
            raise MedReportError(f"{path}: its column {odd[0]} is of type {there[odd[0]]}", _HINT)
        known_by = CHECKSUM if CHECKSUM in there else SIGNAL_HASH
        places = polars.scan_parquet(path, glob=False).select("shard", OFFSET, known_by).collect()
    except FileNotFoundError:
        raise MedReportError(f"{path}: missing", _HINT) from None
    except (polars.exceptions.PolarsError, OSError) as error:
        raise MedReportError(f"{path}: not readable ({str(error).partition(chr(10))[0][:200]})", _HINT) from None
    if places["shard"].null_count() or places[OFFSET].null_count() or (places[OFFSET] < 0).any():
        raise MedReportError(f"{path}: does not say where every row lies", _HINT)
    return tuple(name for name in there if name not in (OFFSET, CHECKSUM)), places


def open_rows(path: Path, columns: tuple[str, ...], places: polars.DataFrame, integrity: Integrity) -> StoredRows:
    """The rows of the store in a folder, from what `read_places` found."""
    shards, sizes = np.unique(places["shard"].to_numpy(), return_counts=True)
    return StoredRows(path, columns, shards, sizes, np.cumsum(sizes), places[OFFSET].to_numpy(), integrity)


def _fits(dtype: polars.DataType, wanted: polars.DataType) -> bool:
    """Whether a column can be read as the type it should have: that one, none of its values, or another number."""
    return dtype in (wanted, polars.Null) or (dtype.is_numeric() and wanted.is_numeric())
