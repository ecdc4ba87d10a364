"""Prefix-KV fusion (MEIT, spec A4): each signal token is one more key and value in every attention layer.

A signal token (dim = D / H) is tiled H times to the backbone's width and sent through the layer's own key and value
projections, with whatever LoRA they carry. It has no position, is never rotated or masked, and is seen by every query.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion.attention_families import FAMILIES
from emgecg_cli.core.models.fusion.hooks import AttentionHook, Frame, PinnedCheckpoint, SeenHook, check_used


class PrefixKV:
    """Attached to a causal language model by hooks; a plain object, so nothing of it enters the state dict.

    Raises MedReportError for a family it does not know and RuntimeError where a prefix would be lost silently.
    """

    def __init__(self, backbone: Any, layers: Collection[int] | None = None) -> None:
        self.backbone = backbone
        base: Any = backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone
        self.config = base.config.get_text_config()
        if self.config.model_type not in FAMILIES:
            raise MedReportError(f"prefix-kv fusion does not know the backbone family '{self.config.model_type}'",
                                 f"it knows {', '.join(FAMILIES)}")
        class_name, project = FAMILIES[self.config.model_type]
        self.heads = self.config.num_attention_heads
        if self.config.hidden_size % self.heads:
            raise MedReportError(f"prefix-kv fusion: width {self.config.hidden_size}, {self.heads} heads: no multiple",
                                 "choose another backbone")
        # Not config.head_dim: the tiled token must be as wide as the projections' input.
        self.dim = self.config.hidden_size // self.heads
        self.frame: Frame | None = None
        named = [(name, module) for name, module in base.named_modules() if type(module).__name__ == class_name]
        self._check_modules(named, class_name)
        if "torch._dynamo" in sys.modules:  # compiled graphs do not guard on hooks: forget those traced before now
            torch.compiler.reset()
        stack = base.get_submodule(re.split(r"\.\w+\.0\.", named[0][0])[0])
        self.handles = [stack.register_forward_pre_hook(SeenHook(self))]
        for index, (_, module) in enumerate(named):
            if layers is None or index in layers:
                hook = AttentionHook(self, module, project)
                self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
                self.handles.append(module.register_forward_hook(check_used, with_kwargs=True))
        self.checkpointed: list[Any] = [m for m in base.modules() if hasattr(m, "gradient_checkpointing")]

    def _check_modules(self, named: list[tuple[str, nn.Module]], class_name: str) -> None:
        if len(named) != self.config.num_hidden_layers:
            raise RuntimeError(f"prefix fusion: {len(named)} {class_name} for {self.config.num_hidden_layers} layers")
        if any(isinstance(hook, AttentionHook) for _, module in named for hook in module._forward_pre_hooks.values()):
            raise RuntimeError("prefix fusion: already attached to this backbone")

    def implementation(self) -> str:
        """The attention implementation, read at every use because it can be set after attaching."""
        return self.config._attn_implementation

    def tile(self, signal_tokens: Tensor) -> Tensor:
        """(B, N, dim) -> (B, N, D): [e, e, …, e], one copy a head."""
        if signal_tokens.ndim != 3 or signal_tokens.shape[-1] != self.dim:
            raise RuntimeError(f"prefix fusion: signal tokens {tuple(signal_tokens.shape)}, need (B, N, {self.dim})")
        return signal_tokens.repeat(1, 1, self.heads)

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Any:
        """Run the backbone once with the prefix, or plainly when `signal_tokens` is None."""
        positions, mask = inputs.get("position_ids"), inputs.get("attention_mask")
        if positions is not None and bool((positions[:, 1:] < positions[:, :-1]).any()):
            raise RuntimeError("prefix fusion: packed rows would share one prefix; give each record a row of its own")
        if positions is None and mask is not None:
            # A prefix acts at position 0, so padding in front must not count, relative embedding or not.
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        hidden = None if signal_tokens is None else self.tile(signal_tokens)
        with self._use(Frame(hidden, valid)):
            return self.backbone(**inputs)

    @torch.no_grad()
    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Tensor:
        """The backbone's `generate` with the prefix in every step; its keys and values are computed once a layer."""
        backbone: Any = self.backbone
        settings = inputs.get("generation_config") or backbone.generation_config
        copies = max(int(inputs.get(name, getattr(settings, name, None)) or 1)
                     for name in ("num_beams", "num_return_sequences"))
        if signal_tokens is None:
            frame = Frame(None)
        else:
            frame = Frame(self.tile(signal_tokens).repeat_interleave(copies, 0),  # as generate expands its inputs
                          None if valid is None else valid.repeat_interleave(copies, 0), memo={})
        with self._use(frame):
            return backbone.generate(**inputs)

    def detach(self) -> None:
        """Remove every hook and checkpoint wrapper."""
        for handle in self.handles:
            handle.remove()
        for module in self.checkpointed:
            function = getattr(module, "_gradient_checkpointing_func", None)
            if isinstance(function, PinnedCheckpoint):
                module._gradient_checkpointing_func = function.function

    @contextmanager
    def _use(self, frame: Frame) -> Iterator[None]:
        if self.implementation() not in ("eager", "sdpa"):
            raise RuntimeError(f"prefix fusion: attention '{self.implementation()}', where sdpa or eager is needed")
        for module in self.checkpointed:  # wrapped at every use: checkpointing may be switched on at any time
            function = getattr(module, "_gradient_checkpointing_func", None)
            if function is not None and not isinstance(function, PinnedCheckpoint):
                module._gradient_checkpointing_func = PinnedCheckpoint(self, function)
        outer, self.frame = self.frame, frame
        try:
            yield
            if frame.hidden is not None and frame.seen == 0:
                raise RuntimeError("prefix fusion: the backbone ran without its hooks (compiled before attaching?)")
        finally:
            self.frame = outer
