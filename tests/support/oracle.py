"""What every causal family computes with a prefix, from the definitions: float64, one unpadded row, no cache or mask.

Nothing here runs a module's forward. Weights are read raw and LoRA is merged by hand; each query looks at an explicit
set of keys. `oracle` without tokens is the plain model, which is how the oracle itself is tested.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from oracle_current import BLOCKS, ends
from oracle_stones import Heads, alibi, attend, fused, gelu, layer_norm, linear, rms, split, turned
from torch import Tensor


def oracle(lm: Any, ids: list[int], tokens: Tensor | None = None, layers: Collection[int] | None = None) -> Tensor:
    """Logits (T, vocabulary) of one row. `tokens` (N, D / H) are tiled over the heads; `layers` None means all."""
    base = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    config = base.config
    tiled = None if tokens is None else torch.cat([tokens.double()] * config.num_attention_heads, -1)
    with torch.no_grad():
        states, blocks = _embed(base, ids)
        for index, block in enumerate(blocks):
            shown = tiled if layers is None or index in layers else None
            states = _BLOCKS[config.model_type](block, states, config, index, shown)
        logits = _head(base, states)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


# ------------------------------------------------------------------------------------------- the ends of every network
def _embed(base: Any, ids: list[int]) -> tuple[Tensor, Any]:
    kind = base.config.model_type
    if kind in BLOCKS:
        words, scale, blocks, _, _, _ = ends(base)
        return words.weight.double()[ids] * scale, blocks
    places = torch.arange(len(ids))
    if kind in ("gpt2", "gpt_neo"):
        stack = base.transformer
        return stack.wte.weight.double()[ids] + stack.wpe.weight.double()[places], stack.h
    if kind == "gptj":
        return base.transformer.wte.weight.double()[ids], base.transformer.h
    if kind == "gpt_neox":
        return base.gpt_neox.embed_in.weight.double()[ids], base.gpt_neox.layers
    if kind == "bloom":
        stack = base.transformer
        return layer_norm(stack.word_embeddings_layernorm, stack.word_embeddings.weight.double()[ids]), stack.h
    if kind == "opt":
        stack = base.model.decoder
        words = stack.embed_tokens.weight.double()[ids]
        words = words if stack.project_in is None else linear(stack.project_in, words)
        return words + stack.embed_positions.weight.double()[places + 2], stack.layers
    scale = math.sqrt(base.config.hidden_size) if kind == "gemma3_text" else 1.0
    return base.model.embed_tokens.weight.double()[ids] * scale, base.model.layers


def _head(base: Any, x: Tensor) -> Tensor:
    kind = base.config.model_type
    if kind in BLOCKS:
        _, _, _, norm, last, factor = ends(base)
        return linear(base.get_output_embeddings(), norm(last, x)) * factor
    if kind in ("gpt2", "gpt_neo", "gptj", "bloom"):
        x = layer_norm(base.transformer.ln_f, x)
    elif kind == "gpt_neox":
        x = layer_norm(base.gpt_neox.final_layer_norm, x)
    elif kind == "opt":
        stack = base.model.decoder
        x = x if stack.final_layer_norm is None else layer_norm(stack.final_layer_norm, x)
        x = x if stack.project_out is None else linear(stack.project_out, x)
    else:
        x = rms(base.model.norm, x)
    return linear(base.get_output_embeddings(), x)


# ----------------------------------------------------------------------------------------------------- blocks by family
def _gpt2_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.attn, config.hidden_size // config.num_attention_heads

    def project(states: Tensor) -> Heads:
        q, k, v = (part.unflatten(-1, (-1, d)) for part in linear(module.c_attn, states).chunk(3, -1))
        return q, k, v

    scale = d**-0.5 / (index + 1 if config.scale_attn_by_inverse_layer_idx else 1)
    shown = None if prefix is None else project(prefix)
    x = x + linear(module.c_proj, attend(project(layer_norm(block.ln_1, x)), shown, scale))
    return x + linear(block.mlp.c_proj, gelu(linear(block.mlp.c_fc, layer_norm(block.ln_2, x))))


def _gpt_neo_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.attn.attention, config.hidden_size // config.num_heads
    window = config.window_size if config.attention_layers[index] == "local" else None
    shown = None if prefix is None else split(module, prefix, d)
    x = x + linear(module.out_proj, attend(split(module, layer_norm(block.ln_1, x), d), shown, 1.0, window))
    return x + linear(block.mlp.c_proj, gelu(linear(block.mlp.c_fc, layer_norm(block.ln_2, x))))


def _gptj_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.attn, config.hidden_size // config.num_attention_heads
    normed = layer_norm(block.ln_1, x)
    text = turned(split(module, normed, d), 10000.0, config.rotary_dim, neighbours=True)
    shown = None if prefix is None else split(module, prefix, d)
    mlp = linear(block.mlp.fc_out, gelu(linear(block.mlp.fc_in, normed)))
    return x + linear(module.out_proj, attend(text, shown, d**-0.5)) + mlp


def _gpt_neox_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, heads = block.attention, config.num_attention_heads
    d = config.hidden_size // heads
    rope = config.rope_parameters
    text = turned(fused(module.query_key_value, layer_norm(block.input_layernorm, x), heads),
                   rope["rope_theta"], int(d * rope["partial_rotary_factor"]))
    shown = None if prefix is None else fused(module.query_key_value, prefix, heads)
    y = linear(block.mlp.dense_h_to_4h, layer_norm(block.post_attention_layernorm, x))
    mlp = linear(block.mlp.dense_4h_to_h, 0.5 * y * (1 + torch.erf(y / math.sqrt(2))))
    return x + linear(module.dense, attend(text, shown, d**-0.5)) + mlp


def _bloom_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, heads = block.self_attention, config.n_head
    text = fused(module.query_key_value, layer_norm(block.input_layernorm, x), heads)
    shown = None if prefix is None else fused(module.query_key_value, prefix, heads)
    scale = (config.hidden_size // heads) ** -0.5
    x = x + linear(module.dense, attend(text, shown, scale, slopes=alibi(heads)))
    y = linear(block.mlp.dense_h_to_4h, layer_norm(block.post_attention_layernorm, x))
    return x + linear(block.mlp.dense_4h_to_h, gelu(y))


def _opt_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.self_attn, config.hidden_size // config.num_attention_heads
    before = config.do_layer_norm_before
    shown = None if prefix is None else split(module, prefix, d)
    y = layer_norm(block.self_attn_layer_norm, x) if before else x
    x = x + linear(module.out_proj, attend(split(module, y, d), shown, d**-0.5))
    x = x if before else layer_norm(block.self_attn_layer_norm, x)
    y = layer_norm(block.final_layer_norm, x) if before else x
    x = x + linear(block.fc2, linear(block.fc1, y).clamp(min=0))
    return x if before else layer_norm(block.final_layer_norm, x)


def _llama_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    """Llama, Mistral and both Qwen: SwiGLU, norms before."""
    module = block.self_attn
    d = module.head_dim
    text = turned(split(module, rms(block.input_layernorm, x), d), config.rope_parameters["rope_theta"], d)
    shown = None if prefix is None else split(module, prefix, d)
    window = getattr(config, "sliding_window", None)
    x = x + linear(module.o_proj, attend(text, shown, d**-0.5, window))
    y = rms(block.post_attention_layernorm, x)
    return x + linear(block.mlp.down_proj, F.silu(linear(block.mlp.gate_proj, y)) * linear(block.mlp.up_proj, y))


def _phi3_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module = block.self_attn
    d, queries, groups = module.head_dim, config.num_attention_heads, config.num_key_value_heads

    def project(states: Tensor) -> Heads:
        q, k, v = linear(module.qkv_proj, states).unflatten(-1, (-1, d)).split([queries, groups, groups], -2)
        return q, k, v

    text = turned(project(rms(block.input_layernorm, x)), config.rope_parameters["rope_theta"], d)
    shown = None if prefix is None else project(prefix)
    x = x + linear(module.o_proj, attend(text, shown, d**-0.5, config.sliding_window))
    gate, up = linear(block.mlp.gate_up_proj, rms(block.post_attention_layernorm, x)).chunk(2, -1)
    return x + linear(block.mlp.down_proj, up * F.silu(gate))


def _gemma3_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, kind = block.self_attn, config.layer_types[index]
    d = config.head_dim
    text = turned(split(module, rms(block.input_layernorm, x), d), config.rope_parameters[kind]["rope_theta"], d)
    shown = None if prefix is None else split(module, prefix, d)
    window = config.sliding_window if kind == "sliding_attention" else None
    attended = linear(module.o_proj, attend(text, shown, config.query_pre_attn_scalar**-0.5, window))
    x = x + rms(block.post_attention_layernorm, attended)
    y = rms(block.pre_feedforward_layernorm, x)
    y = linear(block.mlp.down_proj, gelu(linear(block.mlp.gate_proj, y)) * linear(block.mlp.up_proj, y))
    return x + rms(block.post_feedforward_layernorm, y)


_BLOCKS = {
    "gpt2": _gpt2_block, "gpt_neo": _gpt_neo_block, "gptj": _gptj_block, "gpt_neox": _gpt_neox_block,
    "bloom": _bloom_block, "opt": _opt_block, "llama": _llama_block, "mistral": _llama_block, "qwen2": _llama_block,
    "qwen3": _llama_block, "phi3": _phi3_block, "gemma3_text": _gemma3_block,
    **BLOCKS,
}
