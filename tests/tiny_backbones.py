"""A tiny random model of every causal family, with weights large enough for a wrong prefix to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY, WIDTH, LAYERS, POSITIONS, WINDOW = 40, 24, 2, 32, 5
TOKENS: dict[str, Any] = dict(vocab_size=VOCABULARY, pad_token_id=0, eos_token_id=1, bos_token_id=2)
COMMON: dict[str, Any] = TOKENS | dict(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4,
                                       max_position_embeddings=POSITIONS)
GROUPED: dict[str, Any] = COMMON | dict(intermediate_size=32, num_key_value_heads=2)
GPT: dict[str, Any] = TOKENS | dict(n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=POSITIONS, resid_pdrop=0.0,
                                    embd_pdrop=0.0, attn_pdrop=0.0)
OPT: dict[str, Any] = COMMON | dict(ffn_dim=32, dropout=0.0, attention_dropout=0.0)


def _gpt_neo() -> GPTNeoForCausalLM:
    return GPTNeoForCausalLM(GPTNeoConfig(
        **TOKENS, hidden_size=WIDTH, num_layers=LAYERS, num_heads=4, max_position_embeddings=POSITIONS,
        window_size=WINDOW, attention_types=[[["global", "local"], 1]]))


def _gpt_neox() -> GPTNeoXForCausalLM:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    return GPTNeoXForCausalLM(GPTNeoXConfig(
        **COMMON | {"num_attention_heads": 3}, intermediate_size=32, rope_parameters=rope))


def _gemma3() -> Gemma3ForCausalLM:
    return Gemma3ForCausalLM(Gemma3TextConfig(
        **GROUPED, head_dim=8, query_pre_attn_scalar=10, sliding_window=WINDOW,
        final_logit_softcapping=8.0,
        layer_types=["sliding_attention", "full_attention"]))


FAMILIES: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT)),
    "gpt2-upcast": lambda: GPT2LMHeadModel(GPT2Config(
        **GPT, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True)),
    "gpt_neo": _gpt_neo,
    "gpt_neox": _gpt_neox,
    # Two heads, so that a head (12 wide) has dimensions beyond the rotated ones.
    "gptj": lambda: GPTJForCausalLM(GPTJConfig(**GPT | {"n_head": 2}, rotary_dim=6)),
    "bloom": lambda: BloomForCausalLM(BloomConfig(**TOKENS, hidden_size=WIDTH, n_layer=LAYERS, n_head=6)),
    "opt": lambda: OPTForCausalLM(OPTConfig(**OPT, word_embed_proj_dim=WIDTH)),
    "opt-350m": lambda: OPTForCausalLM(OPTConfig(**OPT, word_embed_proj_dim=16, do_layer_norm_before=False)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=WINDOW)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**GROUPED)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**GROUPED, head_dim=10)),  # heads wider together than the model
    "gemma3": _gemma3,
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**GROUPED, sliding_window=WINDOW)),
}
# Families whose attention has no implementation but eager.
EAGER_ONLY = {"gpt_neo", "gptj", "bloom"}


def make(family: str, lora: bool = False, implementation: str | None = None) -> Any:
    """A model in evaluation mode; every norm near one, every other weight far from its usual start.

    With `lora` it is a peft model whose adapters, rank 3 on all linear layers, are not zero either.
    """
    torch.manual_seed(1)
    lm = FAMILIES[family]().eval()
    if implementation is not None:
        lm.set_attn_implementation(implementation)
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            one = 1.0 if ("norm" in name or "ln_" in name) and name.endswith("weight") and family != "gemma3" else 0.0
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.2) + one)
    if lora:
        lm = get_peft_model(lm, LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", init_lora_weights=False))
    return lm


def dim(family: str) -> int:
    """Width of one signal token of prefix-kv fusion: D / H."""
    config = FAMILIES[family]().config
    return config.hidden_size // config.num_attention_heads
