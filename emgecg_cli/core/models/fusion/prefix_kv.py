"""Prefix-KV fusion (MEIT, arXiv 2403.04945): each signal token is one more key and value in every attention layer.

A signal token (dim = D / H) is tiled H times to the backbone's width and sent through the layer's own key and value
projections, with whatever LoRA they carry. It has no position, is never rotated or masked, and is seen by every query.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion import Fusion
from emgecg_cli.core.models.fusion.attention_families import FAMILIES, attention_modules, decoder_stack
from emgecg_cli.core.models.fusion.backbone_call import check_thread, forget_compiled_graphs, with_positions
from emgecg_cli.core.models.fusion.frame import Frame
from emgecg_cli.core.models.fusion.hooks import (
    AttentionHook,
    CausalBufferHook,
    PinnedCheckpoint,
    SeenHook,
    check_used,
    measured_states,
)
from emgecg_cli.core.models.fusion.signal_tokens import copies_of_a_row, real_tokens, sequences
from emgecg_cli.core.models.tuning import base_of

SHARE_OF_TEXT = 0.3  # heard beside the text, and without drowning it, by SmolLM2 and by Gemma 3 (docs/training.md)


class PrefixKV:
    """Attached to a causal language model by hooks; a plain object, so nothing of it enters the state dict.

    `layers` are the indices of the layers that get the prefix, None meaning all; the others run as they are. Raises
    MedReportError for a family, a width or a layer it cannot serve and RuntimeError where a prefix would be lost
    silently.
    """

    placeholders = False
    padding_side = "left"

    def __init__(self, backbone: Any, layers: Collection[int] | None = None) -> None:
        self.backbone = backbone
        self.base: Any = base_of(backbone)
        self.config = self.base.config.get_text_config()
        self.frame: Frame | None = None
        self.attention = [module for _, module in attention_modules(self.base)]
        self.heads = self.config.num_attention_heads
        if self.config.hidden_size % self.heads:
            raise MedReportError(f"prefix-kv fusion: width {self.config.hidden_size}, {self.heads} heads: no multiple",
                                 "choose another backbone")
        if not getattr(self.config, "is_causal", True) or getattr(self.config, "use_bidirectional_attention", False):
            raise MedReportError("prefix-kv fusion needs a causal language model, this one's text looks ahead",
                                 "choose another backbone")
        if self.config.model_type == "falcon" and self.config.alibi:
            # transformers adds its bias to the mask, and under eager attention a second time to the products.
            raise MedReportError("prefix-kv fusion does not know Falcon with ALiBi (falcon-rw)",
                                 "choose another backbone, or --fusion splice")
        # Not config.head_dim: the tiled token must be as wide as the projections' input.
        self.dim: int = self.config.hidden_size // self.heads
        if any(isinstance(hook, AttentionHook) for module in self.attention
               for hook in module._forward_pre_hooks.values()):
            raise RuntimeError("prefix fusion: already attached to this backbone")
        self.layers = _checked_layers(layers, len(self.attention))
        self.lengths: dict[nn.Module, float] = {}
        self.buffers: list[tuple[nn.Module, CausalBufferHook]] = []
        self.handles = [decoder_stack(self.base).register_forward_pre_hook(SeenHook(self))]
        for index in self.layers:
            self._attach(self.attention[index])
        self.checkpointed: list[Any] = [m for m in self.base.modules() if hasattr(m, "gradient_checkpointing")]
        forget_compiled_graphs()

    def _attach(self, module: nn.Module) -> None:
        if self.config.model_type == "gpt_neo":
            buffer_hook = CausalBufferHook(self)
            self.buffers.append((module, buffer_hook))
            self.handles.append(module.register_forward_pre_hook(buffer_hook, with_kwargs=True))
        hook = AttentionHook(self, module, FAMILIES[self.config.model_type][1])
        self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        self.handles.append(module.register_forward_hook(check_used, with_kwargs=True))

    @torch.no_grad()
    def measure(self, input_ids: Tensor, attention_mask: Tensor) -> list[float]:
        """How long a signal token should be in each fused layer: 0.3 of the mean text state its projections see, once
        it is tiled. Text (B, T), padded behind."""
        with measured_states([self.attention[index] for index in self.layers], attention_mask) as lengths:
            self.forward(None, input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=1)
        return [SHARE_OF_TEXT * length / math.sqrt(self.heads) for length in lengths()]

    def match(self, lengths: Sequence[float]) -> float:
        """Take the lengths of `measure`; returns the one the projector is to give."""
        self.lengths = {self.attention[index]: length for index, length in zip(self.layers, lengths, strict=True)}
        return 1.0

    def implementation(self) -> str:
        """The attention implementation, read at every use because it can be set after attaching."""
        return self.config._attn_implementation

    def tile(self, signal_tokens: Tensor) -> Tensor:
        """(B, N, dim) -> (B, N, D): [e, e, …, e], one copy a head."""
        if signal_tokens.ndim != 3 or signal_tokens.shape[1] == 0 or signal_tokens.shape[-1] != self.dim:
            raise RuntimeError(f"prefix fusion: signal tokens {tuple(signal_tokens.shape)}, need (B, N, {self.dim})")
        return signal_tokens.repeat(1, 1, self.heads)

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Any:
        """Run the backbone once with the prefix, or plainly when `signal_tokens` is None."""
        with self._use(self._frame(signal_tokens, valid)):
            return self.backbone(**with_positions(self.base, inputs))

    @torch.no_grad()
    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Tensor:
        """The backbone's `generate` with the prefix in every step; its keys and values are computed once a layer.

        Returns the new token ids (B, new), or (B * num_return_sequences, new).
        """
        with self._use(self._frame(signal_tokens, valid).repeated(copies_of_a_row(self.backbone, inputs))):
            output = self.backbone.generate(**inputs)
        return sequences(output)[:, inputs["input_ids"].shape[1]:]

    def begin(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> tuple[Any, Frame]:
        """Read prompts into the cache; see `Fusion`."""
        frame = self._frame(signal_tokens, valid).repeated(1)
        return self.proceed(frame, **inputs), frame

    def proceed(self, frame: Frame, **inputs: Any) -> Any:
        """One step; see `Fusion`."""
        with self._use(frame):
            return self.backbone(**with_positions(self.base, inputs))

    def _frame(self, signal_tokens: Tensor | None, valid: Tensor | None) -> Frame:
        if signal_tokens is None:
            return Frame(None)
        hidden = self.tile(signal_tokens)
        # Without `valid` the frame has none either: a single query then needs no mask.
        return Frame(hidden) if valid is None else Frame(*real_tokens(hidden, valid))

    def detach(self) -> None:
        """Remove every hook and checkpoint wrapper and give GPT-Neo its own buffer back."""
        for handle in self.handles:
            handle.remove()
        for module, buffer_hook in self.buffers:
            buffer_hook.fit(module, 0)
        for module in self.checkpointed:
            function = getattr(module, "_gradient_checkpointing_func", None)
            if isinstance(function, PinnedCheckpoint):
                module._gradient_checkpointing_func = function.function
        forget_compiled_graphs()

    @contextmanager
    def _use(self, frame: Frame) -> Iterator[None]:
        if self.implementation() not in ("eager", "sdpa"):
            raise RuntimeError(f"prefix fusion: attention '{self.implementation()}', where sdpa or eager is needed")
        for module in self.checkpointed:  # wrapped at every use: checkpointing may be switched on at any time
            function = getattr(module, "_gradient_checkpointing_func", None)
            if function is not None and not isinstance(function, PinnedCheckpoint):
                module._gradient_checkpointing_func = PinnedCheckpoint(self, function)
        outer = self.frame
        if outer is not None:
            check_thread("prefix", outer.thread)
        self.frame = frame
        try:
            yield
            if frame.hidden is not None and frame.seen == 0:
                raise RuntimeError("prefix fusion: the backbone ran without its hooks (compiled before attaching?)")
        finally:
            self.frame = outer


def prefix_kv(backbone: Any, layers: Collection[int] | None = None) -> Fusion:
    """Prefix-KV fusion for whatever backbone: an encoder-decoder gets the tokens as rows of its encoder's output.

    There every cross-attention projects them with its own key and value weights and without a position, which is the
    same construction. Raises as the fusion it builds.
    """
    if not backbone.config.is_encoder_decoder:
        return PrefixKV(backbone, layers)
    from emgecg_cli.core.models.fusion.encoder_memory import EncoderMemory

    memory: Any = EncoderMemory(backbone, layers)  # it names more of its arguments than the Protocol does
    return memory


def _checked_layers(layers: Collection[int] | None, count: int) -> list[int]:
    if layers is None:
        return list(range(count))
    wrong = sorted(index for index in layers if not 0 <= index < count)
    if wrong or not layers:
        what = f"no layer {wrong[0]}" if wrong else "no layers are named"
        raise MedReportError(f"prefix-kv fusion: {what}; the backbone has layers 0 to {count - 1}",
                             "leave the layers out to fuse them all")
    return sorted(set(layers))
