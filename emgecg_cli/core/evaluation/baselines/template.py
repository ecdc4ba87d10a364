"""The true statements of each record written by a fixed template: an upper reference, which no model has.

What is true are the record's codes, in words; where the data set has none that are known, what the labeler reads in the
reference. It says how far right statements in other words get by each score.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.baselines import Baseline, Given, Lacks
from emgecg_cli.core.metrics.clinical.label_matrix import read
from emgecg_cli.core.reports.ecg.labels import Status
from emgecg_cli.core.reports.ecg.statements import statements
from emgecg_cli.core.reports.templates import report_of, write_report

_FEWEST = 0.5  # the share of references in which the labeler must read something


def _write(given: Given) -> list[str]:
    if all(row.dataset in names.VOCABULARIES and row.codes is not None for row in given.rows):
        tables = {dataset: words_of(dataset) for dataset in {str(row.dataset) for row in given.rows}}
        return [_of_codes(row, tables[str(row.dataset)]) for row in given.rows]
    said = [tuple(read(row.reference or "", row.language or "")[0].items()) for row in given.rows]
    if sum(map(bool, said)) < _FEWEST * len(said):
        raise Lacks("the records have no codes that are known, and their reports state nothing of an ECG")
    written = {labels: _of_labels(dict(labels)) for labels in set(said)}
    return [written[labels] for labels in said]


def _of_codes(row: PredictionRow, table: dict[str, str]) -> str:
    return report_of([code for code in row.codes or () if code in table], table)


def _of_labels(labels: dict[str, Status]) -> str:
    said = [("possible " if labels[code] == Status.POSSIBLE else "") + one.description
            for code, one in statements().items() if labels.get(code) in (Status.PRESENT, Status.POSSIBLE)]
    return write_report(said)


@lru_cache(maxsize=16)
def words_of(dataset: str) -> dict[str, str]:
    """Each code of a data set in words."""
    table: Any = names.resolve("vocabulary", dataset)
    table = table() if callable(table) else table
    return {code: statements()[code if code in statements() else words].description
            if code in statements() or words in statements() else words for code, words in table.items()}


BASELINE = Baseline("upper reference: true labels by template", _write, of_train=False, judged=False)
