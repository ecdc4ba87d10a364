"""How one training runs in one or several processes. One Protocol, so that the loop knows no strategy by name.

Every objective returns its share of the step's loss: shares over micro-batches and over processes add up to the whole.
So gradients are summed over processes, never averaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.training.parallel.processes import join_processes
from emgecg_cli.core.training.parallel.replicated import Replicated
from emgecg_cli.core.training.parallel.sharded import Sharded
from emgecg_cli.core.training.parallel.zero import Zero, require_deepspeed

KINDS = ("auto", "ddp", "fsdp", "zero2", "zero3")


class Parallel(Protocol):
    """What training needs of the processes it runs in.

    `kind` is "none", "ddp", "fsdp", "zero2" or "zero3"; `is_main` marks the one process that writes files. Methods
    marked *collective* must be called by every process, in the same order.
    """

    rank: int
    world: int
    device: torch.device
    kind: str
    is_main: bool

    def prepare(self, objective: nn.Module, optimizer_of: Callable[[nn.Module], Optimizer]) \
            -> tuple[nn.Module, Optimizer]:
        """Move and wrap (collective). Returns the module to call and the optimiser to step; call it once.

        `optimizer_of` gets the objective without its wrapper, after its parameters took the form they train in. With
        several processes every BatchNorm becomes one over all of them.
        """

    def autocast(self, last: bool = True) -> AbstractContextManager[object]:
        """Around every forward pass, losses included: its precision.

        `last` marks the step's last micro-batch, as in `backward`: DistributedDataParallel must know before the forward
        pass which gradients stay here for now. Left at True the result is the same and the exchange slower.
        """

    def backward(self, loss: Tensor, last: bool) -> None:
        """Differentiate this process's share of the loss (collective); `last` marks the step's last micro-batch."""

    def step(self, objective: nn.Module, optimizer: Optimizer, max_grad_norm: float) -> None:
        """Clip by the global norm if `max_grad_norm` > 0, step, and zero the gradients (collective)."""

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes, on this device, without a gradient; the argument stays as it was (collective)."""

    def barrier(self) -> None:
        """Wait for all processes (collective)."""

    def close(self) -> None:
        """Leave the group of processes; nothing collective works afterwards."""

    def shapes(self, objective: nn.Module) -> dict[str, torch.Size]:
        """Names and full shapes of what `state` gives for the model."""

    def state(self, objective: nn.Module, optimizer: Optimizer | None) \
            -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Full tensors on the CPU, named as in one process (collective).

        First the trained parameters and persistent buffers, then the optimiser's state as "exp_avg.<parameter>",
        nothing where `optimizer` is None. Both are empty in all but the main process, which alone has memory for them.
        """

    def load(self, objective: nn.Module, optimizer: Optimizer, model_state: dict[str, Tensor],
             optimizer_state: dict[str, Tensor]) -> None:
        """The inverse of `state`, in place; every process gives the full tensors (collective).

        An empty `optimizer_state` leaves the optimiser as it is.
        """

    def unwrap(self, objective: nn.Module) -> nn.Module:
        """The objective that was prepared."""


def open_parallel(kind: str, precision: str, *, accumulation: int = 1) -> Parallel:
    """Join the group of processes that RANK, LOCAL_RANK and WORLD_SIZE describe, and pick this process's device.

    "auto" is no strategy in one process and ddp in several; `precision` is "fp32" or "bf16"; `accumulation` counts the
    micro-batches of a step. Raises MedReportError for an unknown kind, and where a kind's package is not installed.
    """
    if kind not in KINDS:
        raise MedReportError(f"no parallel strategy '{kind}'", f"available: {', '.join(KINDS)}")
    if precision not in ("fp32", "bf16"):
        raise MedReportError(f"no precision '{precision}' to train in", "available: fp32, bf16")
    if kind in ("zero2", "zero3"):
        require_deepspeed()
    if kind == "auto":
        kind = "ddp" if int(os.environ.get("WORLD_SIZE", "1")) > 1 else "none"
    processes = join_processes(grouped=kind != "none")
    if kind == "fsdp":
        return Sharded(precision, processes)
    if kind in ("zero2", "zero3"):
        return Zero(kind, precision, processes, accumulation)
    return Replicated(kind, precision, processes)
