"""Out of memory: found before the first step, not at the longest batch of hour three, and said with a way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from emgecg_cli.core.config import PretrainConfig, TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.batch import Records, Totals
from emgecg_cli.core.training.augment import network_input
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.setup import SHARDING


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or \
        (isinstance(error, RuntimeError) and "alloc" in str(error) and "memory" in str(error))


Config = TrainConfig | PretrainConfig


@contextmanager
def explained(config: Config) -> Iterator[None]:
    """Turn running out of memory, anywhere inside, into a MedReportError that names settings to try."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise MedReportError(f"out of memory with --batch-size {config.batch_size} ({_first_line(error)})",
                             f"try {advice(config)}") from None


def advice(config: Config, fits: int | None = None) -> str:
    """Settings that need less memory, nearest to those given first; `fits` is a batch size that was seen to fit."""
    size = fits or config.batch_size // 2
    ways = []
    if size >= 1 and size < config.batch_size:
        more = -(-config.batch_size * config.gradient_accumulation // size)
        ways.append(f"--batch-size {size} --gradient-accumulation {more}{' (fits)' if fits else ''}")
    if isinstance(config, TrainConfig) and not config.gradient_checkpointing:
        ways.append("--gradient-checkpointing")
    if isinstance(config, TrainConfig) and config.tuning in ("full", "lora"):
        ways.append(f"--tuning {'lora' if config.tuning == 'full' else 'qlora'}")
    if config.parallel not in SHARDING:
        ways.append("--parallel fsdp on several GPUs")
    ways.append("a shorter --max-length" if isinstance(config, TrainConfig) else "a smaller --encoder")
    return ", or ".join(ways)


def probe(parallel: Parallel, objective: nn.Module, records: Records, lengths: Callable[[], np.ndarray],
          config: Config) -> None:
    """Run the longest batch forward and backward once, on a GPU, beside room for the optimiser's moments.

    `lengths` are asked for where that is done. Leaves weights, buffers and random state as they were. Raises
    MedReportError with the largest batch that fits.
    """
    if parallel.device.type != "cuda" or parallel.kind not in ("none", "ddp"):
        return  # sharded gradients cannot be thrown away half-way
    longest = np.argsort(lengths(), kind="stable")[::-1]

    def run(size: int) -> None:
        batch = records.collate([records[int(i)] for i in longest[:size]])
        try_batch(parallel, objective, batch, records.totals(longest[:size]))

    check(run, config, parallel.world == 1)


def check(run: Callable[[int], None], config: Config, search: bool) -> None:
    """Raise MedReportError when `run(batch size)` runs out of memory; search for a smaller size that does not."""
    try:
        run(config.batch_size)
        return
    except RuntimeError as error:
        if not ran_out(error):
            raise
        reason = _first_line(error)
    size = config.batch_size // 2 if search else 0
    while size >= 2 and not _fits(run, size):
        size //= 2
    raise MedReportError(f"out of memory: the longest batch of {config.batch_size} records does not fit ({reason})",
                         f"give {advice(config, size if size >= 2 else None)}")


def _fits(run: Callable[[int], None], size: int) -> bool:
    torch.cuda.empty_cache()
    try:
        run(size)
    except RuntimeError as error:
        if not ran_out(error):
            raise
        return False
    return True


def try_batch(parallel: Parallel, objective: nn.Module, batch: object, totals: Totals) -> None:
    """One batch forward and backward; weights, buffers, gradients and random state stay as they were."""
    trained = [p for p in objective.parameters() if p.requires_grad]
    buffers = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    moments = torch.empty(2 * sum(p.numel() for p in trained), device=parallel.device)
    try:
        with torch.random.fork_rng(devices=[parallel.device] if parallel.device.type == "cuda" else []):
            inputs, on_device = network_input(batch, parallel.device, 0, 0)
            with parallel.no_sync(objective):
                with parallel.autocast():
                    losses = objective(inputs, on_device, totals)
                parallel.backward(losses.total)
    finally:
        del moments
        for parameter in trained:
            parameter.grad = None
        with torch.no_grad():
            for name, buffer in objective.named_buffers():
                buffer.copy_(buffers[name])


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].partition(". ")[0][:160]
