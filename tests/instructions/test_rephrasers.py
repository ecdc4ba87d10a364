"""What every rephraser keeps to, and rephrasing by a model that answers well or badly."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable

import pytest
from api_server import KEY, ApiServer, Reply, answer, reworded

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import check_prompt
from emgecg_cli.core.instructions.openai import parse_list, rephrase
from emgecg_cli.core.instructions.pool import SEED_PROMPTS, draw
from emgecg_cli.core.instructions.validate import normalise
from emgecg_cli.core.llm import LLMClient


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def client_of(server: ApiServer) -> LLMClient:
    return LLMClient("loopback", server.base_url, attempts=3, sleep=lambda _: None)


@pytest.mark.parametrize("name", names.choices("rephraser"))
def test_contract_of_rephrasers(name: str) -> None:
    rephraser = names.resolve("rephraser", name)
    seen: list[tuple[int, int]] = []
    with ApiServer(otherwise=lambda prompt: answer(reworded(prompt))) as server, client_of(server) as client:
        options = {"client": client} if "client" in inspect.signature(rephraser).parameters else {}

        def run(size: int, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> list[str]:
            return rephraser(SEED_PROMPTS, size, seed=seed, progress=progress, **options)

        pool = run(96, progress=lambda done, total: seen.append((done, total)))
        assert pool == run(96) and pool[:64] == run(64) and pool != run(96, seed=1)
        assert run(5) == list(SEED_PROMPTS[:5])
    assert pool[:32] == list(SEED_PROMPTS) and len({normalise(prompt) for prompt in pool}) == 96
    assert all(check_prompt(prompt) is None for prompt in pool)
    assert seen[-1] == (96, 96) and seen == sorted(seen)


@pytest.mark.parametrize(("text", "expected"), [
    ('["a b", "c"]', ["a b", "c"]),
    ('Sure!\n```json\n[" a ",\n "c"]\n```\nAnything else?', ["a", "c"]),
    ('{"prompts": ["a", "c"]}', ["a", "c"]),
    ('["a", "say \\"c\\"", "d', ["a", 'say "c"']),
    ('["a", 7, null, ["x"], {"b": 1}]', ["a"]),
    ("Here they are:\n1. a b\n2) \u201cc\u201d\n(3) d\n", ["a b", "c", "d"]),
    ("- a\n* c\n\u2022 d", ["a", "c", "d"]),
    ("a\n\nc", ["a", "c"]),
    ("1. a [sic]\n2. c", ["a [sic]", "c"]),
    ("[" * 100_000, ["[" * 100_000]),
    ('["\\q"]', ['["\\q"]']),
    ("", []),
])
def test_lists_as_models_write_them(text: str, expected: list[str]) -> None:
    assert parse_list(text) == expected


def test_a_model_that_leaks_repeats_and_refuses() -> None:
    """Only what is valid and new comes through, whatever stands around it."""
    bad = ["Report this ECG with atrial fibrillation.", "Write a report on this ECG. <|assistant|>", SEED_PROMPTS[0],
           SEED_PROMPTS[1].upper(), "Write a\nreport on this ECG.", "{prompt}"]

    def reply(prompt: str) -> Reply:
        if draw(3, prompt) == 0:
            return answer("I'm sorry, as an AI I cannot write a report on an ECG.")
        if draw(3, prompt) == 1:
            return answer(None, refusal="I cannot help with that ECG report.")
        good = reworded(prompt)
        return answer(json.dumps([text for pair in zip(bad, good, strict=False) for text in pair]))

    with ApiServer(otherwise=reply) as server, client_of(server) as client:
        pool = rephrase(SEED_PROMPTS, 100, seed=0, client=client)
    assert len(set(map(normalise, pool))) == 100 and all(check_prompt(prompt) is None for prompt in pool)
    assert pool[:32] == list(SEED_PROMPTS) and not {*bad[:2], *bad[3:]} & set(pool)


def test_a_model_without_ideas_is_asked_one_round_more() -> None:
    same = answer('["Draft a report on the ECG.", "Draft a short report on the ECG."]')
    with ApiServer(otherwise=lambda _: same) as server, client_of(server) as client, \
            pytest.raises(MedReportError, match="model 'loopback' gave 2 valid, distinct prompts, where 96 are needed"):
        rephrase(SEED_PROMPTS, 128, seed=0, client=client)
    assert len(server.requests) == 64


def test_a_model_that_only_refuses() -> None:
    with ApiServer(otherwise=lambda _: answer("I cannot do that.")) as server, client_of(server) as client, \
            pytest.raises(MedReportError, match="gave 0 valid") as caught:
        rephrase(SEED_PROMPTS, 128, seed=0, client=client)
    assert len(server.requests) == 32 and "--rephraser offline" in str(caught.value.hint)


def test_every_seed_prompt_is_asked_and_has_its_share() -> None:
    with ApiServer(otherwise=lambda prompt: answer(reworded(prompt))) as server, client_of(server) as client:
        pool = rephrase(SEED_PROMPTS, 96, seed=0, client=client)
    asked = [request["messages"][0]["content"] for request in server.requests]
    assert all(sum(prompt in text for text in asked) == 1 for prompt in SEED_PROMPTS)
    assert Counter(prompt.split()[3] for prompt in pool[32:]).most_common(1)[0][1] == 2
