"""Open a finished store and read single recordings from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import polars

from emgecg_cli.core.artifacts import SPLITS, RecordRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, check_files, read_manifest
from emgecg_cli.core.store.shards import TABLE, open_signals, shard_file


@dataclass(frozen=True)
class Store:
    """A finished store. `records` has one row per record, in record order, with the columns of `RecordRow`."""

    path: Path
    manifest: Manifest
    records: polars.DataFrame
    shards: dict[int, np.ndarray] = field(repr=False)
    places: np.ndarray = field(repr=False)

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
        return len(self.places)

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        """Pickle the path alone, for loader workers: the maps themselves would be copied whole."""
        return open_store, (self.path,)

    def indices(self, split: str | None = None) -> np.ndarray:
        """Row numbers of a split, in record order; all rows when `split` is None."""
        if split is None:
            return np.arange(len(self))
        if split not in SPLITS:
            raise MedReportError(f"no split '{split}'", f"available: {', '.join(SPLITS)}")
        return np.flatnonzero(self.records["split"].to_numpy() == split)

    def signal(self, index: int) -> np.ndarray:
        """The signal of a row: int16 microvolts (12, L), missing = `leads.MISSING`; a read-only view of the file."""
        shard, row = self.places[index]
        return self.shards[int(shard)][int(row)]

    def row(self, index: int) -> RecordRow:
        """All that is known of a row beside its signal."""
        return RecordRow(**self.records.row(int(index), named=True))


def open_store(path: Path) -> Store:
    """Open a finished store; raises MedReportError when it is none, unfinished or damaged."""
    manifest = read_manifest(path, "store", made_by="prepare")
    hint = "remove the folder and run `medreport prepare` again"
    try:
        fs_and_length = int(manifest.details["fs"]), int(manifest.details["sig_len"])
        str(manifest.details["dataset"])
    except (KeyError, TypeError, ValueError):
        raise MedReportError(f"{path / 'manifest.json'}: lacks dataset, fs or sig_len", hint) from None
    records = _read_records(path / TABLE, hint)
    if records.height != manifest.counts.get("records"):
        raise MedReportError(f"{path / TABLE}: {records.height} records, the manifest says "
                             f"{manifest.counts.get('records')}", hint)
    check_files(path, manifest)
    places = records.select("shard", "row").to_numpy()
    sizes = Counter(places[:, 0].tolist())
    shards = {shard: open_signals(path / shard_file(shard), size, fs_and_length[1])
              for shard, size in sorted(sizes.items())}
    return Store(path, manifest, records, shards, places)


def _read_records(path: Path, hint: str) -> polars.DataFrame:
    try:
        records = polars.read_parquet(path, memory_map=False, glob=False)
    except FileNotFoundError:
        raise MedReportError(f"{path}: missing", hint) from None
    except (polars.exceptions.PolarsError, OSError) as error:
        raise MedReportError(f"{path}: not readable ({str(error).partition(chr(10))[0][:200]})", hint) from None
    columns = [column.name for column in fields(RecordRow)]
    missing = [name for name in columns if name not in records.columns]
    if missing:
        raise MedReportError(f"{path}: lacks the column {', '.join(missing)}", hint)
    return records.select(columns)
