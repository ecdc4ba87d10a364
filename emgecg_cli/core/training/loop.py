"""The training loop (Accelerate): accumulate, clip, step, log, checkpoint; resumes at the exact step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.report_model import to_input
from emgecg_cli.core.training.augment import Augmentation
from emgecg_cli.core.training.batches import BatchPlan, BatchSampler
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, load_checkpoint, save_checkpoint
from emgecg_cli.core.training.data import Batch, Collate, TrainingRecords
from emgecg_cli.core.training.objective import Losses, Objective

LOG_EVERY = 10  # steps between reads of the losses, each of which waits for the device

Progress = Callable[..., None]


@dataclass
class StepLog:
    """`metrics.jsonl`: one line a step, written in groups; cut back to the checkpoint on resuming.

    It holds nothing that depends on the machine's speed, so that an interrupted run writes the same bytes.
    """

    path: Path
    waiting: list[dict[str, Any]] = field(default_factory=list)
    last_loss: float = math.nan

    def resume_at(self, step: int) -> None:
        """Drop the lines after `step`, by cutting the file there: a kill meanwhile loses none before it."""
        with self.path.open("ab+") as stream:
            stream.seek(0)
            stream.truncate(sum(len(line) for line in islice(stream, step)))

    def add(self, step: int, epoch: float, losses: list[Losses], learning_rate: float) -> None:
        """Remember a step; its losses stay on the device."""
        self.waiting.append({"step": step, "epoch": epoch, "learning_rate": learning_rate,
                             **{name: torch.stack([getattr(part, name).detach() for part in losses]).sum()
                                for name in ("total", "report", "encoder")}})

    def flush(self) -> None:
        """Write what waits. Raises MedReportError when the loss is no longer a number."""
        rows = [{key: value.item() if torch.is_tensor(value) else value for key, value in row.items()}
                for row in self.waiting]
        with self.path.open("a") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        self.waiting.clear()
        for row in rows:
            self.last_loss = row["total"]
            if not math.isfinite(self.last_loss):
                raise MedReportError(f"the loss is {self.last_loss} at step {row['step']}",
                                     "lower --learning-rate, or train with --precision fp32")


@dataclass
class Clock:
    """How long the loop waited for data, and how fast records pass."""

    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    records: int = 0

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches, with the wait for each counted."""
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - before
            if batch is None:
                return
            self.records += len(batch.signal)
            yield batch

    @property
    def seconds(self) -> float:
        """Since the loop began."""
        return time.perf_counter() - self.started


@dataclass(frozen=True)
class LoopResult:
    """What the loop did: `steps` in all, the last loss, and the speed of this session's part."""

    steps: int
    loss: float
    seconds: float
    records_per_s: float
    data_wait: float


def count_steps(config: TrainConfig, plan: BatchPlan) -> int:
    """Optimiser steps of a run: `steps`, or as many as `epochs` need."""
    return config.steps or max(1, math.ceil(config.epochs * plan.per_epoch / config.gradient_accumulation))


def learning_rate_factor(step: int, steps: int, schedule: str, warmup: float) -> float:
    """Factor on the learning rate at a step counted from 0: linear warm-up, then linear to 0 or cosine to 5 %."""
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return 1 - done if schedule == "linear" else 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


def run_loop(accelerator: Accelerator, objective: Objective, optimizer: torch.optim.Optimizer, records: TrainingRecords,
             plan: BatchPlan, pad: int, config: TrainConfig, augmentations: Sequence[Augmentation], run: Path,
             progress: Progress | None = None) -> LoopResult:
    """Train `objective` until its last step, from the newest checkpoint under `run` if there is one."""
    steps, accumulate = count_steps(config, plan), config.gradient_accumulation
    objective, optimizer = accelerator.prepare(objective, optimizer)
    checkpoints = run / CHECKPOINTS
    start = load_checkpoint(checkpoints, accelerator.unwrap_model(objective), optimizer)
    log = StepLog(run / "metrics.jsonl")
    log.resume_at(start)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    clock = Clock()
    sampler = BatchSampler(plan, start * accumulate, steps * accumulate)
    batches = clock.timed(iter(_loader(records, sampler, pad, config.workers, accelerator.device)))
    objective.train()
    for step in range(start, steps):
        factor = learning_rate_factor(step, steps, config.schedule, config.warmup)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        losses = _one_step(accelerator, objective, optimizer, list(islice(batches, accumulate)), step, config,
                           augmentations)
        log.add(step + 1, (step + 1) * accumulate / plan.per_epoch, losses, base_rates[0] * factor)
        if (step + 1) % LOG_EVERY == 0 or step + 1 == steps:
            log.flush()
            if progress:
                progress(step + 1, steps, loss=log.last_loss, records=f"{clock.records / clock.seconds:.0f}/s",
                         data_wait=f"{clock.waited / clock.seconds:.1%}")
        if (step + 1) % config.checkpoint_every == 0 and step + 1 < steps:
            log.flush()
            save_checkpoint(checkpoints, step + 1, accelerator.unwrap_model(objective), optimizer)
    return LoopResult(steps, log.last_loss, clock.seconds, clock.records / clock.seconds,
                      clock.waited / clock.seconds)


def _loader(records: TrainingRecords, sampler: BatchSampler, pad: int, workers: int,
            device: torch.device) -> DataLoader[Batch]:
    # Its own generator: starting a loader draws from the global one, and a resumed run starts one more.
    return DataLoader(records, batch_sampler=sampler, collate_fn=Collate(pad),  # type: ignore[arg-type]
                      num_workers=workers, pin_memory=device.type == "cuda", generator=torch.Generator())


def _one_step(accelerator: Accelerator, objective: Any, optimizer: Any, batches: list[Batch], step: int,
              config: TrainConfig, augmentations: Sequence[Augmentation]) -> list[Losses]:
    tokens = sum(batch.answer_tokens for batch in batches)
    records = sum(len(batch.signal) for batch in batches)
    generator = torch.Generator(accelerator.device).manual_seed(config.seed * 1_000_003 + step)
    losses = []
    for batch in batches:
        on_device = batch.to(accelerator.device)
        signal = to_input(on_device.signal)
        for augment in augmentations:
            signal = augment(signal, generator)
        with accelerator.autocast():
            loss = objective(signal, on_device, tokens, records)
        accelerator.backward(loss.total)
        losses.append(loss)
    if config.max_grad_norm:
        accelerator.clip_grad_norm_(objective.parameters(), config.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return losses
