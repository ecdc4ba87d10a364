"""What is read from a store, held against the hashes that were written with it; each thing once in a process.

A recording has its `signal_hash` in the table, which the manifest's hash covers, so that reading one at random costs
its own bytes and not its shard's. The rows of a shard are hashed as a file, when the first of them is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import CHANGED, Manifest, why_damaged
from emgecg_cli.core.signals.fingerprint import samples_digest
from emgecg_cli.core.store.shards import SHARDS, shard_file

UNKNOWN = 0  # the number of an empty hash: of a recording that never changes, of which many have the same one


@dataclass
class Integrity:
    """The hashes of a store, and what this process has seen to be right.

    `files` has those of the shards' files, and none for a store of before they were kept; `signals` the signal hash of
    every row as a number, `seen` the rows whose signal was right.
    """

    store: Path
    files: dict[str, str]
    signals: np.ndarray
    seen: np.ndarray
    seen_files: set[str] = field(default_factory=set)

    def check_signal(self, index: int, shard: int, signal: np.ndarray) -> None:
        """Raise MedReportError unless this is the signal that was stored as that row, in that shard."""
        if self.seen[index]:
            return
        expected = int(self.signals[index])
        if expected == UNKNOWN:
            self.check_file(shard_file(shard))
        elif int.from_bytes(samples_digest(signal), "big") != expected:
            raise MedReportError(f"{self.store / shard_file(shard)}: the signal of row {index} was changed after it "
                                 "was stored", CHANGED)
        self.seen[index] = True

    def check_file(self, name: str) -> None:
        """Raise MedReportError unless a shard's file is what was written."""
        if name in self.seen_files or name not in self.files:
            return
        if why := why_damaged(self.store, name, self.files[name]):
            raise MedReportError(f"{self.store / name}: {why}", CHANGED)
        self.seen_files.add(name)


def integrity_of(store: Path, manifest: Manifest, signals: np.ndarray) -> Integrity:
    """What a store's manifest and the numbers of its signal hashes say.

    A perturbed store of before files were hashed has the hashes of the recordings as they had been: they say nothing.
    """
    files = manifest.details.get(SHARDS) or {}
    trusted = bool(files) or manifest.command != "perturb"
    return Integrity(store, files, signals, np.zeros(len(signals), bool) if trusted else np.ones(len(signals), bool))


def hash_numbers(hashes: polars.Series) -> np.ndarray:
    """Signal hashes of 16 hexadecimal digits as numbers, uint64; what is none as UNKNOWN."""
    return hashes.str.to_integer(base=16, dtype=polars.UInt64, strict=False).fill_null(UNKNOWN).to_numpy()
