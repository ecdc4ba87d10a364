"""Recordings as what a store holds: windows of twelve leads at one rate, in signal files that are mapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import RecordRow
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.datasets import Recording
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest
from emgecg_cli.core.signals.fingerprint import checksum
from emgecg_cli.core.signals.similarity import SAME_RECORDING, similarity
from emgecg_cli.core.store.card.blocks import Section
from emgecg_cli.core.store.card.facts import CardFacts
from emgecg_cli.core.store.card.of_signals import sections_of_signals
from emgecg_cli.core.store.integrity import Integrity
from emgecg_cli.core.store.payloads.cutting import rows_of
from emgecg_cli.core.store.payloads.signal_files import check_signals, open_signals, shard_file, write_signals
from emgecg_cli.core.store.payloads.texts import clean_text, counted
from emgecg_cli.core.store.stored_rows import StoredRows

OPEN_SHARDS = 256  # each keeps a file open, and a process may often have no more than 1,024


@dataclass(frozen=True)
class Recordings:
    """The kind of a store of recordings; see `payloads.Kind`."""

    name: str = "signals"
    input: str = "ecg"
    called: str = "ECG"
    has_signals: bool = True
    prompts: str = "pool"
    recipe: str | None = None
    fewest: int = 2
    parts: tuple[str, ...] = ("report",)
    idle: tuple[str, ...] = ("percentiles", "covariates", "healthy")
    files: tuple[str, ...] = ()

    def check(self, config: PrepareConfig) -> None:
        """All settings of recordings were checked when they were made."""

    def shape(self, config: PrepareConfig) -> tuple[int, int]:
        """See `payloads.Kind`."""
        return config.fs, config.sig_len

    def rows(self, item: Recording, rules: tuple[str, ...], config: PrepareConfig) -> tuple[list, list[str]]:
        """See `payloads.Kind`."""
        report, changed = (None, []) if item.ref.unreported else clean_text(item, rules, config.min_words)
        return list(rows_of(item, report, config)), counted(changed, item.file_flags)

    def write(self, out: Path, partial: Path, number: int, rows: Sequence[RecordRow],
              data: Sequence[np.ndarray]) -> tuple[dict[Path, str], list[int] | None]:
        """See `payloads.Kind`; the signals of a shard are a file of the store."""
        path = out / shard_file(number)
        return {path: write_signals(path, partial, data, len(rows))}, [checksum(signal) for signal in data]

    def gather(self, out: Path, partial: Path, n_shards: int) -> None:
        """Signal files lie where they belong from the start."""

    def finish(self, out: Path, records: polars.LazyFrame, config: PrepareConfig) -> dict[str, Any]:
        """See `payloads.Kind`."""
        return {}

    def alike(self, out: Path, config: PrepareConfig) -> Callable[[tuple[int, int], tuple[int, int]], bool]:
        """See `payloads.Kind`."""
        return partial(_are_alike, out, config.fs)

    def card(self, facts: CardFacts) -> list[Section]:
        """See `payloads.Kind`."""
        return sections_of_signals(facts)

    def reports(self, records: polars.LazyFrame) -> list[str | None]:
        """See `payloads.Kind`."""
        return records.select("report").collect()["report"].to_list()

    def open(self, path: Path, manifest: Manifest, rows: StoredRows, integrity: Integrity) -> OpenRecordings:
        """See `payloads.Kind`; raises MedReportError for a file that is not what the manifest says."""
        fs, sig_len = int(manifest.details["fs"]), int(manifest.details["sig_len"])
        if not (fs and sig_len):
            raise MedReportError(f"{path / 'manifest.json'}: recordings of {sig_len} samples at {fs} Hz",
                                 "remove the folder and run `medreport prepare` again")
        for shard, size in zip(rows.shards.tolist(), rows.sizes.tolist(), strict=True):
            check_signals(path / shard_file(shard), size, sig_len)

        @lru_cache(maxsize=OPEN_SHARDS)
        def signals(place: int) -> np.ndarray:
            return open_signals(path / shard_file(int(rows.shards[place])), int(rows.sizes[place]), sig_len)

        return OpenRecordings(path, rows, signals, integrity)


@dataclass(frozen=True, eq=False)
class OpenRecordings:
    """The recordings of an open store; see `payloads.Payload`. The first time that a process reads a signal, it is
    checked against its hash."""

    path: Path
    rows: StoredRows
    signals: Callable[[int], np.ndarray]
    integrity: Integrity

    def signal(self, index: int) -> np.ndarray:
        """See `payloads.Payload`."""
        place, row = self.rows.place(index)
        signal = self.signals(place)[row]
        self.integrity.check_signal(index, shard_file(int(self.rows.shards[place])), signal)
        return signal

    def drawing(self, index: int) -> np.ndarray | None:
        """See `payloads.Payload`."""
        return self.signal(index)

    def case(self, index: int, values: Mapping[str, Any]) -> Examination:
        """Raise MedReportError: there are no tables."""
        raise MedReportError(f"{self.path}: a store of signals, which has no tables", "give a store of EMG tables")

    def references(self) -> None:
        """See `payloads.Payload`."""

    def shown(self, index: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `payloads.Payload`."""
        return {"signal": self.signal(index)}

    def is_checked(self) -> bool:
        """See `payloads.Payload`."""
        return self.integrity.checks_signals


def _are_alike(out: Path, fs: int, one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two rows of shards, (shard, row) each, are of one recording by their signals."""
    first, second = (np.load(out / shard_file(shard), mmap_mode="r")[row] for shard, row in (one, other))
    found = similarity(first, fs, second, fs)
    return found is not None and found.correlation >= SAME_RECORDING
