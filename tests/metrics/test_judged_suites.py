"""GEM's and ECGBench's judges: the scoring fixtures, answers however they are wrapped, and the suites on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from api_server import KEY, ApiServer
from judge_server import completion, in_form, texts_in

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.score import Scores, score_predictions
from emgecg_cli.core.metrics.judged.ecgbench import REPORT
from emgecg_cli.core.metrics.judged.grounding import GroundingCriteria, value_of
from emgecg_cli.core.metrics.judged.panel import Judge, Panel

KEYS = GroundingCriteria().keys


def items(*scores: object, said: str = "fine") -> list[dict[str, object]]:
    return [{"Score": score, "Explanation": said} for score in scores]


WHOLE = {"DiagnosisAccuracy": items(2, 1, 0), "AnalysisCompleteness": items(1, 1, 0),
         "AnalysisRelevance": items(2, 1), "LeadAssessmentCoverage": items(*[1] * 12),
         "LeadAssessmentAccuracy": items(*[2] * 11, 1), "GroundedECGUnderstanding": items(80),
         "EvidenceBasedReasoning": items(70), "RealisticDiagnosticProcess": items(60)}


@pytest.mark.parametrize(("key", "scores", "scoring", "value"), [
    ("DiagnosisAccuracy", [2, 1, 0], "gem-v1", 75.0), ("DiagnosisAccuracy", [2, 1, 0], "gem-v2", 66.67),
    ("DiagnosisAccuracy", [2, 1, 0], "strict", 50.0), ("LeadAssessmentCoverage", [1] * 14, "gem-v2", 100),
    ("LeadAssessmentCoverage", [1] * 14, "gem-v1", 8.33), ("LeadAssessmentAccuracy", [2] * 11 + [1], "gem-v2", 95.83),
    ("LeadAssessmentAccuracy", [2] * 14, "gem-v2", 116.67), ("LeadAssessmentAccuracy", [2] * 14, "strict", 100),
    ("AnalysisRelevance", [2, 1], "gem-v2", 3), ("AnalysisRelevance", [2, 1], "strict", 75),
    ("GroundedECGUnderstanding", [80, 60], "gem-v1", 70), ("GroundedECGUnderstanding", [80, 60], "gem-v2", 140),
    ("GroundedECGUnderstanding", [80, 60], "strict", 70), ("DiagnosisAccuracy", [0, 0], "gem-v1", 0),
])
def test_the_published_formulas(key: str, scores: Sequence[float], scoring: str, value: float) -> None:
    assert value_of(key, scores, scoring) == pytest.approx(value, abs=0.005)


def renamed(answer: Mapping[str, Any]) -> dict[str, Any]:
    other = {"GroundedECGUnderstanding": "ECGFeatureGrounding",
             "RealisticDiagnosticProcess": "ClinicalDiagnosticFidelity"}
    return {other.get(key, key): value for key, value in answer.items()}


@pytest.mark.parametrize("wrap", [
    json.dumps, lambda one: f"Here you go:\n```json\n{json.dumps(one, indent=1)}\n```\nHope [that] helps {{you}}!",
    lambda one: json.dumps(renamed(one)), lambda one: json.dumps({"scores": {k.lower(): v for k, v in one.items()}}),
    lambda one: "".join(json.dumps({key: value}) + "\n" for key, value in one.items()),
    lambda one: json.dumps(one | {"AnalysisRelevance": items("2/2", "1", said='in [V2-V4] he "says" ] }')}),
    lambda one: json.dumps(one | {"GroundedECGUnderstanding": items("75-85")}),
    lambda one: json.dumps(one | {"DiagnosisAccuracy": {"a": {"Score": 2}, "b": {"Score": 1}, "c": {"Score": 0}}}),
    lambda one: json.dumps(one)[:-1] + ", }",
], ids=["json", "fence", "other names", "nested", "an object each", "brackets", "range", "by name", "comma"])
def test_answers_however_they_are_wrapped(wrap: Callable[[Mapping[str, Any]], str]) -> None:
    found = GroundingCriteria("gem-v2").read(wrap(WHOLE))
    assert found is not None
    assert found["DiagnosisAccuracy"] == pytest.approx(66.67, abs=0.01) and found["GroundedECGUnderstanding"] == 80
    assert found["AnalysisRelevance"] == 3 and found["LeadAssessmentAccuracy"] == pytest.approx(95.83, abs=0.01)


@pytest.mark.parametrize("wrong", [
    {"DiagnosisAccuracy": items(3)}, {"DiagnosisAccuracy": []}, {"EvidenceBasedReasoning": items("__import__('os')")},
    {"EvidenceBasedReasoning": items("70+5")}, {"AnalysisRelevance": items(2, None)}, {"DiagnosisAccuracy": items(-1)}])
def test_what_is_not_there_is_not_made_up(wrong: dict[str, Any]) -> None:
    assert GroundingCriteria().read(json.dumps(WHOLE | wrong)) is None
    (key,) = wrong
    assert key in GroundingCriteria().again(json.dumps(WHOLE | wrong))[1]["content"]


def test_an_answer_that_was_cut_off_keeps_its_whole_items() -> None:
    text = json.dumps({"DiagnosisAccuracy": items(2, 1), "AnalysisRelevance": items(2, 1, said="ab]c")})
    found = GroundingCriteria()._items(text[:-25])
    assert found == {"DiagnosisAccuracy": (2, 1), "AnalysisRelevance": (2,)}


@dataclass
class Client:
    """A judge that answers from the two texts, at first without a criterion where it is `forgetful`."""

    forgetful: bool = False
    model: str = "m"

    def complete(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> str:
        reference, report = texts_in(messages[0]["content"])
        good = reference == report
        answer = {"analysis": "", "diagnosis": 10 if good else 2, "waveform": 10 if good else 1, "rhythm": 10 if good
                  else 6} if "rhythm" in messages[0]["content"] and "DiagnosisAccuracy" not in messages[0]["content"] \
            else WHOLE | {"DiagnosisAccuracy": items(2) if good else items(0), "AnalysisCompleteness": items(int(good))}
        if self.forgetful and len(messages) == 1:
            answer = {key: value for key, value in answer.items() if key != "EvidenceBasedReasoning"}
        return json.dumps(answer)

    def complete_in_form(self, messages: Sequence[Mapping[str, Any]], form: Any, **params: Any) -> str:
        return self.complete(messages)

    takes_forms = True

    def each(self, ask: Callable[[Any], Any], given: Sequence[Any]) -> Any:
        return map(ask, given)


def judged(metric: str, clients: Sequence[Client], task: str | None = None, **settings: Any) -> Scores:
    texts = ["Sinus rhythm. Left bundle branch block with a QRS of 140 ms.", "Atrial fibrillation, rate 130.",
             "First degree AV block, PR 240 ms."]
    rows = [PredictionRow(f"r{i}", text if i else "Something else entirely.", text, subject_id=f"p{i}", language="en",
                          task=task) for i, text in enumerate(texts)]
    panel = Panel([Judge(f"j{i}", client) for i, client in enumerate(clients)])   # type: ignore[arg-type]
    return score_predictions(rows, metrics=[metric], judge=panel, settings={metric: settings}, resamples=20)


def test_the_suite_by_two_judges() -> None:
    found = judged("ecg-grounding", [Client(), Client(forgetful=True)], scoring="gem-v2")
    value = found.value("ecg-grounding-DiagnosisAccuracy j0")
    assert value.value == pytest.approx(66.667, abs=0.01) and value.ci_low is not None
    assert found.value("ecg-grounding-mean j1").value == 70 and found.value("ecg-grounding-failed j1").value == 0
    (table,) = found.tables
    assert table.name == "ecg-grounding-agreement" and "scoring:gem-v2" in value.signature
    with pytest.raises(MedReportError, match="--scoring gem"):
        judged("ecg-grounding", [Client()], scoring="gem")


def test_a_report_of_8_7_and_10_scores_83() -> None:
    verdict = REPORT.read('{"analysis": "", "diagnosis": 8, "waveform": 7, "rhythm": 10}')
    assert verdict is not None and 10 * sum(verdict.values()) / 3 == pytest.approx(83.33, abs=0.01)
    found = judged("ecgbench-report", [Client()], task="ptb-test-report")
    assert found.value("ecgbench-report-diagnosis").value == pytest.approx((20 + 100 + 100) / 3, abs=0.01)
    assert found.value("ecgbench-report-mean").value == pytest.approx((30 + 100 + 100) / 3, abs=0.01)
    with pytest.raises(MedReportError, match="for another task: arena"):
        judged("ecgbench-report", [Client()], task="arena")


def test_the_suite_on_loopback_pays_an_answer_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    texts = ["Left bundle branch block, rate 70 in lead II.", "Atrial fibrillation with a rapid response.",
             "First degree AV block, PR 240 ms.", "Inferior infarction with Q waves.", "Normal variant tracing."]
    items_of = [{"id": i, "Model_generated": texts[i], "GPT4o_generated": text} for i, text in enumerate(texts)]
    (tmp_path / "merged.json").write_text(json.dumps(items_of))
    with ApiServer(otherwise=lambda prompt: completion(json.dumps(in_form(prompt)))) as server:
        def score(scoring: str) -> dict[str, float]:
            assert run(["score", str(tmp_path / "merged.json"), "--suite", "ecg-grounding", "--scoring", scoring,
                        "--judge", "m", "--base-url", server.base_url, "--price-in", "1", "--price-out", "1",
                        "--field", "record_id=id,prediction=Model_generated,reference=GPT4o_generated",
                        "--out", str(tmp_path / "s.json"), "--json"]) == 0
            said = capsys.readouterr()
            assert "token" in said.err
            return {one["name"]: one["value"] for one in json.loads(said.out)["systems"][0]["values"]}

        strict, asked = score("strict"), len(server.requests)
        assert strict["ecg-grounding-DiagnosisAccuracy"] == 100 and strict["ecg-grounding-failed"] == 0
        assert score("gem-v2")["ecg-grounding-AnalysisRelevance"] == 2 and len(server.requests) == asked
