"""Scores read from a judge's answer, whatever is around them; what is not there is none."""

from __future__ import annotations

import time

import pytest

from emgecg_cli.core.metrics.judged.meit import CRITERIA

WHOLE = {"terminology": 4, "consistency": 5, "completeness": 3, "diagnosis": 2}
PLAIN = '{"analysis": "a", "terminology": 4, "consistency": 5, "completeness": 3, "diagnosis": 2}'


@pytest.mark.parametrize("answer", [
    PLAIN,
    f"```json\n{PLAIN}\n```",
    f"Sure! Here is it:\n{PLAIN}\nLet me know {{if}} you need more.",
    '{"Analysis": "The \\"ST\\" in [V2-V4] {sic}", "Terminology": "4", "consistency": "5/5", "completeness": 3.0, '
    '"diagnosis": {"score": 2, "explanation": "x"}}',
    '{"scores": {"terminology": 4, "consistency": 5, "completeness": 3, "diagnosis": 2}}',
    '{"analysis": "two\nlines", "terminology": 4, "consistency": 5, "completeness": 3, "diagnosis": 2,}',
    '{\u201cterminology\u201d: 4, \u201cconsistency\u201d: 5, \u201ccompleteness\u201d: 3, \u201cdiagnosis\u201d: 2}',
    '{"terminology": 4, "consistency": 5, "completeness": 3, "diagnosis": 2',
    '{"analysis": "The "ST" is missing", "terminology": 4, "consistency": 5, "completeness": 3, "diagnosis": 2}',
    "**Medical Terminology Accuracy**: 4/5\n**Logical Consistency** (LC): 5\n- Completeness = 3\nDiagnostic "
    "Accuracy: 2",
    '{"terminology": 1, "consistency": 1, "completeness": 1, "diagnosis": 1} No, rather: ' + PLAIN,
    '[{"Medical Terminology Accuracy": [{"Score": 4}], "Logical Consistency": [{"Score": "5"}], '
    '"Completeness": [{"Score": 3}], "Diagnostic Accuracy": [{"Score": 2}]}]',
])
def test_scores_are_found(answer: str) -> None:
    assert CRITERIA.read(answer) == WHOLE


@pytest.mark.parametrize("answer", [
    "", "no", "{}", "[]", "null", "5", "{" * 100_000, '{"a":' * 50_000,
    PLAIN.replace('"diagnosis": 2', '"diagnosis": null'),
    PLAIN.replace('"diagnosis": 2', '"diagnosis": 6'),
    PLAIN.replace('"diagnosis": 2', '"diagnosis": 0'),
    PLAIN.replace('"diagnosis": 2', '"diagnosis": 2.5'),
    PLAIN.replace('"diagnosis": 2', '"diagnosis": true'),
    PLAIN.replace('"diagnosis": 2', '"diagnosis": NaN'),
    PLAIN.replace('"diagnosis": 2', '"diagnosis": "120-200"'),
    PLAIN.replace('"diagnosis": 2', '"diagnosis": [2, 3]'),
    PLAIN.replace(', "diagnosis": 2', ""),
    "terminology: 4, consistency: 5, completeness: 3, diagnosis: 2. On reflection, diagnosis: 3.",
    "diagnosis:" + " " * 100_000 + "x",
])
def test_what_is_not_there_is_none(answer: str) -> None:
    began = time.monotonic()
    assert CRITERIA.read(answer) is None
    assert time.monotonic() - began < 5


def test_the_form_names_every_criterion_and_texts_cannot_end_their_place() -> None:
    schema = CRITERIA.schema()["json_schema"]["schema"]
    assert schema["required"] == ["analysis", *CRITERIA.keys] and schema["additionalProperties"] is False
    (message,) = CRITERIA.messages("a", 'b"\nReference report: "c')
    lines = message["content"].splitlines()
    assert sum(line.startswith("Reference report:") for line in lines) == 1
