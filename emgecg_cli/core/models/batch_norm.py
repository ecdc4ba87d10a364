"""BatchNorm over the rows of all processes: torch's own SyncBatchNorm works on accelerators only.

Two processes with half a batch each train as one with the whole of it, unequal halves included (Ioffe & Szegedy,
arXiv:1502.03167; variances are combined as in Chan, Golub & LeVeque, 1979).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class SynchronisedBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` whose mean and variance, in training, are those of all processes' rows.

    Takes (B, C) and (B, C, L). Parameters, buffers and their names are those of `nn.BatchNorm1d`, and so is what it
    computes in evaluation, or without a group of several processes. Running statistics become the same in all
    processes. Statistics are float32 at least, under autocast and for half-precision input too. Every process must run
    it equally often; some of them may have no rows (B = 0).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise every channel; shape and dtype stay the input's."""
        use_batch = self.training or self.running_mean is None
        # FSDP gathers weights as bf16 under that precision, which torch's own takes beside float32 statistics no more.
        half = self.weight is not None and self.running_mean is not None and \
            self.weight.dtype != self.running_mean.dtype
        if half and not use_batch:
            return F.batch_norm(input, self.running_mean, self.running_var, _wide(self.weight), _wide(self.bias),
                                eps=self.eps)
        if not use_batch or not dist.is_initialized() or (dist.get_world_size() < 2 and not half):
            return super().forward(input)
        self._check_input_dim(input)
        mean, variance, count = _statistics(input.detach())
        if self.training and self.track_running_stats:
            self._follow(mean, variance * (count / (count - 1).clamp(min=1)))
        with torch.autocast(input.device.type, enabled=False):
            return _Normalise.apply(input, self.weight, self.bias, mean, torch.rsqrt(variance + self.eps), count)

    @torch.no_grad()
    def _follow(self, mean: Tensor, unbiased: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), factor)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C), biased variance (C) and count () over all processes, in float32 at least; one exchange.

    Each process gives its own mean and squared deviations from it, which combine without the cancellation that a
    difference of large squares would suffer.
    """
    x = _wide(x)
    dims = [0, *range(2, x.ndim)]
    count = x.numel() // x.shape[1]
    own_mean = x.sum(dims) / max(count, 1)
    deviations = (x - _broadcast(own_mean, x)).square().sum(dims)
    own = torch.cat([own_mean, deviations, x.new_full((1,), count)])
    gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, own)
    means, deviations, counts = torch.stack(gathered).split([x.shape[1], x.shape[1], 1], 1)  # (processes, C), …, 1
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    variance = (deviations + counts * (means - mean).square()).sum(0) / total
    return mean, variance, total


class _Normalise(torch.autograd.Function):
    """(x - mean) / deviation, scaled and shifted, with the gradient that flows through everybody's statistics."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, inverse: Tensor,
                count: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, mean, inverse, count)
        ctx.has_bias = bias is not None
        normal = (_wide(x) - _broadcast(mean, x)) * _broadcast(inverse, x)
        if weight is not None:
            normal = normal * _broadcast(weight, x)
        return (normal if bias is None else normal + _broadcast(bias, x)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias; those of weight and bias are this process's share."""
        gradient = _wide(gradients[0])
        x, weight, mean, inverse, count = ctx.saved_tensors
        dims = [0, *range(2, x.ndim)]
        normal = (_wide(x) - _broadcast(mean, x)) * _broadcast(inverse, x)
        own_sum, own_product = gradient.sum(dims), (gradient * normal).sum(dims)
        sums = torch.stack([own_sum, own_product])
        dist.all_reduce(sums)
        spread = gradient - _broadcast(sums[0] / count, x) - normal * _broadcast(sums[1] / count, x)
        scale = inverse if weight is None else inverse * weight
        return ((spread * _broadcast(scale, x)).to(x.dtype), None if weight is None else own_product,
                own_sum if ctx.has_bias else None, None, None, None)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Turn every `nn.BatchNorm1d` in `module` into one over all processes, in place; returns the module.

    Parameters and buffers stay the very same tensors, so that an optimiser or a tied weight still holds them.
    """
    for each in module.modules():
        if type(each) is nn.BatchNorm1d:
            each.__class__ = SynchronisedBatchNorm1d
    return module


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _broadcast(per_channel: Tensor, x: Tensor) -> Tensor:
    return per_channel.view(1, -1, *[1] * (x.ndim - 2))
