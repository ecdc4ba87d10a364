"""What training changes, by name: trained parameters, persistent buffers, and the optimiser's state of each parameter.

Where tensors are sharded, `full` makes the whole of one (collective) and `place` puts a whole one in another's form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def trained_tensors(objective: nn.Module) -> dict[str, Tensor]:
    """Parameters that train and buffers that are saved (BatchNorm's): the very tensors, tied ones once."""
    state: dict[str, Tensor] = {name: parameter for name, parameter in objective.named_parameters()
                                if parameter.requires_grad}
    return state | dict(persistent_buffers(objective))


def persistent_buffers(objective: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and buffers that a state dict would hold, without packing 4-bit weights to learn them."""
    for prefix, module in objective.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, buffer


def optimizer_tensors(objective: nn.Module, optimizer: Optimizer | None) -> dict[str, Tensor]:
    """The optimiser's state as "<key>.<parameter>": of AdamW step, exp_avg and exp_avg_sq."""
    if optimizer is None:
        return {}
    return {f"{key}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
            for name, parameter in objective.named_parameters() if parameter in optimizer.state
            for key, value in optimizer.state[parameter].items()}


@torch.no_grad()
def gather(tensors: dict[str, Tensor], keep: bool, full: Callable[[Tensor], Tensor] = lambda tensor: tensor) \
        -> dict[str, Tensor]:
    """Whole copies on the CPU, one after another; empty where they are not kept."""
    gathered = {}
    for name, tensor in tensors.items():
        whole = full(tensor)
        if keep:
            gathered[name] = whole.detach().to("cpu", copy=True).contiguous()
    return gathered


Place = Callable[[Tensor, Tensor], Tensor]


def _as_it_is(tensor: Tensor, like: Tensor) -> Tensor:
    return tensor


@torch.no_grad()
def set_tensors(own: dict[str, Tensor], given: dict[str, Tensor], place: Place = _as_it_is) -> None:
    """Copy every given tensor into the own one of that name. Raises ValueError unless names and shapes are the same."""
    if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in given.items()}:
        raise ValueError("the state of another model")
    for name, tensor in own.items():
        tensor.copy_(place(given[name], tensor))


def set_optimizer_tensors(objective: nn.Module, optimizer: Optimizer, given: dict[str, Tensor],
                          place: Place = _as_it_is) -> None:
    """The inverse of `optimizer_tensors`. Raises ValueError for a parameter that the optimiser does not have."""
    names = {parameter: name for name, parameter in objective.named_parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    index = {names[parameter]: i for i, parameter in enumerate(held)}
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in given.items():
        key, _, owner = name.partition(".")
        if owner not in index:
            raise ValueError(f"optimiser state of another model: {owner}")
        placed = tensor if key == "step" else place(tensor, held[index[owner]])
        state.setdefault(index[owner], {})[key] = placed
    # Through the optimiser, which knows on which device and in which dtype it wants each of them.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


@torch.no_grad()
def same_in_all_processes(objective: nn.Module, device: torch.device) -> None:
    """Make trained parameters and buffers those of the main process (collective)."""
    for tensor in trained_tensors(objective).values():
        on_device = tensor.detach().to(device)
        torch.distributed.broadcast(on_device, 0)
        tensor.copy_(on_device)
