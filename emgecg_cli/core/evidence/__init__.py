"""What is true of a record: its signal and what is measured on it, or its tables and their reference ranges; its codes.

A report is checked against its own record, and against the samples that were shown: the measurements are those of the
store, or are made from its signal when first asked for. A measurement of quality "poor" is not used as evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from emgecg_cli.core.artifacts import PERTURBED, Measurements, PerturbedRow, RecordRow, read_rows
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.evidence.tables import Tables
from emgecg_cli.core.references import References
from emgecg_cli.core.store import Store, described
from emgecg_cli.core.store.perturbed import earlier_of, perturbation_of
from emgecg_cli.core.store.selection import recording_in

if TYPE_CHECKING:
    from emgecg_cli.core.evidence.waveform import Waveform
    from emgecg_cli.core.signals.delineation.beat_table import BeatTable
    from emgecg_cli.core.signals.delineation.lead_waves import LeadWaves


@dataclass(frozen=True)
class _Measured:
    """What was measured on a signal, and whether its waves, None where there are none, its ectopic beats and spikes
    were looked for (`with_waves`)."""

    measurements: Measurements
    with_waves: bool
    waves: LeadWaves | None = None
    ectopic_ms: float | None = None
    paced: bool = False


@dataclass(frozen=True)
class RecordEvidence:
    """One record: its `row` as its signal is now, and what was done to that signal ("" where it is as recorded).

    `signal` is int16 microvolts (12, L) without padding, None for a record of tables; `case` its tables, None for one
    with a signal; `references` the ranges that judge their values. Each is read when first asked for.
    """

    store: Store
    index: int
    row: RecordRow
    perturbed: str
    references: References | None
    kept: dict[int, _Measured] = field(default_factory=dict, repr=False)  # by row, of all
    with_waves: bool = False   # whether what is measured is measured with the waves of each lead

    @cached_property
    def signal(self) -> np.ndarray | None:
        """The samples that are shown."""
        found = self.store.drawing(self.index)
        return None if found is None else found[:, :self.row.sig_len - self.row.n_padded]

    @cached_property
    def case(self) -> Examination | None:
        """The tables of the examination."""
        return None if self.signal is not None else self.store.case(self.index)

    @property
    def measured_now(self) -> bool:
        """Whether the measurements are made from the signal, as the store has none."""
        return self.row.measurements is None

    @cached_property
    def measurements(self) -> Measurements | None:
        """What is measured on the signal, all undetected at a rate at which nothing can be; None without a signal."""
        if self.row.measurements is not None:
            return self.row.measurements
        found = self._measured(self.with_waves)
        return None if found is None else found.measurements

    @cached_property
    def waveform(self) -> Waveform | None:
        """What interpretations are held against; None without a signal."""
        from emgecg_cli.core.evidence.waveform import Beats, Waveform

        found = self._measured(True)
        if found is None:
            return None
        row, length = self.row, self.row.sig_len - self.row.n_padded
        return Waveform(row.measurements or found.measurements, found.waves, row.sex,
                        Beats(partial(_beats_of, self.store, self.index, length, row.fs)), found.ectopic_ms,
                        found.paced)

    @cached_property
    def beats(self) -> BeatTable | None:
        """What is measured on each beat of the signal; None without one, and at a rate at which nothing can be."""
        return _table_of(self.signal, self.row.fs)

    def _measured(self, with_waves: bool) -> _Measured | None:
        """Measurements of the signal, and its waves where they are wanted, made once; None without a signal."""
        known = self.kept.get(self.index)
        if self.signal is None or (known is not None and (known.with_waves or not with_waves)):
            return known
        from emgecg_cli.core.signals.delineation import FS_RANGE, delineated, find_waves  # takes a moment to import
        from emgecg_cli.core.signals.delineation.lead_waves import lead_waves
        from emgecg_cli.core.signals.delineation.per_beat import widest_ectopic_ms

        lowest, highest = FS_RANGE
        if not lowest <= self.row.fs <= highest:
            return self.kept.setdefault(self.index, _Measured(Measurements(), True))
        found = find_waves(self.signal, self.row.fs)
        measured = delineated(found, self.signal, self.row.fs)
        kept = _Measured(measured.measurements, with_waves)
        if with_waves and found is not None:
            kept = replace(kept, waves=lead_waves(measured, self.signal), ectopic_ms=widest_ectopic_ms(found),
                           paced=found.pacing is not None)
        self.kept[self.index] = kept
        return kept


def _beats_of(store: Store, index: int, length: int, fs: int) -> Mapping[str, Any]:
    """The table of beats of a record by lead, of the samples that are shown; nothing at a rate at which nothing can be
    measured. The samples are read again, so that nobody keeps those of a whole store."""
    signal = store.drawing(index)
    table = _table_of(None if signal is None else signal[:, :length], fs)
    return {} if table is None else dict(table.to_json()["leads"])


def _table_of(signal: np.ndarray | None, fs: int) -> BeatTable | None:
    from emgecg_cli.core.signals.delineation import FS_RANGE
    from emgecg_cli.core.signals.delineation.per_beat import measure_beats

    return None if signal is None or not FS_RANGE[0] <= fs <= FS_RANGE[1] else measure_beats(signal, fs)


class Evidence:
    """The records of a store by their ids; what had to be measured is kept. Who will ask for the waveform of records
    says so by `with_waves`, so that no recording is measured twice; for measurements alone waves are not looked for."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.with_waves = False
        self._kept: dict[int, _Measured] = {}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {record_id: i for i, record_id in enumerate(self.store.column("record_id").to_list())}

    @cached_property
    def _references(self) -> References | None:
        return self.store.references()

    @cached_property
    def _hit(self) -> dict[str, PerturbedRow]:
        return {row.record_id: row for row in read_rows(self.store.path / PERTURBED, PerturbedRow)}

    def __contains__(self, record_id: str) -> bool:
        return recording_in(record_id, self._index) is not None

    def of(self, record_id: str) -> RecordEvidence | None:
        """What is true of a record; None for one that the store does not hold."""
        known = recording_in(record_id, self._index)
        return None if known is None else self.at(self._index[known])

    def at(self, index: int) -> RecordEvidence:
        """What is true of the record in a row of the store."""
        row = self.store.row(index)
        perturbed = self._perturbed(row.record_id)
        if self.store.rows_are_stale and perturbed:
            row = replace(row, **described(self.store.signal(index), row.fs), machine=None, measurements=None)
        return RecordEvidence(self.store, index, row, perturbed, self._references, self._kept,
                              self.with_waves)

    def tables(self, record_ids: Iterable[str]) -> Tables | None:
        """The tables of these records and the reference ranges; None where the store has no ranges: its records have
        signals, or nobody was healthy enough. A record in the form for language models has no table."""
        if self._references is None:
            return None
        found = {record_id: record.case for record_id in record_ids if (record := self.of(record_id)) is not None}
        return Tables({record_id: stored.case for record_id, stored in found.items()
                       if stored is not None and stored.case is not None}, self._references)

    def _perturbed(self, record_id: str) -> str:
        """What was done to the signal of a record of a perturbed store; "" where it is as it was recorded."""
        how = perturbation_of(self.store)
        if how is None:
            return ""
        hit = self._hit.get(record_id)
        if hit is None:
            return f"not hit{earlier}" if (earlier := earlier_of(self.store)) else ""
        reached = "nothing changed" if not hit.changed else "samples are missing" if hit.snr_db is None \
            else f"{hit.snr_db:.1f} dB reached"
        return f"{how}: {reached}, {hit.changed:.0%} of the time changed"
