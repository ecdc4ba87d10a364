"""Cross-attention fusion on tiny random models of every family, against a recomputation in float64."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import oracle
import pytest
import torch
from oracle_stones import layer_norm
from peft import LoraConfig, get_peft_model
from tiny_backbones import FAMILIES, make
from tiny_seq2seq import make_seq2seq
from torch import Tensor, nn
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion.backbone_call import with_positions
from emgecg_cli.core.models.fusion.cross_attention import CrossAttention
from emgecg_cli.core.models.report_model import pad_prompts

WIDTH = 24
PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 21, 22, 23]]
REAL = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
GREEDY: dict[str, Any] = dict(max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)


def attach(lm: Any, layers: list[int] | None = None) -> CrossAttention:
    """A fusion with open gates and weights large enough for a wrong signal to show."""
    torch.manual_seed(2)
    fusion = CrossAttention(lm, layers)
    with torch.no_grad():
        for name, parameter in fusion.named_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
            if "gate" in name:
                parameter.fill_(0.9 if "attention" in name else -0.6)
    return fusion


def signals(seed: int = 0, rows: int = 3) -> Tensor:
    return torch.randn(rows, 3, WIDTH, generator=torch.Generator().manual_seed(seed)) * 2


def batch(side: str = "left") -> dict[str, Any]:
    ids, mask = pad_prompts(PROMPTS, 0, side)
    return dict(input_ids=ids, attention_mask=mask)


def rows(fusion: CrossAttention, tokens: Tensor | None, real: Tensor | None = REAL, side: str = "left",
         **inputs: Any) -> list[Tensor]:
    """Logits of the three prompts in one padded batch, padding cut off."""
    given = batch(side)
    with torch.no_grad():
        out = fusion.forward(tokens, real, **given, **inputs).logits
    return [row[keep.bool()] for row, keep in zip(out, given["attention_mask"], strict=True)]


# ---------------------------------------------------------------------------------------------------------- the oracle
def gated_block(block: Any, x: Tensor, signal: Tensor, heads: int) -> Tensor:
    """Flamingo's gated cross-attention dense block in float64: x (T, D), signal (N, D), query by query."""
    def gate(parameter: Tensor) -> Tensor:
        return torch.tanh(parameter.double())

    def project(linear: Any, states: Tensor) -> Tensor:
        return (states @ linear.weight.double().T).unflatten(-1, (heads, -1))

    seen = layer_norm(block.norm_signal, signal)
    keys, values = project(block.keys, seen), project(block.values, seen)
    queries = project(block.queries, layer_norm(block.norm, x))
    answers = torch.zeros_like(queries)
    for t in range(len(x)):
        for h in range(heads):
            weights = torch.softmax(keys[:, h] @ queries[t, h] / math.sqrt(queries.shape[-1]), 0)
            answers[t, h] = weights @ values[:, h]
    x = x + gate(block.gate_attention) * (answers.flatten(1) @ block.out.weight.double().T)
    y = layer_norm(block.norm_feed, x) @ block.feed[0].weight.double().T
    y = 0.5 * y * (1 + torch.erf(y / math.sqrt(2)))
    return x + gate(block.gate_feed) * (y @ block.feed[2].weight.double().T)


def by_definition(fusion: CrossAttention, ids: list[int], tokens: Tensor) -> Tensor:
    """Logits (T, vocabulary) of one unpadded row; tokens (n, D), none for text alone."""
    base, config = fusion.base, fusion.base.config
    with torch.no_grad():
        x, layers = oracle._embed(base, ids)
        for i, layer in enumerate(layers):
            if str(i) in fusion.blocks and len(tokens):
                x = gated_block(fusion.blocks[str(i)], x, tokens.double(), config.num_attention_heads)
            x = oracle._BLOCKS[config.model_type](layer, x, config, i, None)
        logits = oracle._head(base, x)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


# ----------------------------------------------------------------------------------------------------------- exactness
@pytest.mark.parametrize("family", FAMILIES)
def test_an_untrained_fusion_is_its_backbone_to_the_bit(family: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        lm = make(family).to(dtype)
        inputs = with_positions(lm, batch())
        with torch.no_grad():
            plain = lm(**inputs).logits
            fused = CrossAttention(lm).forward(signals(), REAL, **inputs).logits
        assert torch.equal(plain, fused)


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_the_definition(family: str, lora: bool) -> None:
    fusion, tokens = attach(make(family, lora)), signals()
    expected = [by_definition(fusion, ids, tokens[i][REAL[i]]) for i, ids in enumerate(PROMPTS)]
    for side, use_cache in (("left", False), ("right", True)):
        for got, wanted in zip(rows(fusion, tokens, side=side, use_cache=use_cache), expected, strict=True):
            torch.testing.assert_close(got.double(), wanted, atol=1e-3, rtol=0)
    without = [by_definition(fusion, ids, tokens[i][:0]) for i, ids in enumerate(PROMPTS)]
    assert all((a - b).abs().max() > 0.1 for a, b in zip(expected[:2], without[:2], strict=True))


def test_a_subset_of_layers_has_blocks_and_the_others_still_run() -> None:
    fusion, tokens = attach(make("llama"), [1]), signals()
    assert list(fusion.blocks) == ["1"]
    for i, got in enumerate(rows(fusion, tokens)):
        expected = by_definition(fusion, PROMPTS[i], tokens[i][REAL[i]])
        torch.testing.assert_close(got.double(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_without_a_signal_equal_the_plain_model_to_the_bit(family: str) -> None:
    fusion = attach(make(family))
    plain, experts = rows(fusion, None), hasattr(fusion.base.config, "num_experts_per_tok")
    same = partial(torch.allclose, atol=1e-5) if experts else torch.equal  # experts take all rows' tokens at once
    for real in (REAL, REAL.any(1)):
        got = rows(fusion, signals(), real)
        assert same(got[2], plain[2]) and not torch.equal(got[0], plain[0])
    fusion.detach()
    inputs = with_positions(fusion.base, batch())
    with torch.no_grad():
        logits = fusion.backbone(**inputs).logits
    assert all(torch.equal(a[m.bool()], b) for a, b, m in zip(logits, plain, inputs["attention_mask"], strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_depends_on_its_own_signal_only(family: str) -> None:
    fusion, tokens = attach(make(family)), signals()
    changed = tokens.clone()
    changed[1] = signals(seed=9)[1]
    before, after = rows(fusion, tokens), rows(fusion, changed)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert (before[1] - after[1]).abs().amax(-1).min() > 1e-3  # at every position, the first one included
    changed = tokens.clone()
    changed[1, 1] = math.nan  # not a real token
    assert all(torch.equal(a, b) for a, b in zip(before, rows(fusion, changed), strict=True))


def test_it_runs_in_half_precision_and_under_autocast() -> None:
    fusion, tokens = attach(make("llama")), signals()
    exact = torch.cat(rows(fusion, tokens))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = torch.cat(rows(fusion, tokens))
    fusion.backbone.to(torch.bfloat16)
    half = torch.cat(rows(fusion, tokens))  # blocks in float32 on a backbone in bf16
    fusion.to(torch.bfloat16)
    both = torch.cat(rows(fusion, tokens))
    assert half.dtype == both.dtype == torch.bfloat16
    for got in (mixed, half, both):
        assert (got.float() - exact).abs().mean() < 0.15 * exact.abs().mean()


# ----------------------------------------------------------------------------------------------------------- gradients
def gradients(family: str, tuning: str, checkpointing: dict[str, Any] | None) -> dict[str, Tensor]:
    lm = make(family, lora=tuning == "lora").train()
    fusion = attach(lm)
    if tuning == "frozen":
        lm.requires_grad_(False)
    given = [signals(seed).requires_grad_() for seed in (0, 1)]
    if checkpointing is not None:
        lm.activation_checkpointing_enable(activation_checkpointing_kwargs=checkpointing)
    runs: list[int] = []
    for block in fusion.blocks.values():
        block.register_forward_hook(lambda *_: runs.append(1))
    mask = batch()["attention_mask"].bool()
    sum(fusion.forward(x, REAL, **batch(), use_cache=False).logits[mask].square().mean() for x in given).backward()
    assert len(runs) == 2 * len(fusion.blocks)  # the recomputation does not run the blocks again
    named = [*lm.named_parameters(), *fusion.named_parameters(), *((f"signal {i}", x) for i, x in enumerate(given))]
    return {name: p.grad for name, p in named if p.grad is not None}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("tuning", ["full", "lora", "frozen"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma3", "opt"])
def test_checkpointing_changes_no_gradient_even_with_two_forwards_before_one_backward(
        family: str, tuning: str, reentrant: bool) -> None:
    plain = gradients(family, tuning, None)
    checkpointed = gradients(family, tuning, {"use_reentrant": reentrant})
    assert plain.keys() == checkpointed.keys()
    assert {"signal 0", "signal 1", "blocks.0.gate_attention", "blocks.1.feed.2.weight"} <= plain.keys()
    for name, gradient in plain.items():
        assert torch.isfinite(gradient).all(), name
        torch.testing.assert_close(checkpointed[name], gradient, atol=2e-5, rtol=1e-4)


def test_gradient_of_a_signal_token_equals_finite_differences_of_the_definition() -> None:
    fusion, tokens = attach(make("llama")), signals(rows=1).requires_grad_()
    fusion.forward(tokens, input_ids=torch.tensor(PROMPTS[:1])).logits.square().mean().backward()
    assert tokens.grad is not None
    for j in range(0, WIDTH, 5):
        step = torch.zeros(3, WIDTH, dtype=torch.float64)
        step[1, j] = 1e-5
        up, down = (by_definition(fusion, PROMPTS[0], tokens[0].detach().double() + s).square().mean()
                    for s in (step, -step))
        assert tokens.grad[0, 1, j].item() == pytest.approx(((up - down) / 2e-5).item(), rel=2e-3, abs=1e-4)


def test_shut_gates_open_and_rows_without_a_signal_give_no_nan() -> None:
    fusion, tokens = CrossAttention(make("llama")), signals().requires_grad_()
    inputs = dict(input_ids=torch.tensor([PROMPTS[1]] * 3))
    fusion.forward(tokens, REAL, **inputs).logits.square().mean().backward()
    gates = [p.grad for name, p in fusion.named_parameters() if "gate" in name]
    assert all(grad is not None and grad.abs() > 0 for grad in gates)
    alone = signals().requires_grad_()
    fusion.forward(alone, torch.zeros(3, dtype=torch.bool), **inputs).logits.square().mean().backward()
    assert alone.grad is not None and torch.equal(alone.grad, torch.zeros_like(alone))  # in the graph, with no effect


def test_a_kernel_that_divides_nothing_by_nothing_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def naive(queries: Tensor, keys: Tensor, values: Tensor, attn_mask: Tensor) -> Tensor:
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
        return scores.masked_fill(~attn_mask, -math.inf).softmax(-1) @ values  # NaN where all is masked

    fusion, tokens = attach(make("llama")), signals().requires_grad_()
    expected = rows(fusion, tokens)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", naive)
    fusion.base.set_attn_implementation("eager")
    for got, wanted in zip(rows(fusion, tokens), expected, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-3, rtol=0)
    fusion.forward(tokens, REAL, **batch()).logits.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in (tokens, *fusion.parameters()) if p.grad is not None)


# ---------------------------------------------------------------------------------------------------------- generation
def stepwise(fusion: CrossAttention, ids: list[int], tokens: Tensor, steps: int) -> list[int]:
    new: list[int] = []
    for _ in range(steps):
        new.append(int(by_definition(fusion, ids + new, tokens)[-1].argmax()))
    return new


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_generation_equals_the_definition_row_by_row(family: str) -> None:
    fusion = attach(make(family))
    seen = []
    for tokens in (signals(), signals(seed=5)):  # what one call keeps must not reach the next
        expected = [stepwise(fusion, prompt, tokens[i][REAL[i]], 5) for i, prompt in enumerate(PROMPTS)]
        for use_cache in (True, False):
            assert fusion.generate(tokens, REAL, **batch(), **GREEDY, use_cache=use_cache).tolist() == expected
        seen.append(expected)
    assert seen[0][:2] != seen[1][:2] and seen[0][2] == seen[1][2]


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_equal_single_rows_and_use_the_signal_of_their_row(family: str) -> None:
    fusion, tokens = attach(make(family)), signals()
    settings = GREEDY | dict(num_beams=3, num_return_sequences=2)
    together = fusion.generate(tokens, REAL, **batch(), **settings)
    assert together.shape == (6, 5)
    assert torch.equal(together, fusion.generate(tokens, REAL, **batch(), **settings, use_cache=False))
    for i, prompt in enumerate(PROMPTS):
        alone = fusion.generate(tokens[i:i + 1], REAL[i:i + 1], input_ids=torch.tensor([prompt]), **settings)
        assert torch.equal(alone, together[2 * i:2 * i + 2])


def test_a_generation_reads_the_signal_once_and_beams_may_come_from_the_config() -> None:
    lm = make("llama", lora=True)
    fusion, calls = attach(lm), []
    fusion.blocks["0"].keys.register_forward_hook(lambda *_: calls.append(1))
    fusion.generate(signals(), REAL, **batch(), **GREEDY)
    assert len(calls) == 1
    lm.generation_config.num_beams = 3
    assert torch.equal(fusion.generate(signals(), REAL, **batch(), **GREEDY),
                       fusion.generate(signals(), REAL, **batch(), **GREEDY, num_beams=3))
    own = GenerationConfig(max_new_tokens=5, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert fusion.generate(signals(), REAL, **batch(), generation_config=own).shape == (3, 5)
    torch.manual_seed(0)
    sampled = fusion.generate(signals(), REAL, **batch(), return_dict_in_generate=True,
                              **GREEDY | dict(num_beams=1, do_sample=True, num_return_sequences=4))
    assert sampled.shape == (12, 5) and len({tuple(row) for row in sampled.tolist()}) > 3


# ------------------------------------------------------------------------------------------------------------ attaching
def test_large_backbones_get_a_block_before_every_fourth_layer() -> None:
    def chosen(depth: int) -> list[str]:
        return list(CrossAttention(GPT2LMHeadModel(GPT2Config(
            n_layer=depth, n_embd=8, n_head=2, vocab_size=10, n_positions=8, bos_token_id=1, eos_token_id=1))).blocks)

    assert chosen(8) == [str(i) for i in range(8)]
    assert chosen(12) == ["3", "7", "11"]


@pytest.mark.parametrize("tune_first", [False, True])
def test_the_backbones_state_is_its_own_and_tuning_before_or_after_is_the_same(tune_first: bool) -> None:
    def tune(lm: Any) -> Any:
        torch.manual_seed(4)
        return get_peft_model(lm, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))

    lm = make("llama")
    names = set(lm.state_dict())
    if tune_first:
        lm = tune(lm)
        fusion = attach(lm)
    else:
        fusion = attach(lm)
        assert set(lm.state_dict()) == names
        fusion.__dict__["backbone"] = lm = tune(lm)
    assert {name.split(".")[0] for name in fusion.state_dict()} == {"blocks"}
    assert not {id(p) for p in fusion.parameters()} & {id(p) for p in lm.parameters()}
    assert not any("blocks" in name for name in lm.state_dict())
    expected = by_definition(fusion, PROMPTS[0], signals()[0])
    torch.testing.assert_close(rows(fusion, signals())[0].double(), expected, atol=1e-3, rtol=0)


def test_new_weights_come_from_the_global_generator() -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in CrossAttention(make_after(seed)).parameters()])

    def make_after(seed: int) -> Any:
        lm = make("llama")
        torch.manual_seed(seed)
        return lm

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


class Whole(nn.Module):
    """As the report model holds them: the fusion beside its backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = make("llama")
        self.fusion = attach(self.backbone)


def test_a_deep_copy_has_a_fusion_of_its_own() -> None:
    one = Whole()
    other = copy.deepcopy(one)
    assert other.fusion.backbone is other.backbone is not one.backbone
    before = rows(one.fusion, signals())
    with torch.no_grad():
        for parameter in other.fusion.parameters():
            parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(rows(one.fusion, signals()), before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(rows(other.fusion, signals()), rows(one.fusion, None), strict=True))


def test_a_graph_compiled_before_attaching_is_forgotten() -> None:
    lm = make("llama")
    ids = torch.tensor(PROMPTS[:1])
    compiled = torch.compile(lm, backend="eager")
    with torch.no_grad():
        plain = compiled(input_ids=ids, use_cache=False).logits
        fusion = attach(lm)
        expected = fusion.forward(signals()[:1], input_ids=ids, use_cache=False).logits
        fusion.__dict__["backbone"] = compiled
        got = fusion.forward(signals()[:1], input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    assert (got - plain).abs().max() > 0.1


def test_misuse_raises() -> None:
    lm = make("llama")
    ids = torch.tensor(PROMPTS[:1])
    fusion = attach(lm)
    with pytest.raises(RuntimeError, match="outside"):
        lm(input_ids=ids)
    fusion.forward(None, input_ids=ids)
    with pytest.raises(RuntimeError, match="outside"):
        lm.generate(input_ids=ids, **GREEDY)
    with pytest.raises(RuntimeError, match="already attached"):
        CrossAttention(lm)
    with pytest.raises(RuntimeError, match="1 rows of text, 3 of signal"):
        fusion.forward(signals(), input_ids=ids)
    with pytest.raises(RuntimeError, match="need"):
        fusion.forward(signals()[:1, :, :6], input_ids=ids)
    with pytest.raises(RuntimeError, match="valid is"):
        fusion.forward(signals(), torch.ones(3, 5, dtype=torch.bool), **batch())
    with pytest.raises(RuntimeError, match="packed"):
        fusion.forward(signals()[:1], input_ids=ids, position_ids=torch.arange(9)[None] % 5)
    fusion.detach()
    lm(input_ids=ids)
    with pytest.raises(RuntimeError, match="without its hooks"):
        fusion.forward(signals()[:1], input_ids=ids)
    for layers in ([], [2], [-1]):
        with pytest.raises(MedReportError, match="has layers 0 to 1"):
            CrossAttention(lm, layers)
    assert list(CrossAttention(lm, [1, 0, 1]).blocks) == ["0", "1"]
    with pytest.raises(MedReportError, match="encoder-decoder"):
        CrossAttention(make_seq2seq("bart"))
