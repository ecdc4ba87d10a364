"""Every way to get the prefix wrong that comes to mind shows against the oracle: the other tests have power."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from prefix_rows import error, fused_rows, oracle_rows, signal_tokens
from tiny_backbones import make
from torch import Tensor

from emgecg_cli.core.models.fusion import hooks, prefix_kv
from emgecg_cli.core.models.fusion.attention_families import FAMILIES, KeyValue
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

Patch = pytest.MonkeyPatch
ONE_OF_EACH_LAYOUT = ["gpt2", "gptj", "bloom", "gpt_neox", "opt", "llama", "qwen3", "phi3", "olmo2",
                      "falcon", "falcon-grouped", "gpt_oss"]


def test_without_a_bug_there_is_no_error() -> None:
    assert _error("qwen3") < 1e-4


def _error(family: str) -> float:
    lm = make(family, lora=True)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    return error(fused_rows(fusion, tokens), oracle_rows(lm, tokens))


def _change_projection(patch: Patch, change: Callable[[KeyValue], KeyValue]) -> None:
    original = hooks.AttentionHook._keys_and_values
    patch.setattr(hooks.AttentionHook, "_keys_and_values", lambda *args: change(original(*args)))


@pytest.mark.parametrize("family", ONE_OF_EACH_LAYOUT)
def test_projecting_with_the_frozen_weights_only(family: str, monkeypatch: Patch) -> None:
    original = hooks.AttentionHook._keys_and_values

    def frozen(self: Any, module: Any, frame: Any, text: Tensor) -> KeyValue:
        adapted = [m for m in module.modules() if isinstance(m, LoraLayer)]
        with pytest.MonkeyPatch.context() as patch:
            for layer in adapted:
                patch.setitem(layer.scaling, "default", 0.0)
            return original(self, module, frame, text)

    monkeypatch.setattr(hooks.AttentionHook, "_keys_and_values", frozen)
    assert _error(family) > 0.1


@pytest.mark.parametrize("family", ONE_OF_EACH_LAYOUT)
def test_keys_and_values_swapped(family: str, monkeypatch: Patch) -> None:
    _change_projection(monkeypatch, lambda pair: (pair[1], pair[0]))
    assert _error(family) > 0.1


@pytest.mark.parametrize("family", ONE_OF_EACH_LAYOUT)
def test_heads_tiled_in_the_wrong_order(family: str, monkeypatch: Patch) -> None:
    monkeypatch.setattr(PrefixKV, "tile", lambda self, tokens: tokens.repeat_interleave(self.heads, -1))
    assert _error(family) > 0.1


@pytest.mark.parametrize("family", [name for name in ONE_OF_EACH_LAYOUT if name != "bloom"])  # it has no positions
def test_the_prefix_counted_as_a_position(family: str, monkeypatch: Patch) -> None:
    original = prefix_kv.with_positions

    def shifted(base: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = original(base, inputs)
        return inputs | {"position_ids": inputs["position_ids"] + 2}

    monkeypatch.setattr(prefix_kv, "with_positions", shifted)
    assert _error(family) > 0.1


@pytest.mark.parametrize("family", ["bloom", "gpt_neox"])
def test_a_fused_projection_cut_in_blocks(family: str, monkeypatch: Patch) -> None:
    def blocks(attention: Any, hidden: Tensor) -> KeyValue:
        d = attention.head_dim if hasattr(attention, "head_dim") else attention.head_size
        _, keys, values = (part.unflatten(-1, (-1, d)).transpose(1, 2)
                           for part in attention.query_key_value(hidden).chunk(3, -1))
        return keys, values

    monkeypatch.setitem(FAMILIES, family, (FAMILIES[family][0], blocks))
    assert _error(family) > 0.1


@pytest.mark.parametrize(("family", "kind"), [
    ("qwen3", "qwen3"), ("gemma3", "gemma3_text"), ("qwen3_moe", "qwen3_moe"), ("olmo2", "olmo2"), ("phi", "phi"),
    ("stablelm", "stablelm")])
def test_no_key_norm(family: str, kind: str, monkeypatch: Patch) -> None:
    def bare(attention: Any, hidden: Tensor) -> KeyValue:
        keys, values = (projection(hidden).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
                        for projection in (attention.k_proj, attention.v_proj))
        return keys, values

    monkeypatch.setitem(FAMILIES, kind, (FAMILIES[kind][0], bare))
    assert _error(family) > 0.1


@pytest.mark.parametrize("family", ["gpt_neo", "mistral", "gemma3", "phi3", "llama", "gemma2", "gpt_oss", "cohere2"])
def test_the_prefix_hidden_by_a_window(family: str, monkeypatch: Patch) -> None:
    original = hooks.extend_mask

    def windowed(mask: Any, frame: Any, new: int, total: int) -> Tensor:
        extended = original(mask, frame, new, total)
        assert extended is not None
        extended = extended.clone()
        extended[:, :, 5:, :frame.hidden.shape[1]] = (
            False if extended.dtype == torch.bool else torch.finfo(extended.dtype).min)
        return extended

    monkeypatch.setattr(hooks, "extend_mask", windowed)
    assert _error(family) > 0.1


@pytest.mark.parametrize("family", ONE_OF_EACH_LAYOUT)
def test_the_prefix_behind_the_text(family: str, monkeypatch: Patch) -> None:
    original = hooks.PrefixedCache.update

    def behind(self: Any, keys: Tensor, *args: Any) -> KeyValue:
        both = original(self, keys, *args)
        prefix = self.prefix[0].shape[-2]
        return both[0].roll(-prefix, -2), both[1].roll(-prefix, -2)

    monkeypatch.setattr(hooks.PrefixedCache, "update", behind)
    assert _error(family) > 0.1


def test_an_alibi_that_counts_the_prefix(monkeypatch: Patch) -> None:
    pad = torch.nn.functional.pad

    class Shifted:
        @staticmethod
        def pad(tensor: Tensor, widths: Any, **settings: Any) -> Tensor:
            padded = pad(tensor, widths, **settings)
            return padded if settings or tensor.ndim != 3 else padded + pad(torch.ones_like(tensor), widths)

    monkeypatch.setattr(hooks, "F", Shifted)
    assert _error("bloom") > 0.01


def test_a_sink_that_takes_no_share_beside_the_prefix() -> None:
    lm = make("gpt_oss")
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    expected = oracle_rows(lm, tokens)
    for module in fusion.attention:
        module.sinks.data.fill_(-1e4)
    assert error(fused_rows(fusion, tokens), expected) > 0.1


def test_gpt_neo_with_its_own_buffer_unchanged(monkeypatch: Patch) -> None:
    monkeypatch.setattr(hooks.CausalBufferHook, "fit", lambda self, module, columns: None)
    assert _error("gpt_neo") > 0.1
