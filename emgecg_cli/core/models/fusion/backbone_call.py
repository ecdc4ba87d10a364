"""The inputs of a backbone, checked and completed, who may give them, and stale graphs, for every fusion alike."""

from __future__ import annotations

import inspect
import sys
import threading
from typing import Any

import torch


def this_thread() -> int:
    """The thread that runs; 0 while a graph is traced, where nobody can tell."""
    return 0 if torch.compiler.is_compiling() else threading.get_ident()


def check_thread(fusion: str, made_in: int) -> None:
    """Raise RuntimeError where one thread would see the signal that another gave."""
    if made_in and this_thread() not in (0, made_in):
        raise RuntimeError(f"{fusion} fusion: two threads use it at once; take turns, or give each a deep copy")


def forget_compiled_graphs() -> None:
    """Compiled graphs do not guard on hooks: those traced before now would run on with the hooks of then."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def with_positions(base: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Add position_ids that do not count padding, where the backbone's forward takes them and none were given.

    `base` is the language model without a peft wrapper. A signal token acts from a fixed position, so padding in front
    of the text must not move the text, be the position embedding relative or not. Raises RuntimeError for packed rows:
    their records would share the signal of one, and for a mask that does not reach over cache and text.
    """
    positions, mask = inputs.get("position_ids"), inputs.get("attention_mask")
    if positions is not None:
        if bool((positions[..., 1:] < positions[..., :-1]).any()):
            raise RuntimeError("fusion: packed rows would share one signal; give each record a row of its own")
        return inputs
    if mask is None or mask.ndim != 2 or "position_ids" not in inspect.signature(type(base).forward).parameters:
        return inputs
    new = next(inputs[name].shape[1] for name in ("input_ids", "inputs_embeds") if inputs.get(name) is not None)
    # With a cache the mask covers the past as well, and only the new tokens need positions. It may reach beyond them.
    cache = inputs.get("past_key_values")
    past = 0 if cache is None else cache.get_seq_length()
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:past + new]
    if positions.shape[1] != new:
        raise RuntimeError(f"fusion: a mask of {mask.shape[1]} columns for {past} cached tokens and {new} new ones")
    return inputs | {"position_ids": positions}
