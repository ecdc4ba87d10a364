"""By how much likelier a run finds the reference given the record's own recording than given another patient's.

Greedy texts may be equal under both while the model sees the difference well: the loss shows it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given


class ReferenceLoss:
    """Means over records, in nats a token: the loss of the reference, the same beside another patient's recording, and
    how much larger that is, paired by record: 0 for a run that does not see the signal."""

    name = "reference-loss"
    declared = Declared(frozenset({"text"}), kind="loss", lower_is_better=frozenset({
        "reference-loss", "reference-loss-shuffled"}))

    @classmethod
    def of(cls, given: Given) -> Self:
        """Takes nothing but the rows."""
        return cls()

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs both losses of every reference."""
        there = all(row.reference_loss is not None and row.reference_loss_shuffled is not None for row in rows)
        return None if there else "needs the losses of the references: generate --reference-loss, with the signal shown"

    def columns(self) -> tuple[str, ...]:
        """Both losses, and the reports."""
        return "real", "shuffled", "reports"

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """As the rows say, (n, 3)."""
        return np.array([(row.reference_loss, row.reference_loss_shuffled, 1) for row in rows], np.float64)

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Means from column sums (..., 3)."""
        real, shuffled, n = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
        return {"reference-loss": real / n, "reference-loss-shuffled": shuffled / n,
                "reference-loss-paired": (shuffled - real) / n}

    def signature(self) -> str:
        """What the values are."""
        return "unit:nats a token|tokens:report and its end, each alike|average:records|paired:shuffled-real|version:1"
