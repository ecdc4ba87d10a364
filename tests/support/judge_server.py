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


@dataclass
class LocalClient:
    """A client of a good judge that needs no endpoint."""

    model: str = "m"

    def complete(self, messages: Sequence[Mapping[str, Any]], **params: Any) -> str:
        return json.dumps(verdict(*texts_in(messages[0]["content"])))

    def each(self, ask: Callable[[Any], Any], items: Sequence[Any]) -> Any:
        return map(ask, items)
