"""The oracle's blocks of the families that came after MEIT's twelve."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from oracle_stones import Heads, attend, gelu, layer_norm, linear, rms, rotate, split
from torch import Tensor

Ends = tuple[Any, float, Any, Callable[[Any, Tensor], Tensor], Any, float]


def ends(base: Any) -> Ends:
    """Word embeddings and their factor, the blocks, the last norm (how, and its weights) and the logits' factor."""
    config, kind = base.config, base.config.model_type
    if kind == "falcon":
        return base.transformer.word_embeddings, 1.0, base.transformer.h, layer_norm, base.transformer.ln_f, 1.0
    stack = base.model
    words, blocks = stack.embed_tokens, stack.layers
    if kind == "phi":
        return words, 1.0, blocks, layer_norm, stack.final_layernorm, 1.0
    if kind in ("stablelm", "cohere2"):
        return words, 1.0, blocks, layer_norm, stack.norm, getattr(config, "logit_scale", 1.0)
    if kind == "granite":
        return words, config.embedding_multiplier, blocks, rms, stack.norm, 1 / config.logits_scaling
    return words, math.sqrt(config.hidden_size) if kind == "gemma2" else 1.0, blocks, rms, stack.norm, 1.0


# -------------------------------------------------------------------------------------------------------- feed-forward
def _gated(mlp: Any, x: Tensor) -> Tensor:
    return linear(mlp.down_proj, F.silu(linear(mlp.gate_proj, x)) * linear(mlp.up_proj, x))


def _packed_gated(mlp: Any, x: Tensor) -> Tensor:
    gate, up = linear(mlp.gate_up_proj, x).chunk(2, -1)
    return linear(mlp.down_proj, F.silu(gate) * up)


def _experts(mlp: Any, x: Tensor, config: Any) -> Tensor:
    """Each token's best experts, weighted; Qwen 2's add one that all share."""
    if not hasattr(mlp, "experts"):
        return _gated(mlp, x)
    gate_up, down = mlp.experts.gate_up_proj.double(), mlp.experts.down_proj.double()
    rows = []
    for token in x:
        shares = torch.softmax(mlp.gate.weight.double() @ token, -1)
        best = shares.argsort(descending=True)[:config.num_experts_per_tok]
        total = shares[best].sum() if getattr(config, "norm_topk_prob", True) else 1.0
        made = torch.zeros_like(token)
        for e in best:
            gate, up = (gate_up[e] @ token).chunk(2)
            made = made + shares[e] / total * (down[e] @ (F.silu(gate) * up))
        rows.append(made)
    routed = torch.stack(rows)
    if not hasattr(mlp, "shared_expert"):
        return routed
    return routed + torch.sigmoid(linear(mlp.shared_expert_gate, x)) * _gated(mlp.shared_expert, x)


def _oss_experts(mlp: Any, x: Tensor, config: Any) -> Tensor:
    """gpt-oss: a softmax over the best only, biases everywhere, gate and linear part in turn, both clamped."""
    held = {name: getattr(mlp.experts, name).double() for name in
            ("gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias")}
    rows = []
    for token in x:
        scores = mlp.router.weight.double() @ token + mlp.router.bias.double()
        best = scores.argsort(descending=True)[:config.num_experts_per_tok]
        made = torch.zeros_like(token)
        for share, e in zip(torch.softmax(scores[best], -1), best, strict=True):
            both = token @ held["gate_up_proj"][e] + held["gate_up_proj_bias"][e]
            gate, up = both[0::2].clamp(max=7.0), both[1::2].clamp(-7.0, 7.0)
            inner = (up + 1) * gate * torch.sigmoid(1.702 * gate)
            made = made + share * (inner @ held["down_proj"][e] + held["down_proj_bias"][e])
        rows.append(made)
    return torch.stack(rows)


# ----------------------------------------------------------------------------------------------------------- attention
def _turn(text: Heads, config: Any, neighbours: bool = False) -> Heads:
    rope, d = config.rope_parameters, text[1].shape[-1]
    rotated = int(d * rope.get("partial_rotary_factor", 1.0))
    q, k = (rotate(part, rope["rope_theta"], rotated, neighbours) for part in text[:2])
    return q, k, text[2]


def _windowed(config: Any, index: int) -> int | None:
    return config.sliding_window if config.layer_types[index] == "sliding_attention" else None


def _llama_like(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    """Norms before, both parts added one after the other: Qwen-MoE, Mixtral, Granite, SmolLM 3, GLM, both Ministral,
    gpt-oss."""
    module, kind = block.self_attn, config.model_type
    text = split(module, rms(block.input_layernorm, x), module.head_dim)
    if kind != "smollm3" or config.no_rope_layers[index]:
        text = _turn(text, config, neighbours=kind == "glm")
    if kind == "ministral3":
        rope = config.rope_parameters
        steps = torch.arange(len(x)).double() // rope["original_max_position_embeddings"]
        text = text[0] * (1 + rope["llama_4_scaling_beta"] * torch.log(1 + steps))[:, None, None], *text[1:]
    window = _windowed(config, index) if kind in ("qwen2_moe", "ministral", "gpt_oss") else \
        config.sliding_window if kind == "mixtral" else None
    shown = None if prefix is None else split(module, prefix, module.head_dim)
    scale = config.attention_multiplier if kind == "granite" else module.head_dim**-0.5
    sinks = module.sinks.double() if kind == "gpt_oss" else None
    added = config.residual_multiplier if kind == "granite" else 1.0
    x = x + added * linear(module.o_proj, attend(text, shown, scale, window, sinks=sinks))
    y = rms(block.post_attention_layernorm, x)
    if kind == "gpt_oss":
        return x + _oss_experts(block.mlp, y, config)
    if kind in ("qwen2_moe", "qwen3_moe", "mixtral"):
        return x + _experts(block.mlp, y, config)
    return x + added * (_packed_gated if kind == "glm" else _gated)(block.mlp, y)


def _glm4(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    """A norm before and one behind each part."""
    module, d = block.self_attn, block.self_attn.head_dim
    text = _turn(split(module, rms(block.input_layernorm, x), d), config, neighbours=True)
    shown = None if prefix is None else split(module, prefix, d)
    x = x + rms(block.post_self_attn_layernorm, linear(module.o_proj, attend(text, shown, d**-0.5)))
    made = _packed_gated(block.mlp, rms(block.post_attention_layernorm, x))
    return x + rms(block.post_mlp_layernorm, made)


def _gemma2(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.self_attn, config.head_dim
    text = _turn(split(module, rms(block.input_layernorm, x), d), config)
    shown = None if prefix is None else split(module, prefix, d)
    attended = attend(text, shown, config.query_pre_attn_scalar**-0.5, _windowed(config, index),
                      cap=config.attn_logit_softcapping)
    x = x + rms(block.post_attention_layernorm, linear(module.o_proj, attended))
    y = rms(block.pre_feedforward_layernorm, x)
    made = linear(block.mlp.down_proj, gelu(linear(block.mlp.gate_proj, y)) * linear(block.mlp.up_proj, y))
    return x + rms(block.post_feedforward_layernorm, made)


def _olmo2(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    """Norms behind both parts, and over the queries and the keys of all heads together."""
    module, d = block.self_attn, block.self_attn.head_dim

    def project(states: Tensor) -> Heads:
        q, k = rms(module.q_norm, linear(module.q_proj, states)), rms(module.k_norm, linear(module.k_proj, states))
        q, k, v = (part.unflatten(-1, (-1, d)) for part in (q, k, linear(module.v_proj, states)))
        return q, k, v

    shown = None if prefix is None else project(prefix)
    attended = linear(module.o_proj, attend(_turn(project(x), config), shown, d**-0.5))
    x = x + rms(block.post_attention_layernorm, attended)
    return x + rms(block.post_feedforward_layernorm, _gated(block.mlp, x))


def _parallel(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    """Attention and feed-forward of the same normed states: Phi 1 and 2, Cohere 2; of StableLM if asked."""
    module, kind = block.self_attn, config.model_type
    d = module.head_dim

    def project(states: Tensor) -> Heads:
        q, k, v = (linear(getattr(module, f"{part}_proj"), states).unflatten(-1, (-1, d)) for part in "qkv")
        if not getattr(config, "qk_layernorm", False):
            return q, k, v
        if kind == "phi":
            return layer_norm(module.q_layernorm, q), layer_norm(module.k_layernorm, k), v
        q, k = (torch.stack([layer_norm(norm, part[:, head]) for head, norm in enumerate(norms.norms)], 1)
                for part, norms in ((q, module.q_layernorm), (k, module.k_layernorm)))  # StableLM: a norm a head
        return q, k, v

    normed = layer_norm(block.input_layernorm, x)
    window = _windowed(config, index) if kind == "cohere2" else None
    text = project(normed)
    if kind != "cohere2" or window:  # Cohere's layers without a window have no positions
        text = _turn(text, config, neighbours=kind == "cohere2")
    shown = None if prefix is None else project(prefix)
    out = module.dense if kind == "phi" else module.o_proj
    attended = linear(out, attend(text, shown, d**-0.5, window))
    if kind == "phi":
        return x + attended + linear(block.mlp.fc2, gelu(linear(block.mlp.fc1, normed)))
    if kind == "stablelm" and not config.use_parallel_residual:
        x = x + attended
        return x + _gated(block.mlp, layer_norm(block.post_attention_layernorm, x))
    return x + attended + _gated(block.mlp, normed)


def _falcon(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, heads = block.self_attention, config.num_attention_heads
    d = config.hidden_size // heads

    def project(states: Tensor) -> Heads:
        made = linear(module.query_key_value, states)
        if config.new_decoder_architecture:  # queries of a group, its key, its value
            q, k, v = made.unflatten(-1, (config.num_kv_heads, -1, d)).split([heads // config.num_kv_heads, 1, 1], -2)
            return q.flatten(-3, -2), k.squeeze(-2), v.squeeze(-2)
        if config.multi_query:  # all queries, one key, one value
            q, k, v = made.unflatten(-1, (heads + 2, d)).split([heads, 1, 1], -2)
        else:
            q, k, v = made.unflatten(-1, (heads, 3, d)).unbind(-2)
        return q, k, v

    before = block.ln_attn if config.new_decoder_architecture else block.input_layernorm
    shown = None if prefix is None else project(prefix)
    normed = layer_norm(before, x)
    attended = linear(module.dense, attend(_turn(project(normed), config), shown, d**-0.5))
    if config.new_decoder_architecture:
        inner = layer_norm(block.ln_mlp, x)
    else:
        inner = normed if config.parallel_attn else layer_norm(block.post_attention_layernorm, x + attended)
    y = linear(block.mlp.dense_h_to_4h, inner)
    return x + attended + linear(block.mlp.dense_4h_to_h, 0.5 * y * (1 + torch.erf(y / math.sqrt(2))))


BLOCKS: dict[str, Callable[..., Tensor]] = dict.fromkeys(
    ("qwen2_moe", "qwen3_moe", "mixtral", "granite", "smollm3", "glm", "ministral", "ministral3", "gpt_oss"),
    _llama_like) | {"glm4": _glm4, "gemma2": _gemma2, "olmo2": _olmo2, "phi": _parallel, "cohere2": _parallel,
                    "stablelm": _parallel, "falcon": _falcon}
