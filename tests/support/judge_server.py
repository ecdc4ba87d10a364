"""Judges on loopback: what they say depends on the two texts in the request alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api_server import Reply, answer

KEYS = ("terminology", "consistency", "completeness", "diagnosis")
DENIED = re.compile(r"(?i)\b(?:no|not|without|kein\w*)\b")


def texts_in(prompt: str) -> tuple[str, str]:
    """The reference and the report of a request."""
    reference, report = (json.loads(re.search(rf"^{name} report: (.*)$", prompt, re.M)[1])  # type: ignore[index]
                         for name in ("Reference", "Generated"))
    return reference, report


def verdict(reference: str, report: str) -> dict[str, int]:
    """A good judge's scores: how many words the texts share, and whether one denies what the other says."""
    one, two = (set(re.findall(r"\w{3,}", text.lower())) for text in (reference, report))
    score = 1 + round(4 * len(one & two) / max(1, len(one | two)))
    if bool(DENIED.search(reference)) != bool(DENIED.search(report)):
        score = 1
    return {"terminology": min(5, score + 1), "consistency": min(5, score + 1), "completeness": score,
            "diagnosis": score}


def completion(said: str) -> Reply:
    """An answer with counted tokens."""
    body = json.loads(answer(said).body) | {"usage": {"prompt_tokens": 100, "completion_tokens": 20}}
    return Reply(json.dumps(body).encode())


def good(prompt: str) -> Reply:
    """Scores by what the texts say."""
    return completion(json.dumps({"analysis": "…", **verdict(*texts_in(prompt))}))


def always(score: int) -> Callable[[str], Reply]:
    """A judge that gives everything the same score."""
    return lambda prompt: completion(json.dumps({"analysis": "fine", **dict.fromkeys(KEYS, score)}))


def harsher(prompt: str) -> Reply:
    """A good judge that takes a point off what is not perfect, and wraps its answer."""
    scores = {key: score if score == 5 else max(1, score - 1) for key, score in verdict(*texts_in(prompt)).items()}
    return completion("Here is my verdict:\n```json\n" + json.dumps(scores) + "\n```\nLet me know!")


def in_form(prompt: str) -> dict[str, Any]:
    """A good judge's scores in the form a suite asks for."""
    scores = verdict(*texts_in(prompt))
    share = (scores["diagnosis"] - 1) / 4
    if '"DiagnosisAccuracy"' in prompt:
        most = {"DiagnosisAccuracy": 2, "AnalysisCompleteness": 1, "AnalysisRelevance": 2, "LeadAssessmentCoverage": 1,
                "LeadAssessmentAccuracy": 2}
        names = (*most, "GroundedECGUnderstanding", "EvidenceBasedReasoning", "RealisticDiagnosticProcess")
        return {name: [{"Score": round(share * most.get(name, 100)), "Explanation": "[V1]"}] for name in names}
    for keys in (("diagnosis", "waveform", "rhythm"), ("accuracy", "completeness", "instructions")):
        if all(f'"{key}": 0-10' in prompt for key in keys):
            return dict.fromkeys(keys, round(10 * share))
    return scores


@dataclass
class LocalClient:
    """A client of a good judge that needs no endpoint."""

    model: str = "m"

    takes_forms = True

    def complete(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> str:
        return json.dumps(in_form(messages[0]["content"]))

    def complete_in_form(self, messages: Sequence[Mapping[str, Any]], form: Any, **params: Any) -> str:
        return self.complete(messages)

    def each(self, ask: Callable[[Any], Any], items: Sequence[Any]) -> Any:
        return map(ask, items)
