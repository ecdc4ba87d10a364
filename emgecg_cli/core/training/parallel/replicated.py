"""The whole model in every process: one process alone, or DistributedDataParallel in several."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from emgecg_cli.core.models.batch_norm import synchronise_batch_norm
from emgecg_cli.core.training.parallel.processes import Processes
from emgecg_cli.core.training.parallel.trained_state import (
    gather,
    optimizer_tensors,
    set_optimizer_tensors,
    set_tensors,
    trained_tensors,
)


class Replicated:
    """Strategies "none" and "ddp" of the Protocol `Parallel`; see there."""

    def __init__(self, kind: str, precision: str, processes: Processes) -> None:
        self.kind = kind
        self.rank, self.world, self.device = processes.rank, processes.world, processes.device
        self.is_main = processes.rank == 0
        self.sum, self.barrier, self.close = processes.sum, processes.barrier, processes.close
        self.half = precision == "bf16"
        self.wrapped: DistributedDataParallel | None = None

    def prepare(self, objective: nn.Module, optimizer_of: Callable[[nn.Module], Optimizer]) \
            -> tuple[nn.Module, Optimizer]:
        """Move to the device; wrap where there is a group."""
        objective.to(self.device)
        if self.kind == "none":
            return objective, optimizer_of(objective)
        # Buffers need no broadcast: BatchNorm sees all rows and so has the same statistics everywhere.
        with warnings.catch_warnings():  # newer torch renames the option, older torch knows no other name
            warnings.simplefilter("ignore", FutureWarning)
            self.wrapped = DistributedDataParallel(synchronise_batch_norm(objective), broadcast_buffers=False,
                                                   gradient_as_bucket_view=True)
        return self.wrapped, optimizer_of(objective)

    def autocast(self, last: bool = True) -> AbstractContextManager[object]:
        """Precision; and whether the coming backward pass exchanges gradients."""
        if self.wrapped is not None:
            self.wrapped.require_backward_grad_sync = last  # as its own no_sync() does
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Differentiate; scaled because DistributedDataParallel averages where shares are to be summed."""
        (loss * self.world if self.world > 1 else loss).backward()

    def step(self, objective: nn.Module, optimizer: Optimizer, max_grad_norm: float) -> None:
        """Clip, step, zero."""
        if max_grad_norm > 0:
            nn.utils.clip_grad_norm_(objective.parameters(), max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    def shapes(self, objective: nn.Module) -> dict[str, torch.Size]:
        """Of the model's state."""
        return {name: tensor.shape for name, tensor in trained_tensors(self.unwrap(objective)).items()}

    def state(self, objective: nn.Module, optimizer: Optimizer | None) \
            -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Copies of the main process's tensors, which are everybody's."""
        inner = self.unwrap(objective)
        return gather(trained_tensors(inner), self.is_main), gather(optimizer_tensors(inner, optimizer), self.is_main)

    def load(self, objective: nn.Module, optimizer: Optimizer, model_state: dict[str, Tensor],
             optimizer_state: dict[str, Tensor]) -> None:
        """Copy into the tensors at hand."""
        inner = self.unwrap(objective)
        set_tensors(trained_tensors(inner), model_state)
        if optimizer_state:
            set_optimizer_tensors(inner, optimizer, optimizer_state)

    def unwrap(self, objective: nn.Module) -> nn.Module:
        """Without DistributedDataParallel."""
        return objective.module if isinstance(objective, DistributedDataParallel) else objective
