"""What prefix-KV fusion hangs on an attention module: a hook, a cache that shows the prefix, a longer mask.

The backbone's own cache, positions and lengths never see the prefix; only the attention does, after rotation. Hooks are
class instances, not closures, so that a deep copy of the model points to the copy's fusion.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.models.fusion.attention_families import KeyValue
from emgecg_cli.core.models.fusion.backbone_call import check_thread
from emgecg_cli.core.models.fusion.frame import Frame

CACHE_ARGUMENTS = ("past_key_values", "layer_past", "past_key_value")


class FrameHolder(Protocol):
    """What the hooks need of the fusion they belong to."""

    frame: Frame | None
    lengths: dict[nn.Module, float]  # what a unit token is multiplied by, in layers where that is not 1

    def implementation(self) -> str:
        """Name of the attention implementation in use."""


class PrefixedCache:
    """Stands in for the cache argument of one attention call: stores text, returns prefix and text."""

    def __init__(self, inner: Any, prefix: KeyValue) -> None:
        self.inner = inner
        self.prefix = prefix
        self.used = False

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> KeyValue:
        """Store (B, G, T, head_dim) in the real cache; return (B, G, N + K, head_dim)."""
        self.used = True
        if self.inner is not None:
            keys, values = self.inner.update(keys, values, *args, **kwargs)
        prefix_keys, prefix_values = self.prefix
        return (torch.cat([prefix_keys.to(keys.dtype), keys], -2),
                torch.cat([prefix_values.to(values.dtype), values], -2))


def extend_mask(mask: Tensor | None, frame: Frame, new: int, total: int) -> Tensor | None:
    """Put N columns in front of the mask the model built: (B or 1, 1, T, K) -> (B or 1, 1, T, N + K).

    They are visible to every query, or where `frame.valid` says no to none. A None mask means one query that sees
    everything, or that the cache was empty and the text is plainly causal from its first key on.
    """
    hidden = frame.hidden
    assert hidden is not None
    tokens = hidden.shape[1]
    if mask is None:
        if new == 1 and frame.valid is None:
            return None
        # An explicit mask, and not torch's causal_lower_right bias, which would keep the flash kernel: this one is
        # measured to be exact for every family, and the gain of the other is not measured.
        mask = torch.ones(1, 1, new, total, dtype=torch.bool, device=hidden.device)
        mask = mask if new == 1 else mask.tril()
    if mask.ndim != 4:
        raise RuntimeError(f"prefix fusion: cannot extend a mask of shape {tuple(mask.shape)}")
    boolean = mask.dtype == torch.bool
    if frame.valid is None:
        return F.pad(mask, (tokens, 0), value=True if boolean else 0.0)
    columns = frame.valid.to(mask.device)[:, None, None, :]  # (B, 1, 1, N)
    if not boolean:
        columns = torch.zeros_like(columns, dtype=mask.dtype).masked_fill(~columns, torch.finfo(mask.dtype).min)
    rows = columns.shape[0]
    return torch.cat([columns.expand(-1, -1, mask.shape[2], -1), mask.expand(rows, -1, -1, -1)], -1)


class AttentionHook:
    """Forward pre-hook of one attention module: projects the prefix and shows it through cache and mask."""

    def __init__(self, holder: FrameHolder, module: nn.Module, project: Callable[[Any, Tensor], KeyValue]) -> None:
        self.holder = holder
        self.project = project
        self.names = list(inspect.signature(type(module).forward).parameters)[1:]
        found = [name for name in CACHE_ARGUMENTS if name in self.names]
        if not found:
            raise RuntimeError(f"prefix fusion: {type(module).__name__} takes no cache")
        self.cache_argument = found[0]

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rewrite cache and mask of this call."""
        frame = self.holder.frame
        if frame is None:
            raise RuntimeError("prefix fusion: the backbone ran outside the fusion's forward and generate")
        check_thread("prefix", frame.thread)
        if frame.hidden is None:
            return None
        call = dict(zip(self.names, args, strict=False)) | kwargs
        text = call["hidden_states"]
        self._check(module, call, text, frame.hidden)
        inner = call.get(self.cache_argument)
        inner = getattr(inner, "self_attention_cache", inner)  # GPT-2 with cross-attention has one cache for each
        mask, new = call.get("attention_mask"), text.shape[1]
        total = new
        if mask is None and inner is not None:
            total = inner.get_mask_sizes(new, getattr(module, "layer_idx", 0))[0]
        call["attention_mask"] = extend_mask(mask, frame, new, total)
        if call.get("alibi") is not None:  # BLOOM: a prefix has no position and so no bias
            call["alibi"] = F.pad(call["alibi"], (frame.hidden.shape[1], 0))
        call[self.cache_argument] = PrefixedCache(inner, self._keys_and_values(module, frame, text))
        return (), call

    def _keys_and_values(self, module: nn.Module, frame: Frame, text: Tensor) -> KeyValue:
        if frame.memo is not None and torch.is_grad_enabled():
            raise RuntimeError("prefix fusion: keys and values are kept in generation only, never for gradients")
        if frame.memo is not None and module in frame.memo:
            return frame.memo[module]
        assert frame.hidden is not None
        hidden = frame.hidden * self.holder.lengths[module] if module in self.holder.lengths else frame.hidden
        projected = self.project(module, hidden.to(text.device, text.dtype))
        if frame.memo is not None:
            frame.memo[module] = projected
        return projected

    def _check(self, module: nn.Module, call: dict[str, Any], text: Tensor, hidden: Tensor) -> None:
        if call.get("cache") is not None:
            raise RuntimeError("prefix fusion: paged caches are not supported")
        if getattr(module, "_is_replica", False):
            raise RuntimeError("prefix fusion: torch.nn.DataParallel shares one frame between threads; use DDP")
        if text.shape[0] != hidden.shape[0]:
            raise RuntimeError(f"prefix fusion: {text.shape[0]} rows of text, {hidden.shape[0]} of signal")
        if call.get("attention_mask") is None and text.shape[1] > 1 and self.holder.implementation() == "eager":
            raise RuntimeError("prefix fusion: eager attention without a mask")


class CausalBufferHook:
    """Forward pre-hook of GPT-Neo's attention, whose own (local) causal buffer must make room for the prefix.

    While a prefix is present the buffer has N columns in front that every query sees. It is no part of the state dict.
    """

    def __init__(self, holder: FrameHolder) -> None:
        self.holder = holder
        self.columns = 0  # how many columns the buffer has in front now

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Fit the buffer to this call's prefix."""
        if getattr(kwargs.get("layer_past"), "is_compileable", False):
            raise RuntimeError("prefix fusion: GPT-Neo masks a static cache wrongly, with a prefix or without; use a "
                               "dynamic cache")
        frame = self.holder.frame
        self.fit(module, 0 if frame is None or frame.hidden is None else frame.hidden.shape[1])

    def fit(self, module: Any, columns: int) -> None:
        """Give the buffer so many columns in front."""
        if columns != self.columns:
            # Cut out of the buffer itself, and not of a copy kept here, because the module may have been moved.
            text = module.bias[..., self.columns:, self.columns:]
            module.bias = F.pad(text, (columns, 0, columns, 0), value=True)
            self.columns = columns


def check_used(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
    """Forward hook: an attention that never called `update` dropped the prefix."""
    for value in kwargs.values():
        if isinstance(value, PrefixedCache) and not value.used:
            raise RuntimeError(f"prefix fusion: {type(module).__name__} never updated its cache, the prefix is lost")


@contextmanager
def measured_states(modules: Sequence[nn.Module], mask: Tensor) -> Iterator[Callable[[], list[float]]]:
    """The mean length of the states (B, T, D) that each module is given where `mask` (B, T) says text, asked for after
    a run inside."""
    found: dict[nn.Module, float] = {}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        found[module] = float(states.detach().float().norm(dim=-1)[mask.bool()].mean())

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    try:
        yield lambda: [found[module] for module in modules]
    finally:
        for handle in handles:
            handle.remove()


class SeenHook:
    """Forward pre-hook of the decoder stack: proof that hooks run (a graph compiled before attaching has none)."""

    def __init__(self, holder: FrameHolder) -> None:
        self.holder = holder

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Count one run."""
        if self.holder.frame is not None:
            self.holder.frame.seen += 1


class PinnedCheckpoint:
    """A gradient-checkpointing function whose recomputation, in the backward pass, sees the frame of its own forward.

    Without it the recomputation finds no prefix, or another batch's: with re-entrant checkpointing silently.
    """

    def __init__(self, holder: FrameHolder, function: Callable[..., Any]) -> None:
        self.holder = holder
        self.function = function

    def __call__(self, layer: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Checkpoint `layer`."""
        frame = self.holder.frame
        if frame is None or torch.compiler.is_compiling():  # a compiled graph replays operations, not Python
            return self.function(layer, *args, **kwargs)

        def run(hidden: Tensor | None, *inner_args: Any, **inner_kwargs: Any) -> Any:
            outer, self.holder.frame = self.holder.frame, Frame(hidden, frame.valid)
            try:
                return layer(*inner_args, **inner_kwargs)
            finally:
                self.holder.frame = outer

        # The prefix is an explicit argument because re-entrant checkpointing differentiates only those.
        return self.function(run, frame.hidden, *args, **kwargs)
