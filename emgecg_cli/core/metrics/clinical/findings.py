"""Which findings a generated report gets right, where reports have a vocabulary that is known exactly.

The truth of a report is the codes of its record, not its reference text; what a hypothesis states is read by the
labeler of its dataset. Counts are added over the corpus before they are divided (micro average), so that a finding
weighs as often as it occurs. Base findings such as sinus rhythm, and the plain statement that an ECG is normal, are
left out of the main values: "sinus rhythm. normal ecg." for every record would otherwise look decent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics import Declared, Given, Table, ratio

# columns of the statistics; each is a count, so that a corpus is the sum of its reports. Those of each code follow.
_COLUMNS = ("tp", "fp", "fn", "tp all", "fp all", "fn all", "exact", "unread", "reports")
_OF_A_CODE = ("tp", "fp", "fn")


class Labeler(Protocol):
    """What `names.LABELERS` points to."""

    vocabulary: tuple[str, ...]
    abnormal: frozenset[str]

    def read(self, report: str) -> set[str]: ...
    def unread(self, report: str) -> list[str]: ...


class Findings:
    """Micro F1, precision and recall over the abnormal findings; beside them F1 over all findings, the share of reports
    whose set of findings is exactly right, and the share with a sentence that the labeler could not read.

    All lie in 0-1. A ratio with an empty denominator is 0. `codes` are the findings
    that are counted one by one: those the labelers know, then those that only records have.
    """

    name = "findings"
    declared = Declared(frozenset({"codes"}), lower_is_better=frozenset({"findings-unread"}), headline={
        "findings-F1": "micro-F1 over abnormal findings, against the codes of the records", "findings-exact": ""},
        kind="clinical", decisive=frozenset({"findings-F1"}))

    def __init__(self, codes: Sequence[str] = ()) -> None:
        self.codes = tuple(codes)

    @classmethod
    def of(cls, given: Given) -> Self:
        """For the datasets and the codes of these rows."""
        datasets = dict.fromkeys(row.dataset for row in given.rows if row.dataset in names.LABELERS)
        known = (code for dataset in datasets for code in names.resolve("labeler", dataset or "").vocabulary)
        codes = dict.fromkeys(known) | dict.fromkeys(sorted({code for row in given.rows for code in row.codes or ()}))
        return cls(tuple(codes))

    @classmethod
    def restored(cls, columns: Sequence[str], sums: np.ndarray) -> Self:
        """From the names of the columns."""
        return cls([name.rpartition(" ")[0] for name in columns[len(_COLUMNS)::len(_OF_A_CODE)]])

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Why these rows cannot be scored: no codes, or no labeler for their dataset; None if they can."""
        for row in rows:
            if row.dataset not in names.LABELERS:
                known = ", ".join(names.choices("labeler"))
                return f"record {row.record_id}: no labeler for dataset {row.dataset!r} (there is one for {known})"
            if row.codes is None:
                return f"record {row.record_id}: the row has no codes"
        return None

    def columns(self) -> tuple[str, ...]:
        """Counts of findings and reports, then of each code."""
        return (*_COLUMNS, *(f"{code} {count}" for code in self.codes for count in _OF_A_CODE))

    def segment_statistics(
        self, hypotheses: Sequence[str], references: Sequence[str], rows: Sequence[PredictionRow]
    ) -> np.ndarray:
        """Counts per report, uint8 (n, 9 + 3 x codes). The references are not used; raises MedReportError if not
        `applicable`."""
        counts = np.zeros((len(rows), len(self.columns())), np.uint8)
        place = {code: len(_COLUMNS) + i * len(_OF_A_CODE) for i, code in enumerate(self.codes)}
        for i, (labeler, stated, truth) in enumerate(self._read(hypotheses, rows)):
            counts[i, 0:3] = _confusion(stated & labeler.abnormal, truth & labeler.abnormal)
            counts[i, 3:6] = _confusion(stated, truth)
            counts[i, 6:9] = stated == truth, bool(labeler.unread(hypotheses[i])), 1
            for code in (stated | truth) & place.keys():
                counts[i, place[code]:place[code] + 3] = _confusion(stated & {code}, truth & {code})
        return counts

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., k), each of shape (...)."""
        counts = np.moveaxis(np.asarray(sums, np.float64)[..., :len(_COLUMNS)], -1, 0)
        tp, fp, fn, tp_all, fp_all, fn_all, exact, unread, reports = counts
        return {
            "findings-F1": ratio(2 * tp, 2 * tp + fp + fn),
            "findings-precision": ratio(tp, tp + fp),
            "findings-recall": ratio(tp, tp + fn),
            "findings-F1-all": ratio(2 * tp_all, 2 * tp_all + fp_all + fn_all),
            "findings-exact": ratio(exact, reports),
            "findings-unread": ratio(unread, reports),
        }

    def tabulate(self, sums: np.ndarray) -> list[Table]:
        """Precision, recall and F1 of each finding."""
        sums = np.asarray(sums, np.float64)[..., len(_COLUMNS):]
        counts = {code: np.moveaxis(sums[..., 3 * i:3 * i + 3], -1, 0) for i, code in enumerate(self.codes)}
        values = {code: {"precision": ratio(tp, tp + fp), "recall": ratio(tp, tp + fn),
                         "F1": ratio(2 * tp, 2 * tp + fp + fn)} for code, (tp, fp, fn) in counts.items()}
        return [Table("findings", "Findings", values, {code: {"support": tp + fn, "stated": tp + fp}
                                                       for code, (tp, fp, fn) in counts.items()})]

    def signature(self) -> str:
        """What the values depend on, as sacrebleu does it."""
        return ("truth:codes|reader:labeler of the dataset|average:micro|scope:abnormal, F1-all and exact:all"
                "|zero-division:0|version:1")

    def _read(
        self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]
    ) -> Iterator[tuple[Labeler, set[str], set[str]]]:
        """For each report its labeler, the findings it states, and the findings of its record."""
        reason = self.applicable(rows)
        if reason:
            raise MedReportError(f"findings: {reason}", "score predictions of a dataset whose findings are known")
        labelers = {row.dataset: names.resolve("labeler", row.dataset or "") for row in rows}
        for hypothesis, row in zip(hypotheses, rows, strict=True):
            labeler = labelers[row.dataset]
            yield labeler, labeler.read(hypothesis), set(row.codes or ())


def _confusion(stated: set[str], truth: set[str]) -> tuple[int, int, int]:
    """True positives, false positives, false negatives."""
    return len(stated & truth), len(stated - truth), len(truth - stated)
