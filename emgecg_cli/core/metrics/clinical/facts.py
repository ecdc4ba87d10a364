"""What a generated report claims of rate, intervals, axis, ST and rhythm, held against the record's own waveform.

No reference is asked: a claim is right where the recording supports it. What the references score by the same measure
stands beside it, since physicians round, and read other leads. Besides, the heart rate that is stated as a number
against the measured one: its error and its correlation, which a model that does not see the signal cannot have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import Measurements, PredictionRow
from emgecg_cli.core.evidence import Evidence, RecordEvidence
from emgecg_cli.core.evidence.claims import MENTIONED, Verdict, abnormal_kinds, judge, measured, mentions
from emgecg_cli.core.metrics import Declared, Given, Table, ratio
from emgecg_cli.core.metrics.clinical.by_record import ByRecord
from emgecg_cli.core.reports.ecg.criteria import KINDS, SLACK, TOLERANCE
from emgecg_cli.core.reports.ecg.facts import read_claims, stated_rate

_VERDICTS = tuple(Verdict)
_MEANINGS = {"rate": "heart rate", "pr": "PR interval", "qrs": "QRS duration", "qt": "QT interval",
             "qtc": "corrected QT interval", "axis": "QRS axis", "st": "ST level", "regular": "regularity",
             "p": "P waves"}
# Of each kind: claims by verdict, what is abnormal in the recordings, and how often that is mentioned.
_OF_KIND = (*_VERDICTS, "there", "mentioned")
# Sums from which the error and the correlation of a stated rate follow.
_RATES = ("rates", "error", "stated", "true", "stated stated", "true true", "stated true")
_Of = tuple[Measurements, str | None]


class Facts:
    """Precision of what is claimed and can be judged, recall of the abnormal measurements, both over all kinds; claims
    that are contradicted, per report; the share of claims that cannot be judged; the same of the references. The mean
    absolute error of a stated heart rate in beats per minute, its correlation with the measured one, and the share of
    reports that state one. All but counts per report, error and correlation lie in 0-1.

    A ratio without any count in its denominator is 0; error and correlation are then undefined.
    """

    name = "facts"
    declared = Declared(frozenset({"evidence"}), lower_is_better=frozenset({
        "facts-contradicted-per-report", "facts-not-measurable", "facts-reference-contradicted-per-report",
        "facts-reference-not-measurable", "facts-rate-error"}), headline={
            "facts-precision": "share of the claims that the recording supports, of those it can judge"},
        kind="facts", decisive=frozenset({"facts-precision", "facts-recall"}),
        descriptive=frozenset({"facts-claims-per-report", "facts-not-measurable", "facts-rate-stated", *(
            f"facts-reference-{name}" for name in ("precision", "recall", "claims-per-report",
                                                   "contradicted-per-report", "not-measurable"))}))

    def __init__(self, evidence: Evidence | None = None) -> None:
        self._recordings = ByRecord(evidence, _measured)

    @classmethod
    def of(cls, given: Given) -> Self:
        """Against the recordings of the store."""
        return cls(given.evidence)

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs a recording of one of the records."""
        return self._recordings.applicable(rows)

    def columns(self) -> tuple[str, ...]:
        """Counts of each kind in the report and in its reference, what the rates sum to, and the count."""
        kinds = tuple(f"{kind} {count}" for kind in KINDS for count in _OF_KIND)
        return (*kinds, *(f"reference {name}" for name in kinds), *_RATES, "reports")

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Counts and sums per report, float (n, 98); zero but for the count where a record has no recording."""
        found = np.zeros((len(rows), len(self.columns())))
        found[:, -1] = 1
        width = len(KINDS) * len(_OF_KIND)
        for i, (hypothesis, reference, row) in enumerate(zip(hypotheses, references, rows, strict=True)):
            of = self._recordings.of(row.record_id)
            if of is not None:
                found[i, :width] = _counts(hypothesis, row.language, of)
                found[i, width:2 * width] = _counts(reference, row.language, of)
                found[i, 2 * width:-1] = _rates(hypothesis, row.language, of[0])
        return found

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., 98), each of shape (...)."""
        own, references, rates, reports = self._parted(sums)
        values: dict[str, np.ndarray] = {}
        for name, counts in (("facts", own), ("facts-reference", references)):
            supported, contradicted, unclear, there, mentioned = np.moveaxis(counts.sum(axis=-2), -1, 0)
            claims = supported + contradicted + unclear
            values |= {f"{name}-precision": ratio(supported, supported + contradicted),
                       f"{name}-recall": ratio(mentioned, there),
                       f"{name}-claims-per-report": ratio(claims, reports),
                       f"{name}-contradicted-per-report": ratio(contradicted, reports),
                       f"{name}-not-measurable": ratio(unclear, claims)}
        n, error, stated, true, stated2, true2, both = np.moveaxis(rates, -1, 0)
        spread = np.sqrt(np.maximum(n * stated2 - stated**2, 0) * np.maximum(n * true2 - true**2, 0))
        return values | {"facts-rate-error": np.where(n > 0, ratio(error, n), np.nan),
                         "facts-rate-correlation": np.where(spread > 0, ratio(n * both - stated * true, spread),
                                                            np.nan),
                         "facts-rate-stated": ratio(n, reports)}

    def tabulate(self, sums: np.ndarray) -> list[Table]:
        """Precision and recall of each kind, beside the reference's."""
        own, references, _, _ = self._parted(sums)
        items, counts = {}, {}
        for i, kind in enumerate(KINDS):
            (yes, no, unclear, there, mentioned), (ref_yes, ref_no, _, _, ref_mentioned) = (
                np.moveaxis(part[..., i, :], -1, 0) for part in (own, references))
            items[kind] = {"precision": ratio(yes, yes + no), "recall": ratio(mentioned, there),
                           "reference precision": ratio(ref_yes, ref_yes + ref_no),
                           "reference recall": ratio(ref_mentioned, there)}
            counts[kind] = {"claimed": yes + no + unclear, "not measurable": unclear, "abnormal": there}
        return [Table("facts", "Claims against the waveform", items, counts, _MEANINGS)]

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """What the claims are held against."""
        found = [of for row in rows if (of := self._recordings.of(row.record_id)) is not None]
        notes = self._recordings.missing(self.name, rows)
        poor = sum(not measured("rate", of[0]) for of in found)
        return notes + ([f"facts: in {poor} of {len(found)} recordings no heart rate could be measured well"]
                        if poor else [])

    def signature(self) -> str:
        """What the values depend on: how near a number, and a limit that is put in words, must be."""
        near = ",".join(f"{kind} {TOLERANCE[kind]:g}/{SLACK[kind]:g}" for kind in KINDS if TOLERANCE[kind])
        return (f"truth:measured, not poor|tolerance number/word:{near}|recall:{','.join(MENTIONED)}|average:micro"
                "|zero-division:0|version:2")

    def _parted(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Counts of the report and of its reference, (..., kinds, 5) each, what the rates sum to, and the reports."""
        sums = np.asarray(sums, np.float64)
        width = len(KINDS) * len(_OF_KIND)
        shape = (*sums.shape[:-1], len(KINDS), len(_OF_KIND))
        return (sums[..., :width].reshape(shape), sums[..., width:2 * width].reshape(shape), sums[..., 2 * width:-1],
                sums[..., -1])


def _measured(record: RecordEvidence) -> _Of | None:
    """The measurements of a record and its patient's sex."""
    found = record.measurements
    return None if found is None else (found, record.row.sex)


def _counts(report: str, language: str | None, of: _Of) -> np.ndarray:
    """Claims by kind and verdict, abnormal facts and those mentioned, (kinds * 5)."""
    found = np.zeros((len(KINDS), len(_OF_KIND)))
    claims = read_claims(report, language)
    for claim in claims:
        found[KINDS.index(claim.kind), _VERDICTS.index(judge(claim, *of))] += 1
    for kind in abnormal_kinds(*of):
        found[KINDS.index(kind), -2:] += 1, mentions(claims, kind, *of)
    return found.ravel()


def _rates(report: str, language: str | None, found: Measurements) -> tuple[float, ...]:
    stated, true = stated_rate(read_claims(report, language)), measured("rate", found)
    if stated is None or not true:
        return (0.0,) * len(_RATES)
    return 1, abs(stated - true[0]), stated, true[0], stated**2, true[0]**2, stated * true[0]
