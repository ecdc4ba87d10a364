"""What would lose the prefix silently raises instead, and an upgrade that moves the ground is named."""

from __future__ import annotations

import importlib
import inspect
from threading import Barrier, Thread
from typing import Any

import pytest
import torch
import transformers
from prefix_rows import PROMPTS, fused_rows, pad, signal_tokens
from tiny_backbones import GROUPED, make
from torch import Tensor, nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    StaticCache,
)

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion.attention_families import FAMILIES, attention_modules, decoder_layers
from emgecg_cli.core.models.fusion.cross_attention import CrossAttention
from emgecg_cli.core.models.fusion.hooks import CACHE_ARGUMENTS, AttentionHook, Frame
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV, prefix_kv


@pytest.mark.parametrize("family", ["llama", "gpt_neo", "bloom", "opt"])
def test_a_forward_without_the_fusion_raises_before_and_after_one_with_it(family: str) -> None:
    lm = make(family)
    fusion = PrefixKV(lm)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="outside the fusion"):
            lm(input_ids=torch.tensor(PROMPTS[:1]))
        fused_rows(fusion, signal_tokens(fusion.dim))


def test_signal_tokens_must_fit_the_text_and_the_model() -> None:
    fusion = PrefixKV(make("llama"))
    with pytest.raises(RuntimeError, match="3 rows of text, 2 of signal"):
        fused_rows(fusion, signal_tokens(fusion.dim, batch=2))
    for shape in ((3, 1, fusion.dim + 1), (3, fusion.dim), (3, 0, fusion.dim)):
        with pytest.raises(RuntimeError, match=r"need \(B, N, 6\)"):
            fused_rows(fusion, torch.zeros(shape))
    for valid in (torch.ones(2, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)):
        with pytest.raises(RuntimeError, match="valid is"):
            fused_rows(fusion, signal_tokens(fusion.dim, 2), valid=valid)


def test_attaching_twice_is_refused() -> None:
    lm = make("llama")
    PrefixKV(lm, layers=[1])
    with pytest.raises(RuntimeError, match="already attached"):
        PrefixKV(lm, layers=[0])


def test_layers_that_are_not_there_are_refused() -> None:
    for layers, message in (([0, 2], "no layer 2; the backbone has layers 0 to 1"), ([-1], "no layer -1"),
                            ([], "no layers are named")):
        with pytest.raises(MedReportError, match=message):
            PrefixKV(make("llama"), layers=layers)


def test_an_unknown_family_odd_sizes_and_a_wrong_number_of_layers_are_refused() -> None:
    mamba = MambaForCausalLM(MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, state_size=2))
    for refused in (PrefixKV, attention_modules, decoder_layers):
        with pytest.raises(MedReportError, match="mamba") as caught:
            refused(mamba)
        assert "no fusion takes it: choose another backbone; known are gpt2, gpt_neo" in (caught.value.hint or "")
    odd = Qwen3ForCausalLM(Qwen3Config(**GROUPED | {"num_attention_heads": 5, "num_key_value_heads": 5}, head_dim=8))
    with pytest.raises(MedReportError, match="24, 5 heads: no multiple"):
        PrefixKV(odd)
    short = make("llama")
    short.model.layers = short.model.layers[:1]
    with pytest.raises(RuntimeError, match="1 LlamaAttention for 2 layers"):
        PrefixKV(short)


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
        fused_rows(fusion, signal_tokens(fusion.dim))


def test_an_attention_without_a_cache_argument_is_refused() -> None:
    with pytest.raises(RuntimeError, match="Linear takes no cache"):
        AttentionHook(PrefixKV(make("llama")), nn.Linear(2, 2), FAMILIES["llama"][1])


@pytest.mark.parametrize("implementation", ["flash_attention_2", "flex_attention", "mine"])
def test_another_attention_implementation_is_refused_even_when_set_later(implementation: str) -> None:
    lm = make("llama")
    fusion = PrefixKV(lm)
    lm.config._attn_implementation = implementation
    with pytest.raises(RuntimeError, match=implementation):
        fused_rows(fusion, signal_tokens(fusion.dim))
    with pytest.raises(RuntimeError, match=implementation):
        fusion.generate(signal_tokens(fusion.dim), **pad(), max_new_tokens=1)


def test_a_data_parallel_replica_raises() -> None:
    fusion = PrefixKV(make("llama"))
    fusion.attention[0]._is_replica = True  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="DataParallel"):
        fused_rows(fusion, signal_tokens(fusion.dim))


def test_a_paged_cache_and_eager_attention_without_a_mask_raise() -> None:
    fusion = PrefixKV(make("llama", implementation="eager"))
    text: dict[str, Any] = {"hidden_states": torch.zeros(3, 2, 24), "attention_mask": None}
    fusion.frame = Frame(torch.zeros(3, 1, 24))
    with pytest.raises(RuntimeError, match="paged"):
        fusion.attention[0](**text, cache=object())
    with pytest.raises(RuntimeError, match="eager attention without a mask"):
        fusion.attention[0](**text)
    with pytest.raises(RuntimeError, match="mask of shape"):
        fusion.attention[0](**text | {"attention_mask": torch.ones(3, 2)})


def test_packed_rows_raise() -> None:
    fusion = PrefixKV(make("llama"))
    with pytest.raises(RuntimeError, match="packed"):
        fused_rows(fusion, signal_tokens(fusion.dim), position_ids=torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]] * 3))


def test_a_mask_that_ends_before_the_text_raises() -> None:
    fusion = PrefixKV(make("llama"))
    tokens, ids = signal_tokens(fusion.dim, batch=1), torch.tensor(PROMPTS[:1])
    with torch.no_grad():
        cache = fusion.forward(tokens, input_ids=ids, use_cache=True).past_key_values
        with pytest.raises(RuntimeError, match="1 columns for 9 cached tokens and 1 new"):
            fusion.forward(tokens, input_ids=ids[:, :1], attention_mask=torch.ones(1, 1).long(), past_key_values=cache)


@pytest.mark.parametrize("lm", [
    LlamaForCausalLM(LlamaConfig(**GROUPED | {"is_causal": False})),
    Gemma3ForCausalLM(Gemma3TextConfig(**GROUPED, head_dim=8, use_bidirectional_attention=True)),
], ids=["llama", "gemma3"])
def test_a_model_whose_text_looks_ahead_is_refused(lm: Any) -> None:
    with pytest.raises(MedReportError, match="looks ahead"):
        PrefixKV(lm)


@pytest.mark.parametrize("kind", [PrefixKV, CrossAttention])
def test_a_second_thread_raises_and_the_first_is_not_disturbed(kind: Any) -> None:
    lm, ids, errors = make("llama"), torch.tensor(PROMPTS[:1]), []
    fusion, meet = kind(lm), Barrier(2, timeout=60)
    tokens = signal_tokens(fusion.dim, batch=1)

    def intrude() -> None:
        meet.wait()
        for call in (lambda: fusion.forward(-tokens, input_ids=ids), lambda: lm(input_ids=ids)):
            try:
                call()
            except RuntimeError as caught:
                errors.append(str(caught))
        meet.wait()

    def let_in(*_: Any) -> None:
        meet.wait()
        meet.wait()

    expected = fusion.forward(tokens, input_ids=ids).logits
    Thread(target=intrude, daemon=True).start()
    handle = lm.model.norm.register_forward_pre_hook(let_in)
    got = fusion.forward(tokens, input_ids=ids).logits
    handle.remove()
    assert len(errors) == 2 and all("two threads" in message for message in errors)
    assert torch.equal(got, expected) and fusion.frame is None


def test_keeping_keys_and_values_while_gradients_are_taken_raises() -> None:
    fusion = PrefixKV(make("llama"))
    with pytest.raises(RuntimeError, match="never for gradients"), fusion._use(Frame(torch.zeros(3, 1, 24), memo={})):
        fusion.backbone(**pad())


def test_a_backbone_whose_hooks_do_not_run_raises() -> None:
    fusion = PrefixKV(make("llama"))
    fusion.backbone = make("llama")  # as a graph compiled before attaching, or another model
    with pytest.raises(RuntimeError, match="ran without its hooks"):
        fused_rows(fusion, signal_tokens(fusion.dim))


def test_gpt_neo_refuses_a_static_cache() -> None:
    fusion = PrefixKV(make("gpt_neo"))
    for tokens in (signal_tokens(fusion.dim), None):
        with pytest.raises(RuntimeError, match="static cache"):
            fusion.generate(tokens, **pad(), max_new_tokens=2, cache_implementation="static")
    with torch.no_grad(), pytest.raises(RuntimeError, match="static cache"):
        fusion.forward(signal_tokens(fusion.dim), **pad(),
                       past_key_values=StaticCache(config=fusion.config, max_cache_len=16))


def test_an_error_inside_leaves_no_prefix_behind() -> None:
    fusion = PrefixKV(make("llama"))
    with pytest.raises(RuntimeError, match="rows of text"):
        fused_rows(fusion, signal_tokens(fusion.dim, batch=1))
    assert fusion.frame is None


def test_the_factory_tells_decoders_from_encoder_decoders() -> None:
    fusion = prefix_kv(make("llama"), layers=[1])
    assert isinstance(fusion, PrefixKV) and fusion.layers == [1]
    assert (fusion.placeholders, fusion.padding_side) == (False, "left")


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_library_still_is_what_the_hooks_were_written_for(kind: str) -> None:
    """Fails by name when transformers moves what the fusion stands on; see FAMILIES and hooks.py."""
    folder = {"gemma3_text": "gemma3"}.get(kind, kind)
    module = importlib.import_module(f"transformers.models.{folder}.modeling_{folder}")
    name, _ = FAMILIES[kind]
    where = f"{name} of transformers {transformers.__version__}"
    assert hasattr(module, name), f"{where}: the class is gone"
    forward = getattr(module, name).forward
    parameters = inspect.signature(forward).parameters
    assert "hidden_states" in parameters and "attention_mask" in parameters, f"{where}: arguments changed"
    assert sum(argument in parameters for argument in CACHE_ARGUMENTS) == 1, f"{where}: no cache argument"
    source = inspect.getsource(forward)
    assert source.count(".update(") == 1, f"{where}: not one cache update"
    rotation = max(source.rfind("apply_rotary_pos_emb("), source.rfind("apply_rotary_pos_emb ("))
    assert rotation < source.index(".update("), f"{where}: the cache is updated before the rotation"
    if kind == "bloom":
        assert "alibi" in parameters, f"{where}: alibi is gone"
    if kind == "gpt_neo":
        assert "self.bias" in inspect.getsource(getattr(module, name)._attn), f"{where}: its own causal buffer is gone"
