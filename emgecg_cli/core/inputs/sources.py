"""Where each input of a record is read from: the recording, the values of tables; pages have a file of their own.

A source is made by `open(store, preprocessing, values)` and named in `names.INPUTS`. Which records have its input, the
conversation says: those with a part that stands for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from emgecg_cli.core.inputs.record import Record
from emgecg_cli.core.inputs.values import Values
from emgecg_cli.core.models.preprocessing import Preprocessing
from emgecg_cli.core.references import PERCENTILES
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.signals.resampling import resampled_length
from emgecg_cli.core.store import Store


class InputSource(Protocol):
    """One input of the records of a store; how several records are one batch."""

    @staticmethod
    def shown_by(parts: Collection[str]) -> bool:
        """Whether a record whose conversation has parts of these types has the input."""

    def read(self, record: Record) -> np.ndarray:
        """The array of one record."""

    def blank(self) -> np.ndarray:
        """What stands in a batch for a record without the input."""

    @staticmethod
    def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Arrays of records as one, (B, …)."""


@dataclass(frozen=True)
class EcgSource:
    """int16 microvolts (C, L), missing samples marked, at the rate the encoder takes."""

    store: Store
    preprocessing: Preprocessing

    @classmethod
    def open(cls, store: Store, preprocessing: Preprocessing, values: Values | None) -> EcgSource:
        """See `InputSource`."""
        return cls(store, preprocessing)

    @staticmethod
    def shown_by(parts: Collection[str]) -> bool:
        """See `InputSource`."""
        return "ecg" in parts

    def read(self, record: Record) -> np.ndarray:
        """See `InputSource`."""
        return self.preprocessing.recording(self.store, record.shown)

    def blank(self) -> np.ndarray:
        """See `InputSource`."""
        fs = self.preprocessing.fs or self.store.fs
        return np.full((len(LEADS), resampled_length(self.store.sig_len, self.store.fs, fs)), MISSING, np.int16)

    @staticmethod
    def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
        """See `InputSource`."""
        return np.stack(arrays)


@dataclass(frozen=True)
class ValueSource:
    """float32 (R, 3, 7): each value of a record's prompt beside its references.

    A record's own are kept, since each epoch asks for them.
    """

    values: Values
    _made: dict[int, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, store: Store, preprocessing: Preprocessing, values: Values | None) -> ValueSource:
        """See `InputSource`."""
        assert values is not None
        return cls(values)

    @staticmethod
    def shown_by(parts: Collection[str]) -> bool:
        """See `InputSource`."""
        return "value" in parts

    def read(self, record: Record) -> np.ndarray:
        """See `InputSource`; the conversation already holds the numbers that are to be shown."""
        if record.shown == record.index and record.index in self._made:
            return self._made[record.index]
        made = self.values.matrices(record.messages, record.record_id, record.person)
        if record.shown == record.index:
            self._made[record.index] = made
        return made

    def blank(self) -> np.ndarray:
        """See `InputSource`."""
        return np.zeros((0, 3, len(PERCENTILES)), np.float32)

    @staticmethod
    def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
        """(B, R, 3, 7), padded with NaN to the record with most of them, and to one at least, so that every weight of
        the encoder has a gradient."""
        stacked = np.full((len(arrays), max(1, *map(len, arrays)), *arrays[0].shape[1:]), np.nan, np.float32)
        for row, matrices in zip(stacked, arrays, strict=True):
            row[:len(matrices)] = matrices
        return stacked
