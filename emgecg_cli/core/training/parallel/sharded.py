"""FSDP2: every process keeps a slice of each parameter, its gradient and its moments, and gathers a layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.batch_norm import synchronise_batch_norm
from emgecg_cli.core.models.tuning import base_of
from emgecg_cli.core.training.parallel.processes import Processes
from emgecg_cli.core.training.parallel.trained_state import (
    gather,
    optimizer_tensors,
    same_in_all_processes,
    set_optimizer_tensors,
    set_tensors,
    trained_tensors,
)


class Sharded:
    """Strategy "fsdp" of the Protocol `Parallel`; see there.

    The backbone's layers and a fusion's blocks are units of their own, gathered as bf16 under that precision; all else
    (embeddings, output head, encoder, projector) is one unit in its own dtype, because a fusion calls embeddings and
    projections on their own. Gradients are exchanged after each micro-batch: kept whole until the last, they would take
    the memory that sharding saves.
    """

    def __init__(self, precision: str, processes: Processes) -> None:
        self.kind = "fsdp"
        self.rank, self.world, self.device = processes.rank, processes.world, processes.device
        self.is_main = processes.rank == 0
        self.sum, self.barrier, self.close = processes.sum, processes.barrier, processes.close
        self.half = precision == "bf16"
        self.mesh = init_device_mesh(self.device.type, (self.world,))

    def prepare(self, objective: nn.Module, optimizer_of: Callable[[nn.Module], Optimizer]) \
            -> tuple[nn.Module, Optimizer]:
        """Shard from the inside out; layers go to the device one by one, so that it need not hold the whole model."""
        refuse_unsplittable(objective, "fsdp")
        if self.world > 1:
            synchronise_batch_norm(objective)
        same_in_all_processes(objective, self.device)
        scalars = {parameter for parameter in objective.parameters() if parameter.ndim == 0}  # nothing to slice
        for scalar in scalars:
            scalar.data = scalar.data.to(self.device)
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False) if self.half else \
            MixedPrecisionPolicy()
        for unit in sharding_units(objective):
            fully_shard(unit, mesh=self.mesh, mp_policy=policy, ignored_params=scalars)
        # Older FSDP2 finds no tensor in a dataclass and would miss where the backward pass begins: no gradient of the
        # outermost unit would be exchanged.
        objective.register_forward_hook(_as_dictionary)
        fully_shard(objective, mesh=self.mesh, ignored_params=scalars)
        objective.register_forward_hook(_as_before)
        optimizer = optimizer_of(objective)
        for group in optimizer.param_groups:
            if not scalars.isdisjoint(group["params"]):
                group["foreach"] = False  # which takes sharded tensors or plain ones, not both
        return objective, optimizer

    def autocast(self, last: bool = True) -> AbstractContextManager[object]:
        """Precision of what is not a unit of its own, and of the arithmetic within units."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Differentiate; scaled because FSDP averages where shares are to be summed."""
        (loss * self.world if self.world > 1 else loss).backward()

    def step(self, objective: nn.Module, optimizer: Optimizer, max_grad_norm: float) -> None:
        """Clip, step, zero."""
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]
                     if parameter.grad is not None]
        slices = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
        replicated = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
        for gradient in replicated:
            dist.all_reduce(gradient)
            gradient /= self.world
        if max_grad_norm > 0:
            square = self.sum(nn.utils.get_total_norm(slices) ** 2)
            norm = (square + nn.utils.get_total_norm(replicated).to(self.device) ** 2).sqrt()
            factor = (max_grad_norm / (norm + 1e-6)).clamp(max=1)  # as torch's clip_grad_norm_
            for gradient in slices + replicated:
                gradient.mul_(factor)
        optimizer.step()
        optimizer.zero_grad()

    def shapes(self, objective: nn.Module) -> dict[str, torch.Size]:
        """Of the model's state, unsharded."""
        return {name: tensor.shape for name, tensor in self._own(objective).items()}

    def state(self, objective: nn.Module, optimizer: Optimizer | None) \
            -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One tensor after another gathered, and kept by the main process."""
        return (gather(self._own(objective), self.is_main, _full),
                gather(optimizer_tensors(objective, optimizer), self.is_main, _full))

    def load(self, objective: nn.Module, optimizer: Optimizer, model_state: dict[str, Tensor],
             optimizer_state: dict[str, Tensor]) -> None:
        """Every process takes its slice of each tensor."""
        set_tensors(self._own(objective), model_state, self._place)
        if optimizer_state:
            set_optimizer_tensors(objective, optimizer, optimizer_state, self._place)

    def unwrap(self, objective: nn.Module) -> nn.Module:
        """The objective itself, which is sharded in place."""
        return objective

    def _own(self, objective: nn.Module) -> dict[str, Tensor]:
        for module in objective.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # after a forward pass without a backward one the root is still gathered
        return trained_tensors(objective)

    def _place(self, tensor: Tensor, like: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return tensor
        return distribute_tensor(tensor.to(self.device), like.device_mesh, like.placements, src_data_rank=None)


def sharding_units(objective: nn.Module) -> Iterator[nn.Module]:
    """What is gathered on its own: the blocks of a report model's fusion, and the layers of its backbone.

    Layers are what transformers itself never splits over devices, which covers decoders and encoder-decoders.
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


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _as_dictionary(module: nn.Module, inputs: Any, output: Any) -> Any:
    if not is_dataclass(output) or isinstance(output, type):
        return output
    return {"": type(output)} | {field.name: getattr(output, field.name) for field in fields(output)}


def _as_before(module: nn.Module, inputs: Any, output: Any) -> Any:
    return output.pop("")(**output) if isinstance(output, dict) and "" in output else output
