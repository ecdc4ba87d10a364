"""What is particular to each backbone family: where its attention is and how it makes keys and values.

The keys and values are those before any rotation. The projection modules are called as modules, so that LoRA, quantised
and sharded weights apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError

KeyValue = tuple[Tensor, Tensor]


def split_projections(attention: Any, hidden: Tensor) -> KeyValue:
    """`k_proj` and `v_proj`, and a norm of each head's keys if any: (B, N, D) -> two of (B, G, N, head_dim)."""
    keys = _split_heads(attention.k_proj(hidden), attention.head_dim)
    values = _split_heads(attention.v_proj(hidden), attention.head_dim)
    # The norm belongs to the key path and is not positional; a prefix key passes it as any other.
    norm = getattr(attention, "k_norm", getattr(attention, "k_layernorm", None))
    return (keys if norm is None else norm(keys)), values


def normed_whole(attention: Any, hidden: Tensor) -> KeyValue:
    """OLMo 2: one norm over the keys of all heads together, before they are split."""
    keys, values = attention.k_norm(attention.k_proj(hidden)), attention.v_proj(hidden)
    return _split_heads(keys, attention.head_dim), _split_heads(values, attention.head_dim)


def thirds(attention: Any, hidden: Tensor) -> KeyValue:
    """GPT-2's `c_attn`, three blocks [queries | keys | values]."""
    _, keys, values = attention.c_attn(hidden).chunk(3, dim=-1)
    return _split_heads(keys, attention.head_dim), _split_heads(values, attention.head_dim)


def interleaved(attention: Any, hidden: Tensor) -> KeyValue:
    """`query_key_value` of GPT-NeoX and BLOOM: each head's [query key value] after the other's."""
    head_dim = attention.head_dim if hasattr(attention, "head_dim") else attention.head_size
    fused = attention.query_key_value(hidden).unflatten(-1, (-1, 3, head_dim))  # (B, N, H, 3, head_dim)
    _, keys, values = fused.transpose(1, 2).unbind(3)
    return keys, values


def falcon(attention: Any, hidden: Tensor) -> KeyValue:
    """Falcon's `query_key_value`, which it splits itself in one of three ways; grouped keys come once a query head."""
    _, keys, values = attention._split_heads(attention.query_key_value(hidden))  # (B, N, H or 1, head_dim)
    return keys.transpose(1, 2), values.transpose(1, 2)


def packed(attention: Any, hidden: Tensor) -> KeyValue:
    """Phi-3's `qkv_proj`: [H queries | G keys | G values]."""
    queries = attention.config.num_attention_heads * attention.head_dim
    keys, values = attention.qkv_proj(hidden)[..., queries:].chunk(2, dim=-1)
    return _split_heads(keys, attention.head_dim), _split_heads(values, attention.head_dim)


def _split_heads(projected: Tensor, head_dim: int) -> Tensor:
    return projected.unflatten(-1, (-1, head_dim)).transpose(1, 2)  # (B, N, G * head_dim) -> (B, G, N, head_dim)


# model_type of the configuration -> (class of the self-attention module, projection)
FAMILIES: dict[str, tuple[str, Callable[[Any, Tensor], KeyValue]]] = {
    "gpt2": ("GPT2Attention", thirds),
    "gpt_neo": ("GPTNeoSelfAttention", split_projections),
    "gpt_neox": ("GPTNeoXAttention", interleaved),
    "gptj": ("GPTJAttention", split_projections),
    "bloom": ("BloomAttention", interleaved),
    "opt": ("OPTAttention", split_projections),
    "llama": ("LlamaAttention", split_projections),
    "mistral": ("MistralAttention", split_projections),
    "qwen2": ("Qwen2Attention", split_projections),
    "qwen3": ("Qwen3Attention", split_projections),
    "gemma3_text": ("Gemma3Attention", split_projections),
    "phi3": ("Phi3Attention", packed),
    "qwen2_moe": ("Qwen2MoeAttention", split_projections),
    "qwen3_moe": ("Qwen3MoeAttention", split_projections),
    "mixtral": ("MixtralAttention", split_projections),
    "gemma2": ("Gemma2Attention", split_projections),
    "olmo2": ("Olmo2Attention", normed_whole),
    "granite": ("GraniteAttention", split_projections),
    "smollm3": ("SmolLM3Attention", split_projections),
    "glm": ("GlmAttention", split_projections),
    "glm4": ("Glm4Attention", split_projections),
    "ministral": ("MinistralAttention", split_projections),
    "ministral3": ("Ministral3Attention", split_projections),
    "gpt_oss": ("GptOssAttention", split_projections),
    "phi": ("PhiAttention", split_projections),
    "falcon": ("FalconAttention", falcon),
    "stablelm": ("StableLmAttention", split_projections),
    "cohere2": ("Cohere2Attention", split_projections),
}


def attention_modules(base: Any) -> list[tuple[str, nn.Module]]:
    """Names and modules of the self-attention of a causal language model (no peft wrapper), in layer order.

    Raises MedReportError for a family that is not known here and RuntimeError when their number is not that of the
    layers.
    """
    config = base.config.get_text_config()
    if config.model_type not in FAMILIES:
        from emgecg_cli.core.models.fusion.embedded import why_not_embedded

        other = "no fusion takes it: choose another backbone" if why_not_embedded(base) else "--fusion splice takes it"
        raise MedReportError(f"prefix-kv and cross-attention fusion do not know the backbone family "
                             f"'{config.model_type}'", f"{other}; known are {', '.join(FAMILIES)}")
    class_name, _ = FAMILIES[config.model_type]
    # Every class of the module counts, because sharding gives a module a subclass of its own.
    found = [(name, module) for name, module in base.named_modules()
             if any(kind.__name__ == class_name for kind in type(module).__mro__)
             and not getattr(module, "is_cross_attention", False)]
    if len(found) != config.num_hidden_layers:
        raise RuntimeError(f"prefix fusion: {len(found)} {class_name} for {config.num_hidden_layers} layers")
    return found


def decoder_layers(base: Any) -> list[nn.Module]:
    """The blocks of a causal language model (no peft wrapper), in order. Raises as `attention_modules`."""
    return [base.get_submodule(_layer_name(name)) for name, _ in attention_modules(base)]


def decoder_stack(base: Any) -> nn.Module:
    """The module that owns and runs the blocks; every forward calls it, and once, outside of any checkpoint."""
    name, _ = attention_modules(base)[0]
    owner = _layer_name(name).rsplit(".", 2)  # "model.decoder.layers.0" -> "model.decoder"
    return base.get_submodule(owner[0] if len(owner) == 3 else "")


def _layer_name(attention_name: str) -> str:
    match = re.match(r".*?\.\d+(?=\.)", attention_name)
    assert match is not None, attention_name
    return match.group()
