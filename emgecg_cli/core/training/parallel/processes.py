"""The group of processes a training runs in: who this one is, which device it has, and what needs no model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from emgecg_cli.core.errors import MedReportError

# Others wait this long for the main process, which alone writes checkpoints and predictions.
PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class Processes:
    """This process among `world` others; `device` is its own."""

    rank: int
    world: int
    device: torch.device

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over processes, on this device; the argument stays as it was."""
        total = tensor.detach().to(self.device, copy=True)
        if self.world > 1:
            dist.all_reduce(total)
        return total

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.world > 1:
            dist.barrier(device_ids=None if self.device.type == "cpu" else [self.device.index])

    def close(self) -> None:
        """Leave the group."""
        if dist.is_initialized():
            dist.destroy_process_group()


def join_processes(grouped: bool) -> Processes:
    """Join the group that RANK, LOCAL_RANK and WORLD_SIZE describe, as torchrun and `accelerate launch` set them.

    `grouped` makes a group of one where there is no launcher, for strategies that cannot do without. NCCL on CUDA, Gloo
    on the CPU. Raises MedReportError when there are more processes on a machine than devices.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", str(rank)))
    cuda = torch.cuda.is_available()
    if cuda and local >= torch.cuda.device_count():
        raise MedReportError(f"process {local} of this machine has no device: there are {torch.cuda.device_count()}",
                             "start as many processes as there are devices")
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if (world > 1 or grouped) and not dist.is_initialized():
        # Without a launcher nobody else can be met, and no port is needed.
        store = None if world > 1 else dist.HashStore()
        dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=world, timeout=PATIENCE,
                                device_id=device if cuda else None)
    return Processes(rank, world, device)
