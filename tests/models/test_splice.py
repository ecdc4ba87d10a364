"""Splice fusion on tiny random models of every family, against embeddings put together by hand for one unpadded row."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_backbones import FAMILIES, make
from tiny_seq2seq import make_seq2seq
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    MvpConfig,
    MvpForCausalLM,
    OlmoConfig,
    OlmoForCausalLM,
)

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.render import IGNORE_INDEX, PLACEHOLDER
from emgecg_cli.core.models.fusion.splice import Splice
from emgecg_cli.core.models.report_model import pad_prompts

S = PLACEHOLDER
# Two groups of unlike size, one group inside the text, no signal at all.
PROMPTS = [[S, 9, 10, S, S, 11, 12, 13], [5, S, S, 6, 7, 8], [14, 15, 16]]
REAL = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
GREEDY: dict[str, Any] = dict(max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)


def signals(fusion: Splice, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(3, 3, fusion.dim, generator=torch.Generator().manual_seed(seed)) * scale


def embed_by_hand(lm: Any, ids: list[int], tokens: Tensor) -> Tensor:
    """(1, T, dim): words as the family embeds them, and the given tokens (n, dim) at the placeholders."""
    left = list(tokens)
    look_up = lm.get_input_embeddings()
    return torch.stack([left.pop(0) if i == S else look_up(torch.tensor(i)) for i in ids])[None]


def logits_by_hand(lm: Any, ids: list[int], tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return lm(inputs_embeds=embed_by_hand(lm, ids, tokens)).logits[0]


def rows(fusion: Splice, tokens: Tensor, side: str) -> list[Tensor]:
    """Logits of the three prompts in one padded batch, padding cut off."""
    ids, mask = pad_prompts(PROMPTS, 0, side)
    with torch.no_grad():
        out = fusion.forward(tokens, REAL, input_ids=ids, attention_mask=mask, use_cache=False).logits
    return [row[keep.bool()] for row, keep in zip(out, mask, strict=True)]


# ----------------------------------------------------------------------------------------------------------- exactness
@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_ragged_padded_batch_equals_rows_put_together_by_hand(family: str, lora: bool) -> None:
    lm = make(family, lora)
    fusion = Splice(lm)
    tokens = signals(fusion)
    tokens[1, 1] = torch.nan  # not a real token
    expected = [logits_by_hand(lm, ids, tokens[i][REAL[i]]) for i, ids in enumerate(PROMPTS)]
    for side in ("left", "right"):
        for got, wanted in zip(rows(fusion, tokens, side), expected, strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-3, rtol=0)
    swapped = [logits_by_hand(lm, ids, tokens[i][REAL[i]].flip(0)) for i, ids in enumerate(PROMPTS[:2])]
    assert all((a - b).abs().max() > 0.05 for a, b in zip(swapped, expected[:2], strict=True))


def test_a_narrow_embedding_sets_the_width_of_a_signal_token() -> None:
    assert Splice(make("opt-350m")).dim == 16 and Splice(make("llama")).dim == 24
    assert Splice(make("llama")).placeholders and Splice(make("llama")).padding_side == "left"


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_depends_on_its_own_signal_only(family: str) -> None:
    fusion = Splice(make(family))
    tokens = signals(fusion)
    changed = tokens.clone()
    changed[1] = signals(fusion, seed=9)[1]
    before, after = rows(fusion, tokens, "left"), rows(fusion, changed, "left")
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert torch.equal(before[1][0], after[1][0]) and (before[1][1:] - after[1][1:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_text_alone_is_the_plain_model(family: str) -> None:
    lm = make(family)
    fusion = Splice(lm)
    ids, mask = pad_prompts([[5, 6, 7], [8, 9]], 0, "right")
    with torch.no_grad():
        expected = lm(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        for tokens, valid in ((None, None), (signals(fusion)[:2], torch.tensor([False, False]))):
            got = fusion.forward(tokens, valid, input_ids=ids, attention_mask=mask).logits[mask.bool()]
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_last_logits_and_labels_are_the_backbones_own() -> None:
    fusion = Splice(make("llama"))
    ids, mask = pad_prompts(PROMPTS, 0, "left")
    labels = ids.masked_fill((ids == S) | (mask == 0), IGNORE_INDEX)
    inputs: dict[str, Any] = dict(input_ids=ids, attention_mask=mask)
    with torch.no_grad():
        out = fusion.forward(signals(fusion), REAL, **inputs, labels=labels)
        last = fusion.forward(signals(fusion), REAL, **inputs, logits_to_keep=2).logits
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(last, out.logits[:, -2:])


def tuned(how: str) -> Any:
    lm = make("llama")
    settings: dict[str, Any] = {
        "lora": dict(target_modules=["embed_tokens", "q_proj"], init_lora_weights=False),
        "saved": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
        "new tokens": dict(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [5, 9]})}[how]
    lm = get_peft_model(lm, LoraConfig(r=3, **settings))
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if parameter.requires_grad and "embed" in name:
                parameter.add_(torch.randn_like(parameter))
    return lm


@pytest.mark.parametrize("how", ["lora", "saved", "new tokens"])
def test_a_tuned_embedding_is_the_one_used(how: str) -> None:
    lm = tuned(how)
    fusion = Splice(lm)
    tokens = signals(fusion)
    with torch.no_grad():
        expected = lm(input_ids=torch.tensor([PROMPTS[2]])).logits[0]
        untuned = make("llama")(input_ids=torch.tensor([PROMPTS[2]])).logits[0]
    torch.testing.assert_close(rows(fusion, tokens, "left")[2], expected, atol=1e-4, rtol=0)
    ids = torch.tensor([PROMPTS[0]])
    fusion.forward(tokens[:1], input_ids=ids).logits.square().mean().backward()
    trained = [p.grad for name, p in lm.named_parameters() if p.requires_grad and "embed" in name]
    assert trained and all(grad is not None and grad.abs().max() > 0 for grad in trained)
    assert how == "new tokens" or (expected - untuned).abs().max() > 0.1


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_it_runs_in_half_precision_and_under_autocast(family: str) -> None:
    lm = make(family)
    fusion = Splice(lm)
    tokens, ids = signals(fusion), torch.tensor([PROMPTS[0]])
    exact = logits_by_hand(lm, PROMPTS[0], tokens[0])
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            mixed = fusion.forward(tokens[:1], input_ids=ids).logits[0]
        lm.to(torch.bfloat16)
        half = fusion.forward(tokens[:1], input_ids=ids).logits[0]  # float32 tokens, bf16 words
    assert half.dtype == torch.bfloat16
    for got in (mixed, half):
        assert (got.float() - exact).abs().mean() < 0.15 * exact.abs().mean()


# ----------------------------------------------------------------------------------------------------------- gradients
def gradients(family: str, checkpointing: dict[str, Any] | None, lora: bool) -> dict[str, Tensor]:
    lm = make(family, lora).train()
    fusion = Splice(lm)
    given = [signals(fusion, seed=s).requires_grad_() for s in (0, 1)]
    if checkpointing is not None:
        lm.activation_checkpointing_enable(activation_checkpointing_kwargs=checkpointing)
    ids, mask = pad_prompts(PROMPTS, 0, "left")
    sum(fusion.forward(x, REAL, input_ids=ids, attention_mask=mask, use_cache=False).logits[mask.bool()].square().mean()
        for x in given).backward()
    named = [*lm.named_parameters(), *((f"signal {i}", x) for i, x in enumerate(given))]
    return {name: p.grad for name, p in named if p.grad is not None}


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma3"])
def test_gradient_checkpointing_changes_nothing(family: str, lora: bool) -> None:
    plain = gradients(family, None, lora)
    assert {"signal 0", "signal 1"} <= plain.keys()
    assert lora or any("embed" in name or "wte" in name for name in plain)
    for reentrant in (False, True):
        checkpointed = gradients(family, {"use_reentrant": reentrant}, lora)
        assert plain.keys() == checkpointed.keys()
        for name, gradient in plain.items():
            torch.testing.assert_close(checkpointed[name], gradient, atol=1e-5, rtol=1e-4)


def test_gradients_equal_those_of_rows_put_together_by_hand() -> None:
    lm = make("llama")
    fusion = Splice(lm)
    tokens = signals(fusion).requires_grad_()
    ids, mask = pad_prompts(PROMPTS, 0, "left")
    fusion.forward(tokens, REAL, input_ids=ids, attention_mask=mask).logits[mask.bool()].square().sum().backward()
    assert tokens.grad is not None
    got = {name: p.grad for name, p in lm.named_parameters()} | {"signal": tokens.grad}
    other = make("llama")
    by_hand = signals(fusion).requires_grad_()
    for i, row in enumerate(PROMPTS):
        other(inputs_embeds=embed_by_hand(other, row, by_hand[i][REAL[i]])).logits.square().sum().backward()
    expected = {name: p.grad for name, p in other.named_parameters()} | {"signal": by_hand.grad}
    for name, gradient in expected.items():
        torch.testing.assert_close(got[name], gradient, atol=1e-2, rtol=1e-3)
    assert torch.equal(tokens.grad[~REAL], torch.zeros(4, fusion.dim))  # what is not valid learns nothing


# ---------------------------------------------------------------------------------------------------------- generation
def stepwise(lm: Any, ids: list[int], tokens: Tensor, steps: int) -> list[int]:
    new: list[int] = []
    for _ in range(steps):
        new.append(int(logits_by_hand(lm, ids + new, tokens)[-1].argmax()))
    return new


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_generation_equals_stepwise_argmax_row_by_row(family: str) -> None:
    lm = make(family)
    fusion = Splice(lm)
    ids, mask = pad_prompts(PROMPTS, 0, "left")
    seen = []
    for seed in (0, 5):
        tokens = signals(fusion, seed, scale=3.0)
        expected = [stepwise(lm, prompt, tokens[i][REAL[i]], 5) for i, prompt in enumerate(PROMPTS)]
        assert fusion.generate(tokens, REAL, input_ids=ids, attention_mask=mask, **GREEDY).tolist() == expected
        seen.append(expected)
    assert seen[0][:2] != seen[1][:2] or family == "gemma2"  # whose twin says its last word again and again


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_equal_single_rows_and_use_the_signal_of_their_row(family: str) -> None:
    fusion = Splice(make(family))
    tokens = signals(fusion)
    ids, mask = pad_prompts(PROMPTS, 0, "left")
    settings = GREEDY | dict(num_beams=3, num_return_sequences=2)
    together = fusion.generate(tokens, REAL, input_ids=ids, attention_mask=mask, **settings)
    assert together.shape == (6, 5)
    for i, prompt in enumerate(PROMPTS):
        alone = fusion.generate(tokens[i:i + 1], REAL[i:i + 1], input_ids=torch.tensor([prompt]), **settings)
        assert torch.equal(alone, together[2 * i:2 * i + 2])


def test_sampling_and_lora_generate_new_tokens_only() -> None:
    fusion = Splice(make("llama", lora=True))
    ids, mask = pad_prompts(PROMPTS, 0, "left")
    torch.manual_seed(0)
    new = fusion.generate(signals(fusion), REAL, input_ids=ids, attention_mask=mask, return_dict_in_generate=True,
                          **GREEDY | dict(do_sample=True, num_return_sequences=4))
    assert new.shape == (12, 5) and len({tuple(row) for row in new.tolist()}) > 3
    assert fusion.generate(None, input_ids=torch.tensor([[5, 6]]), **GREEDY).shape == (1, 5)


# ---------------------------------------------------------------------------------------------------------- strictness
def test_placeholders_and_signal_tokens_must_agree() -> None:
    fusion = Splice(make("llama"))
    tokens, ids = signals(fusion), pad_prompts(PROMPTS, 0, "left")[0]
    with pytest.raises(RuntimeError, match="row 1 has 2 placeholders and 3 signal tokens"):
        fusion.forward(tokens, input_ids=ids)
    with pytest.raises(RuntimeError, match=r"row 0 has \d placeholders and \d signal tokens"):
        fusion.forward(None, input_ids=ids)
    with pytest.raises(RuntimeError, match=r"row 0 has \d placeholders and \d signal tokens"):
        fusion.generate(tokens, torch.tensor([False, True, True]), input_ids=ids)
    with pytest.raises(RuntimeError, match="need"):
        fusion.forward(tokens[..., :6], REAL, input_ids=ids)
    with pytest.raises(RuntimeError, match="rows"):
        fusion.forward(tokens[:2], REAL[:2], input_ids=ids)
    with pytest.raises(RuntimeError, match="packed"):
        fusion.forward(tokens[:1], REAL[:1], input_ids=ids[:1], position_ids=torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]]))


def test_what_cannot_be_spliced_is_refused() -> None:
    with pytest.raises(MedReportError, match="encoder-decoder") as caught:
        Splice(make_seq2seq("t5"))
    assert "prefix-kv" in str(caught.value.hint)
    with pytest.raises(MedReportError, match="no effect"):
        Splice(make("llama"), layers=[0])
    # Their text is more than its embeddings, and would change silently.
    mvp = MvpConfig(vocab_size=20, d_model=8, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=8,
                    is_encoder_decoder=False)
    gemma = Gemma3nTextConfig(vocab_size=20, vocab_size_per_layer_input=20, hidden_size_per_layer_input=4,
                              hidden_size=8, head_dim=4, num_attention_heads=2, num_key_value_heads=1,
                              num_hidden_layers=1,
                              intermediate_size=[8], layer_types=["full_attention"], num_kv_shared_layers=0,
                              activation_sparsity_pattern=[0.0], laurel_rank=2)
    for lm in (MvpForCausalLM(mvp), Gemma3nForCausalLM(gemma)):
        with pytest.raises(MedReportError, match="more of its words"):
            Splice(lm)


def test_a_deep_copy_is_independent_and_detaching_changes_nothing() -> None:
    fusion = Splice(make("gpt2"))
    tokens = signals(fusion)
    before = rows(fusion, tokens, "left")
    other = copy.deepcopy(fusion)
    with torch.no_grad():
        other.backbone.get_input_embeddings().weight.zero_()
    assert (rows(other, tokens, "left")[0] - before[0]).abs().max() > 0.1
    fusion.detach()
    assert all(torch.equal(a, b) for a, b in zip(rows(fusion, tokens, "left"), before, strict=True))


def test_a_model_that_looks_ahead_is_refused_and_another_causal_family_is_not() -> None:
    sizes: dict[str, Any] = dict(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    with pytest.raises(MedReportError, match="'bert' looks ahead"):
        Splice(BertForMaskedLM(BertConfig(**sizes, intermediate_size=16)))
    assert Splice(OlmoForCausalLM(OlmoConfig(**sizes, intermediate_size=16))).dim == 16


def test_each_placeholder_is_replaced_by_a_token_of_its_own_tower() -> None:
    fusion = Splice(make("llama").eval())
    tokens, real = signals(fusion).repeat(1, 2, 1)[:1], torch.tensor([[True, True, True, False, True, True]])
    tokens[:, 3:] += 1.0  # the second tower's: three columns of which one is no token
    ids = torch.tensor([[S - 1, 9, S, S, S - 1, 10, S]])
    embedded = fusion._embed(tokens, real, ids, (3, 3))[0]
    for place, column in ((0, 4), (2, 0), (3, 1), (4, 5), (6, 2)):
        assert torch.equal(embedded[place], tokens[0, column])
    for wrong in ([[S, 9, S, S, S - 1, 10, S]], [[S - 1, 9, S, S, S - 2, S - 1, S]]):
        with pytest.raises(RuntimeError, match=r"row 0 has \d placeholders and \d signal tokens"):
            fusion._embed(tokens, real, torch.tensor(wrong), (3, 3))
