"""Prefix-KV fusion beside what else is done to a model: compiling, peft, saving, copying, moving, taking it off."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from oracle import oracle
from peft import LoraConfig, PeftModel, get_peft_model
from prefix_rows import PROMPTS, error, fused_rows, oracle_rows, pad, signal_tokens
from tiny_backbones import FAMILIES, make
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from transformers import AutoModelForCausalLM

from emgecg_cli.core.models.fusion.attention_families import attention_modules, decoder_layers
from emgecg_cli.core.models.fusion.hooks import PinnedCheckpoint
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV

TOLERANCE = 1e-3


# ----------------------------------------------------------------------------------------------------------- compiling
@pytest.mark.parametrize("family", ["llama", pytest.param("gpt_neo", marks=pytest.mark.long),
                                    pytest.param("bloom", marks=pytest.mark.long)])
def test_one_compiled_graph_gives_the_same_logits_and_gradients_for_every_signal(family: str) -> None:
    def run(function: Any, tokens: Tensor) -> tuple[Tensor, Tensor]:
        shown = tokens.clone().requires_grad_()
        logits = function(shown, **pad(), use_cache=False).logits
        logits.square().mean().backward()
        assert shown.grad is not None
        return logits.detach(), shown.grad

    fusion, counter = PrefixKV(make(family, lora=True)), CompileCounter()
    compiled = torch.compile(fusion.forward, backend=counter, fullgraph=True)
    graphs = []
    for seed in range(3):
        tokens = signal_tokens(fusion.dim, seed=seed)
        got = run(compiled, tokens)
        assert error([got[0][2, 3:]], [oracle(fusion.backbone, PROMPTS[2], tokens[2])]) < TOLERANCE
        for a, b in zip(got, run(fusion.forward, tokens), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        graphs.append(counter.frame_count)
    # GPT-Neo's buffer grows in the first call, which costs one graph more.
    assert graphs == ([1, 2, 2] if family == "gpt_neo" else [1, 1, 1])


def test_attaching_and_detaching_reach_a_backbone_that_was_compiled_before() -> None:
    lm = make("llama")
    lm.compile(backend="eager")
    ids = torch.tensor(PROMPTS[:1])
    with torch.no_grad():
        plain = lm(input_ids=ids).logits
        fusion = PrefixKV(lm)
        tokens = signal_tokens(fusion.dim, batch=1)
        fused = fusion.forward(tokens, input_ids=ids).logits
        assert error([fused], [oracle(lm, PROMPTS[0], tokens[0])]) < TOLERANCE
        fusion.detach()
        assert error([lm(input_ids=ids).logits], [plain]) < 1e-5
    assert error([fused], [plain]) > 0.1


# ---------------------------------------------------------------------------------------------------------------- peft
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neo"])
def test_adapters_put_on_after_attaching_give_the_same(family: str) -> None:
    before = make(family, lora=True)
    tokens = signal_tokens(6)
    expected = fused_rows(PrefixKV(before), tokens)
    base = make(family)
    fusion = PrefixKV(base)
    torch.manual_seed(0)
    after = get_peft_model(base, LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False))
    after.load_state_dict(before.state_dict())
    assert error(fused_rows(fusion, tokens), expected) == 0


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "phi3"])
def test_switching_the_adapters_off_reaches_the_prefix(family: str) -> None:
    lm = make(family, lora=True)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    with lm.disable_adapter():
        got = fused_rows(fusion, tokens)
    assert error(got, oracle_rows(make(family), tokens)) < TOLERANCE
    assert error(fused_rows(fusion, tokens), got) > 0.1


# ---------------------------------------------------------------------------------------------------- saved and loaded
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neo"])
def test_logits_survive_saving_the_adapters_or_the_whole_model(family: str, tmp_path: Path) -> None:
    lm = make(family, lora=True)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    expected = fused_rows(fusion, tokens)
    lm.save_pretrained(tmp_path / "adapters")
    loaded = PeftModel.from_pretrained(make(family), tmp_path / "adapters", local_files_only=True).eval()
    assert error(fused_rows(PrefixKV(loaded), tokens), expected) == 0
    fusion.detach()
    merged = lm.merge_and_unload()
    assert error(fused_rows(PrefixKV(merged), tokens), expected) < TOLERANCE
    merged.save_pretrained(tmp_path / "whole")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", trust_remote_code=False).eval()
    with torch.no_grad():  # nothing of the fusion is in the files
        assert error([whole(input_ids=torch.tensor(PROMPTS[:1])).logits[0]], [oracle(whole, PROMPTS[0])]) < TOLERANCE
    assert error(fused_rows(PrefixKV(whole), tokens), expected) < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_detaching_gives_the_plain_model_back(family: str) -> None:
    lm = make(family)
    lm.activation_checkpointing_enable()
    state, buffers = list(lm.state_dict()), dict(lm.named_buffers())
    hooks = [(len(m._forward_pre_hooks), len(m._forward_hooks)) for m in lm.modules()]
    with torch.no_grad():
        plain = lm(input_ids=torch.tensor(PROMPTS[:1])).logits
    fusion = PrefixKV(lm)
    fused_rows(fusion, signal_tokens(fusion.dim))
    assert list(lm.state_dict()) == state
    fusion.detach()
    assert not any(isinstance(getattr(m, "_gradient_checkpointing_func", None), PinnedCheckpoint) for m in lm.modules())
    assert hooks == [(len(m._forward_pre_hooks), len(m._forward_hooks)) for m in lm.modules()]
    assert buffers.keys() == dict(lm.named_buffers()).keys()
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in lm.named_buffers())
    with torch.no_grad():
        assert torch.equal(lm(input_ids=torch.tensor(PROMPTS[:1])).logits, plain)
    again = PrefixKV(lm)
    tokens = signal_tokens(again.dim, 1)
    assert error(fused_rows(again, tokens), oracle_rows(lm, tokens)) < TOLERANCE


# --------------------------------------------------------------------------------------------------- copied and moved
@pytest.mark.parametrize("family", ["llama", "gpt_neo"])
def test_a_deep_copy_has_its_own_fusion(family: str) -> None:
    fusion = PrefixKV(make(family))
    tokens, other = signal_tokens(fusion.dim), signal_tokens(fusion.dim, 3, seed=7)
    expected = fused_rows(fusion, tokens)
    twin = copy.deepcopy(fusion)
    assert twin.base is twin.backbone and twin.base is not fusion.base
    with pytest.raises(RuntimeError, match="outside the fusion"), fusion._use(fusion._frame(tokens, None)):
        twin.backbone(**pad())
    assert error(fused_rows(twin, tokens), expected) == 0
    fused_rows(fusion, other)
    with torch.no_grad():
        next(twin.base.parameters()).mul_(1.5)
    assert error(fused_rows(fusion, tokens), expected) == 0 < error(fused_rows(twin, tokens), expected)
    fusion.detach()
    assert error(fused_rows(twin, tokens), oracle_rows(twin.base, tokens)) < TOLERANCE


def test_prefixes_of_every_length_in_turn_and_none() -> None:
    lm = make("gpt_neo")  # whose buffer follows
    fusion = PrefixKV(lm)
    for count in (1, 3, 2, 0, 5, 0, 1):
        tokens = signal_tokens(fusion.dim, count) if count else None
        assert error(fused_rows(fusion, tokens), oracle_rows(lm, tokens)) < TOLERANCE


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neo", "gpt_neox"])
def test_weights_kept_elsewhere_until_they_are_used(family: str) -> None:
    fusion = PrefixKV(make(family))
    tokens = signal_tokens(fusion.dim)
    expected = fused_rows(fusion, tokens)
    cpu_offload(fusion.backbone, execution_device=torch.device("cpu"))
    assert next(fusion.backbone.parameters()).device.type == "meta"
    assert error(fused_rows(fusion, tokens), expected) == 0


def test_attention_is_found_under_a_class_that_sharding_made() -> None:
    lm = make("gpt_neo")
    for _, module in attention_modules(lm):
        module.__class__ = type("FSDP" + type(module).__name__, (type(module),), {})
    assert [name for name, _ in attention_modules(lm)] == ["transformer.h.0.attn.attention",
                                                          "transformer.h.1.attn.attention"]
    assert decoder_layers(lm) == list(lm.transformer.h)
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim)
    assert error(fused_rows(fusion, tokens), oracle_rows(lm, tokens)) < TOLERANCE
