"""Whole tensors out of and into DeepSpeed's slices, by parameter name; its own checkpoints are pickles.

ZeRO slices gradients and moments (stage 2), and parameters too (stage 3). The optimiser must be AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from emgecg_cli.core.training.parallel.trained_state import gather, persistent_buffers, set_tensors

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class ZeroState:
    """`shapes`, `state` and `load` of a `Parallel` under DeepSpeed, of an objective without its engine.

    `optimizer` is DeepSpeed's own, which holds the AdamW of this process's slices.
    """

    stage: int
    rank: int
    world: int
    device: torch.device

    def shapes(self, objective: nn.Module) -> dict[str, torch.Size]:
        """Of the model's state, unsharded."""
        weights = _trained(objective).items()
        return {name: getattr(parameter, "ds_shape", parameter.shape) for name, parameter in weights} \
            | {name: buffer.shape for name, buffer in persistent_buffers(objective)}

    def state(self, objective: nn.Module, optimizer: Any | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One parameter after another gathered, and kept by the main process."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
        trained, keep = _trained(objective), self.rank == 0
        weights = gather(trained, keep, lambda p: safe_get_full_fp32_param(p).to(p.dtype))
        weights |= gather(dict(persistent_buffers(objective)), keep)
        moments: dict[str, Tensor] = {}
        step = _step_of(optimizer)
        if step is not None:
            self._link_moments(optimizer)
            for key in MOMENTS:
                whole = gather(trained, keep, partial(safe_get_full_optimizer_state, optim_state_key=key))
                moments |= {f"{key}.{name}": tensor for name, tensor in whole.items()}
            if keep:
                moments |= {f"step.{name}": step.clone() for name in trained}
        return weights, moments

    def load(self, objective: nn.Module, optimizer: Any, model_state: dict[str, Tensor],
             optimizer_state: dict[str, Tensor]) -> None:
        """Every process takes its slice of each tensor."""
        if self.shapes(objective) != {name: tensor.shape for name, tensor in model_state.items()}:
            raise ValueError("the state of another model")
        set_tensors(dict(persistent_buffers(objective)), {n: model_state[n] for n, _ in persistent_buffers(objective)})
        trained = _trained(objective)
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


def _trained(objective: nn.Module) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}


def _step_of(optimizer: Any) -> Tensor | None:
    """How many steps were taken, as AdamW counts them; None before the first."""
    return None if optimizer is None else next((s["step"] for s in optimizer.optimizer.state.values() if s), None)
