"""What a fusion keeps of the signal between the steps of a generation, for rows that come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emgecg_cli.core.models.fusion.backbone_call import this_thread

KeyValue = tuple[Tensor, Tensor]


@dataclass
class Frame:
    """The signal of one forward or one generation, as the hooks of a fusion show it.

    `hidden` (B, N, D) are the signal tokens, None when the fusion is explicitly off; `valid` (B, N) marks those that
    are real, None all. `memo` keeps the keys and values (B, H, N, d) that modules made of them, during generation.
    `seen` counts runs of the hooks, and `thread` is the one it was made in.
    """

    hidden: Tensor | None
    valid: Tensor | None = None
    memo: dict[nn.Module, KeyValue] | None = None
    seen: int = field(default=0, compare=False)
    thread: int = field(default_factory=this_thread, compare=False)

    def repeated(self, copies: int) -> Frame:
        """Each row so many times, as `generate` repeats its inputs for beams; the memo begins empty."""
        if self.hidden is None:
            return self
        valid = None if self.valid is None else self.valid.repeat_interleave(copies, 0)
        return Frame(self.hidden.repeat_interleave(copies, 0), valid, {})

    def rows(self, index: Tensor) -> Frame:
        """Some rows."""
        if self.hidden is None:
            return self
        memo = None if self.memo is None else {
            module: (keys[index], values[index]) for module, (keys, values) in self.memo.items()}
        return Frame(self.hidden[index], None if self.valid is None else self.valid[index], memo)


def join_frames(first: Frame, second: Frame, rows: tuple[int, int]) -> Frame:
    """The `rows` of two frames below each other; a row has as many signal tokens as the one with most of them, the
    others not real. A frame without a signal may stand beside one with."""
    if first.hidden is None and second.hidden is None:
        return first
    widths = [0 if frame.hidden is None else frame.hidden.shape[1] for frame in (first, second)]
    if widths[0] == widths[1] and first.valid is None and second.valid is None:
        valid = None
    else:
        valid = torch.cat([_padded(_real(frame, count), max(widths), -1)
                           for frame, count in zip((first, second), rows, strict=True)])
    hidden = _below(first.hidden, second.hidden, rows, max(widths))
    valid = None if valid is None else valid.to(hidden.device)
    kept = [{} if frame.hidden is None else frame.memo for frame in (first, second)]
    if kept[0] is None or kept[1] is None:
        return Frame(hidden, valid)
    memo: dict[nn.Module, KeyValue] = {}
    for module in kept[0] | kept[1]:
        above, below = kept[0].get(module, (None, None)), kept[1].get(module, (None, None))
        memo[module] = (_below(above[0], below[0], rows, max(widths)), _below(above[1], below[1], rows, max(widths)))
    return Frame(hidden, valid, memo)


def _real(frame: Frame, rows: int) -> Tensor:
    """Which signal tokens of a frame are real, (B, N), on the CPU."""
    if frame.hidden is None:
        return torch.zeros(rows, 0, dtype=torch.bool)
    return torch.ones(frame.hidden.shape[:2], dtype=torch.bool) if frame.valid is None else frame.valid.cpu()


def _below(first: Tensor | None, second: Tensor | None, rows: tuple[int, int], width: int) -> Tensor:
    """Tensors (B, …, N, d) below each other, each with N padded to `width`; None is rows of padding alone."""
    like = first if first is not None else second
    assert like is not None
    parts = [like.new_zeros(count, *like.shape[1:]) if part is None else part
             for part, count in zip((first, second), rows, strict=True)]
    return torch.cat([_padded(part, width, -2) for part in parts])


def _padded(tensor: Tensor, width: int, axis: int) -> Tensor:
    """Zeros behind, along the last axis (-1) or the last but one (-2), up to `width`."""
    missing = width - tensor.shape[axis]
    return F.pad(tensor, (0, missing) if axis == -1 else (0, 0, 0, missing)) if missing else tensor
