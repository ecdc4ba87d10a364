"""A train report drawn at random for each record."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from emgecg_cli.core.evaluation.baselines import Baseline, Given


def random_report(reports: Sequence[str], record_id: str, seed: int) -> str:
    """A report drawn for this record: the draw depends on seed and record alone, not on the other rows."""
    digest = hashlib.sha256(f"{seed}:{record_id}".encode("utf-8", "surrogatepass")).digest()
    return reports[int.from_bytes(digest, "big") % len(reports)]


def _write(given: Given) -> list[str]:
    return [random_report(given.train.reports, row.record_id, given.seed) for row in given.rows]


BASELINE = Baseline("baseline: random train report", _write)
