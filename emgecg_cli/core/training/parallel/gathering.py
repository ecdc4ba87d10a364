"""Rows of all processes in each of them, differentiable: for losses that compare every record with every other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """(B, …) of this process -> (sum of all B, …) in the order of ranks, and where its own begin there (collective).

    B may differ between processes, all else may not. The gradient of a row is the sum of what all processes send back
    to it, so a loss whose shares add up over processes is differentiated as in one. Every process must differentiate
    what it gathered, equally often and in the same order.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows, 0
    everyone, first = _Gather.apply(rows)
    return everyone, int(first)


class _Gather(torch.autograd.Function):
    """The exchange and its gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, int]:
        """All rows, and where this process's begin."""
        rank, world = dist.get_rank(), dist.get_world_size()
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(world)]
        dist.all_gather(counts, count)
        sizes = [int(each) for each in counts]
        # Processes exchange tensors of one size only.
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[:len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        ctx.first, ctx.count = sum(sizes[:rank]), len(rows)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]), ctx.first

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The sum of all processes' gradients, of this one's rows."""
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.first:ctx.first + ctx.count]
