"""The tasks of ECGBench (Liu et al. 2024, "Teach Multimodal LLMs to Comprehend Electrocardiographic Images")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class BenchTask:
    """One test file: "labels" are any of `labels`, code -> what it means; a "choice" is one of `letters`; "options"
    stand in the question; a "report" and an "arena" dialogue are free text that a judge scores."""

    kind: Literal["labels", "choice", "options", "report", "arena"]
    labels: Mapping[str, str] = field(default_factory=dict)
    letters: str = ""


TASKS = {
    "ptb-test": BenchTask("labels", {
        "NORM": "normal ECG", "MI": "myocardial infarction", "STTC": "ST/T change", "CD": "conduction disturbance",
        "HYP": "hypertrophy"}),
    "code15-test": BenchTask("labels", {
        "ABNORMAL": "abnormal ECG", "NORM": "normal ECG", "1dAVb": "1st degree AV block",
        "RBBB": "right bundle branch block", "LBBB": "left bundle branch block", "SB": "sinus bradycardia",
        "ST": "sinus tachycardia", "AF": "atrial fibrillation"}),
    "cpsc-test": BenchTask("labels", {
        "NORM": "normal ECG", "AF": "atrial fibrillation", "I-AVB": "first-degree atrioventricular block",
        "LBBB": "left bundle branch block", "RBBB": "right bundle branch block", "PAC": "premature atrial contraction",
        "PVC": "premature ventricular contraction", "STD": "ST-segment depression", "STE": "ST-segment elevated"}),
    "csn-test-no-cot": BenchTask("choice", letters=LETTERS),
    "g12-test-no-cot": BenchTask("choice", letters=LETTERS),
    "ecgqa-test": BenchTask("options"),
    "mmmu-ecg": BenchTask("choice", letters=LETTERS[:4]),
    "ptb-test-report": BenchTask("report"),
    "arena": BenchTask("arena"),
}


def task_of(rows: Iterable[PredictionRow]) -> str | None:
    """The one task that rows are of, which they say as `task`, or as `dataset` where that is the name of one; None
    where they say none. Raises MedReportError for an unknown one and for several."""
    said = {row.task or (row.dataset if row.dataset in TASKS else None) for row in rows}
    if unknown := sorted(one for one in said if one is not None and one not in TASKS):
        raise MedReportError(f"no task '{unknown[0]}'", f"available: {', '.join(TASKS)}")
    if len(said) > 1:
        names = ", ".join(sorted(str(one) for one in said))
        raise MedReportError(f"the predictions are of several tasks ({names})", "score a file for each")
    return next(iter(said), None)
