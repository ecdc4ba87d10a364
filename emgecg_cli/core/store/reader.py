"""Open a finished store and read single recordings from it: row 700,000 at the cost of row 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import SPLITS, RecordRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, check_files, read_manifest
from emgecg_cli.core.store.shards import check_signals, open_signals, shard_file
from emgecg_cli.core.store.table import BASE_SCHEMA, TABLE, to_row

OPEN_SHARDS = 256  # each keeps a file open, and a process may often have no more than 1,024
ROWS_AT_ONCE = 2048
_HINT = "remove the folder and run `medreport prepare` again"


@dataclass(frozen=True)
class Store:
    """A finished store. Rows are numbered from 0, in record order; `ends` holds, for each shard that has rows, the
    number of rows up to its end, and `shards` its number.

    Signals are mapped from their files and the table is read by column or by a block of rows when asked for, so that
    opening costs little and no set is too large.
    """

    path: Path
    manifest: Manifest
    shards: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)
    _signals: Callable[[int], np.ndarray] = field(repr=False)
    _rows: Callable[[int], polars.DataFrame] = field(repr=False)
    _columns: dict[str, polars.Series] = field(default_factory=dict, repr=False)

    @property
    def dataset(self) -> str:
        """The name of the dataset it was prepared from."""
        return str(self.manifest.details["dataset"])

    @property
    def fs(self) -> int:
        """Sampling frequency of all signals, in Hz."""
        return int(self.manifest.details["fs"])

    @property
    def sig_len(self) -> int:
        """Samples per lead of all signals."""
        return int(self.manifest.details["sig_len"])

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        """Pickle the path alone, for loader workers: the maps themselves would be copied whole."""
        return open_store, (self.path,)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row as a map-style data set gives it: all columns of the table, and `signal`."""
        index = self._checked(index)
        block, at = divmod(index, ROWS_AT_ONCE)
        return self._rows(block).row(at, named=True) | {"signal": self.signal(index)}

    def scan(self) -> polars.LazyFrame:
        """The table as a lazy frame, to filter and aggregate without loading it."""
        return polars.scan_parquet(self.path / TABLE, glob=False)

    def column(self, name: str) -> polars.Series:
        """One column of the table, whole; kept for the next call."""
        if name not in self._columns:
            self._columns[name] = self.scan().select(name).collect()[name]
        return self._columns[name]

    def indices(self, split: str | None = None) -> np.ndarray:
        """Row numbers of a split, in record order; all rows when `split` is None."""
        if split is None:
            return np.arange(len(self))
        if split not in SPLITS:
            raise MedReportError(f"no split '{split}'", f"available: {', '.join(SPLITS)}")
        return np.flatnonzero((self.column("split") == split).to_numpy())

    def signal(self, index: int) -> np.ndarray:
        """The signal of a row: int16 microvolts (12, L), missing = `leads.MISSING`; a read-only view of the file."""
        index = self._checked(index)
        place = int(np.searchsorted(self.ends, index, side="right"))
        return self._signals(place)[index - (int(self.ends[place - 1]) if place else 0)]

    def row(self, index: int) -> RecordRow:
        """All that is known of a row beside its signal."""
        block, at = divmod(self._checked(index), ROWS_AT_ONCE)
        return to_row(self._rows(block).row(at, named=True))

    def _checked(self, index: int) -> int:
        found = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= found < len(self):
            raise IndexError(f"row {index} of a store of {len(self)}")
        return found


def open_store(path: Path) -> Store:
    """Open a finished store; raises MedReportError when it is none, unfinished or damaged."""
    manifest = read_manifest(path, "store", made_by="prepare")
    try:
        sig_len = int(manifest.details["sig_len"])
        int(manifest.details["fs"]), str(manifest.details["dataset"])
    except (KeyError, TypeError, ValueError):
        raise MedReportError(f"{path / 'manifest.json'}: lacks dataset, fs or sig_len", _HINT) from None
    shards, sizes = _shard_sizes(path / TABLE)
    if sizes.sum() != manifest.counts.get("records"):
        raise MedReportError(f"{path / TABLE}: {sizes.sum()} records, the manifest says "
                             f"{manifest.counts.get('records')}", _HINT)
    check_files(path, manifest)
    for shard, size in zip(shards.tolist(), sizes.tolist(), strict=True):
        check_signals(path / shard_file(shard), size, sig_len)

    @lru_cache(maxsize=OPEN_SHARDS)
    def signals(place: int) -> np.ndarray:
        return open_signals(path / shard_file(int(shards[place])), int(sizes[place]), sig_len)

    @lru_cache(maxsize=4)
    def rows(block: int) -> polars.DataFrame:
        return polars.scan_parquet(path / TABLE, glob=False).slice(block * ROWS_AT_ONCE, ROWS_AT_ONCE).collect()

    return Store(path, manifest, shards, np.cumsum(sizes), signals, rows)


def _shard_sizes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The shards that have rows, ascending, and how many each has; raises MedReportError for a damaged table."""
    try:
        there = polars.read_parquet_schema(path)
        missing = [name for name in BASE_SCHEMA if name not in there]
        if missing:
            raise MedReportError(f"{path}: lacks the column {', '.join(missing)}", _HINT)
        shards = polars.scan_parquet(path, glob=False).select("shard").collect()["shard"].to_numpy()
    except FileNotFoundError:
        raise MedReportError(f"{path}: missing", _HINT) from None
    except (polars.exceptions.PolarsError, OSError) as error:
        raise MedReportError(f"{path}: not readable ({str(error).partition(chr(10))[0][:200]})", _HINT) from None
    return np.unique(shards, return_counts=True)
