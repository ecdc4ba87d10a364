"""Which abnormalities of nerve conduction a report calls, against its reference and against the measured table.

What a text says is read by `core.emg`, Chinese and English alike: a statement is (nerve, side, type, measure,
direction). Counts are added over the corpus before they are divided (micro average), so that a statement weighs as
often as it occurs, and a normal report for every patient has an F1 of 0. What the table calls abnormal is evidence:
values beyond their reference range, and absent responses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evidence.tables import Tables, called_abnormal
from emgecg_cli.core.metrics import Declared, Given, ratio
from emgecg_cli.core.references.files import hash_of
from emgecg_cli.core.reports.emg.reader_version import reader_version
from emgecg_cli.core.reports.emg.statements import (
    Counts,
    ReadStatements,
    Statement,
    compare,
    compare_needle,
    contradictions,
)
from emgecg_cli.core.reports.emg.statements_read import read_statements
from emgecg_cli.core.reports.sections import split_sections

# columns of the statistics; each is a count, so that a corpus is the sum of its reports
_COLUMNS = ("tp", "fp", "fn", "graded", "same_grade", "needle_tp", "needle_fp", "needle_fn", "exact", "unread",
            "unread_reference", "reports", "table_tp", "table_fp", "table_fn", "contradicted", "reference_contradicted",
            "tables")
_WITHOUT_TABLE = 12
# What a reference must name before the reader is asked: it is slow, and most sets are of other reports.
_OF_NERVES = re.compile(r"神经|nerve|\bNC[VS]\b|\bEMG\b|肌电", re.I)


class Statements:
    """Precision, recall and F1 of what is called abnormal, agreement on its severity, F1 of needle findings, the share
    of reports that are right in every statement, and of those that could not be read.

    With `tables`, the same against the measured values, and contradictions: values outside their range that the report
    calls normal, by name or as one of "all others"; per report, and as a share of the values outside. The references'
    own number stands beside it. All but the numbers per report lie in 0-1. A ratio without any count in its denominator
    is 0, as nothing was shown; the agreement on severity is then undefined.
    """

    name = "statements"
    declared = Declared(frozenset({"text"}), lower_is_better=frozenset({
        "statements-unread", "statements-unread-references", "contradictions", "contradictions-per-report",
        "contradictions-per-reference"}), kind="clinical", decisive=frozenset({"statements-F1"}),
        ranked={"statements-F1": "statements-exact"},
        descriptive=frozenset({"statements-unread-references", "contradictions-per-reference"}))

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = tables if tables is not None and tables.references is not None and tables.cases else None
        self._of_tables = tables is not None

    @classmethod
    def of(cls, given: Given) -> Self:
        """Against the tables of the store, where there are any."""
        return cls(given.evidence.tables(row.record_id for row in given.rows) if given.evidence else None)

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs references that report on nerves or muscles."""
        references = (row.reference or "" for row in rows)
        if any(_OF_NERVES.search(text) and says_anything(read_findings(text)) for text in references):
            return None
        return "no reference reports on nerve conduction or needle EMG"

    def columns(self) -> tuple[str, ...]:
        """Counts of statements, of reports, and, with tables, of values."""
        return _COLUMNS if self.tables else _COLUMNS[:_WITHOUT_TABLE]

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Counts per report, float (n, 12), or (n, 18) with tables."""
        counts = np.zeros((len(rows), len(_COLUMNS) if self.tables else _WITHOUT_TABLE))
        called: dict[str, frozenset[Statement] | None] = {}
        for i, (hypothesis, reference, row) in enumerate(zip(hypotheses, references, rows, strict=True)):
            said, true = read_findings(hypothesis), read_findings(reference)
            both, needle = compare(said.abnormal, true.abnormal), compare_needle(said.needle, true.needle)
            counts[i, 0:5] = both.tp, both.fp, both.fn, both.graded, both.same_grade
            counts[i, 5:8] = needle.tp, needle.fp, needle.fn
            unread = [not says_anything(one) for one in (said, true)]
            counts[i, 8:12] = _exact(both) and _exact(needle) and not unread[0], *unread, 1
            if self.tables:
                if row.record_id not in called:
                    called[row.record_id] = self._called(row.record_id)
                found = called[row.record_id]
                if found is not None:
                    against = compare(said.abnormal, found)
                    counts[i, 12:18] = (against.tp, against.fp, against.fn, len(contradictions(said, found)),
                                        len(contradictions(true, found)), 1)
        return counts

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., k), each of shape (...)."""
        columns = dict(zip(_COLUMNS, np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0), strict=False))
        values = _scores("statements", columns["tp"], columns["fp"], columns["fn"])
        needle = _scores("needle", columns["needle_tp"], columns["needle_fp"], columns["needle_fn"])
        values |= {
            "statements-severity": _agreement(columns["same_grade"], columns["graded"]),
            "needle-F1": needle["needle-F1"],
            "statements-exact": ratio(columns["exact"], columns["reports"]),
            "statements-unread": ratio(columns["unread"], columns["reports"]),
            "statements-unread-references": ratio(columns["unread_reference"], columns["reports"]),
        }
        if "tables" in columns:
            outside = columns["table_tp"] + columns["table_fn"]
            values |= _scores("table", columns["table_tp"], columns["table_fp"], columns["table_fn"])
            values |= {
                "contradictions": ratio(columns["contradicted"], outside),
                "contradictions-per-report": ratio(columns["contradicted"], columns["tables"]),
                "contradictions-per-reference": ratio(columns["reference_contradicted"], columns["tables"]),
            }
        return values

    def signature(self) -> str:
        """What the values depend on; `reader` is its version, and a hash of the words and patterns it reads with."""
        text = f"unit:nerve,side,type,measure,direction|read:findings|reader:{reader_version()}|average:micro"
        if self.tables and self.tables.references:
            limits = self.tables.references
            text += f"|table:beyond {limits.percentiles[0]:g} %@{hash_of(limits)[:12]}"
        return f"{text}|zero-division:0|version:1"

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """Sentences on the reports that could not be read, and on what the table could be compared with."""
        unread = [text for text in hypotheses if not says_anything(read_findings(text))]
        empty = sum(not text.strip() for text in unread)
        notes = []
        if unread:
            notes.append(f"statements: nothing could be read from {len(unread)} of {len(rows)} predictions, of which "
                         f"{empty} are empty; they count as calling nothing abnormal")
        partly = sum(bool(read_findings(text).unresolved) for text in hypotheses)
        if partly:
            notes.append(f"statements: {partly} of {len(rows)} predictions hold an abnormal word that could not be "
                         "given to a nerve or a muscle; it is not counted")
        references = [read_findings(row.reference or "") for row in rows]
        silent = sum(not says_anything(one) for one in references)
        partly = sum(bool(one.unresolved) for one in references)
        if silent or partly:
            notes.append(f"statements: of {len(rows)} references {silent} could not be read and {partly} only in part")
        return notes + self._table_notes(rows)

    def _table_notes(self, rows: Sequence[PredictionRow]) -> list[str]:
        without = "statements are not compared with the tables:"
        if not self._of_tables:
            return [f"{without} no store of tables is given (--store STORE)"]
        if self.tables is None:
            return [f"{without} the store holds none, or no references"]
        found = sum(row.record_id in self.tables.cases for row in rows)
        return [f"statements: {len(rows) - found} of {len(rows)} records have no table in the store"] \
            if found < len(rows) else []

    def _called(self, record_id: str) -> frozenset[Statement] | None:
        """What is abnormal in the table of a record; None where it has no table, or no value that can be judged."""
        case = self.tables.cases.get(record_id) if self.tables else None
        limits = self.tables.references if self.tables else None
        return None if case is None or limits is None else called_abnormal(case, limits)


@lru_cache(maxsize=1 << 14)
def read_findings(report: str) -> ReadStatements:
    """What the findings of a report state, in either language; of a report without headings, all of it.

    An impression names diseases and no measures.
    """
    return read_statements(split_sections(report)[0] or report)


def says_anything(read: ReadStatements) -> bool:
    """Whether anything was read: something abnormal or something normal."""
    return bool(read.abnormal or read.needle or read.normal or read.normal_muscles or read.others_normal
                or read.needle_others_normal)


def _exact(counts: Counts) -> bool:
    return counts.fp == counts.fn == 0


def _agreement(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where whole is 0: nothing was graded, which is no disagreement."""
    return np.where(whole > 0, ratio(part, whole), np.nan)


def _scores(name: str, tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}-F1": ratio(2 * tp, 2 * tp + fp + fn), f"{name}-precision": ratio(tp, tp + fp),
            f"{name}-recall": ratio(tp, tp + fn)}
