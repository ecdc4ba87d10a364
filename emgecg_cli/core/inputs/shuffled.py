"""Records that are shown the recording of another patient: what a model that reads its input must do worse on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.records import Inputs, Instead
from emgecg_cli.core.inputs.values import Messages


@dataclass(frozen=True)
class Shuffled:
    """The records of a store with all inputs another record's: `others` says whose."""

    inputs: Inputs
    others: Mapping[int, int]

    def messages(self, index: int) -> Messages:
        """The record's own conversation; where it holds values, the other's."""
        return self.inputs.messages(index, self._of(index))

    def arrays(self, index: int) -> dict[str, np.ndarray]:
        """What the towers take of the other record."""
        return self.inputs.arrays(index, self._of(index))

    def lacking(self, index: int) -> tuple[str, ...]:
        """The inputs that the record lacks."""
        return self.inputs.lacking(index, self._of(index))

    def placeholders(self, index: int, counts: Mapping[str, int] | None) -> dict[str, int] | None:
        """Of a model's `placeholders`, those of the record."""
        return self.inputs.placeholders(index, counts, self._of(index))

    def _of(self, index: int) -> Instead:
        return dict.fromkeys(self.inputs.names, self.others[index])


OTHER_RECORDS = "choose another --split, or a larger --limit"


def shuffle_between_patients(indices: list[int], subjects: list[str], seed: int,
                             hint: str = OTHER_RECORDS) -> dict[int, int]:
    """A seeded permutation that gives every record the recording of another patient.

    Raises MedReportError, with this hint, when one patient has more than half of the records: then none exists.
    """
    if not indices:
        return {}
    rng = np.random.default_rng(seed)
    by_subject: dict[str, list[int]] = {}
    for i in rng.permutation(indices).tolist():
        by_subject.setdefault(subjects[i], []).append(i)
    groups = sorted(by_subject.values(), key=len, reverse=True)  # stable: equal sizes stay in random order
    largest = len(groups[0])
    if 2 * largest > len(indices):
        raise MedReportError(f"one patient has {largest} of {len(indices)} records: no shuffle between patients exists",
                             hint)
    # Patients lie in blocks; a shift by the largest block takes every record out of its own.
    ordered = [i for group in groups for i in group]
    return dict(zip(ordered, ordered[largest:] + ordered[:largest], strict=True))
