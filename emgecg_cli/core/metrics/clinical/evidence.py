"""The evidence score: every number, lead, rhythm and statement of an interpretation held against the recording.

Precision of what is claimed, recall of what the recording surely shows, and by diagnosis whether what it needs is
measured (a left bundle branch block a QRS complex of 120 ms, a first degree AV block a PR interval above 200 ms) and
whether the text cites it. Neither a reference nor a judge is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.claims import Verdict
from emgecg_cli.core.evidence.grounding import LEAD, Grounding, ground
from emgecg_cli.core.evidence.waveform import TOLERANCE
from emgecg_cli.core.metrics import Declared, Given, Table, ratio
from emgecg_cli.core.metrics.clinical.by_record import ByRecord
from emgecg_cli.core.reports.ecg.criteria import KINDS
from emgecg_cli.core.reports.ecg.diagnoses import diagnoses

_VERDICTS = tuple(Verdict)
_OF_KIND = tuple(one.value for one in _VERDICTS)
# Of each diagnosis besides: where it is surely there and said; its criteria where it is stated, those that the
# recording can judge, those that hold, and those the text cites of these.
_OF_DIAGNOSIS = (*_OF_KIND, "there", "said", "judged", "hold", "cited")
_SYSTEMS = ("", "reference ")
_TOTALS = (*_OF_KIND, "there", "said", "score", "judged", "hold", "cited")


class EvidenceScore:
    """The mean evidence score of the texts, each the harmonic mean of its precision and its recall; precision and
    recall over all claims and all that is there; claims that are contradicted, per report; the share that cannot be
    judged; of the criteria of stated diagnoses the share that holds, and of these the share the text itself cites. The
    same of the references. All but counts per report lie in 0-1; a ratio without any count in its denominator is 0.

    A text without a claim that can be judged scores 0, one whose recording shows nothing that must be said is scored by
    its precision alone.
    """

    name = "evidence"
    declared = Declared(frozenset({"evidence"}), lower_is_better=frozenset({
        "evidence-contradicted-per-report", "evidence-not-measurable", "evidence-reference-contradicted-per-report",
        "evidence-reference-not-measurable"}), headline={
            "evidence-score": "interpretations held against the recording: mean of each text's F1 of what is claimed "
                              "and what is there"},
        kind="facts", descriptive=frozenset({"evidence-claims-per-report", "evidence-not-measurable", *(
            f"evidence-reference-{name}" for name in ("score", "precision", "recall", "claims-per-report",
                                                      "contradicted-per-report", "not-measurable", "criteria-met",
                                                      "criteria-cited"))}))

    def __init__(self, evidence: Evidence | None = None) -> None:
        self._recordings = ByRecord(evidence, lambda record: record.waveform)

    @classmethod
    def of(cls, given: Given) -> Self:
        """Against the recordings of the store, of which the waves of each lead are wanted."""
        if given.evidence is not None:
            given.evidence.with_waves = True
        return cls(given.evidence)

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs a recording of one of the records."""
        return self._recordings.applicable(rows)

    def columns(self) -> tuple[str, ...]:
        """Totals of the report and of its reference, counts by kind of claim and by diagnosis, and the count."""
        return (*(f"{system}{name}" for system in _SYSTEMS for name in _TOTALS),
                *(f"{kind}: {name}" for kind in _kinds() for name in _OF_KIND),
                *(f"{one}: {name}" for one in _names() for name in _OF_DIAGNOSIS), "reports")

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Counts and scores per report, float (n, k); zero but for the count where a record has no recording."""
        found = np.zeros((len(rows), len(self.columns())))
        found[:, -1] = 1
        width = len(_TOTALS)
        for i, (hypothesis, reference, row) in enumerate(zip(hypotheses, references, rows, strict=True)):
            of = self._recordings.of(row.record_id)
            if of is not None:
                own = ground(hypothesis, row.language, of)
                found[i, :width] = _totals(own)
                found[i, width:2 * width] = _totals(ground(reference, row.language, of)) if reference else 0
                found[i, 2 * width:-1] = _by_item(own)
        return found

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., k), each of shape (...)."""
        sums = np.asarray(sums, np.float64)
        reports = sums[..., -1]
        values: dict[str, np.ndarray] = {}
        for number, name in enumerate(("evidence", "evidence-reference")):
            yes, no, unclear, there, said, score, judged, hold, cited = np.moveaxis(
                sums[..., number * len(_TOTALS):(number + 1) * len(_TOTALS)], -1, 0)
            claims = yes + no + unclear
            values |= {f"{name}-score": ratio(score, reports), f"{name}-precision": ratio(yes, yes + no),
                       f"{name}-recall": ratio(said, there), f"{name}-claims-per-report": ratio(claims, reports),
                       f"{name}-contradicted-per-report": ratio(no, reports),
                       f"{name}-not-measurable": ratio(unclear, claims), f"{name}-criteria-met": ratio(hold, judged),
                       f"{name}-criteria-cited": ratio(cited, hold)}
        return values

    def tabulate(self, sums: np.ndarray) -> list[Table]:
        """Precision by kind of claim; precision, recall and criteria by diagnosis."""
        sums = np.asarray(sums, np.float64)
        start = len(_SYSTEMS) * len(_TOTALS)
        middle = start + len(_kinds()) * len(_OF_KIND)
        kinds, named = ({}, {}), ({}, {})   # type: tuple[dict, dict], tuple[dict, dict]
        for i, kind in enumerate(_kinds()):
            yes, no, unclear = np.moveaxis(sums[..., start + i * len(_OF_KIND):start + (i + 1) * len(_OF_KIND)], -1, 0)
            kinds[0][kind] = {"precision": ratio(yes, yes + no)}
            kinds[1][kind] = {"claimed": yes + no + unclear, "not measurable": unclear}
        for i, name in enumerate(_names()):
            at = middle + i * len(_OF_DIAGNOSIS)
            yes, no, unclear, there, said, judged, hold, cited = np.moveaxis(
                sums[..., at:at + len(_OF_DIAGNOSIS)], -1, 0)
            named[0][name] = {"precision": ratio(yes, yes + no), "recall": ratio(said, there),
                              "criteria met": ratio(hold, judged), "criteria cited": ratio(cited, hold)}
            named[1][name] = {"stated": yes + no + unclear, "not measurable": unclear, "there": there}
        return [Table("evidence-claims", "Numbers, rhythm and leads against the waveform", *kinds),
                Table("evidence-diagnoses", "Diagnoses against their criteria", *named)]

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """What the texts are not held against."""
        return [f"{note} and score 0" for note in self._recordings.missing(self.name, rows)]

    def signature(self) -> str:
        """What the values depend on."""
        near = ",".join(f"{wave} {TOLERANCE[wave]:g}" for wave in ("p", "r", "t", "st", "qrs"))
        return (f"truth:measured, not poor|criteria:{len(diagnoses())} diagnoses|tolerance mV:{near}|score:mean F1 of "
                "texts|average:micro|zero-division:0|version:2")


@lru_cache(maxsize=1)
def _kinds() -> tuple[str, ...]:
    """The kinds of claims that are no statement."""
    return (*(kind for kind in KINDS if kind != "st"), *(f"{wave} wave" for wave in TOLERANCE),
            "net wave", "end wave", LEAD)


@lru_cache(maxsize=1)
def _names() -> tuple[str, ...]:
    return tuple(one.name for one in diagnoses())


def _totals(found: Grounding) -> list[float]:
    by = [sum(one.verdict == verdict for one in found.held) for verdict in _VERDICTS]
    of_criteria = [verdict for one in found.held for verdict in one.criteria]
    return [*by, len(found.there), sum(said for _, said in found.there), found.score,
            sum(one != Verdict.NOT_MEASURABLE for one in of_criteria), of_criteria.count(Verdict.SUPPORTED),
            sum(one.cited for one in found.held)]


def _by_item(found: Grounding) -> np.ndarray:
    kinds = np.zeros((len(_kinds()), len(_OF_KIND)))
    named = np.zeros((len(_names()), len(_OF_DIAGNOSIS)))
    for one in found.held:
        place = _VERDICTS.index(one.verdict)
        if not one.criteria:
            kinds[_kinds().index(one.item), place] += 1
            continue
        row = named[_names().index(one.item)]
        row[place] += 1
        row[-3:] += (sum(verdict != Verdict.NOT_MEASURABLE for verdict in one.criteria),
                     one.criteria.count(Verdict.SUPPORTED), one.cited)
    for name, said in found.there:
        named[_names().index(name), 3:5] += 1, said
    return np.concatenate([kinds.ravel(), named.ravel()])
