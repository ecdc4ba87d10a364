"""Some rows of a store, in any order and as often as they are asked for, each by a name and with a text of its own.

Instructions may leave records of their store out, or ask several things of one. What reads records asks the store that
this makes of it, and needs to know nothing of that. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.references import References
from emgecg_cli.core.store.payloads import Payload
from emgecg_cli.core.store.reader import Store
from emgecg_cli.core.store.stored_rows import Rows

_AT = ".at"


def recording_in(record_id: str, known: Container[str]) -> str | None:
    """The record that an id is of: itself, or what stands before the "#" of one of several questions about it; None
    where neither is known."""
    return next((one for one in (record_id, record_id.rpartition("#")[0]) if one in known), None)


@dataclass(frozen=True, eq=False)
class SelectedRows:
    """The rows `at` of another store's, under the record ids `ids` and with the reports `texts`; see `Rows`."""

    original: Rows
    at: np.ndarray = field(repr=False)
    ids: Sequence[str] = field(repr=False)
    texts: Sequence[str | None] = field(repr=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Rows`."""
        return self.original.columns

    @property
    def home(self) -> Path:
        """See `Rows`."""
        return self.original.home

    def __len__(self) -> int:
        return len(self.at)

    def scan(self) -> polars.LazyFrame:
        """See `Rows`."""
        table = self.original.scan()
        names = table.collect_schema().names()
        numbered = table.drop("record_id", "report").with_row_index(_AT).with_columns(
            polars.col(_AT).cast(polars.Int64))
        chosen = polars.LazyFrame({_AT: self.at.astype(np.int64), "record_id": list(self.ids),
                                   "report": list(self.texts)},
                                  {_AT: polars.Int64, "record_id": polars.String, "report": polars.String})
        return chosen.join(numbered, on=_AT, how="left", maintain_order="left").select(names)

    def values(self, index: int) -> dict[str, Any]:
        """See `Rows`."""
        return self.original.values(int(self.at[index])) | {"record_id": self.ids[index], "report": self.texts[index]}


@dataclass(frozen=True, eq=False)
class SelectedPayload:
    """What those rows hold; see `Payload`."""

    original: Payload
    at: np.ndarray = field(repr=False)

    def signal(self, index: int) -> np.ndarray:
        """See `Payload`."""
        return self.original.signal(int(self.at[index]))

    def drawing(self, index: int) -> np.ndarray | None:
        """See `Payload`."""
        return self.original.drawing(int(self.at[index]))

    def case(self, index: int, values: Mapping[str, Any]) -> Examination:
        """See `Payload`."""
        return self.original.case(int(self.at[index]), values)

    def references(self) -> References | None:
        """See `Payload`."""
        return self.original.references()

    def shown(self, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `Payload`."""
        return self.original.shown(int(self.at[index]), values)

    def is_checked(self) -> bool:
        """See `Payload`."""
        return self.original.is_checked()


def select(store: Store, at: Sequence[int], ids: Sequence[str], texts: Sequence[str | None],
           again: tuple[Callable[..., Store], tuple[Any, ...]]) -> Store:
    """The rows `at` of a store under other ids and with other reports. `again` is a function, and its arguments, that
    selects the same in another process."""
    places = np.asarray(at, np.int64)
    return replace(store, rows=SelectedRows(store.rows, places, ids, texts),
                   payload=SelectedPayload(store.payload, places), again=again, _columns={})
