"""Reports written without any signal, with which a model's scores must be compared."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from emgecg_cli.core.artifacts import PredictionRow

MOST_FREQUENT = "baseline: most frequent train report"
RANDOM = "baseline: random train report"


def baseline_predictions(rows: Sequence[PredictionRow], train_reports: Sequence[str], seed: int
                         ) -> dict[str, list[str]]:
    """Baseline name -> one report per row. `train_reports` holds at least one report."""
    return {
        MOST_FREQUENT: [most_frequent(train_reports)] * len(rows),
        RANDOM: [random_report(train_reports, row.record_id, seed) for row in rows],
    }


def most_frequent(reports: Sequence[str]) -> str:
    """The commonest report; of equally common ones the first in the alphabet."""
    return min(Counter(reports).items(), key=lambda item: (-item[1], item[0]))[0]


def random_report(reports: Sequence[str], record_id: str, seed: int) -> str:
    """A report drawn for this record: the draw depends on seed and record alone, not on the other rows."""
    digest = hashlib.sha256(f"{seed}:{record_id}".encode("utf-8", "surrogatepass")).digest()
    return reports[int.from_bytes(digest, "big") % len(reports)]
