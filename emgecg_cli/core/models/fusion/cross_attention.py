"""Cross-attention fusion (Flamingo, Alayrac et al. 2022): text attends to the signal between the backbone's layers.

Before each chosen decoder layer stands a gated block of new weights: the hidden states of the text are the queries, the
signal tokens the keys and values, and a feed-forward follows. Both gates start shut, so a fresh fusion is its backbone
to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.fusion.attention_families import decoder_layers
from emgecg_cli.core.models.fusion.backbone_call import check_thread, forget_compiled_graphs, with_positions
from emgecg_cli.core.models.fusion.frame import Frame
from emgecg_cli.core.models.fusion.signal_tokens import check_tokens, copies_of_a_row, real_tokens, sequences
from emgecg_cli.core.models.tuning import base_of

SMALL = 8  # backbones with up to so many layers get a block before each one,
EVERY = 4  # deeper ones before the last layer of every so many, as OpenFlamingo counts them


class GatedBlock(nn.Module):
    """x + tanh(gate) * attention(x to signal), then x + tanh(gate) * feed-forward(x), both on normed x; no biases.

    Computes in the dtype of its own weights and returns that of x; rows without a real signal token come back as given.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * max(1, width // heads)
        self.norm = nn.LayerNorm(width)
        self.norm_signal = nn.LayerNorm(width)
        self.queries = nn.Linear(width, inner, bias=False)
        self.keys = nn.Linear(width, inner, bias=False)
        self.values = nn.Linear(width, inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.norm_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width, bias=False), nn.GELU(),
                                  nn.Linear(4 * width, width, bias=False))
        # Not scalars: sharding cannot split those.
        self.gate_attention = nn.Parameter(torch.zeros(1))
        self.gate_feed = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, frame: Frame) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        assert frame.valid is not None
        real = frame.valid.to(hidden.device)
        some = real.any(1)[:, None, None]
        x = hidden.to(self.gate_attention.dtype)
        x = x + self.gate_attention.tanh() * self._attend(x, frame, real | ~some[:, 0])
        x = x + self.gate_feed.tanh() * self.feed(self.norm_feed(x))
        return torch.where(some, x.to(hidden.dtype), hidden)

    def _attend(self, x: Tensor, frame: Frame, visible: Tensor) -> Tensor:
        """`visible` (B, N) leaves no row without a key: a softmax over nothing is NaN, and so are its gradients."""
        keys, values = self._keys_and_values(x, frame)
        queries = self._split(self.queries(self.norm(x)))
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible[:, None, None])
        return self.out(attended.transpose(1, 2).flatten(-2))  # (B, H, T, d) -> (B, T, H * d)

    def _keys_and_values(self, x: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
        if frame.memo is not None and torch.is_grad_enabled():
            raise RuntimeError("cross-attention fusion: keys and values are kept in generation only")
        if frame.memo is not None and self in frame.memo:
            return frame.memo[self]
        assert frame.hidden is not None
        signal = self.norm_signal(frame.hidden.to(x.device, x.dtype))
        made = self._split(self.keys(signal)), self._split(self.values(signal))
        if frame.memo is not None:
            frame.memo[self] = made
        return made

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, N, H * d) -> (B, H, N, d)


class LayerHook:
    """Forward pre-hook of one decoder layer: sends its hidden states through a block first.

    Transformers checkpoints a layer's `forward`, so the hook runs once, outside, and its block keeps its activations.
    A class, not a closure, so that a deep copy of the model points to the copy's fusion.
    """

    def __init__(self, fusion: CrossAttention, name: str) -> None:
        self.fusion = fusion
        self.name = name

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Rewrite the hidden states of this call."""
        frame = self.fusion.frame
        if frame is None:
            raise RuntimeError("cross-attention fusion: the backbone ran outside the fusion's forward and generate")
        check_thread("cross-attention", frame.thread)
        frame.seen += 1
        if frame.hidden is None:
            return None
        if getattr(layer, "_is_replica", False):
            raise RuntimeError("cross-attention fusion: torch.nn.DataParallel has threads share one frame; use DDP")
        hidden = args[0] if args else kwargs["hidden_states"]
        check_tokens("cross-attention", frame.hidden, self.fusion.dim, hidden.shape[0])
        hidden = self.fusion.blocks[self.name](hidden, frame)
        return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})


class CrossAttention(nn.Module):
    """Attached to a causal language model by hooks; holds its blocks, and the backbone by reference only.

    Signal tokens are (B, N, D). `layers` are the decoder layers that get a block in front; by default every one of a
    backbone with up to 8 layers, and of a deeper one layers 3, 7, 11, … as Flamingo thins them out in large models. New
    weights are drawn from torch's global generator.
    Raises MedReportError for a backbone it cannot attach to, and RuntimeError where a signal would be lost silently.
    """

    placeholders = False
    padding_side = "left"
    backbone: Any
    base: Any

    def __init__(self, backbone: Any, layers: Collection[int] | None = None) -> None:
        super().__init__()
        base = base_of(backbone)
        # Past nn.Module's own registry: the backbone's weights are not this module's.
        self.__dict__.update(backbone=backbone, base=base)
        if getattr(base.config, "is_encoder_decoder", False):
            raise MedReportError("cross-attention fusion needs a causal language model, "
                                 f"'{base.config.model_type}' is an encoder-decoder", "use prefix-kv fusion")
        config = base.config.get_text_config()
        self.dim = int(config.hidden_size)
        self.frame: Frame | None = None
        stack = decoder_layers(base)
        chosen = _choose(len(stack), layers)
        if any(isinstance(hook, LayerHook) for layer in stack for hook in layer._forward_pre_hooks.values()):
            raise RuntimeError("cross-attention fusion: already attached to this backbone")
        self.blocks = nn.ModuleDict({str(i): GatedBlock(self.dim, config.num_attention_heads) for i in chosen})
        forget_compiled_graphs()
        self.handles = [stack[i].register_forward_pre_hook(LayerHook(self, str(i)), with_kwargs=True) for i in chosen]

    def forward(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> Any:
        """Run the backbone once, with the signal or plainly when `signal_tokens` is None."""
        with self._use(_frame(signal_tokens, valid)):
            return self.backbone(**with_positions(self.base, inputs))

    @torch.no_grad()
    def generate(self, signal_tokens: Tensor | None, valid: Tensor | None = None, *, input_ids: Tensor,
                 **inputs: Any) -> Tensor:
        """Left-padded prompts (B, T) -> new token ids (B, new); keys and values of the signal are made once a block."""
        with self._use(_frame(signal_tokens, valid).repeated(copies_of_a_row(self.backbone, inputs))):
            return sequences(self.backbone.generate(input_ids=input_ids, **inputs))[:, input_ids.shape[1]:]

    def begin(self, signal_tokens: Tensor | None, valid: Tensor | None = None, **inputs: Any) -> tuple[Any, Frame]:
        """Read prompts into the cache; see `Fusion`."""
        frame = _frame(signal_tokens, valid).repeated(1)
        return self.proceed(frame, **inputs), frame

    def proceed(self, frame: Frame, **inputs: Any) -> Any:
        """One step; see `Fusion`."""
        with self._use(frame):
            return self.backbone(**with_positions(self.base, inputs))

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self.handles:
            handle.remove()
        forget_compiled_graphs()

    @contextmanager
    def _use(self, frame: Frame) -> Iterator[None]:
        outer = self.frame
        if outer is not None:
            check_thread("cross-attention", outer.thread)
        self.frame = frame
        try:
            yield
            if frame.seen == 0:
                raise RuntimeError("cross-attention fusion: the backbone ran without its hooks (detached, or compiled "
                                   "before attaching?)")
        finally:
            self.frame = outer


def _frame(signal_tokens: Tensor | None, valid: Tensor | None) -> Frame:
    if signal_tokens is None or signal_tokens.shape[1] == 0:
        return Frame(None)
    return Frame(*real_tokens(signal_tokens, valid))


def _choose(count: int, layers: Collection[int] | None) -> list[int]:
    if layers is None:
        return list(range(count)) if count <= SMALL else list(range(EVERY - 1, count, EVERY))
    if not layers or not set(layers) <= set(range(count)):
        raise MedReportError(f"cross-attention fusion before layers {sorted(layers)}, the backbone has layers 0 to "
                             f"{count - 1}", "name at least one of those")
    return sorted(set(layers))
