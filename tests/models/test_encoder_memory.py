"""Encoder-decoder backbones with the signal in the decoder's memory: tiny BART and T5 against rows run alone."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_backbones import make
from tiny_seq2seq import SEQ2SEQ, START, make_seq2seq
from torch import Tensor
from transformers import T5GemmaConfig
from transformers.modeling_outputs import BaseModelOutput

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion.encoder_memory import EncoderMemory
from emgecg_cli.core.models.report_model import pad_prompts

DIM = 24
PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [14, 15, 16], [18, 19, 20, 21, 22]]
REPORTS = [[23, 24, 25], [26, 27, 28, 29, 30], [31, 32]]
GREEDY: dict[str, Any] = dict(max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)


def signals(count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(3, count, DIM, generator=torch.Generator().manual_seed(seed)) * 3


def batch(family: str) -> dict[str, Tensor]:
    prompt_ids, prompt_mask = pad_prompts(PROMPTS, 0, "right")
    ids, mask = pad_prompts([[START[family], *report] for report in REPORTS], 0, "right")
    return dict(input_ids=ids, attention_mask=mask, prompt_ids=prompt_ids, prompt_mask=prompt_mask)


def rows(fusion: EncoderMemory, family: str, tokens: Tensor | None, valid: Tensor | None = None) -> list[Tensor]:
    """Logits of the three rows in one padded batch, padding cut off."""
    inputs = batch(family)
    with torch.no_grad():
        logits = fusion.forward(tokens, valid, **inputs, use_cache=False).logits
    return [row[mask.bool()] for row, mask in zip(logits, inputs["attention_mask"], strict=True)]


def by_hand(lm: Any, family: str, row: int, tokens: Tensor | None) -> Tensor:
    """One unpadded row of the plain model, the signal in front of the text it encoded."""
    base = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    with torch.no_grad():
        memory = base.get_encoder()(input_ids=torch.tensor([PROMPTS[row]])).last_hidden_state
        if tokens is not None:
            memory = torch.cat([tokens[None], memory], 1)
        ids = torch.tensor([[START[family], *REPORTS[row]]])
        return lm(encoder_outputs=BaseModelOutput(last_hidden_state=memory), decoder_input_ids=ids).logits[0]


def close(got: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("family", SEQ2SEQ)
def test_a_padded_batch_equals_single_rows_with_the_signal_in_front(family: str, lora: bool) -> None:
    lm = make_seq2seq(family, lora)
    fusion, tokens = EncoderMemory(lm), signals()
    expected = [by_hand(lm, family, i, tokens[i]) for i in range(3)]
    close(rows(fusion, family, tokens), expected)
    plain = [by_hand(lm, family, i, None) for i in range(3)]
    close(rows(fusion, family, None), plain)
    assert all((a - b).abs().max() > 0.1 for a, b in zip(expected, plain, strict=True))
    assert fusion.dim == DIM and fusion.padding_side == "right" and not fusion.placeholders


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_tokens_that_are_not_valid_are_not_seen(family: str) -> None:
    lm = make_seq2seq(family)
    fusion, tokens = EncoderMemory(lm), signals(3)
    plain = by_hand(lm, family, 1, None)
    got = rows(fusion, family, tokens, torch.tensor([True, False, True]))
    close(got, [by_hand(lm, family, 0, tokens[0]), plain, by_hand(lm, family, 2, tokens[2])])
    real = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    tokens[1], tokens[2, 0] = torch.nan, torch.nan
    close(rows(fusion, family, tokens, real),
          [by_hand(lm, family, 0, tokens[0, [0, 2]]), plain, by_hand(lm, family, 2, tokens[2, [1]])])


def test_the_decoders_mask_counts() -> None:
    fusion, tokens = EncoderMemory(make_seq2seq("t5")), signals()
    expected = rows(fusion, "t5", tokens)
    ids, mask = pad_prompts([[START["t5"], *report] for report in REPORTS], 9, "left")  # T5 knows distances only
    with torch.no_grad():
        logits = fusion.forward(tokens, **batch("t5") | dict(input_ids=ids, attention_mask=mask)).logits
    close([row[keep.bool()] for row, keep in zip(logits, mask, strict=True)], expected)


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_logits_to_keep_are_the_last(family: str) -> None:
    fusion = EncoderMemory(make_seq2seq(family))
    with torch.no_grad():
        whole = fusion.forward(signals(), **batch(family)).logits
        last = fusion.forward(signals(), **batch(family), logits_to_keep=2).logits
    torch.testing.assert_close(last, whole[:, -2:])


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_each_row_depends_on_its_own_signal_only(family: str) -> None:
    fusion, tokens = EncoderMemory(make_seq2seq(family)), signals()
    changed = tokens.clone()
    changed[1] = signals(seed=9)[1]
    before, after = rows(fusion, family, tokens), rows(fusion, family, changed)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert (before[1] - after[1]).abs().amax(-1).min() > 1e-3  # from the start token on


def stepwise(fusion: EncoderMemory, family: str, row: int, tokens: Tensor, steps: int) -> list[int]:
    new: list[int] = []
    for _ in range(steps):
        with torch.no_grad():
            logits = fusion.forward(tokens[row:row + 1], input_ids=torch.tensor([[START[family], *new]]),
                                    prompt_ids=torch.tensor([PROMPTS[row]])).logits
        new.append(int(logits[0, -1].argmax()))
    return new


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_greedy_generation_equals_the_argmax_of_forward_row_by_row(family: str) -> None:
    fusion = EncoderMemory(make_seq2seq(family))
    ids, mask = pad_prompts(PROMPTS, 0, "right")
    seen = []
    for tokens in (signals(), signals(seed=5)):
        expected = [stepwise(fusion, family, i, tokens, 6) for i in range(3)]
        for use_cache in (True, False):
            new = fusion.generate(tokens, input_ids=ids, attention_mask=mask, use_cache=use_cache, **GREEDY)
            assert new.tolist() == expected
        seen.append(expected)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_beams_with_and_without_cache_equal_single_rows(family: str) -> None:
    fusion, tokens = EncoderMemory(make_seq2seq(family)), signals()
    ids, mask = pad_prompts(PROMPTS, 0, "right")
    settings = GREEDY | dict(num_beams=3, num_return_sequences=2)
    together = fusion.generate(tokens, input_ids=ids, attention_mask=mask, **settings)
    assert together.shape == (6, 6)
    again = fusion.generate(tokens, input_ids=ids, attention_mask=mask, use_cache=False, **settings)
    assert torch.equal(together, again)
    for i, prompt in enumerate(PROMPTS):
        alone = fusion.generate(tokens[i:i + 1], input_ids=torch.tensor([prompt]), **settings)
        assert torch.equal(alone, together[2 * i:2 * i + 2])


@pytest.mark.parametrize("family", SEQ2SEQ)
def test_sampling_returns_the_sequences_asked_for(family: str) -> None:
    fusion = EncoderMemory(make_seq2seq(family))
    ids, mask = pad_prompts(PROMPTS, 0, "right")
    torch.manual_seed(0)
    new = fusion.generate(signals(), torch.tensor([True, False, True]), input_ids=ids, attention_mask=mask,
                          return_dict_in_generate=True, **GREEDY | dict(do_sample=True, num_return_sequences=4))
    assert new.shape == (12, 6) and len({tuple(row) for row in new.tolist()}) > 3


def gradients(family: str, checkpointing: dict[str, Any] | None) -> dict[str, Tensor]:
    lm = make_seq2seq(family, lora=True).train()
    fusion, given = EncoderMemory(lm), [signals(seed=s).requires_grad_() for s in (0, 1)]
    if checkpointing is not None:
        lm.enable_input_require_grads()
        lm.activation_checkpointing_enable(activation_checkpointing_kwargs=checkpointing)
    sum(fusion.forward(x, **batch(family), use_cache=False).logits.square().mean() for x in given).backward()
    named = [*lm.named_parameters(), *((f"signal {i}", x) for i, x in enumerate(given))]
    return {name: p.grad for name, p in named if p.grad is not None}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("family", SEQ2SEQ)
def test_gradient_checkpointing_changes_nothing_even_with_two_forwards_before_one_backward(family: str,
                                                                                           reentrant: bool) -> None:
    plain, checkpointed = gradients(family, None), gradients(family, {"use_reentrant": reentrant})
    assert plain.keys() == checkpointed.keys()
    assert {"signal 0", "signal 1"} <= plain.keys()
    assert any("k_proj.lora_A" in name or "EncDecAttention.k.lora_A" in name for name in plain)
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(checkpointed[name], gradient, atol=2e-5, rtol=1e-4)


def test_a_deep_copy_is_independent() -> None:
    fusion, tokens = EncoderMemory(make_seq2seq("t5")), signals()
    before = rows(fusion, "t5", tokens)
    other = copy.deepcopy(fusion)
    with torch.no_grad():
        for parameter in other.backbone.parameters():
            parameter.zero_()
    close(rows(fusion, "t5", tokens), before)
    assert (rows(other, "t5", tokens)[0] - before[0]).abs().max() > 0.1


def test_misuse_is_refused() -> None:
    with pytest.raises(MedReportError, match="no encoder"):
        EncoderMemory(make("llama"))
    with pytest.raises(MedReportError, match="a width each"):
        EncoderMemory(SimpleNamespace(config=T5GemmaConfig()))
    lm = make_seq2seq("bart")
    with pytest.raises(MedReportError, match="no effect"):
        EncoderMemory(lm, layers=[0])
    fusion = EncoderMemory(lm)
    with pytest.raises(RuntimeError, match="need"):
        fusion.forward(signals()[..., :5], **batch("bart"))
    with pytest.raises(RuntimeError, match="rows"):
        fusion.forward(signals()[:2], **batch("bart"))
    with pytest.raises(RuntimeError, match="valid is"):
        fusion.forward(signals(), torch.ones(3, 5, dtype=torch.bool), **batch("bart"))
