"""Gradients through the prefix: against finite differences of the oracle, and with activations recomputed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from oracle import oracle
from prefix_rows import PROMPTS, fused_rows, pad, signal_tokens
from tiny_backbones import FAMILIES, LAYERS, VOCABULARY, make
from torch import Tensor
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.utils.checkpoint import checkpoint

from emgecg_cli.core.models.fusion import prefix_kv
from emgecg_cli.core.models.fusion.attention_families import decoder_layers
from emgecg_cli.core.models.fusion.hooks import PinnedCheckpoint
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

KEY_VALUE = ("k_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj")
Gradients = dict[str, Tensor]
VALID = [torch.tensor(rows) for rows in ([[True, True], [True, False], [False, False]],
                                         [[False, True], [True, True], [True, True]])]


def loss_of(logits: Tensor) -> Tensor:
    """Some loss that every logit takes part in."""
    return torch.log_softmax(logits.double(), -1).square().mean()


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_finite_differences_of_the_oracle(family: str) -> None:
    lm = make(family, lora=True).double()
    lm.get_base_model().set_experts_implementation("eager")  # grouped products of experts know no float64
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim, 2, batch=1).double().requires_grad_()
    loss_of(fusion.forward(tokens, input_ids=torch.tensor(PROMPTS[2:])).logits[0]).backward()
    adapters = {name: p for name, p in lm.named_parameters() if "lora_" in name}
    for name, parameter in adapters.items():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    probed: list[Tensor] = [tokens, *(p for name, p in adapters.items()
                                      if any(part in name for part in KEY_VALUE) and f".{LAYERS - 1}." in name)]
    assert len(probed) in (3, 5)

    def probe() -> float:
        return float(loss_of(oracle(lm, PROMPTS[2], tokens[0].detach())))

    for tensor in probed:
        assert tensor.grad is not None
        # The largest entry of each, and one more that is not chosen for its size.
        for index in {int(tensor.grad.abs().argmax()), tensor.numel() // 2}:
            estimate = _slope(probe, tensor, index)
            assert float(tensor.grad.flatten()[index]) == pytest.approx(estimate, rel=1e-3, abs=2e-6)


def _slope(function: Callable[[], float], tensor: Tensor, index: int, step: float = 1e-5) -> float:
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            tensor.view(-1)[index] += sign * step
            values.append(function())
            tensor.view(-1)[index] -= sign * step
    return (values[0] - values[1]) / (2 * step)


def gradients(fusion: PrefixKV, forwards: int = 2, shown: bool = True) -> Gradients:
    """Of one backward after so many forwards, each with signal tokens and valid ones of its own."""
    lm = fusion.backbone.train()
    tokens = [signal_tokens(fusion.dim, seed=seed).requires_grad_() for seed in range(forwards)]
    total = torch.zeros((), dtype=torch.float64)
    for each, valid in zip(tokens, VALID, strict=False):
        output = fusion.forward(each if shown else None, valid if shown else None, **pad(), use_cache=False)
        total = total + loss_of(output.logits)
    total.backward()
    found = {name: p.grad for name, p in lm.named_parameters() if p.grad is not None}
    return found | {f"tokens {i}": each.grad for i, each in enumerate(tokens) if each.grad is not None}


def assert_same(got: Gradients, expected: Gradients) -> None:
    """The same parameters have a gradient, and it is the same."""
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(got[name], gradient, atol=1e-6, rtol=1e-4), name


def checkpointing(lm: Any, **settings: Any) -> Any:
    """Switch on recomputation, which for the re-entrant mode needs inputs that want gradients."""
    lm.enable_input_require_grads()
    lm.activation_checkpointing_enable(**settings)
    return lm


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
@pytest.mark.parametrize("family", FAMILIES)
def test_recomputing_changes_no_gradient(family: str, reentrant: bool) -> None:
    for forwards in (1, 2):
        expected = gradients(PrefixKV(make(family, lora=True)), forwards)
        assert f"tokens {forwards - 1}" in expected and any("lora_A" in name for name in expected)
        lm = checkpointing(make(family, lora=True), activation_checkpointing_kwargs={"use_reentrant": reentrant})
        fusion = PrefixKV(lm)
        got = gradients(fusion, forwards)
        assert sum(isinstance(getattr(m, "_gradient_checkpointing_func", None), PinnedCheckpoint)
                   for m in lm.modules()) >= LAYERS
        assert_same(got, expected)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_recomputation_switched_on_after_attaching_and_again(reentrant: bool) -> None:
    expected = gradients(PrefixKV(make("llama", lora=True)))
    lm = make("llama", lora=True)
    fusion = PrefixKV(lm)
    kind = {"use_reentrant": reentrant}
    for _ in range(2):
        checkpointing(lm, activation_checkpointing_kwargs=kind)
        assert_same(gradients(fusion), expected)
        lm.zero_grad()
    checkpointing(lm, activation_checkpointing_kwargs=kind, every_n_layers=2)
    assert [layer.gradient_checkpointing for layer in decoder_layers(fusion.base)] == [True, False]
    assert_same(gradients(fusion), expected)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_recomputing_in_another_thread_as_accelerators_do(reentrant: bool) -> None:
    def run(lm: Any, in_thread: bool) -> Tensor:
        fusion = PrefixKV(lm.train())
        tokens = signal_tokens(fusion.dim).requires_grad_()
        backward = loss_of(fusion.forward(tokens, **pad(), use_cache=False).logits).backward
        with ThreadPoolExecutor(1) as pool:
            pool.submit(backward).result() if in_thread else backward()
        assert tokens.grad is not None
        return tokens.grad

    lm = checkpointing(make("llama", lora=True), activation_checkpointing_kwargs={"use_reentrant": reentrant})
    torch.testing.assert_close(run(lm, True), run(make("llama", lora=True), False), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_recomputing_without_a_signal(reentrant: bool) -> None:
    expected = gradients(PrefixKV(make("gpt_neo", lora=True)), shown=False)
    lm = checkpointing(make("gpt_neo", lora=True), activation_checkpointing_kwargs={"use_reentrant": reentrant})
    assert_same(gradients(PrefixKV(lm), shown=False), expected)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_a_signal_and_none_before_one_backward(reentrant: bool) -> None:
    # The recomputation of the one must not see the frame of the other, nor GPT-Neo's buffer of the other.
    def both(lm: Any) -> Gradients:
        fusion = PrefixKV(lm.train())
        tokens = [signal_tokens(fusion.dim, count).requires_grad_() for count in (1, 3)]
        shown = [tokens[0], None, tokens[1]]
        losses = [loss_of(fusion.forward(each, **pad(), use_cache=False).logits) for each in shown]
        torch.stack(losses).sum().backward()
        found = {name: p.grad for name, p in lm.named_parameters() if p.grad is not None}
        return found | {f"tokens {i}": each.grad for i, each in enumerate(tokens) if each.grad is not None}

    for family in ("gpt_neo", "llama"):
        lm = checkpointing(make(family, lora=True), activation_checkpointing_kwargs={"use_reentrant": reentrant})
        assert_same(both(lm), both(make(family, lora=True)))


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_without_the_pin_the_recomputation_raises(reentrant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unpinned:
        def __init__(self, holder: Any, function: Any) -> None:
            self.function = function

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.function(*args, **kwargs)

    monkeypatch.setattr(prefix_kv, "PinnedCheckpoint", Unpinned)
    lm = checkpointing(make("llama", lora=True), activation_checkpointing_kwargs={"use_reentrant": reentrant})
    with pytest.raises(RuntimeError, match="outside the fusion"):
        gradients(PrefixKV(lm))


def _wrap(lm: Any, function: Any) -> None:
    blocks = decoder_layers(lm.get_base_model())
    apply_activation_checkpointing(lm, partial(checkpoint_wrapper, checkpoint_fn=function),
                                   check_fn=lambda module: any(module is block for block in blocks))


def test_torch_s_own_checkpoint_wrapper_needs_the_pin() -> None:
    expected = gradients(PrefixKV(make("llama", lora=True)))
    plain = partial(checkpoint, use_reentrant=False)
    lm = make("llama", lora=True)
    fusion = PrefixKV(lm)
    _wrap(lm, plain)
    with pytest.raises(RuntimeError, match="outside the fusion"):
        gradients(fusion)
    lm = make("llama", lora=True)
    fusion = PrefixKV(lm)
    _wrap(lm, PinnedCheckpoint(fusion, plain))
    got = gradients(fusion)
    assert_same({name.replace("._checkpoint_wrapped_module", ""): g for name, g in got.items()}, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_the_error_is_that_of_the_model(family: str) -> None:
    # GPT-Neo's scores are not scaled, so that with the enlarged weights bfloat16 is coarse; hence means, and a factor.
    lm = make(family, lora=True)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    def errors(other: PrefixKV, cast: torch.dtype = torch.float32, **autocast: Any) -> list[float]:
        found = []
        for shown in (None, tokens):
            exact = fused_rows(fusion, shown)
            with torch.autocast("cpu", torch.bfloat16, **autocast):
                rough = fused_rows(other, None if shown is None else shown.to(cast))
            found.append(sum(float((a.float() - b).abs().mean()) for a, b in zip(rough, exact, strict=True)))
        return found

    plain, fused = errors(fusion)
    assert 0 < fused < 4 * plain + 0.05
    half = copy.deepcopy(fusion)
    half.backbone.to(torch.bfloat16)
    original = prefix_kv.AttentionHook._keys_and_values

    def record(self: Any, module: Any, frame: Any, text: Tensor) -> Any:
        found = original(self, module, frame, text)
        seen.append((found[0].dtype, text.dtype))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_kv.AttentionHook, "_keys_and_values", record)
        plain, fused = errors(half, enabled=False)
    assert 0 < fused < 4 * plain + 0.05
    assert {dtype for pair in seen[-LAYERS:] for dtype in pair} == {torch.bfloat16}


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_the_loss_is_over_the_text_alone(family: str) -> None:
    lm = make(family)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim, 3)
    batch = pad("right")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    output = fusion.forward(tokens, **batch, labels=labels)
    assert output.logits.shape == (*labels.shape, VOCABULARY)
    expected = [F.cross_entropy(oracle(lm, ids, tokens[i])[:-1], torch.tensor(ids[1:]), reduction="sum")
                for i, ids in enumerate(PROMPTS)]
    mean = float(sum(expected)) / sum(len(ids) - 1 for ids in PROMPTS)
    assert float(output.loss.detach()) == pytest.approx(mean, abs=1e-4)
    last = fusion.forward(tokens, **pad(), logits_to_keep=2).logits
    torch.testing.assert_close(last, fusion.forward(tokens, **pad()).logits[:, -2:])
