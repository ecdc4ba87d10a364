"""DeepSpeed ZeRO: gradients and moments (stage 2), and parameters too (stage 3), in slices over the processes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.batch_norm import synchronise_batch_norm
from emgecg_cli.core.training.parallel.processes import Processes
from emgecg_cli.core.training.parallel.sharded import refuse_unsplittable
from emgecg_cli.core.training.parallel.trained_state import (
    gather,
    persistent_buffers,
    same_in_all_processes,
    set_tensors,
)

MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero:
    """Strategies "zero2" and "zero3" of the Protocol `Parallel`; see there. The optimiser must be AdamW.

    State passes by parameter name and never through DeepSpeed's own checkpoints, which are pickles.
    """

    def __init__(self, kind: str, precision: str, processes: Processes, accumulation: int) -> None:
        self.kind = kind
        self.stage = int(kind[-1])
        self.rank, self.world, self.device = processes.rank, processes.world, processes.device
        self.is_main = processes.rank == 0
        self.sum, self.barrier = processes.sum, processes.barrier
        self.processes = processes
        self.config: dict[str, Any] = {
            "train_micro_batch_size_per_gpu": 1,  # it only counts samples by it
            "gradient_accumulation_steps": accumulation,
            "zero_optimization": {"stage": self.stage},
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        }
        if precision == "bf16":  # autocast over fp32 parameters: its own bf16 mode keeps BatchNorm in half precision
            self.config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
        self.engine: Any = None

    def prepare(self, objective: nn.Module, optimizer_of: Callable[[nn.Module], Optimizer]) \
            -> tuple[nn.Module, Optimizer]:
        """Make DeepSpeed's engine, which partitions the parameters and the optimiser's groups."""
        refuse_unsplittable(objective, self.kind)
        if self.world > 1:
            synchronise_batch_norm(objective)
        same_in_all_processes(objective, self.device)
        objective.to(self.device)
        with redirect_stdout(sys.stderr):  # stdout is for data, and DeepSpeed greets there
            import deepspeed
            for handler in logging.getLogger("DeepSpeed").handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setStream(sys.stderr)
            self.engine, optimizer, _, _ = deepspeed.initialize(
                model=objective, optimizer=optimizer_of(objective), config=self.config, dist_init_required=False)
        return self.engine, optimizer

    def autocast(self, last: bool = True) -> AbstractContextManager[object]:
        """The engine's own business."""
        return nullcontext()

    def backward(self, loss: Tensor, last: bool) -> None:
        """Differentiate; scaled because DeepSpeed averages over processes where shares are to be summed."""
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self.world, scale_wrt_gas=False)

    def step(self, objective: nn.Module, optimizer: Optimizer, max_grad_norm: float) -> None:
        """The engine's step, which clips and zeroes too."""
        optimizer.clip_grad = max_grad_norm  # type: ignore[attr-defined]
        self.engine.step()

    def close(self) -> None:
        """Drop the engine's hooks and leave the group."""
        if self.engine is not None:
            self.engine.destroy()
            self.engine = None
        self.processes.close()

    def shapes(self, objective: nn.Module) -> dict[str, torch.Size]:
        """Of the model's state, unsharded."""
        inner = self.unwrap(objective)
        return {name: getattr(parameter, "ds_shape", parameter.shape) for name, parameter in _trained(inner).items()} \
            | {name: buffer.shape for name, buffer in persistent_buffers(inner)}

    def state(self, objective: nn.Module, optimizer: Optimizer | None) \
            -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One parameter after another gathered, and kept by the main process."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
        inner = self.unwrap(objective)
        trained = _trained(inner)
        weights = gather(trained, self.is_main, lambda p: safe_get_full_fp32_param(p).to(p.dtype))
        weights |= gather(dict(persistent_buffers(inner)), self.is_main)
        moments: dict[str, Tensor] = {}
        step = _step_of(optimizer)
        if step is not None:
            self._link_moments(optimizer)
            for key in MOMENTS:
                whole = gather(trained, self.is_main, partial(safe_get_full_optimizer_state, optim_state_key=key))
                moments |= {f"{key}.{name}": tensor for name, tensor in whole.items()}
            if self.is_main:
                moments |= {f"step.{name}": step.clone() for name in trained}
        return weights, moments

    def load(self, objective: nn.Module, optimizer: Optimizer, model_state: dict[str, Tensor],
             optimizer_state: dict[str, Tensor]) -> None:
        """Every process takes its slice of each tensor."""
        inner = self.unwrap(objective)
        if self.shapes(objective) != {name: tensor.shape for name, tensor in model_state.items()}:
            raise ValueError("the state of another model")
        set_tensors(dict(persistent_buffers(inner)), {n: model_state[n] for n, _ in persistent_buffers(inner)})
        trained = _trained(inner)
        for name, parameter in trained.items():
            self._set_weights(parameter, model_state[name].to(self.device))
        if optimizer_state:
            if set(optimizer_state) != {f"{key}.{name}" for key in ("step", *MOMENTS) for name in trained}:
                raise ValueError("optimiser state of another model")
            self._make_moments(optimizer, next(t for name, t in optimizer_state.items() if name.startswith("step.")))
            for name, parameter in trained.items():
                for key in MOMENTS:
                    self._set_moment(parameter, key, optimizer_state[f"{key}.{name}"].to(self.device))

    @torch.no_grad()
    def _set_weights(self, parameter: Any, whole: Tensor) -> None:
        import deepspeed
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param
        if self.stage == 3:
            with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
                parameter.copy_(whole)
            safe_set_local_fp32_param(parameter, self._slice(parameter, whole))
        else:
            parameter.copy_(whole)
            safe_set_full_fp32_param(parameter, whole.float())

    def _make_moments(self, optimizer: Any, step: Tensor) -> None:
        """Moments as after a first step, which DeepSpeed links to parameters only then."""
        flats = optimizer.fp32_partitioned_groups_flat if self.stage == 3 else optimizer.single_partition_of_fp32_groups
        for flat in flats:
            optimizer.optimizer.state[flat] = {"step": step.clone()} | {key: torch.zeros_like(flat) for key in MOMENTS}
        self._link_moments(optimizer)

    def _link_moments(self, optimizer: Any) -> None:
        """Tell each parameter where its moments are: stage 2 does so after its first group's first step, too early
        for the other groups."""
        if self.stage == 2:
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()

    def _set_moment(self, parameter: Any, key: str, whole: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state
        if self.stage == 3:
            safe_set_local_optimizer_state(parameter, self._slice(parameter, whole), key)
        else:
            safe_set_full_optimizer_state(parameter, whole, key)

    def _slice(self, parameter: Any, whole: Tensor) -> Tensor:
        """This process's slice, the last ones padded; DeepSpeed's own way with whole tensors fails where uneven."""
        size = parameter.ds_tensor.numel()
        padded = nn.functional.pad(whole.float().flatten(), (0, size * self.world - whole.numel()))
        return padded[size * self.rank:size * (self.rank + 1)]

    def unwrap(self, objective: nn.Module) -> nn.Module:
        """Without the engine."""
        return objective.module if objective is self.engine else objective


def require_deepspeed() -> None:
    """Raises MedReportError where it is not installed."""
    if find_spec("deepspeed") is None:
        raise MedReportError("ZeRO needs DeepSpeed, which is not installed", "pip install 'medreport[zero]'")


def _trained(objective: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}


def _step_of(optimizer: Any) -> Tensor | None:
    """How many steps were taken, as AdamW counts them; None before the first."""
    return None if optimizer is None else next((s["step"] for s in optimizer.optimizer.state.values() if s), None)
