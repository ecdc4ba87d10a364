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
from torch import Tensor

Heads = tuple[Tensor, Tensor, Tensor]  # queries (M, H, d), keys and values (M, G, d)


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


# ----------------------------------------------------------------------------------------------------- building stones
def _linear(module: Any, x: Tensor) -> Tensor:
    inner = getattr(module, "base_layer", module)
    weight = inner.weight.double()
    if type(inner).__name__ == "Conv1D":
        weight = weight.T
    if hasattr(module, "lora_A"):
        down, up = (getattr(module, f"lora_{part}")["default"].weight.double() for part in "AB")
        weight = weight + module.scaling["default"] * up @ down
    bias = getattr(inner, "bias", None)
    return x @ weight.T + (0 if bias is None else bias.double())


def _rms(module: Any, x: Tensor) -> Tensor:
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    weight = module.weight.double() + (1 if "Gemma" in type(module).__name__ else 0)
    return x / (x.pow(2).mean(-1, keepdim=True) + epsilon).sqrt() * weight


def _layer_norm(module: Any, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + module.eps).sqrt()
    return scaled * module.weight.double() + module.bias.double()


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _rotate(x: Tensor, theta: float, rotated: int, neighbours: bool = False) -> Tensor:
    """Rotary embedding of (T, heads, d) by complex multiplication, of the first so many dimensions.

    Pairs are (j, j + half), or neighbours (2j, 2j + 1).
    """
    x, rest = x[..., :rotated], x[..., rotated:]
    real, imaginary = (x[..., 0::2], x[..., 1::2]) if neighbours else x.chunk(2, -1)
    half = rotated // 2
    angle = torch.arange(len(x)).double()[:, None] * theta ** (-torch.arange(half).double() / half)
    turned = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angle), angle)[:, None]
    joined = torch.stack([turned.real, turned.imag], -1).flatten(-2) if neighbours \
        else torch.cat([turned.real, turned.imag], -1)
    return torch.cat([joined, rest], -1)


def _slopes(heads: int) -> Tensor:
    """ALiBi's slopes; for a head count that is no power of two, filled up with every other one of the next power."""
    power = 2 ** int(math.log2(heads))
    first = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    more = [2 ** (-8 * (i + 1) / (2 * power)) for i in range(0, 2 * power, 2)]
    return torch.tensor((first + more)[:heads], dtype=torch.float64)


def _attend(text: Heads, prefix: Heads | None, scale: float, window: int | None = None,
            slopes: Tensor | None = None) -> Tensor:
    """(T, H * d): a query sees all of the prefix, and itself and the text before, at most `window` tokens of it."""
    queries, keys, values = text
    copies = queries.shape[1] // keys.shape[1]
    rows = []
    for t, query in enumerate(queries):
        first = max(0, t - window + 1) if window else 0
        k, v = keys[first:t + 1], values[first:t + 1]
        bias = torch.zeros(queries.shape[1], len(k), dtype=torch.float64)
        if slopes is not None:
            bias = slopes[:, None] * torch.arange(first, t + 1)
        if prefix is not None:
            k, v = torch.cat([prefix[1], k]), torch.cat([prefix[2], v])
            bias = torch.cat([torch.zeros(len(bias), len(prefix[1]), dtype=torch.float64), bias], -1)
        k, v = k.repeat_interleave(copies, 1), v.repeat_interleave(copies, 1)
        weights = torch.softmax(torch.einsum("hd,khd->hk", query, k) * scale + bias, -1)
        rows.append(torch.einsum("hk,khd->hd", weights, v).flatten())
    return torch.stack(rows)


# ------------------------------------------------------------------------------------------- the ends of every network
def _embed(base: Any, ids: list[int]) -> tuple[Tensor, Any]:
    kind = base.config.model_type
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
        return _layer_norm(stack.word_embeddings_layernorm, stack.word_embeddings.weight.double()[ids]), stack.h
    if kind == "opt":
        stack = base.model.decoder
        words = stack.embed_tokens.weight.double()[ids]
        words = words if stack.project_in is None else _linear(stack.project_in, words)
        return words + stack.embed_positions.weight.double()[places + 2], stack.layers
    scale = math.sqrt(base.config.hidden_size) if kind == "gemma3_text" else 1.0
    return base.model.embed_tokens.weight.double()[ids] * scale, base.model.layers


def _head(base: Any, x: Tensor) -> Tensor:
    kind = base.config.model_type
    if kind in ("gpt2", "gpt_neo", "gptj", "bloom"):
        x = _layer_norm(base.transformer.ln_f, x)
    elif kind == "gpt_neox":
        x = _layer_norm(base.gpt_neox.final_layer_norm, x)
    elif kind == "opt":
        stack = base.model.decoder
        x = x if stack.final_layer_norm is None else _layer_norm(stack.final_layer_norm, x)
        x = x if stack.project_out is None else _linear(stack.project_out, x)
    else:
        x = _rms(base.model.norm, x)
    return _linear(base.get_output_embeddings(), x)


# ----------------------------------------------------------------------------------------------------- blocks by family
def _split(module: Any, x: Tensor, d: int) -> Heads:
    q, k, v = (_linear(getattr(module, f"{part}_proj"), x).unflatten(-1, (-1, d)) for part in "qkv")
    return (_rms(module.q_norm, q), _rms(module.k_norm, k), v) if hasattr(module, "q_norm") else (q, k, v)


def _fused(projection: Any, x: Tensor, heads: int) -> Heads:
    q, k, v = _linear(projection, x).unflatten(-1, (heads, 3, -1)).unbind(-2)
    return q, k, v


def _turned(text: Heads, theta: float, rotated: int, neighbours: bool = False) -> Heads:
    return _rotate(text[0], theta, rotated, neighbours), _rotate(text[1], theta, rotated, neighbours), text[2]


def _gpt2_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.attn, config.hidden_size // config.num_attention_heads

    def project(states: Tensor) -> Heads:
        q, k, v = (part.unflatten(-1, (-1, d)) for part in _linear(module.c_attn, states).chunk(3, -1))
        return q, k, v

    scale = d**-0.5 / (index + 1 if config.scale_attn_by_inverse_layer_idx else 1)
    shown = None if prefix is None else project(prefix)
    x = x + _linear(module.c_proj, _attend(project(_layer_norm(block.ln_1, x)), shown, scale))
    return x + _linear(block.mlp.c_proj, _gelu(_linear(block.mlp.c_fc, _layer_norm(block.ln_2, x))))


def _gpt_neo_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.attn.attention, config.hidden_size // config.num_heads
    window = config.window_size if config.attention_layers[index] == "local" else None
    shown = None if prefix is None else _split(module, prefix, d)
    x = x + _linear(module.out_proj, _attend(_split(module, _layer_norm(block.ln_1, x), d), shown, 1.0, window))
    return x + _linear(block.mlp.c_proj, _gelu(_linear(block.mlp.c_fc, _layer_norm(block.ln_2, x))))


def _gptj_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.attn, config.hidden_size // config.num_attention_heads
    normed = _layer_norm(block.ln_1, x)
    text = _turned(_split(module, normed, d), 10000.0, config.rotary_dim, neighbours=True)
    shown = None if prefix is None else _split(module, prefix, d)
    mlp = _linear(block.mlp.fc_out, _gelu(_linear(block.mlp.fc_in, normed)))
    return x + _linear(module.out_proj, _attend(text, shown, d**-0.5)) + mlp


def _gpt_neox_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, heads = block.attention, config.num_attention_heads
    d = config.hidden_size // heads
    rope = config.rope_parameters
    text = _turned(_fused(module.query_key_value, _layer_norm(block.input_layernorm, x), heads),
                   rope["rope_theta"], int(d * rope["partial_rotary_factor"]))
    shown = None if prefix is None else _fused(module.query_key_value, prefix, heads)
    y = _linear(block.mlp.dense_h_to_4h, _layer_norm(block.post_attention_layernorm, x))
    mlp = _linear(block.mlp.dense_4h_to_h, 0.5 * y * (1 + torch.erf(y / math.sqrt(2))))
    return x + _linear(module.dense, _attend(text, shown, d**-0.5)) + mlp


def _bloom_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, heads = block.self_attention, config.n_head
    text = _fused(module.query_key_value, _layer_norm(block.input_layernorm, x), heads)
    shown = None if prefix is None else _fused(module.query_key_value, prefix, heads)
    scale = (config.hidden_size // heads) ** -0.5
    x = x + _linear(module.dense, _attend(text, shown, scale, slopes=_slopes(heads)))
    y = _linear(block.mlp.dense_h_to_4h, _layer_norm(block.post_attention_layernorm, x))
    return x + _linear(block.mlp.dense_4h_to_h, _gelu(y))


def _opt_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, d = block.self_attn, config.hidden_size // config.num_attention_heads
    before = config.do_layer_norm_before
    shown = None if prefix is None else _split(module, prefix, d)
    y = _layer_norm(block.self_attn_layer_norm, x) if before else x
    x = x + _linear(module.out_proj, _attend(_split(module, y, d), shown, d**-0.5))
    x = x if before else _layer_norm(block.self_attn_layer_norm, x)
    y = _layer_norm(block.final_layer_norm, x) if before else x
    x = x + _linear(block.fc2, _linear(block.fc1, y).clamp(min=0))
    return x if before else _layer_norm(block.final_layer_norm, x)


def _llama_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    """Llama, Mistral and both Qwen: SwiGLU, norms before."""
    module = block.self_attn
    d = module.head_dim
    text = _turned(_split(module, _rms(block.input_layernorm, x), d), config.rope_parameters["rope_theta"], d)
    shown = None if prefix is None else _split(module, prefix, d)
    window = getattr(config, "sliding_window", None)
    x = x + _linear(module.o_proj, _attend(text, shown, d**-0.5, window))
    y = _rms(block.post_attention_layernorm, x)
    return x + _linear(block.mlp.down_proj, F.silu(_linear(block.mlp.gate_proj, y)) * _linear(block.mlp.up_proj, y))


def _phi3_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module = block.self_attn
    d, queries, groups = module.head_dim, config.num_attention_heads, config.num_key_value_heads

    def project(states: Tensor) -> Heads:
        q, k, v = _linear(module.qkv_proj, states).unflatten(-1, (-1, d)).split([queries, groups, groups], -2)
        return q, k, v

    text = _turned(project(_rms(block.input_layernorm, x)), config.rope_parameters["rope_theta"], d)
    shown = None if prefix is None else project(prefix)
    x = x + _linear(module.o_proj, _attend(text, shown, d**-0.5, config.sliding_window))
    gate, up = _linear(block.mlp.gate_up_proj, _rms(block.post_attention_layernorm, x)).chunk(2, -1)
    return x + _linear(block.mlp.down_proj, up * F.silu(gate))


def _gemma3_block(block: Any, x: Tensor, config: Any, index: int, prefix: Tensor | None) -> Tensor:
    module, kind = block.self_attn, config.layer_types[index]
    d = config.head_dim
    text = _turned(_split(module, _rms(block.input_layernorm, x), d), config.rope_parameters[kind]["rope_theta"], d)
    shown = None if prefix is None else _split(module, prefix, d)
    window = config.sliding_window if kind == "sliding_attention" else None
    attended = _linear(module.o_proj, _attend(text, shown, config.query_pre_attn_scalar**-0.5, window))
    x = x + _rms(block.post_attention_layernorm, attended)
    y = _rms(block.pre_feedforward_layernorm, x)
    y = _linear(block.mlp.down_proj, _gelu(_linear(block.mlp.gate_proj, y)) * _linear(block.mlp.up_proj, y))
    return x + _rms(block.post_feedforward_layernorm, y)


_BLOCKS = {
    "gpt2": _gpt2_block, "gpt_neo": _gpt_neo_block, "gptj": _gptj_block, "gpt_neox": _gpt_neox_block,
    "bloom": _bloom_block, "opt": _opt_block, "llama": _llama_block, "mistral": _llama_block, "qwen2": _llama_block,
    "qwen3": _llama_block, "phi3": _phi3_block, "gemma3_text": _gemma3_block,
}
