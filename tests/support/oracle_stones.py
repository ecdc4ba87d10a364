"""The building stones of the oracle: linear layers, norms, rotation and attention by definition, in float64."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Heads = tuple[Tensor, Tensor, Tensor]  # queries (M, H, d), keys and values (M, G, d)


def linear(module: Any, x: Tensor) -> Tensor:
    inner = getattr(module, "base_layer", module)
    weight = inner.weight.double()
    if type(inner).__name__ == "Conv1D":
        weight = weight.T
    if hasattr(module, "lora_A"):
        down, up = (getattr(module, f"lora_{part}")["default"].weight.double() for part in "AB")
        weight = weight + module.scaling["default"] * up @ down
    bias = getattr(inner, "bias", None)
    return x @ weight.T + (0 if bias is None else bias.double())


def rms(module: Any, x: Tensor) -> Tensor:
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    weight = module.weight.double() + (1 if "Gemma" in type(module).__name__ else 0)
    return x / (x.pow(2).mean(-1, keepdim=True) + epsilon).sqrt() * weight


def layer_norm(module: Any, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    epsilon = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()
    bias = getattr(module, "bias", None)
    return scaled * module.weight.double() + (0 if bias is None else bias.double())


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def rotate(x: Tensor, theta: float, rotated: int, neighbours: bool = False) -> Tensor:
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


def alibi(heads: int) -> Tensor:
    """ALiBi's slopes; for a head count that is no power of two, filled up with every other one of the next power."""
    power = 2 ** int(math.log2(heads))
    first = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    more = [2 ** (-8 * (i + 1) / (2 * power)) for i in range(0, 2 * power, 2)]
    return torch.tensor((first + more)[:heads], dtype=torch.float64)


def attend(text: Heads, prefix: Heads | None, scale: float, window: int | None = None, slopes: Tensor | None = None,
           cap: float | None = None, sinks: Tensor | None = None) -> Tensor:
    """(T, H * d): a query sees all of the prefix, and itself and the text before, at most `window` tokens of it.

    `cap` bounds each product of query and key by tanh. A head's sink (H,) takes its share of the softmax, and has no
    value.
    """
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
        products = torch.einsum("hd,khd->hk", query, k) * scale
        products = (products if cap is None else cap * torch.tanh(products / cap)) + bias
        shares = products.exp()
        weights = shares / (shares.sum(-1, keepdim=True) + (0 if sinks is None else sinks.exp()[:, None]))
        rows.append(torch.einsum("hk,khd->hd", weights, v).flatten())
    return torch.stack(rows)


def split(module: Any, x: Tensor, d: int) -> Heads:
    q, k, v = (linear(getattr(module, f"{part}_proj"), x).unflatten(-1, (-1, d)) for part in "qkv")
    return (rms(module.q_norm, q), rms(module.k_norm, k), v) if hasattr(module, "q_norm") else (q, k, v)


def fused(projection: Any, x: Tensor, heads: int) -> Heads:
    q, k, v = linear(projection, x).unflatten(-1, (heads, 3, -1)).unbind(-2)
    return q, k, v


def turned(text: Heads, theta: float, rotated: int, neighbours: bool = False) -> Heads:
    return rotate(text[0], theta, rotated, neighbours), rotate(text[1], theta, rotated, neighbours), text[2]
