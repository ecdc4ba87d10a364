"""Paraphrases by a language model behind an OpenAI-compatible endpoint, asked seed prompt by seed prompt."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.pool import draw
from emgecg_cli.core.instructions.validate import check_prompt, normalise
from emgecg_cli.core.llm import LLMClient

PER_CALL = 8
MANNERS = (
    "Go from formal to casual.", "Mix questions and orders.", "Vary the length, from terse to detailed.",
    "Speak as different members of a cardiology team would.", "Vary the words for the recording and for the report.",
    "Change the order of the clauses.", "Begin every sentence with another word.", "Vary the degree of politeness.",
)
REQUEST = """A clinician gives this order to a system that reads ECGs:

{prompt}

Reword it in {count} different ways, in English. {manner} (Series {series}.)
Every version mentions the ECG and asks for a written report, description or interpretation of it, in 6 to 40 words on
one line. No version says or hints what the ECG shows: no diagnosis, no numbers, no placeholders.
Answer with a JSON list of {count} strings and nothing else."""


def rephrase(seed_prompts: Sequence[str], size: int, *, seed: int, client: LLMClient,
             progress: Callable[[int, int], None] | None = None) -> list[str]:
    """The seed prompts and then the model's rewordings of them, `size` in all, valid and distinct.

    Every round asks once for each seed prompt, and takes the first rewording of each, then the second, and so on, so
    that all seed prompts have their share. `seed` sets the order of the calls and the manner asked for. With the same
    answers in the client's cache the result is the same, and a killed run goes on with the call it was in.

    Raises MedReportError when a round brings nothing new, or when all rounds bring too little.
    """
    pool = list(seed_prompts[:size])
    known = {normalise(prompt) for prompt in pool}
    order = sorted(range(len(pool)), key=lambda number: draw(2**256, "openai", seed, number))
    enough_rounds = 3 * -(-(size - len(pool)) // (PER_CALL * max(1, len(pool))))
    for series in range(1, enough_rounds + 1):
        before = len(pool)
        answers = []
        chats = [_messages(seed_prompts[number], seed, number, series) for number in order]
        for answer in client.each(client.complete, chats):
            answers.append(parse_list(answer))
            if progress is not None:
                asked = before + sum(check_prompt(text) is None for found in answers for text in found)
                progress(min(asked, size), size)
        for text in itertools.chain.from_iterable(itertools.zip_longest(*answers)):
            if len(pool) < size and check_prompt(text) is None and normalise(text) not in known:
                known.add(normalise(text))
                pool.append(text)
        if len(pool) in (before, size):
            break
    if len(pool) < size:
        raise MedReportError(f"model '{client.model}' gave {len(pool) - len(seed_prompts)} valid, distinct prompts, "
                             f"where {size - len(seed_prompts)} are needed",
                             "use a smaller pool, another --model or --seed, or --rephraser offline")
    return pool


def parse_list(answer: str) -> list[str]:
    """The strings in a model's answer: a JSON list, also fenced, wrapped or cut off, or else one string per line."""
    start, end = answer.find("["), answer.rfind("]")
    if start >= 0:
        try:
            items = json.loads(answer[start:end + 1])
        except (ValueError, RecursionError):
            items = _strings(answer[start:])
        found = [item.strip() for item in items if isinstance(item, str)]
        if found:
            return found
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    marked = [re.sub(r"^(?:\(?\d{1,3}[.):]|[-*•])\s*", "", line) for line in lines]
    if any(line != text for line, text in zip(lines, marked, strict=True)):
        marked = [text for line, text in zip(lines, marked, strict=True) if line != text]
    return [text.strip(' "\u201c\u201d') for text in marked]


def _strings(text: str) -> list[str]:
    """The complete JSON strings in a text that is no JSON as a whole."""
    found = []
    for literal in re.findall(r'"(?:[^"\\\n]|\\.)*"', text):
        try:
            found.append(json.loads(literal))
        except ValueError:
            continue  # an invalid escape: this one string is lost, and the round asks for more than it needs
    return found


def _messages(prompt: str, seed: int, number: int, series: int) -> list[dict[str, str]]:
    manner = MANNERS[(draw(len(MANNERS), "manner", seed, number) + series) % len(MANNERS)]
    content = REQUEST.format(prompt=prompt, count=PER_CALL, manner=manner, series=series)
    return [{"role": "user", "content": content}]
