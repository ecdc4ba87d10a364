"""What FSDP2 needs to know of a model: its units, what cannot be sliced, and how whole tensors come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.tuning import base_of


def sharding_units(objective: nn.Module) -> Iterator[nn.Module]:
    """What is gathered on its own: the blocks of a report model's fusion, and the layers of its backbone.

    All else (embeddings, output head, encoder, projector) is one unit, because a fusion calls embeddings and
    projections on their own. Layers are what transformers itself never splits over devices, which covers decoders and
    encoder-decoders.
    """
    model: Any = getattr(objective, "model", None)
    fusion, backbone = getattr(model, "fusion", None), getattr(model, "backbone", None)
    if isinstance(fusion, nn.Module):
        for blocks in fusion.children():
            if isinstance(blocks, nn.ModuleList | nn.ModuleDict):
                yield from blocks.children()
    if isinstance(backbone, nn.Module):
        base: Any = backbone
        base = base_of(base)
        names = set(getattr(base, "_no_split_modules", None) or ())
        yield from [module for module in base.modules() if names & {kind.__name__ for kind in type(module).__mro__}]


def refuse_unsplittable(objective: nn.Module, kind: str) -> None:
    """Raises MedReportError for weights that cannot be sliced: 4-bit ones, and single numbers under DeepSpeed."""
    for name, parameter in objective.named_parameters():
        if not parameter.is_floating_point():
            raise MedReportError(f"a quantised backbone cannot be sharded by {kind}", "use ddp, or tune with lora")
        if parameter.ndim == 0 and kind != "fsdp":
            raise MedReportError(f"DeepSpeed cannot train this model: parameter '{name}' is a single number",
                                 "use ddp or fsdp")


def plan_sharding(objective: nn.Module, plugin: Any, device: torch.device) -> None:
    """Tell Accelerate's plugin the units, where its configuration names none, and leave single numbers whole.

    Raises MedReportError when it was told of layers that the model does not have.
    """
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = sorted({type(unit).__name__ for unit in sharding_units(objective)})
    there = {type(module).__name__ for module in objective.modules()}
    for name in plugin.transformer_cls_names_to_wrap:
        if name not in there:
            raise MedReportError(f"fsdp_transformer_layer_cls_to_wrap: the model has no layer {name}",
                                 "leave it out of the configuration of accelerate: the layers are found by themselves")
    whole = nn.ParameterList(scalars(objective))
    for scalar in whole:
        scalar.data = scalar.data.to(device)
    plugin.ignored_modules = [whole]


def scalars(objective: nn.Module) -> list[nn.Parameter]:
    """Parameters that are single numbers: there is nothing to slice."""
    return [parameter for parameter in objective.parameters() if parameter.ndim == 0]


@contextmanager
def seen_through(objective: nn.Module) -> Iterator[None]:
    """Around sharding: let FSDP see the tensors inside a dataclass that the objective returns.

    Older versions would miss where the backward pass begins: no gradient of the outermost unit would be exchanged.
    """
    objective.register_forward_hook(_as_dictionary)
    yield
    objective.register_forward_hook(_as_before)


def unmix(optimizer: Optimizer, objective: nn.Module) -> None:
    """Step one by one where whole and sharded tensors share a group: fused steps take either, not both."""
    whole = set(scalars(objective))
    for group in optimizer.param_groups:
        if not whole.isdisjoint(group["params"]):
            group["foreach"] = False


def average_whole_gradients(objective: nn.Module) -> None:
    """Exchange the gradients of what is not sharded, as FSDP does for the rest (collective)."""
    for parameter in objective.parameters():
        if parameter.grad is not None and not isinstance(parameter, DTensor):
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()


def reshard(objective: nn.Module) -> None:
    """Slices again: after a forward pass without a backward one the outermost unit is still gathered."""
    for module in objective.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor (collective where it is sharded)."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def place(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in the form of another: this process's slice where that one is sharded."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _as_dictionary(module: nn.Module, inputs: Any, output: Any) -> Any:
    if not is_dataclass(output) or isinstance(output, type):
        return output
    return {"": type(output)} | {field.name: getattr(output, field.name) for field in fields(output)}


def _as_before(module: nn.Module, inputs: Any, output: Any) -> Any:
    return output.pop("")(**output) if isinstance(output, dict) and "" in output else output
