"""Open a finished store and read single recordings from it: row 700,000 at the cost of row 7, in any process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import SPLITS, RecordRow
from emgecg_cli.core.emg.stored import TableCase
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, check_files, read_manifest
from emgecg_cli.core.references import References, read_references
from emgecg_cli.core.store.integrity import SIGNAL_HASH, Integrity, integrity_of
from emgecg_cli.core.store.shards import SHARDS, check_signals, open_signals, rows_file, shard_file
from emgecg_cli.core.store.table import BASE_SCHEMA, CHECKSUM, FULL_SCHEMA, OFFSET, TABLE, to_row
from emgecg_cli.core.store.tables import PERSON, REFERENCES, TABLES, case_of

OPEN_SHARDS = 256  # each keeps a file open, and a process may often have no more than 1,024
_HINT = "remove the folder and run `medreport prepare` again"


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store. Rows are numbered from 0, in record order.

    `shards`, `ends` and `sizes` are the shards that have rows: their numbers, the rows up to their ends, and how many
    each has; `offsets` says where the line of each row begins. Signals are mapped from their files and a row is a line
    of one, so that opening costs little, no set is too large, and workers may be forked or spawned. Columns are read
    whole when first asked for, which is to be done before a process is forked. The first time that a process reads a
    signal, or a row of a shard, it is held against its hash (`integrity`).
    """

    path: Path
    manifest: Manifest
    columns: tuple[str, ...] = field(repr=False)
    shards: np.ndarray = field(repr=False)
    sizes: np.ndarray = field(repr=False)
    ends: np.ndarray = field(repr=False)
    offsets: np.ndarray = field(repr=False)
    _signals: Callable[[int], np.ndarray] = field(repr=False)
    _integrity: Integrity = field(repr=False)
    _columns: dict[str, polars.Series] = field(default_factory=dict, repr=False)
    _tables: dict[str, Any] = field(default_factory=dict, repr=False)
    _process: int = field(default_factory=os.getpid, repr=False)

    @property
    def dataset(self) -> str:
        """The name of the dataset it was prepared from."""
        return str(self.manifest.details["dataset"])

    @property
    def modality(self) -> str:
        """What a record is: "signals", or "tables"."""
        return str(self.manifest.details.get("modality", "signals"))

    @property
    def population(self) -> str:
        """Whose patients these are: subject ids of two stores mean the same people where this is the same."""
        return str(self.manifest.details.get("population", self.dataset))

    @property
    def rows_are_stale(self) -> bool:
        """Whether rows describe signals as they were before a perturbation: in stores of before they were described
        again."""
        return self.manifest.command == "perturb" and SHARDS not in self.manifest.details

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
        return open_store, (self.path.absolute(),)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row as a map-style data set gives it: all columns of the table, and `signal`."""
        index = self._checked(index)
        shown = {"signal": self.signal(index)} if self.modality == "signals" else {"tables": self.case(index)}
        return self.values(index) | shown

    def values(self, index: int) -> dict[str, Any]:
        """All columns of a row of the table."""
        return dict.fromkeys(self.columns) | self._values(self._checked(index))

    def scan(self) -> polars.LazyFrame:
        """The table as a lazy frame, to filter and aggregate without loading it."""
        return polars.scan_parquet(self.path / TABLE, glob=False)

    def column(self, name: str) -> polars.Series:
        """One column of the table, whole; kept for the next call."""
        if name not in self._columns:
            if os.getpid() != self._process:
                raise RuntimeError(f"column '{name}' is first asked for in a forked process, where polars would wait "
                                   "for ever; ask for it before, or start workers by spawn")
            self._columns[name] = self.scan().select(name).collect()[name]
        return self._columns[name]

    def indices(self, split: str | None = None) -> np.ndarray:
        """Row numbers of a split, in record order; all rows when `split` is None."""
        if split is None:
            return np.arange(len(self))
        if split not in SPLITS:
            raise MedReportError(f"no split '{split}'", f"available: {', '.join(SPLITS)}")
        return np.flatnonzero((self.column("split") == split).to_numpy())

    def reported(self, split: str) -> np.ndarray:
        """Row numbers of those records of a split that have a report."""
        rows, has = self.indices(split), polars.col("report").is_not_null()
        return rows[self.scan().select(has).collect()["report"].to_numpy()[rows]]

    def signal(self, index: int) -> np.ndarray:
        """The signal of a row: int16 microvolts (12, L), missing = `leads.MISSING`; a read-only view of the file.

        Raises MedReportError when it is not what was stored.
        """
        index = self._checked(index)
        place, row = self._place(index)
        signal = self._signals(place)[row]
        self._integrity.check_signal(index, int(self.shards[place]), signal)
        return signal

    def case(self, index: int) -> TableCase:
        """The tables of a row of a store of tables."""
        values = self._values(self._checked(index))
        return case_of(self._cases().get(values["record_id"], []), dict.fromkeys(PERSON) | values)

    def _cases(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of all tables by record; read once, since such stores are small."""
        if TABLES not in self._tables:
            frame = polars.read_parquet(self.path / TABLES, glob=False)
            self._tables[TABLES] = {key[0]: rows.to_dicts() for key, rows in
                                    frame.partition_by("record_id", as_dict=True, maintain_order=True).items()}
        return self._tables[TABLES]

    def references(self) -> References | None:
        """The reference ranges of a store of tables, fitted on the healthy of its train split; None for signals."""
        return read_references(self.path / REFERENCES) if self.modality == "tables" else None

    def row(self, index: int) -> RecordRow:
        """All that is known of a row beside its signal."""
        return to_row(self._values(self._checked(index)))

    def _values(self, index: int) -> dict[str, Any]:
        """The columns of a row that it has, from its line."""
        path = self.path / rows_file(int(self.shards[self._place(index)[0]]))
        self._integrity.check_file(path.name)
        try:
            with path.open("rb") as lines:
                lines.seek(int(self.offsets[index]))
                values = json.loads(lines.readline().decode("utf-8", "surrogatepass"))
            if not isinstance(values, dict) or not values.keys() >= BASE_SCHEMA.keys():
                raise ValueError("not a row")
            return values
        except (OSError, ValueError, RecursionError):
            raise MedReportError(f"{path}: row {index} of the store cannot be read there", _HINT) from None

    def _place(self, index: int) -> tuple[int, int]:
        """Which of the shards a row is in, and which of its rows it is."""
        place = int(np.searchsorted(self.ends, index, side="right"))
        return place, index - (int(self.ends[place - 1]) if place else 0)

    def _checked(self, index: int) -> int:
        found = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= found < len(self):
            raise IndexError(f"row {index} of a store of {len(self)}")
        return found


def open_store(path: Path) -> Store:
    """Open a finished store; raises MedReportError when it is none, unfinished or damaged."""
    manifest = read_manifest(path, "store", made_by="prepare")
    sig_len = int(manifest.details["sig_len"])
    is_signals = manifest.details.get("modality", "signals") == "signals"
    if is_signals and not (manifest.details["fs"] and sig_len):
        raise MedReportError(f"{path / 'manifest.json'}: recordings of {sig_len} samples at {manifest.details['fs']} "
                             "Hz", _HINT)
    check_files(path, manifest)
    columns, places = _read_places(path / TABLE)
    shard_of, offsets = places["shard"].to_numpy(), places[OFFSET].to_numpy()
    if len(offsets) != manifest.counts.get("records"):
        raise MedReportError(f"{path / TABLE}: {len(offsets)} records, the manifest says "
                             f"{manifest.counts.get('records')}", _HINT)
    shards, sizes = np.unique(shard_of, return_counts=True)
    for shard, size in zip(shards.tolist(), sizes.tolist(), strict=True) if is_signals else ():
        check_signals(path / shard_file(shard), size, sig_len)

    @lru_cache(maxsize=OPEN_SHARDS)
    def signals(place: int) -> np.ndarray:
        if not is_signals:
            raise no_signals(path)
        return open_signals(path / shard_file(int(shards[place])), int(sizes[place]), sig_len)

    return Store(path, manifest, columns, shards, sizes, np.cumsum(sizes), offsets, signals,
                 integrity_of(path, manifest, places))


def no_signals(path: Path) -> MedReportError:
    """The error for a store of tables where signals are needed."""
    return MedReportError(f"{path}: a store of tables, which has no signals", "give a store of recordings")


def _read_places(path: Path) -> tuple[tuple[str, ...], polars.DataFrame]:
    """The columns there are, and those that say where each row lies and what its signal is known by; raises
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


def _fits(dtype: polars.DataType, wanted: polars.DataType) -> bool:
    """Whether a column can be read as the type it should have: that one, none of its values, or another number."""
    return dtype in (wanted, polars.Null) or (dtype.is_numeric() and wanted.is_numeric())
