"""The body of an answer: the text of a chat completion, or why it is to be asked for again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emgecg_cli.core.llm.cache import Answer
from emgecg_cli.core.llm.usage import Tokens


@dataclass(frozen=True)
class Retry:
    """Why a request is to be sent again, the seconds the server asked to wait, if it did, whether it has too many of
    them, and the tokens of an answer that is none."""

    reason: str
    wait: float | None = None
    too_many: bool = False
    tokens: Tokens | None = None


def read_answer(body: str) -> Answer | Retry:
    """The text in the body of a chat completion, and what the endpoint says that it took."""
    tokens = None
    try:
        completion = json.loads(body)
        tokens = _read_tokens(completion)
        message = completion["choices"][0]["message"]
        text = message.get("content") or message.get("refusal")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        return Retry("the answer is no chat completion", tokens=tokens)
    if not (isinstance(text, str) and text.strip()):
        return Retry("the answer is empty", tokens=tokens)
    return Answer(text, tokens)


def _read_tokens(completion: Mapping[str, Any]) -> Tokens | None:
    """Tokens of the prompt and of the completion; None where they are not said, or are no counts."""
    usage = completion.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, answer = usage.get("prompt_tokens"), usage.get("completion_tokens")
    known = all(type(one) is int and 0 <= one < 1 << 40 for one in (prompt, answer))
    return (prompt, answer) if known else None  # type: ignore[return-value]
