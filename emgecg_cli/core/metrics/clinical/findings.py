"""Which findings a generated report gets right, where reports have a vocabulary that is known exactly.

The truth of a report is the codes of its record, not its reference text; what a hypothesis states is read by the
labeler of its dataset. Counts are added over the corpus before they are divided (micro average), so that a finding
weighs as often as it occurs. Base findings such as sinus rhythm, and the plain statement that an ECG is normal, are
left out of the main values: "sinus rhythm. normal ecg." for every record would otherwise look decent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError

# columns of the statistics; each is a count, so that a corpus is the sum of its reports
_COLUMNS = ("tp", "fp", "fn", "tp_all", "fp_all", "fn_all", "exact", "unread", "reports")


class Labeler(Protocol):
    """What `names.LABELERS` points to."""

    vocabulary: tuple[str, ...]
    abnormal: frozenset[str]

    def read(self, report: str) -> set[str]: ...
    def unread(self, report: str) -> list[str]: ...


class Findings:
    """Micro F1, precision and recall over the abnormal findings; beside them F1 over all findings, the share of reports
    whose set of findings is exactly right, and the share with a sentence that the labeler could not read.

    All lie in 0-1. A ratio without any count in its denominator is 0, as nothing was shown.
    """

    name = "findings"

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Why these rows cannot be scored: no codes, or no labeler for their dataset; None if they can."""
        for row in rows:
            if row.dataset not in names.LABELERS:
                known = ", ".join(names.choices("labeler"))
                return f"record {row.record_id}: no labeler for dataset {row.dataset!r} (there is one for {known})"
            if row.codes is None:
                return f"record {row.record_id}: the row has no codes"
        return None

    def segment_statistics(
        self, hypotheses: Sequence[str], references: Sequence[str], rows: Sequence[PredictionRow]
    ) -> np.ndarray:
        """Counts per report, float (n, 9). The references are not used; raises MedReportError if not `applicable`."""
        counts = np.zeros((len(rows), len(_COLUMNS)))
        for i, (labeler, stated, truth) in enumerate(self._read(hypotheses, rows)):
            counts[i, 0:3] = _confusion(stated & labeler.abnormal, truth & labeler.abnormal)
            counts[i, 3:6] = _confusion(stated, truth)
            counts[i, 6:9] = stated == truth, bool(labeler.unread(hypotheses[i])), 1
        return counts

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., 9), each of shape (...)."""
        tp, fp, fn, tp_all, fp_all, fn_all, exact, unread, reports = np.moveaxis(np.asarray(sums), -1, 0)
        return {
            "findings-F1": ratio(2 * tp, 2 * tp + fp + fn),
            "findings-precision": ratio(tp, tp + fp),
            "findings-recall": ratio(tp, tp + fn),
            "findings-F1-all": ratio(2 * tp_all, 2 * tp_all + fp_all + fn_all),
            "findings-exact": ratio(exact, reports),
            "findings-unread": ratio(unread, reports),
        }

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


def per_finding_table(hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> dict[str, dict[str, float | int]]:
    """Precision, recall, F1 and support of each finding that is true or stated anywhere, in the labelers' order.

    Codes no labeler knows come last, as they can only be missed. Raises MedReportError where `Findings` does.
    """
    counts: dict[str, np.ndarray] = {}
    for labeler, stated, truth in Findings()._read(hypotheses, rows):
        for code in (*labeler.vocabulary, *sorted(truth)):
            counts.setdefault(code, np.zeros(3, int))
        for code in stated | truth:
            counts[code] += _confusion(stated & {code}, truth & {code})
    order = {code for row in rows for code in names.resolve("labeler", row.dataset or "").vocabulary}
    table: dict[str, dict[str, float | int]] = {}
    for code in sorted(counts, key=lambda code: code not in order):
        tp, fp, fn = (int(count) for count in counts[code])
        if tp + fp + fn:
            table[code] = {
                "precision": float(ratio(tp, tp + fp)),
                "recall": float(ratio(tp, tp + fn)),
                "f1": float(ratio(2 * tp, 2 * tp + fp + fn)),
                "support": tp + fn,
            }
    return table


def _confusion(stated: set[str], truth: set[str]) -> tuple[int, int, int]:
    """True positives, false positives, false negatives."""
    return len(stated & truth), len(stated - truth), len(truth - stated)


def ratio(part: np.ndarray | int, whole: np.ndarray | int) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
