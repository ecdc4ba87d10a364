"""Prefix-KV fusion on tiny random models, against an oracle that knows no mask, padding or cache."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion.hooks import PinnedCheckpoint
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.models.report_model import left_pad

SIZES: dict[str, Any] = dict(
    vocab_size=40, hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=2)
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "mistral-window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5)),
    "qwen2-bias": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3-norm-wide-heads": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=10)),
}
DIM = 6
PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 21, 22, 23]]


def make(family: str, lora: bool = False) -> Any:
    """A model whose weights are large enough for a wrong prefix to show."""
    torch.manual_seed(1)
    lm = FAMILIES[family]().eval()
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.2)
                            + (1.0 if "norm" in name else 0.0))
    if lora:
        lm = get_peft_model(lm, LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False))
    return lm


def signal_tokens(tokens: int, batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, tokens, DIM, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------------------- the oracle
def _weight(module: Any) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in float64, LoRA merged by hand."""
    base = getattr(module, "base_layer", module)
    weight = base.weight.double()
    if hasattr(module, "lora_A"):
        weight = weight + module.scaling["default"] * module.lora_B["default"].weight.double() \
            @ module.lora_A["default"].weight.double()
    return weight, None if base.bias is None else base.bias.double()


def _linear(module: Any, x: Tensor) -> Tensor:
    weight, bias = _weight(module)
    return x @ weight.T if bias is None else x @ weight.T + bias


def _norm(module: Any, x: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon).sqrt() * module.weight.double()


def _rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary embedding by complex multiplication: (T, heads, d), pairs (j, j + d/2)."""
    half = x.shape[-1] // 2
    angle = torch.arange(len(x)).double()[:, None] * theta ** (-torch.arange(half).double() / half)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.cat([turned.real, turned.imag], -1)


def _attention(module: Any, x: Tensor, prefix: Tensor | None, config: Any) -> Tensor:
    d, window = module.head_dim, getattr(config, "sliding_window", None)

    def heads(projection: Any, states: Tensor, norm: str) -> Tensor:
        split = _linear(projection, states).unflatten(-1, (-1, d))
        return _norm(getattr(module, norm), split) if hasattr(module, norm) else split

    theta = config.rope_parameters["rope_theta"]
    queries = _rotate(heads(module.q_proj, x, "q_norm"), theta)
    keys, values = _rotate(heads(module.k_proj, x, "k_norm"), theta), heads(module.v_proj, x, "")
    if prefix is not None:
        prefix_keys, prefix_values = heads(module.k_proj, prefix, "k_norm"), heads(module.v_proj, prefix, "")
    out = torch.zeros(queries.shape, dtype=torch.float64)
    for t in range(len(x)):
        first = max(0, t - window + 1) if window else 0
        for h in range(queries.shape[1]):
            g = h // (queries.shape[1] // keys.shape[1])
            k, v = keys[first:t + 1, g], values[first:t + 1, g]
            if prefix is not None:
                k, v = torch.cat([prefix_keys[:, g], k]), torch.cat([prefix_values[:, g], v])
            out[t, h] = torch.softmax(k @ queries[t, h] / math.sqrt(d), 0) @ v
    return _linear(module.o_proj, out.flatten(-2))


def oracle(lm: Any, ids: list[int], tokens: Tensor | None, layers: set[int] | None = None) -> Tensor:
    """Logits (T, vocabulary) of one unpadded row in float64; tokens (N, dim) tiled over the heads."""
    base = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    config = base.config
    tiled = None if tokens is None else torch.cat([tokens.double()] * config.num_attention_heads, -1)
    x = base.model.embed_tokens.weight.double()[ids]
    for i, layer in enumerate(base.model.layers):
        prefix = tiled if layers is None or i in layers else None
        x = x + _attention(layer.self_attn, _norm(layer.input_layernorm, x), prefix, config)
        y = _norm(layer.post_attention_layernorm, x)
        x = x + _linear(layer.mlp.down_proj, torch.nn.functional.silu(_linear(layer.mlp.gate_proj, y))
                        * _linear(layer.mlp.up_proj, y))
    return _linear(base.lm_head, _norm(base.model.norm, x))


def logits_by_row(fusion: PrefixKV, tokens: Tensor | None, side: str, **inputs: Any) -> list[Tensor]:
    """Logits of the three prompts in one padded batch, padding cut off."""
    if side == "left":
        ids, mask = left_pad(PROMPTS, 0)
    else:
        ids, mask = (part.flip(1) for part in left_pad([p[::-1] for p in PROMPTS], 0))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        out = fusion.forward(tokens, input_ids=ids, attention_mask=mask, position_ids=positions, **inputs).logits
    return [row[keep.bool()] for row, keep in zip(out, mask, strict=True)]


# ----------------------------------------------------------------------------------------------------------- exactness
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_the_oracle(family: str, lora: bool, implementation: str) -> None:
    lm = make(family, lora)
    (lm.get_base_model() if lora else lm).set_attn_implementation(implementation)
    fusion = PrefixKV(lm)
    for count in (0, 1, 3):
        tokens = signal_tokens(count) if count else None
        expected = [oracle(lm, ids, None if tokens is None else tokens[i]) for i, ids in enumerate(PROMPTS)]
        for side in ("left", "right"):
            for use_cache in (False, True):
                got = logits_by_row(fusion, tokens, side, use_cache=use_cache)
                for a, b in zip(got, expected, strict=True):
                    torch.testing.assert_close(a.double(), b, atol=1e-3, rtol=0)
        if tokens is not None:
            without = [oracle(lm, ids, None) for ids in PROMPTS]
            assert all((a - b).abs().max() > 0.1 for a, b in zip(expected, without, strict=True))


def test_no_mask_given_is_plainly_causal() -> None:
    lm = make("llama")
    fusion, tokens = PrefixKV(lm), signal_tokens(2)
    with torch.no_grad():
        got = fusion.forward(tokens[:1], input_ids=torch.tensor(PROMPTS[:1])).logits[0]
    torch.testing.assert_close(got.double(), oracle(lm, PROMPTS[0], tokens[0]), atol=1e-3, rtol=0)


def test_a_subset_of_layers_is_fused_and_the_others_still_run() -> None:
    lm = make("llama")
    tokens = signal_tokens(2)
    got = logits_by_row(PrefixKV(lm, layers=[0, 2]), tokens, "left")
    for i, ids in enumerate(PROMPTS):
        torch.testing.assert_close(got[i].double(), oracle(lm, ids, tokens[i], {0, 2}), atol=1e-3, rtol=0)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_rows_without_a_signal_equal_the_plain_model(implementation: str) -> None:
    lm = make("llama")
    lm.set_attn_implementation(implementation)
    fusion, tokens = PrefixKV(lm), signal_tokens(2)
    ids, mask = left_pad(PROMPTS, 0)
    with torch.no_grad():
        out = fusion.forward(tokens, torch.tensor([True, False, True]), input_ids=ids, attention_mask=mask).logits
    for i, prompt in enumerate(PROMPTS):
        expected = oracle(lm, prompt, None if i == 1 else tokens[i])
        torch.testing.assert_close(out[i][mask[i].bool()].double(), expected, atol=1e-3, rtol=0)


def test_each_row_depends_on_its_own_signal_only() -> None:
    fusion, tokens = PrefixKV(make("llama")), signal_tokens(2)
    changed = tokens.clone()
    changed[1] = signal_tokens(2, seed=9)[1]
    before, after = logits_by_row(fusion, tokens, "left"), logits_by_row(fusion, changed, "left")
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert (before[1] - after[1]).abs().amax(-1).min() > 1e-3  # at every position, the first one included


def _interleaved_tile(self: PrefixKV, tokens: Tensor) -> Tensor:
    return tokens.repeat_interleave(self.heads, -1)


@pytest.mark.parametrize("bug", ["tile order", "keys and values swapped", "frozen base only", "no key norm"])
def test_each_deliberate_bug_shows(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make("qwen3-norm-wide-heads", lora=True)
    fusion, tokens = PrefixKV(lm), signal_tokens(2)
    expected = [oracle(lm, ids, tokens[i]) for i, ids in enumerate(PROMPTS)]
    module = "emgecg_cli.core.models.fusion.hooks.AttentionHook._keys_and_values"

    def heads(projection: Any, x: Tensor, d: int) -> Tensor:
        return projection(x).unflatten(-1, (-1, d)).transpose(1, 2)

    def wrong(self: Any, a: Any, frame: Any, text: Tensor) -> Any:
        x = frame.hidden
        if bug == "keys and values swapped":
            return tuple(reversed(self.project(a, x)))
        projections = a.k_proj, a.v_proj
        k_proj, v_proj = (p.base_layer if bug == "frozen base only" else p for p in projections)
        keys = heads(k_proj, x, a.head_dim)
        return (keys if bug == "no key norm" else a.k_norm(keys)), heads(v_proj, x, a.head_dim)

    if bug == "tile order":
        monkeypatch.setattr(PrefixKV, "tile", _interleaved_tile)
    else:
        monkeypatch.setattr(module, wrong)
    got = logits_by_row(fusion, tokens, "left")
    assert max((a.double() - b).abs().max() for a, b in zip(got, expected, strict=True)) > 0.1


# ----------------------------------------------------------------------------------------------------------- gradients
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing_even_with_two_forwards_before_one_backward(reentrant: bool) -> None:
    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        lm = make("llama", lora=True).train()
        fusion = PrefixKV(lm)
        if checkpointing:
            lm.enable_input_require_grads()
            lm.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": reentrant})
        e = [signal_tokens(2, seed=s).requires_grad_() for s in (0, 1)]
        ids, mask = left_pad(PROMPTS, 0)
        inputs = dict(input_ids=ids, attention_mask=mask, use_cache=False)
        loss = sum(fusion.forward(x, **inputs).logits.square().mean() for x in e)
        wrapped = [m for m in lm.modules()
                   if isinstance(getattr(m, "_gradient_checkpointing_func", None), PinnedCheckpoint)]
        assert len(wrapped) == (SIZES["num_hidden_layers"] + 1 if checkpointing else 0), len(wrapped)
        loss.backward()
        grads = {name: p.grad for name, p in lm.named_parameters() if p.grad is not None}
        return grads | {f"e{i}": x.grad for i, x in enumerate(e)}

    plain, checkpointed = gradients(False), gradients(True)
    assert plain.keys() == checkpointed.keys() and {"e0", "e1"} <= plain.keys()
    assert any("k_proj.lora_A" in name for name in plain)
    for name, gradient in plain.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-5)


def test_gradient_of_a_signal_token_equals_finite_differences_of_the_oracle() -> None:
    lm = make("llama")
    tokens = signal_tokens(1, batch=1).requires_grad_()
    PrefixKV(lm).forward(tokens, input_ids=torch.tensor(PROMPTS[:1])).logits.square().mean().backward()
    for j in range(DIM):
        step = torch.zeros(1, DIM, dtype=torch.float64)
        step[0, j] = 1e-5
        up, down = (oracle(lm, PROMPTS[0], tokens[0].detach().double() + s).square().mean() for s in (step, -step))
        assert tokens.grad is not None
        assert tokens.grad[0, 0, j].item() == pytest.approx(((up - down) / 2e-5).item(), rel=1e-3, abs=1e-5)


# ---------------------------------------------------------------------------------------------------------- generation
def greedy_oracle(lm: Any, ids: list[int], tokens: Tensor | None, steps: int) -> list[int]:
    new: list[int] = []
    for _ in range(steps):
        new.append(int(oracle(lm, ids + new, tokens)[-1].argmax()))
    return new


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_generation_equals_the_oracle_row_by_row(family: str) -> None:
    lm = make(family)
    fusion, tokens = PrefixKV(lm), signal_tokens(2)
    ids, mask = left_pad(PROMPTS, 0)
    settings: dict[str, Any] = dict(max_new_tokens=7, do_sample=False, eos_token_id=None, pad_token_id=0)
    for shown in (tokens, signal_tokens(2, seed=5), None):  # the memo of one call must not reach the next
        expected = [greedy_oracle(lm, prompt, None if shown is None else shown[i], 7)
                    for i, prompt in enumerate(PROMPTS)]
        for use_cache in (True, False):
            out = fusion.generate(shown, input_ids=ids, attention_mask=mask, use_cache=use_cache, **settings)
            assert out[:, ids.shape[1]:].tolist() == expected


def test_beams_equal_single_rows_and_use_the_signal_of_their_row() -> None:
    lm = make("llama")
    fusion, tokens = PrefixKV(lm), signal_tokens(2)
    ids, mask = left_pad(PROMPTS, 0)
    settings: dict[str, Any] = dict(max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
    together = fusion.generate(tokens, input_ids=ids, attention_mask=mask, num_beams=3, **settings)[:, ids.shape[1]:]
    for i, prompt in enumerate(PROMPTS):
        alone = fusion.generate(tokens[i:i + 1], input_ids=torch.tensor([prompt]), num_beams=3,
                                attention_mask=torch.ones(1, len(prompt), dtype=torch.long), **settings)
        assert alone[0, len(prompt):].tolist() == together[i].tolist()
    lm.generation_config.num_beams = 3
    again = fusion.generate(tokens, input_ids=ids, attention_mask=mask, **settings)[:, ids.shape[1]:]
    assert again.tolist() == together.tolist()


# ---------------------------------------------------------------------------------------------------------- strictness
def run(fusion: PrefixKV, tokens: Tensor | None, **inputs: Any) -> Any:
    ids, mask = left_pad(PROMPTS, 0)
    return fusion.forward(tokens, input_ids=ids, attention_mask=mask, **inputs)


def test_what_would_lose_the_prefix_silently_raises() -> None:
    lm = make("llama")
    fusion = PrefixKV(lm)
    with pytest.raises(RuntimeError, match="already attached"):
        PrefixKV(lm)
    with pytest.raises(RuntimeError, match="outside the fusion"):
        lm(input_ids=torch.tensor(PROMPTS[:1]))
    with pytest.raises(RuntimeError, match="3 rows of text, 2 of signal"):
        run(fusion, signal_tokens(1, batch=2))
    with pytest.raises(RuntimeError, match=r"need \(B, N, 6\)"):
        run(fusion, torch.zeros(3, 1, DIM + 1))
    with pytest.raises(RuntimeError, match="packed"):
        run(fusion, signal_tokens(1), position_ids=torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]] * 3))
    lm.config._attn_implementation = "flash_attention_2"
    with pytest.raises(RuntimeError, match="flash_attention_2"):
        run(fusion, signal_tokens(1))


def test_an_attention_that_drops_its_cache_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make("llama")
    fusion = PrefixKV(lm)
    attention = type(lm.model.layers[0].self_attn)
    original = attention.forward

    def forgetful(self: Any, hidden_states: Tensor, position_embeddings: Any = None, attention_mask: Any = None,
                  past_key_values: Any = None, **kwargs: Any) -> Any:
        return original(self, hidden_states, position_embeddings, None, None, **kwargs)

    monkeypatch.setattr(attention, "forward", forgetful)
    with pytest.raises(RuntimeError, match="never updated"):
        run(fusion, signal_tokens(1))


def test_an_unknown_family_and_odd_sizes_are_refused() -> None:
    with pytest.raises(MedReportError, match="gpt2"):
        PrefixKV(GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2)))
    with pytest.raises(MedReportError, match="no multiple"):
        odd = SIZES | {"num_attention_heads": 5, "num_key_value_heads": 5}
        PrefixKV(Qwen3ForCausalLM(Qwen3Config(**odd, head_dim=8)))


def test_detaching_gives_the_plain_model_back() -> None:
    lm = make("llama")
    lm.activation_checkpointing_enable()
    keys = list(lm.state_dict())
    fusion = PrefixKV(lm)
    run(fusion, signal_tokens(1))
    assert list(lm.state_dict()) == keys
    fusion.detach()
    assert not any(isinstance(getattr(m, "_gradient_checkpointing_func", None), PinnedCheckpoint) for m in lm.modules())
    with torch.no_grad():
        got = lm(input_ids=torch.tensor(PROMPTS[:1])).logits[0]
    torch.testing.assert_close(got.double(), oracle(lm, PROMPTS[0], None), atol=1e-3, rtol=0)
    PrefixKV(lm)


def test_a_deep_copy_has_its_own_fusion() -> None:
    lm = make("llama")
    fusion = PrefixKV(lm)
    twin = copy.deepcopy(fusion)
    with pytest.raises(RuntimeError, match="outside the fusion"):
        twin.backbone(input_ids=torch.tensor(PROMPTS[:1]))
    tokens = signal_tokens(1)
    for a, b in zip(logits_by_row(fusion, tokens, "left"), logits_by_row(twin, tokens, "left"), strict=True):
        assert torch.equal(a, b)
