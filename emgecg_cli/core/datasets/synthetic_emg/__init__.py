"""A simulated cohort of EMG and nerve-conduction examinations with known truth, and reports in Chinese or English.

A case is drawn from its seed and number alone, so that a larger cohort begins with the same cases, and any case can be
asked for without the others. About four in ten are healthy; the others have carpal tunnel syndrome, an ulnar neuropathy
at the elbow, a radiculopathy, an axonal or demyelinating polyneuropathy, a myopathy or motor neuron disease. Healthy
and sick people are examined for the same questions, so that what was tested does not reveal the diagnosis. What the
report says follows from the tables and the healthy ranges (`reports`), and from nothing else. Not for clinical use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.datasets import Listing, ReadExamination, RecordRef, Source
from emgecg_cli.core.datasets.emg_tables.cases import RawExamination
from emgecg_cli.core.datasets.synthetic_emg import examination
from emgecg_cli.core.datasets.synthetic_emg.diseases import draw_effects
from emgecg_cli.core.datasets.synthetic_emg.healthy import draw_deviations, draw_person
from emgecg_cli.core.datasets.synthetic_emg.reports import Conclusion, Truth, conclude, find_truth, write_impression
from emgecg_cli.core.emg.case import Case
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.emg.terms import SIDES
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.reports.emg.statements import NeedleFinding, Statement
from emgecg_cli.core.reports.emg.statements_write import write_findings

LANGUAGES = ("both", "zh", "en")  # "both": even numbers in Chinese, odd ones in English
MOST_RECORDS = 10_000_000
SHARE_HEALTHY = 0.4
# question -> (its share, the diseases behind it with their chances)
QUESTIONS: dict[str, tuple[float, dict[str, float]]] = {
    "hand": (0.24, {"carpal_tunnel": 1.0}),
    "elbow": (0.13, {"ulnar_elbow": 1.0}),
    "cervical": (0.12, {"radiculopathy": 1.0}),
    "lumbar": (0.12, {"radiculopathy": 1.0}),
    "neuropathy": (0.22, {"axonal_polyneuropathy": 0.55, "demyelinating_polyneuropathy": 0.45}),
    "weakness": (0.17, {"myopathy": 0.5, "motor_neuron_disease": 0.5}),
}
_RECORD_ID = re.compile(r"emg-([0-9]{6,8})")


@dataclass(frozen=True)
class SimulatedCase:
    """An examination with its truth: what the person has, and what the tables show of it.

    `diagnosis` is one of `diseases.DIAGNOSES`, `root` that of a radiculopathy. `truth` holds the statements of the
    report, `conclusions` its impression. `language` is "zh" or "en".
    """

    record_id: str
    language: str
    case: Case
    question: str
    diagnosis: str
    root: str | None
    truth: Truth
    conclusions: tuple[Conclusion, ...]
    findings: str
    impression: str

    @property
    def statements(self) -> frozenset[Statement]:
        """The abnormalities of nerve conduction that the report states, borderline ones among them."""
        return self.truth.statements

    @property
    def needle(self) -> frozenset[NeedleFinding]:
        """The needle findings that the report states."""
        return self.truth.needle


def draw_case(seed: int, number: int, language: str = "both") -> SimulatedCase:
    """Draw case `number` of the cohort of this seed. The tables are the same in every language, but for the words."""
    own = language if language != "both" else ("zh", "en")[number % 2]
    rng = np.random.default_rng([seed, number, 1])
    question = _pick({name: share for name, (share, _) in QUESTIONS.items()}, rng)
    diagnosis = "healthy" if rng.random() < SHARE_HEALTHY else _pick(QUESTIONS[question][1], rng)
    side = SIDES[int(rng.random() < 0.55)]
    person = draw_person(rng)
    deviations = draw_deviations(person, rng)
    muscles = examination.draw_muscles(question, side, rng)
    effects = draw_effects(diagnosis, side, muscles, question, rng)
    absent = examination.ABSENT_TEXT[own]
    case = examination.draw_case(question, side, person, deviations, muscles, effects, absent, rng)
    truth = find_truth(case)
    conclusions = conclude(truth)
    words = np.random.default_rng([seed, number, 2])
    findings = write_findings(truth.statements, truth.needle, own, words, truth.stims, needle_tested=bool(case.emg))
    impression = write_impression(conclusions, own, words)
    return SimulatedCase(f"emg-{number:06d}", own, case, question, diagnosis, effects.root, truth, conclusions,
                         findings, impression)


def _pick(shares: dict[str, float], rng: np.random.Generator) -> str:
    chances = np.array([*shares.values()])
    return [*shares][int(rng.choice(len(chances), p=chances / chances.sum()))]


def check(records: int, seed: int, language: str) -> None:
    """Raise MedReportError for values out of range."""
    if records < 2:
        raise MedReportError(f"a cohort of {records} records cannot be split", "ask for --records 2 or more")
    if records > MOST_RECORDS:
        raise MedReportError(f"a cohort of {records} records", f"ask for --records {MOST_RECORDS} or fewer")
    if not 0 <= seed < 2**32:
        raise MedReportError(f"seed {seed} is out of range", "take a --seed from 0 to 4294967295")
    if language not in LANGUAGES:
        raise names.unknown_name("language", language, LANGUAGES)


def open_source(records: int = 2000, seed: int = 0, language: str = "both") -> Source:
    """Open a cohort of exactly `records` examinations; raises MedReportError for values out of range."""
    check(records, seed, language)
    arguments = {"records": records, "seed": seed, "language": language}
    return Source("synthetic-emg", Listing(partial(listing, records, seed, language), [records, seed, language]),
                  partial(_examine, records, seed, language), arguments, modality="tables")


def _examine(records: int, seed: int, language: str, refs: Sequence[RecordRef]) -> Iterator[ReadExamination]:
    """The cases of these references as examinations."""
    for ref, found in zip(refs, read(records, seed, language, refs), strict=True):
        examination = Examination(found.findings, found.impression, found.case)
        yield ReadExamination(ref, examination, found.language, "template")


def listing(records: int, seed: int, language: str = "both") -> Iterator[RecordRef]:
    """The records of the cohort, one for each person; draws nothing."""
    check(records, seed, language)
    for number in range(records):
        yield RecordRef(f"emg-{number:06d}", f"e{seed}-{number:06d}", f"seed {seed}, number {number}")


def read(records: int, seed: int, language: str, refs: Sequence[RecordRef]) -> Iterator[RawExamination]:
    """The cases of these references, in order; can be pickled with functools.partial."""
    for ref in refs:
        found = _RECORD_ID.fullmatch(ref.record_id)
        if not found or int(found[1]) >= records:
            hint = f"its records are emg-000000 to emg-{records - 1:06d}"
            raise MedReportError(f"no record '{ref.record_id}' in this synthetic cohort", hint)
        drawn = draw_case(seed, int(found[1]), language)
        yield RawExamination(ref.record_id, ref.subject_id, None, ref.source, drawn.language, drawn.findings,
                             drawn.impression, drawn.case)
