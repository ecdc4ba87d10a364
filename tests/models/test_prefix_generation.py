"""Generation with a prefix says what the oracle says, greedy and with beams, whatever the cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracle import oracle
from prefix_rows import PROMPTS, pad, signal_tokens
from tiny_backbones import FAMILIES, make
from torch import Tensor
from transformers import GenerationConfig

from emgecg_cli.core.models.fusion import prefix_kv
from emgecg_cli.core.models.fusion.hooks import Frame
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

STEPS, BEAMS = 5, 3
SETTINGS: dict[str, Any] = dict(max_new_tokens=STEPS, do_sample=False, eos_token_id=None, pad_token_id=0)


def greedy(lm: Any, prompt: list[int], tokens: Tensor | None) -> list[int]:
    """The likeliest token each time."""
    new: list[int] = []
    for _ in range(STEPS):
        new.append(int(oracle(lm, prompt + new, tokens)[-1].argmax()))
    return new


def greedy_rows(lm: Any, tokens: Tensor | None) -> list[list[int]]:
    """For each of the three prompts."""
    return [greedy(lm, prompt, None if tokens is None else tokens[i]) for i, prompt in enumerate(PROMPTS)]


def beams(lm: Any, prompt: list[int], tokens: Tensor) -> list[list[int]]:
    """The continuations of a plain beam search, best first."""
    kept: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(STEPS):
        longer = []
        for score, new in kept:
            following = torch.log_softmax(oracle(lm, prompt + new, tokens)[-1], -1)
            longer += [(score + float(p), [*new, i]) for i, p in enumerate(following)]
        kept = sorted(longer, reverse=True)[:BEAMS]
    return [new for _, new in kept]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_generation_equals_the_oracle_whatever_the_cache(family: str) -> None:
    lm = make(family, lora=True)
    fusion = PrefixKV(lm)
    tokens, other = signal_tokens(fusion.dim), signal_tokens(fusion.dim, seed=5)
    expected = greedy_rows(lm, tokens)
    ways: list[dict[str, Any]] = [{}, {"use_cache": False}, {"prefill_chunk_size": 3}]
    if family != "gpt_neo":
        ways.append({"cache_implementation": "static"})
    for way in ways:
        assert fusion.generate(tokens, **pad(), **SETTINGS, **way).tolist() == expected, way
    # What was kept of one call must not reach the next.
    assert fusion.generate(other, **pad(), **SETTINGS).tolist() == greedy_rows(lm, other) != expected
    assert fusion.generate(None, **pad(), **SETTINGS).tolist() == greedy_rows(lm, None) != expected
    assert fusion.generate(tokens, **pad(), **SETTINGS).tolist() == expected


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3"])
def test_one_prompt_without_padding_in_every_way(family: str) -> None:
    lm = make(family)
    fusion = PrefixKV(lm)
    tokens, batch = signal_tokens(fusion.dim, batch=1), pad("left", PROMPTS[:1])
    expected = [greedy(lm, PROMPTS[0], tokens[0])]
    for way in ({}, {"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 2}, {"prefill_chunk_size": 2}):
        assert fusion.generate(tokens, **batch, **SETTINGS, **way).tolist() == expected, way
    assert fusion.generate(tokens, input_ids=batch["input_ids"], **SETTINGS).tolist() == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_equal_a_beam_search_on_the_oracle(family: str) -> None:
    lm = make(family, lora=True)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    expected = [beams(lm, prompt, tokens[i]) for i, prompt in enumerate(PROMPTS)]
    ways: list[dict[str, Any]] = [{}, {"use_cache": False}]
    for way in ways:
        got = fusion.generate(tokens, **pad(), **SETTINGS, num_beams=BEAMS, **way)
        assert got.tolist() == [found[0] for found in expected], way
    several = fusion.generate(tokens, **pad(), **SETTINGS, num_beams=BEAMS, num_return_sequences=2)
    assert several.tolist() == [new for found in expected for new in found[:2]]


def test_the_number_of_beams_is_read_from_wherever_it_stands() -> None:
    lm = make("llama")
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    expected = [beams(lm, prompt, tokens[i])[0] for i, prompt in enumerate(PROMPTS)]
    given = GenerationConfig(num_beams=BEAMS, max_new_tokens=STEPS, eos_token_id=None, pad_token_id=0)
    lm.generation_config.eos_token_id = None
    assert fusion.generate(tokens, **pad(), generation_config=given).tolist() == expected
    lm.generation_config.num_beams = BEAMS
    assert fusion.generate(tokens, **pad(), **SETTINGS).tolist() == expected
    assert fusion.generate(tokens, **pad(), **SETTINGS, num_beams=1).tolist() == greedy_rows(lm, tokens)


def test_samples_of_one_prompt_use_the_signal_of_that_prompt() -> None:
    lm = make("llama")
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    got = fusion.generate(tokens, **pad(), **SETTINGS | {"do_sample": True}, top_k=1, num_return_sequences=2)
    assert got.tolist() == [row for row in greedy_rows(lm, tokens) for _ in range(2)]


def test_rows_without_a_signal_are_generated_as_from_text_alone() -> None:
    lm = make("mistral")
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    valid = torch.tensor([[True, True], [False, False], [False, True]])
    shown = [tokens[0], None, tokens[2][1:]]
    got = fusion.generate(tokens, valid, **pad(), **SETTINGS)
    assert got.tolist() == [greedy(lm, prompt, shown[i]) for i, prompt in enumerate(PROMPTS)]
    got = fusion.generate(tokens, torch.tensor([True, False, True]), **pad(), **SETTINGS, num_beams=BEAMS)
    assert got[[0, 2]].tolist() == [beams(lm, PROMPTS[i], tokens[i])[0] for i in (0, 2)]
    text_alone = fusion.generate(None, **pad("left", PROMPTS[1:2]), **SETTINGS, num_beams=BEAMS)
    assert got[1].tolist() == text_alone[0].tolist()


@pytest.mark.parametrize("wrong", [1, 2])
def test_beams_without_a_prefix_each_raise(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fusion = PrefixKV(make("llama"))
    monkeypatch.setattr(prefix_kv, "copies_of_a_row", lambda backbone, settings: wrong)
    with pytest.raises(RuntimeError, match=f"9 rows of text, {3 * wrong} of signal"):
        fusion.generate(signal_tokens(fusion.dim), **pad(), **SETTINGS, num_beams=BEAMS)


def test_a_prefix_given_to_the_wrong_beams_would_be_noticed() -> None:
    lm = make("llama")
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    expected = [beams(lm, prompt, tokens[i])[0] for i, prompt in enumerate(PROMPTS)]
    frame = Frame(fusion.tile(tokens).repeat(BEAMS, 1, 1))  # the right shape in the wrong order
    with fusion._use(frame), torch.no_grad():
        wrong = lm.generate(**pad(), **SETTINGS, num_beams=BEAMS)[:, pad()["input_ids"].shape[1]:]
    assert not any(a == b for a, b in zip(wrong.tolist(), expected, strict=True))


def test_the_output_is_new_tokens_also_when_more_than_tokens_is_asked_for() -> None:
    fusion = PrefixKV(make("llama"))
    tokens = signal_tokens(fusion.dim)
    plain = fusion.generate(tokens, **pad(), **SETTINGS)
    assert plain.shape == (3, STEPS)
    told = fusion.generate(tokens, **pad(), **SETTINGS, return_dict_in_generate=True, output_scores=True)
    assert torch.equal(plain, told)
