"""Text written step by step, in rows that come and go: a row that has ended makes room for another prompt.

All rows lie left-padded in one cache, as in a batch of prompts of unlike length: each ends in the last column, and its
positions count its own words. A prompt that joins is read by itself and takes the place of a row that has ended.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from emgecg_cli.core.models.fusion import Fusion
from emgecg_cli.core.models.fusion.attention_families import FAMILIES
from emgecg_cli.core.models.fusion.frame import Frame, join_frames
from emgecg_cli.core.models.tuning import base_of

JOINED = (DynamicLayer, DynamicSlidingWindowLayer)  # what is known to be nothing but keys and values, a column a word
ROOM = 32  # columns that may be written before the cache is copied


def why_not_refilled(backbone: Any) -> str | None:
    """Why rows of this backbone cannot come and go; None where they can."""
    base = base_of(backbone)
    if getattr(base.config, "is_encoder_decoder", False):
        return "an encoder-decoder counts the words of all its rows together"
    family = base.config.get_text_config().model_type
    if family not in FAMILIES and "position_ids" not in inspect.signature(type(base).forward).parameters:
        return f"'{family}' takes no positions of single rows"
    if not base._supports_default_dynamic_cache():
        return f"'{family}' has a cache of its own"
    others = sorted({type(layer).__name__ for layer in _new_cache(base).layers if type(layer) not in JOINED})
    return f"'{family}' keeps {others[0]} beside keys and values" if others else None


def _new_cache(base: Any) -> DynamicCache:
    return DynamicCache(config=base.config.get_text_config(decoder=True))


@dataclass
class Rows:
    """B rows that are being written: their cache, which of its K columns are theirs (B, K), and their signal."""

    fusion: Fusion
    cache: DynamicCache
    mask: Tensor
    frame: Frame

    @torch.no_grad()
    def step(self, ids: Tensor, writing: Tensor) -> Tensor:
        """The next word of each row (B) -> logits of the one behind it (B, vocabulary). A row that is not `writing` (B,
        bool) is given a column of padding, so that its positions stay below those a backbone has."""
        self.mask = torch.cat([self.mask, writing[:, None].to(self.mask.dtype)], 1)
        output = self.fusion.proceed(self.frame, input_ids=ids[:, None], attention_mask=self.mask,
                                     past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1]

    def keep(self, index: Tensor) -> None:
        """Keep some rows (their numbers), and no column that is padding in all of them."""
        self.mask = self.mask[index]
        self.frame = self.frame.rows(index)
        width = self.mask.shape[1] - int(self.mask.any(0).int().argmax())
        for layer in _layers(self.cache):
            layer.keys, layer.values = layer.keys[index], layer.values[index]
            _fit(layer, width)
        self.mask = self.mask[:, -width:]

    def replace(self, places: Tensor, others: Rows) -> None:
        """Put other rows in the places of some (their numbers), as many, and keep no column that is padding in all; the
        others are used up. What is kept of the rows that stay is not copied."""
        count, more = len(self.mask), len(others.mask)
        index = torch.arange(count, device=places.device)
        index[places] = count + torch.arange(more, device=places.device)
        self.frame = join_frames(self.frame, others.frame, (count, more)).rows(index)
        width = max(self.mask.shape[1], others.mask.shape[1])
        mask = torch.cat([F.pad(one, (width - one.shape[1], 0)) for one in (self.mask, others.mask)])[index]
        kept = width - int(mask.any(0).int().argmax())
        self.mask = mask[:, -kept:]
        for layer, other in zip(_layers(self.cache), _layers(others.cache), strict=True):
            _fit(layer, width)
            _fit(other, width)
            layer.keys[places] = other.keys
            layer.values[places] = other.values
            other.keys = other.values = other.keys[:0]
            _fit(layer, kept)


class RoomyLayer(DynamicLayer):
    """Keys and values (B, H, T, d) with room behind them: a word is written there, where a `DynamicLayer` copies all
    that is before it, for each word anew."""

    room: tuple[Tensor, Tensor] | None = None
    end = 0  # of what is written there

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Put the states of new words behind the others; returns all."""
        if self.keys is None or self.values is None or not self.get_seq_length():
            return super().update(key_states, value_states, *args, **kwargs)
        new, width = key_states.shape[-2], self.keys.shape[-2]
        if self.room is None or not _lies_in(self.keys, self.room[0]) or self.end + new > self.room[0].shape[-2]:
            self.room = _with_room(self.keys, width + new), _with_room(self.values, width + new)
            self.end = width
        for memory, states in zip(self.room, (key_states, value_states), strict=True):
            memory[..., self.end:self.end + new, :] = states
        self.end += new
        self.keys, self.values = (memory[..., self.end - width - new:self.end, :] for memory in self.room)
        return self.keys, self.values


def _with_room(states: Tensor, width: int) -> Tensor:
    memory = states.new_empty(*states.shape[:-2], width + ROOM, states.shape[-1])
    memory[..., :states.shape[-2], :] = states
    return memory


def _lies_in(part: Tensor, whole: Tensor) -> bool:
    return part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def _layers(cache: DynamicCache) -> list[Any]:
    """The layers, all of kinds in `JOINED`."""
    return list(cache.layers)


def _fit(layer: Any, width: int) -> None:
    """Make a layer one of a text of `width` words, cutting or padding in front; one with a window keeps less of it."""
    held = width
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length, held = width, min(width, layer.sliding_window - 1)
    front = held - layer.keys.shape[-2]
    if front > 0:
        layer.keys, layer.values = F.pad(layer.keys, (0, 0, front, 0)), F.pad(layer.values, (0, 0, front, 0))
    elif front < 0:
        layer.keys, layer.values = layer.keys[..., -front:, :], layer.values[..., -front:, :]


@torch.no_grad()
def read_prompts(fusion: Fusion, backbone: Any, signal_tokens: Tensor | None, valid: Tensor | None, input_ids: Tensor,
                 attention_mask: Tensor, **more: Any) -> tuple[Rows, Tensor]:
    """Left-padded prompts (B, T) -> rows that begin behind them, and the logits of their first words (B, vocabulary).
    `more` is what the fusion takes besides."""
    cache = _new_cache(base_of(backbone))
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    output, frame = fusion.begin(signal_tokens, valid, input_ids=input_ids, attention_mask=attention_mask,
                                 past_key_values=cache, use_cache=True, logits_to_keep=1, **more)
    return Rows(fusion, cache, attention_mask, frame), output.logits[:, -1]
