"""What the records of a store hold: recordings, or EMG tables. Each kind is one file behind the same Protocol.

A manifest names its kind as `details.modality`, and `kind_of` is the one place that asks for it. Everything
else asks the `Kind`, or the open store; a further kind is a file here, and one more in KINDS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars

from emgecg_cli.core.artifacts import RecordRow
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.references import References
from emgecg_cli.core.store.card.blocks import Section
from emgecg_cli.core.store.card.facts import CardFacts
from emgecg_cli.core.store.integrity import Integrity
from emgecg_cli.core.store.payloads.recordings import Recordings
from emgecg_cli.core.store.payloads.tables import Tables
from emgecg_cli.core.store.stored_rows import StoredRows


class Payload(Protocol):
    """What the records of one open store hold; `index` is a row number, `values` the columns of that row."""

    def signal(self, index: int) -> np.ndarray:
        """The signal of a row: int16 microvolts (12, L), missing = `leads.MISSING`, read-only; raises MedReportError
        where there are none, and for one that is not what was stored."""

    def drawing(self, index: int) -> np.ndarray | None:
        """What can be drawn of a row as an ECG, as `signal` gives it; None where there is nothing."""

    def case(self, index: int, values: Mapping[str, Any]) -> Examination:
        """The tables of a row; raises MedReportError where there are none."""

    def references(self) -> References | None:
        """The reference ranges that the values of its tables are compared with; None if there are none."""

    def shown(self, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a row holds, by the name under which a map-style data set gives it."""

    def is_checked(self) -> bool:
        """Whether `signal` checks what it reads against a hash."""


class Kind(Protocol):
    """One kind of record: what other rooms need to know of it, and how it is prepared, written and read."""

    @property
    def name(self) -> str:
        """As manifests have it: "signals" or "tables"."""

    @property
    def input(self) -> str:
        """The named input of a model that such a record is shown as: "ecg" or "values"."""

    @property
    def called(self) -> str:
        """What such a record shows, in a sentence."""

    @property
    def has_signals(self) -> bool:
        """Whether `Payload.signal` gives something."""

    @property
    def prompts(self) -> str:
        """Where the prompts come from, a name of `instructions.forms`."""

    @property
    def recipe(self) -> str | None:
        """The training recipe made for such records; None is that of the backbone."""

    @property
    def fewest(self) -> int:
        """The fewest records that can be trained on."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The columns that make up a report."""

    @property
    def idle(self) -> tuple[str, ...]:
        """Settings of `prepare` that have no effect here."""

    @property
    def files(self) -> tuple[str, ...]:
        """Files of a finished store that other kinds do not have, beside those of its shards."""

    def check(self, config: PrepareConfig) -> None:
        """Raise MedReportError for a setting that cannot be used."""

    def shape(self, config: PrepareConfig) -> tuple[int, int]:
        """Rate in Hz and samples of every signal; 0 where there are none."""

    def rows(self, item: Any, rules: tuple[str, ...], config: PrepareConfig) -> tuple[list, list[str]]:
        """What one item of a source gives: rows with their data, or QuarantineRows, and what is counted of it. Raises
        SetAside for an item whose text is not good enough."""

    def write(self, out: Path, partial: Path, number: int, rows: Sequence[RecordRow],
              data: Sequence[Any]) -> tuple[dict[Path, str], list[int] | None]:
        """Write the data of a shard into `out`, or into `partial` until `gather`; returns the SHA-256 of each file, and
        a checksum for each row where rows have one."""

    def gather(self, out: Path, partial: Path, n_shards: int) -> None:
        """Make what the finished store has from the data of all shards."""

    def finish(self, out: Path, records: polars.LazyFrame, config: PrepareConfig) -> dict[str, Any]:
        """Write `files` that follow from the whole store; returns what the manifest says of them."""

    def alike(self, out: Path, config: PrepareConfig) -> Callable[[tuple[int, int], tuple[int, int]], bool] | None:
        """Whether two rows of shards, (shard, row) each, are of one recording; None if that cannot be decided."""

    def card(self, facts: CardFacts) -> list[Section]:
        """The sections of a data card that are about this kind alone."""

    def reports(self, records: polars.LazyFrame) -> list[str | None]:
        """The reports of some rows of a store's table as a model is to write them."""

    def open(self, path: Path, manifest: Manifest, rows: StoredRows, integrity: Integrity) -> Payload:
        """What a finished store holds; raises MedReportError where its files are not what the manifest says."""


KINDS: dict[str, Kind] = {kind.name: kind for kind in (Recordings(), Tables())}
_BEFORE = "signals"  # of manifests that name no kind


def kind_of(artefact: Manifest) -> Kind:
    """The kind of record of a store, or of what was made from one; raises MedReportError for one that is not known."""
    name = artefact.details.get("modality", _BEFORE)
    if name not in KINDS:
        raise MedReportError(f"records of the kind '{str(name)[:40]}', which this medreport does not know",
                             "install a newer medreport")
    return KINDS[name]
