"""A tiny random model of every causal family, with weights large enough for a wrong prefix to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Cohere2Config,
    Cohere2ForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Glm4Config,
    Glm4ForCausalLM,
    GlmConfig,
    GlmForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Ministral3Config,
    Ministral3ForCausalLM,
    MinistralConfig,
    MinistralForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from emgecg_cli.core.models.tuning import target_layers

VOCABULARY, WIDTH, LAYERS, POSITIONS, WINDOW = 40, 24, 2, 32, 5
TOKENS: dict[str, Any] = dict(vocab_size=VOCABULARY, pad_token_id=0, eos_token_id=1, bos_token_id=2)
COMMON: dict[str, Any] = TOKENS | dict(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4,
                                       max_position_embeddings=POSITIONS)
GROUPED: dict[str, Any] = COMMON | dict(intermediate_size=32, num_key_value_heads=2)
GPT: dict[str, Any] = TOKENS | dict(n_embd=WIDTH, n_layer=LAYERS, n_head=4, n_positions=POSITIONS, resid_pdrop=0.0,
                                    embd_pdrop=0.0, attn_pdrop=0.0)
OPT: dict[str, Any] = COMMON | dict(ffn_dim=32, dropout=0.0, attention_dropout=0.0)
EXPERTS: dict[str, Any] = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
MIXED = ["sliding_attention", "full_attention"]
PLAIN_ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
# Falcon's keys are as many as its queries, or one.
FALCON: dict[str, Any] = COMMON | dict(bias=True, ffn_hidden_size=32)


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
    # What came after MEIT's twelve, with what is particular to each in use.
    # A dense layer, which has a window, and one of experts beside a shared one.
    "qwen2_moe": lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(
        **GROUPED, **EXPERTS, shared_expert_intermediate_size=16, mlp_only_layers=[0], use_sliding_window=True,
        sliding_window=WINDOW, layer_types=MIXED)),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**GROUPED, **EXPERTS, head_dim=10, norm_topk_prob=True)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**GROUPED, num_local_experts=4, sliding_window=WINDOW)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(
        **GROUPED, head_dim=8, query_pre_attn_scalar=10, sliding_window=WINDOW, layer_types=MIXED,
        attn_logit_softcapping=2.0, final_logit_softcapping=8.0)),
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**GROUPED)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(
        **GROUPED, embedding_multiplier=3.0, attention_multiplier=0.3, residual_multiplier=0.5, logits_scaling=0.7)),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**GROUPED, no_rope_layers=[1, 0])),
    "glm": lambda: GlmForCausalLM(GlmConfig(**GROUPED, head_dim=8)),
    "glm4": lambda: Glm4ForCausalLM(Glm4Config(**GROUPED, head_dim=8)),
    "ministral": lambda: MinistralForCausalLM(MinistralConfig(
        **GROUPED, head_dim=10, sliding_window=WINDOW, layer_types=MIXED)),
    # Queries grow with their position from the fourth token on.
    "ministral3": lambda: Ministral3ForCausalLM(Ministral3Config(
        **GROUPED, head_dim=10, rope_parameters=PLAIN_ROPE | {"llama_4_scaling_beta": 0.5,
                                                              "original_max_position_embeddings": 4})),
    "gpt_oss": lambda: GptOssForCausalLM(GptOssConfig(
        **GROUPED, head_dim=10, num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW, layer_types=MIXED,
        rope_parameters=PLAIN_ROPE)),
    "phi": lambda: PhiForCausalLM(PhiConfig(**GROUPED, qk_layernorm=True, rope_parameters=PLAIN_ROPE | {
        "partial_rotary_factor": 0.67})),
    "falcon": lambda: FalconForCausalLM(FalconConfig(**FALCON)),  # as 7b: one key for all queries
    "falcon-grouped": lambda: FalconForCausalLM(FalconConfig(  # as 40b and 180b
        **FALCON, new_decoder_architecture=True, num_kv_heads=2)),
    "falcon-heads": lambda: FalconForCausalLM(FalconConfig(**FALCON, multi_query=False, parallel_attn=False)),
    "stablelm": lambda: StableLmForCausalLM(StableLmConfig(
        **GROUPED, qk_layernorm=True, use_qkv_bias=True, rope_parameters=PLAIN_ROPE | {"partial_rotary_factor": 0.67})),
    "stablelm-parallel": lambda: StableLmForCausalLM(StableLmConfig(
        **GROUPED, use_parallel_residual=True, rope_parameters=PLAIN_ROPE | {"partial_rotary_factor": 0.67})),
    "cohere2": lambda: Cohere2ForCausalLM(Cohere2Config(
        **GROUPED, sliding_window=WINDOW, layer_types=MIXED, logit_scale=0.5)),
}
# Families whose attention has no implementation but eager; torch has no soft-capping and no sinks.
EAGER_ONLY = {"gpt_neo", "gptj", "bloom", "gemma2", "gpt_oss"}
FROM_ONE = {"gemma2", "gemma3"}  # their norms add one to their weights


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
            norm = ("norm" in name or "ln_" in name) and name.endswith("weight") and family not in FROM_ONE
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.2) + float(norm))
    if lora:
        layers = target_layers(lm, "all-linear")
        lm = get_peft_model(lm, LoraConfig(r=3, lora_alpha=6, target_modules=layers, init_lora_weights=False))
    return lm


def dim(family: str) -> int:
    """Width of one signal token of prefix-kv fusion: D / H."""
    config = FAMILIES[family]().config
    return config.hidden_size // config.num_attention_heads
