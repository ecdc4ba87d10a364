"""How one training runs in one or several processes: Accelerate does it, and the loop knows no strategy by name.

Every objective returns its share of the step's loss: shares over micro-batches and over processes add up to the whole.
So gradients are summed over processes, where Accelerate's strategies average.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.launch import launched
from emgecg_cli.core.models.batch_norm import synchronise_batch_norm
from emgecg_cli.core.training.parallel import sharding
from emgecg_cli.core.training.parallel.accelerators import (
    ZERO,
    leave_accelerator_state,
    open_accelerator,
    talking_on_stderr,
)
from emgecg_cli.core.training.parallel.trained_state import (
    gather,
    optimizer_tensors,
    same_in_all_processes,
    set_optimizer_tensors,
    set_tensors,
    trained_tensors,
)
from emgecg_cli.core.training.parallel.zero_state import ZeroState

KINDS = ("auto", "ddp", "fsdp", "zero2", "zero3")


class Parallel:
    """What training needs of the processes it runs in, over an `Accelerator`.

    `kind` is "none", "ddp", "fsdp", "zero2" or "zero3"; `is_main` marks the one process that writes files. Methods
    marked *collective* must be called by every process, in the same order.
    """

    def __init__(self, kind: str, accelerator: Accelerator, max_grad_norm: float) -> None:
        self.kind = kind
        self.accelerator = accelerator
        self.max_grad_norm = max_grad_norm
        self.rank, self.world = accelerator.process_index, accelerator.num_processes
        self.is_main = accelerator.is_main_process
        self.device = accelerator.device
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())
        self._zero = ZeroState(int(kind[-1]), self.rank, self.world, self.device) if kind in ZERO else None
        self._prepared = False

    def prepare(self, objective: nn.Module, optimizer_of: Callable[[nn.Module], Optimizer]) \
            -> tuple[nn.Module, Optimizer]:
        """Move and wrap (collective). Returns the module to call and the optimiser to step.

        With several processes every BatchNorm becomes one over all of them, and what trains becomes that of the main
        process. What was prepared before is let go: parts of it may be prepared again, but for those that were sharded,
        where RuntimeError is raised.
        """
        if self._prepared and self.kind not in ("none", "ddp"):
            raise RuntimeError(f"{self.kind} shards a model in place: prepare can be called once")
        if self._prepared:
            self.accelerator.free_memory()
        self._prepared = True
        if self.kind in ("fsdp", *ZERO):
            sharding.refuse_unsplittable(objective, self.kind)
        if self.kind != "none":
            synchronise_batch_norm(objective)
            same_in_all_processes(objective, self.device)
        if self.kind == "fsdp":
            sharding.plan_sharding(objective, self.accelerator.state.fsdp_plugin, self.device)
            with sharding.seen_through(objective):
                prepared, optimizer = self.accelerator.prepare(objective, optimizer_of(objective))
            sharding.unmix(optimizer, objective)
            return prepared, optimizer
        with warnings.catch_warnings(), talking_on_stderr(self.kind):
            warnings.simplefilter("ignore", FutureWarning)  # newer torch renames an option that older torch needs
            return self.accelerator.prepare(objective, optimizer_of(objective))

    def prepare_stage(self, objective: nn.Module, optimizer_of: Callable[[nn.Module], Optimizer]) \
            -> tuple[nn.Module, Optimizer]:
        """`prepare` for a stage after which parts of the objective are prepared again (collective): under FSDP every
        process keeps the whole of it, which should be small."""
        if self.kind != "fsdp":
            return self.prepare(objective, optimizer_of)
        synchronise_batch_norm(objective)
        same_in_all_processes(objective, self.device)
        return objective.to(self.device), optimizer_of(objective)

    def accumulate(self, objective: nn.Module) -> AbstractContextManager[None]:
        """Around the forward and backward pass of one micro-batch of a step; counts them to know the last."""
        return self.accelerator.accumulate(objective)

    @contextmanager
    def accumulating(self, batches: int) -> Iterator[None]:
        """Around a loop whose steps have so many micro-batches each, counted from its first."""
        before = self.accelerator.gradient_accumulation_steps
        self.accelerator.gradient_accumulation_steps, self.accelerator.step = batches, 0
        try:
            yield
        finally:
            self.accelerator.gradient_accumulation_steps, self.accelerator.step = before, 0

    @contextmanager
    def no_sync(self, objective: nn.Module) -> Iterator[None]:
        """Around a forward and backward pass whose gradients stay in this process."""
        with self.accelerator.no_sync(objective):
            yield

    def autocast(self) -> AbstractContextManager[None]:
        """Around every forward pass, losses included: its precision."""
        return self.accelerator.autocast()

    def backward(self, loss: Tensor) -> None:
        """Differentiate this process's share of the loss (collective).

        Scaled, because Accelerate averages over processes and micro-batches where shares are to be summed. DeepSpeed
        steps, too, where the micro-batch is the step's last.
        """
        if self._zero:
            self.accelerator.backward(loss * self.world, scale_wrt_gas=False)
        else:
            self.accelerator.backward(loss * (self.world * self.accelerator.gradient_accumulation_steps))

    def step(self, objective: nn.Module, optimizer: Optimizer) -> None:
        """Clip by the global norm if there is a limit to it, step, and zero the gradients (collective)."""
        if self.kind == "fsdp":
            sharding.average_whole_gradients(objective)
        if self.max_grad_norm > 0 and not self._zero:
            self.accelerator.clip_grad_norm_(objective.parameters(), self.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes, on this device, without a gradient; the argument stays as it was (collective)."""
        total: Tensor = self.accelerator.reduce(tensor.detach().to(self.device, copy=True), "sum")
        return total

    def barrier(self) -> None:
        """Wait for all processes (collective)."""
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        """End trackers and leave the group of processes; nothing collective works afterwards."""
        if self._zero:
            self.accelerator.free_memory()  # ends DeepSpeed's engine
        self.accelerator.end_training()
        leave_accelerator_state()

    def shapes(self, objective: nn.Module) -> dict[str, torch.Size]:
        """Names and full shapes of what `state` gives for the model."""
        inner = self.unwrap(objective)
        return self._zero.shapes(inner) if self._zero else \
            {name: tensor.shape for name, tensor in self._own(inner).items()}

    def state(self, objective: nn.Module, optimizer: Optimizer | None) \
            -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Full tensors on the CPU, named as in one process (collective).

        First the trained parameters and persistent buffers, then the optimiser's state as "exp_avg.<parameter>",
        nothing where `optimizer` is None. Both are empty in all but the main process, which alone has memory for them.
        """
        inner = self.unwrap(objective)
        if self._zero:
            return self._zero.state(inner, getattr(optimizer, "optimizer", None))
        return (gather(self._own(inner), self.is_main, sharding.full),
                gather(optimizer_tensors(inner, optimizer), self.is_main, sharding.full))

    def load(self, objective: nn.Module, optimizer: Optimizer, model_state: dict[str, Tensor],
             optimizer_state: dict[str, Tensor]) -> None:
        """The inverse of `state`, in place; every process gives the full tensors (collective).

        An empty `optimizer_state` leaves the optimiser as it is. Raises ValueError for the state of another model.
        """
        inner = self.unwrap(objective)
        if self._zero:
            self._zero.load(inner, getattr(optimizer, "optimizer", None), model_state, optimizer_state)
            return
        set_tensors(self._own(inner), model_state, sharding.place)
        if optimizer_state:
            set_optimizer_tensors(inner, optimizer, optimizer_state, sharding.place)

    def unwrap(self, objective: nn.Module) -> nn.Module:
        """The objective that was prepared."""
        inner: nn.Module = self.accelerator.unwrap_model(objective)
        return inner

    def _own(self, objective: nn.Module) -> dict[str, Tensor]:
        """The tensors that are saved, in the form this process holds them."""
        sharding.reshard(objective)
        return trained_tensors(objective)


def open_parallel(kind: str, precision: str, *, accumulation: int = 1, max_grad_norm: float = 0.0) -> Parallel:
    """Join the group of processes that RANK, LOCAL_RANK and WORLD_SIZE describe, and pick this process's device.

    "auto" is no strategy in one process and ddp in several; `precision` is "fp32" or "bf16"; `accumulation` counts the
    micro-batches of a step, whose gradients are clipped to `max_grad_norm` unless it is 0. One training at a time: the
    state of an earlier one in this process is left. Raises MedReportError for an unknown kind, and where a kind's
    package is not installed.
    """
    if kind not in KINDS:
        raise MedReportError(f"no parallel strategy '{kind}'", f"available: {', '.join(KINDS)}")
    if precision not in ("fp32", "bf16"):
        raise MedReportError(f"no precision '{precision}' to train in", "available: fp32, bf16")
    if kind == "auto":
        kind = "ddp" if launched() else "none"
    return Parallel(kind, open_accelerator(kind, precision, accumulation, max_grad_norm), max_grad_norm)
