"""Open a finished store and read single recordings from it: row 700,000 at the cost of row 7, in any process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import SPLITS, RecordRow
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, check_files, manifest_hash, read_manifest
from emgecg_cli.core.pages.notebook import html_of, html_table
from emgecg_cli.core.references import References
from emgecg_cli.core.store.integrity import SHARDS, integrity_of
from emgecg_cli.core.store.payloads import Kind, Payload, kind_of
from emgecg_cli.core.store.payloads.tables import no_signals
from emgecg_cli.core.store.stored_rows import Rows, open_rows, read_places
from emgecg_cli.core.store.table import TABLE, to_row
from emgecg_cli.core.store.views import VIEW, is_view, open_view, original_of

_HINT = "remove the folder and run `medreport prepare` again"


@dataclass(frozen=True, eq=False)
class Store:
    """A finished store. Rows are numbered from 0, in record order.

    `rows` are its rows on disk and `payload` what they hold; opening costs little, and workers may be forked or
    spawned. `again` opens the same in another process where the path alone does not say what it is. Columns are read
    whole when first asked for, which is to be done before a process is forked.
    """

    path: Path
    manifest: Manifest
    kind: Kind
    rows: Rows = field(repr=False)
    payload: Payload = field(repr=False)
    again: tuple[Callable[..., Store], tuple[Any, ...]] | None = field(default=None, repr=False)
    _columns: dict[str, polars.Series] = field(default_factory=dict, repr=False)
    _process: int = field(default_factory=os.getpid, repr=False)

    @property
    def dataset(self) -> str:
        """The name of the dataset it was prepared from."""
        return str(self.manifest.details["dataset"])

    @property
    def modality(self) -> str:
        """What a record is: "signals", or "tables"."""
        return self.kind.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of its table."""
        return self.rows.columns

    @property
    def population(self) -> str:
        """Whose patients these are: subject ids of two stores mean the same people where this is the same."""
        return str(self.manifest.details.get("population", self.dataset))

    @property
    def rows_are_stale(self) -> bool:
        """Whether rows describe signals as they were before a perturbation: in stores made before they were
        described again."""
        return self.manifest.command == "perturb" and not {SHARDS, VIEW} & self.manifest.details.keys()

    @property
    def fs(self) -> int:
        """Sampling frequency of all signals, in Hz."""
        return int(self.manifest.details["fs"])

    @property
    def sig_len(self) -> int:
        """Samples per lead of all signals."""
        return int(self.manifest.details["sig_len"])

    def __len__(self) -> int:
        return len(self.rows)

    def _repr_html_(self) -> str:
        """What a notebook shows: the splits, and the first records."""
        counts = self.manifest.counts
        splits = html_table(["split", "records"], [(split, counts.get(split, 0)) for split in SPLITS])
        first = [self.row(index) for index in range(min(5, len(self)))]
        records = html_table(["record", "split", "report"], [(one.record_id, one.split, (one.report or "")[:120])
                                                             for one in first])
        return html_of(f"{self.path.as_posix()}: {len(self):,} records of {self.dataset}", splits,
                       records)

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[Any, ...]]:
        """Pickle the path alone, for other processes: the maps themselves would be copied whole."""
        return self.again or (_reopened, (self.path.absolute(), manifest_hash(self.path)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A row as a map-style data set gives it: all columns of the table, and what it
        holds, a `signal` or its `tables`."""
        index = self._checked(index)
        values = self.values(index)
        return values | self.payload.shown(index, values)

    def values(self, index: int) -> dict[str, Any]:
        """All columns of a row of the table."""
        return dict.fromkeys(self.columns) | self.rows.values(self._checked(index))

    def scan(self) -> polars.LazyFrame:
        """The table as a lazy frame, to filter and aggregate without loading it."""
        return self.rows.scan()

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

    def reports(self, split: str) -> list[str | None]:
        """The reports of a split as a model is to write them, in record order; None where a record has none."""
        return self.kind.reports(self.scan().filter(polars.col("split") == split))

    def check_has_signals(self) -> None:
        """Raise MedReportError unless the records are recordings."""
        if not self.kind.has_signals:
            raise no_signals(self.path)

    def signal(self, index: int) -> np.ndarray:
        """The signal of a row: int16 microvolts (12, L), missing = `leads.MISSING`; read-only.

        Raises MedReportError when it is not what was stored, and where records have none.
        """
        return self.payload.signal(self._checked(index))

    def drawing(self, index: int) -> np.ndarray | None:
        """What can be drawn of a row as an ECG, as `signal` gives it; None where there is nothing."""
        return self.payload.drawing(self._checked(index))

    def case(self, index: int) -> Examination:
        """The tables of a row; raises MedReportError where records have none."""
        index = self._checked(index)
        return self.payload.case(index, self.rows.values(index))

    def references(self) -> References | None:
        """The reference ranges of a store of tables, fitted on the healthy of its train split; None for signals."""
        return self.payload.references()

    def row(self, index: int) -> RecordRow:
        """All columns of a row as a `RecordRow`."""
        return to_row(self.rows.values(self._checked(index)))

    def _checked(self, index: int) -> int:
        found = int(index) + (len(self) if index < 0 else 0)
        if not 0 <= found < len(self):
            raise IndexError(f"row {index} of a store of {len(self)}")
        return found


def _reopened(path: Path, digest: str) -> Store:
    return _opened_here(path, digest, os.getpid())


@lru_cache(maxsize=4)
def _opened_here(path: Path, digest: str, process: int) -> Store:
    """A store that was sent to a process, opened there once for all its tasks; one that was made anew has another
    `digest`, and what a parent had opened is not a forked child's."""
    return open_store(path)


def open_store(path: Path) -> Store:
    """Open a finished store; raises MedReportError when it is none, unfinished or damaged."""
    manifest = read_manifest(path, "store", made_by="prepare")
    kind = kind_of(manifest)
    check_files(path, manifest)
    if is_view(manifest):
        return _open_view(path, manifest, kind)
    columns, places = read_places(path / TABLE)
    if len(places) != manifest.counts.get("records"):
        raise MedReportError(f"{path / TABLE}: {len(places)} records, the manifest says "
                             f"{manifest.counts.get('records')}", _HINT)
    integrity = integrity_of(path, manifest, places)
    rows = open_rows(path, columns, places, integrity)
    return Store(path, manifest, kind, rows, kind.open(path, manifest, rows, integrity))


def _open_view(path: Path, manifest: Manifest, kind: Kind) -> Store:
    """Open a store whose signals are drawn from those of another one, which may be a view itself."""
    original = open_store(original_of(path, manifest))
    if len(original) != manifest.counts.get("records"):
        raise MedReportError(f"{path}: a view of {len(original)} records, the manifest says "
                             f"{manifest.counts.get('records')}", _HINT)
    rows, signals = open_view(path, manifest, original.rows, original.payload)
    return Store(path, manifest, kind, rows, signals)
