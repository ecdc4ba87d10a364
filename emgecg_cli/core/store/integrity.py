"""What is read from a store is checked against the hashes that were written with it, once per process.

A recording has its checksum in the table, which the manifest's hash covers, so that reading one at random costs its own
bytes and not its shard's. The rows of a shard are hashed as a file, when the first of them is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import CHANGED, Manifest, why_damaged
from emgecg_cli.core.signals.fingerprint import checksum, signal_hash
from emgecg_cli.core.store.table import CHECKSUM

SIGNAL_HASH = "signal_hash"
SHARDS = "shards"  # what a manifest calls the hashes of the shards' files


@dataclass
class Integrity:
    """The hashes of a store, and what this process has verified.

    `files` has those of the shards' files, and none for a store made before they were kept; `sums` a number for every
    row's signal, as `sum_of` makes it, and `seen` the rows whose signal had it. `checks_signals`: whether there is a
    number for any signal.
    """

    store: Path
    files: dict[str, str]
    sums: np.ndarray
    sum_of: Callable[[np.ndarray], int]
    seen: np.ndarray
    checks_signals: bool = True
    seen_files: set[str] = field(default_factory=set)

    def check_signal(self, index: int, name: str, signal: np.ndarray) -> None:
        """Raise MedReportError unless this is the signal that was stored as that row, in the file of that name."""
        if self.seen[index]:
            return
        if self.sum_of(signal) != self.sums[index]:
            raise MedReportError(f"{self.store / name}: the signal of row {index} was changed after it was stored",
                                 CHANGED)
        self.seen[index] = True

    def check_file(self, name: str) -> None:
        """Raise MedReportError unless a shard's file is what was written."""
        if name in self.seen_files or name not in self.files:
            return
        if why := why_damaged(self.store, name, self.files[name]):
            raise MedReportError(f"{self.store / name}: {why}", CHANGED)
        self.seen_files.add(name)


def integrity_of(store: Path, manifest: Manifest, places: polars.DataFrame) -> Integrity:
    """What a store's manifest and the columns of its table say.

    A store made before there were checksums has the hashes of its signals. They cover neither recordings that never
    change, which have none, nor a perturbed store, which has those of the recordings as they were before.
    """
    files = manifest.details.get(SHARDS) or {}
    if CHECKSUM in places.columns:
        sums = places[CHECKSUM].fill_null(-1).to_numpy()
        return Integrity(store, files, sums, checksum, np.zeros(len(sums), bool))
    hashes = places[SIGNAL_HASH].str.to_integer(base=16, dtype=polars.UInt64, strict=False)
    says_nothing = hashes.is_null() if manifest.command != "perturb" else hashes.is_null() | True
    return Integrity(store, files, hashes.fill_null(0).to_numpy(), _hash_number, says_nothing.to_numpy().copy(),
                     not says_nothing.all())


def _hash_number(signal: np.ndarray) -> int:
    """The signal's hash as a number."""
    return int(signal_hash(signal) or "0", 16)
