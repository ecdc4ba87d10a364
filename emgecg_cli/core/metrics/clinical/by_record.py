"""What a metric takes from the recording of each record of a store, taken once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evidence import Evidence, RecordEvidence

Taken = TypeVar("Taken")


class ByRecord(Generic[Taken]):
    """What `take` finds in the evidence of a record, None for one without a recording, kept by its id."""

    def __init__(self, evidence: Evidence | None, take: Callable[[RecordEvidence], Taken | None]) -> None:
        self._evidence, self._take = evidence, take
        self._known: dict[str, Taken | None] = {}

    def of(self, record_id: str) -> Taken | None:
        """What was taken of a record; None where there is no recording of it."""
        if record_id not in self._known:
            record = self._evidence.of(record_id) if self._evidence is not None else None
            self._known[record_id] = self._take(record) if record is not None else None
        return self._known[record_id]

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Why nothing can be taken of these rows; None where one of them has a recording, or there is no store yet.
        Nothing is measured for this: other metrics may still say what they want."""
        if self._evidence is None or any(record is not None and record.signal is not None
                                         for record in (self._evidence.of(row.record_id) for row in rows)):
            return None
        return "the store holds no recordings of these records"

    def missing(self, name: str, rows: Sequence[PredictionRow]) -> list[str]:
        """A note of the metric `name` on how many rows have no recording, if any."""
        without = sum(self.of(row.record_id) is None for row in rows)
        return [f"{name}: {without} of {len(rows)} records have no recording in the store"] if without else []
