"""How each backbone family turns hidden states into keys and values, before any rotation.

The projection modules are called as modules, so that LoRA, quantised and sharded weights apply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

KeyValue = tuple[Tensor, Tensor]


def split_projections(attention: Any, hidden: Tensor) -> KeyValue:
    """`k_proj` and `v_proj`, and a `k_norm` where the family has one: (B, N, D) -> two of (B, G, N, head_dim)."""
    keys = _split_heads(attention.k_proj(hidden), attention.head_dim)
    values = _split_heads(attention.v_proj(hidden), attention.head_dim)
    # The norm belongs to the key path and is not positional; a prefix key passes it as any other.
    return (attention.k_norm(keys) if hasattr(attention, "k_norm") else keys), values


def _split_heads(projected: Tensor, head_dim: int) -> Tensor:
    return projected.unflatten(-1, (-1, head_dim)).transpose(1, 2)  # (B, N, G * head_dim) -> (B, G, N, head_dim)


# model_type of the configuration -> (class of the attention module, projection)
FAMILIES: dict[str, tuple[str, Callable[[Any, Tensor], KeyValue]]] = {
    "llama": ("LlamaAttention", split_projections),
    "mistral": ("MistralAttention", split_projections),
    "qwen2": ("Qwen2Attention", split_projections),
    "qwen3": ("Qwen3Attention", split_projections),
}
