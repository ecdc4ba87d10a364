"""The training loop: accumulate, clip, step, log, validate, checkpoint; resumes at the exact step.

It knows neither text nor masks nor how many processes there are: an objective gives shares of a step's loss, records
make batches, and a `Parallel` moves, wraps and sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from emgecg_cli.core.inputs.batch import Records, Totals
from emgecg_cli.core.models.tuning import PartRow
from emgecg_cli.core.training.augment import Augmentation, network_input
from emgecg_cli.core.training.batches import BatchPlan, BatchSampler, Visited, VisitSampler
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, load_checkpoint, save_checkpoint
from emgecg_cli.core.training.logs import Clock, StepLog
from emgecg_cli.core.training.objective import Losses
from emgecg_cli.core.training.pace import OnInterrupt, Pace, Wanted, asked_to_stop
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.tracking import Tracker
from emgecg_cli.core.training.validation import Validation

Progress = Callable[..., None]


class LoopSettings(Protocol):
    """The settings the loop reads, of `train` and `pretrain` alike."""

    @property
    def epochs(self) -> float: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def gradient_accumulation(self) -> int: ...
    @property
    def schedule(self) -> str: ...
    @property
    def warmup(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...
    @property
    def checkpoint_every(self) -> int: ...
    @property
    def checkpoint_minutes(self) -> float: ...
    @property
    def workers(self) -> int: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Watch:
    """Who watches a training: `progress` is told how far it is; `on_interrupt` is called at the first Ctrl-C, which
    then waits for the end of the step, and None leaves Ctrl-C as it is; `say` is told what is worth saying."""

    progress: Progress | None = None
    on_interrupt: OnInterrupt | None = None
    say: Callable[[str], None] | None = None


NOBODY = Watch()
FEW_STEPS = 100  # in which little is learnt


@dataclass(frozen=True)
class Start:
    """What is about to be trained: its parts, whether it goes on from a checkpoint, how many steps there are in all, of
    how many records each, and how many `records` there are; `end` is what ends a report, where it is no EOS.
    `whole_logits`: those of all tokens of a batch are held at once, for a backbone whose output head cannot be called
    for a few at a time."""

    trains: list[PartRow]
    resuming: bool
    steps: int
    step_records: int
    records: int
    end: str = ""
    whole_logits: bool = False

    @property
    def few(self) -> bool:
        """Whether so few steps are worth a word."""
        return self.steps < FEW_STEPS


@dataclass(frozen=True)
class LoopResult:
    """What the loop did: `steps` in all, the last (report) loss, and the speed of this session's part.

    `kept` is the step whose weights the objective holds now, `validation` the losses on the validation split there;
    None without an evaluation.
    """

    steps: int
    loss: float
    seconds: float
    records_per_s: float
    data_wait: float
    kept: int
    validation: dict[str, float] | None


def count_steps(config: LoopSettings, plan: BatchPlan) -> int:
    """Optimiser steps of a run: `steps`, or as many as `epochs` need."""
    return config.steps or max(1, math.ceil(config.epochs * plan.per_epoch / config.gradient_accumulation))


def learning_rate_factor(step: int, steps: int, schedule: str, warmup: float) -> float:
    """Factor on the learning rate at a step counted from 0: linear warm-up, then linear to 0 or cosine to 5 %."""
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    return 1 - done if schedule == "linear" else 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


def run_loop(parallel: Parallel, objective: nn.Module, optimizer: torch.optim.Optimizer, records: Records,
             plan: BatchPlan, config: LoopSettings, run: Path, *,
             augmentations: Sequence[Augmentation] = (), validation: Validation | None = None,
             track: Callable[[int], Tracker | None] | None = None, watch: Watch = NOBODY) -> LoopResult:
    """Train `objective` until its last step, from the newest checkpoint under `run` if there is one.

    `objective(inputs, batch, totals)` returns `Losses`; it and the optimiser come from `parallel.prepare`. `plan` says
    which of the `records` make a batch; `track(start)` opens the trackers of the main process. Every process of a group
    calls this with the same arguments. Raises KeyboardInterrupt, a checkpoint written, when `watch` lets it wait.
    """
    steps, accumulate = count_steps(config, plan), config.gradient_accumulation
    start = load_checkpoint(run / CHECKPOINTS, parallel, objective, optimizer)
    log = StepLog(run / "metrics.jsonl", parallel, track(start) if track and parallel.is_main else None)
    kept = _Kept(parallel, objective, optimizer, run, log, validation)
    kept.resume_at(start)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    clock = Clock()
    batches = clock.timed(iter(_loader(records, plan, start * accumulate, steps * accumulate, config, parallel)))
    totals_of = _StepTotals(records, replace(plan), accumulate)
    if watch.progress:
        watch.progress(start, steps)
    if validation and validation.is_missing(start, steps):
        kept.evaluate(start)
    objective.train()
    with parallel.accumulating(accumulate), asked_to_stop(watch.on_interrupt) as asked:
        pace = Pace(parallel, start, steps, config.checkpoint_minutes, asked)
        for done in range(start + 1, steps + 1):
            factor = learning_rate_factor(done - 1, steps, config.schedule, config.warmup)
            _set_rates(optimizer, base_rates, factor)
            losses = _one_step(parallel, objective, optimizer, list(islice(batches, accumulate)), done - 1,
                               totals_of(done - 1), config, augmentations)
            log.add(done, done * accumulate / plan.per_epoch, losses, base_rates[0] * factor)
            wanted = pace.look(done) if pace.is_due(done) else Wanted(False, False)
            if pace.done == done:
                log.flush()
                _tell(watch, done, steps, log.last_loss, clock, parallel.world)
            if validation and not wanted.stop and validation.is_due(done, steps):
                kept.evaluate(done)
            on_time = wanted.checkpoint or done % config.checkpoint_every == 0
            if wanted.stop or (on_time and done < steps):
                kept.checkpoint(done)
                pace.checkpointed()
            if wanted.stop:
                log.close()
                raise KeyboardInterrupt
    log.close()
    best = validation.keep_best(steps, parallel, objective, optimizer) if validation else None
    return LoopResult(steps, log.last_loss, clock.seconds, clock.speed * parallel.world, clock.data_wait,
                      best.step if best else steps, best.losses if best else None)


@dataclass(frozen=True)
class _Kept:
    """What a training keeps in its folder: the log of its steps, evaluations, checkpoints."""

    parallel: Parallel
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    run: Path
    log: StepLog
    validation: Validation | None

    def resume_at(self, start: int) -> None:
        """Drop what is of later steps."""
        self.log.resume_at(start)
        if self.validation:
            self.validation.resume_at(start)

    def evaluate(self, step: int) -> None:
        if self.validation:
            self.validation.evaluate(step, self.parallel, self.objective, self.log)

    def checkpoint(self, step: int) -> None:
        self.log.flush()
        save_checkpoint(self.run / CHECKPOINTS, step, self.parallel, self.objective, self.optimizer)
        if self.validation:
            self.validation.checkpointed()


def _set_rates(optimizer: torch.optim.Optimizer, base_rates: Sequence[float], factor: float) -> None:
    """The learning rates of a step."""
    for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
        group["lr"] = rate * factor


def _tell(watch: Watch, done: int, steps: int, loss: float, clock: Clock, world: int) -> None:
    """Show how far it is, and how fast."""
    if watch.progress:
        watch.progress(done, steps, loss=loss, records=f"{clock.speed * world:.3g}/s",
                       data_wait=f"{clock.data_wait:.1%}")


@dataclass(frozen=True)
class _StepTotals:
    """What a whole step holds, known to every process from the plan alone."""

    records: Records
    plan: BatchPlan  # one of its own: the loader's is epochs ahead at times
    accumulate: int

    def __call__(self, step: int) -> Totals:
        first = step * self.accumulate
        return self.records.totals(np.concatenate([self.plan.batch(first + i) for i in range(self.accumulate)]))


def _loader(records: Records, plan: BatchPlan, start: int, stop: int, config: LoopSettings,
            parallel: Parallel) -> DataLoader[Any]:
    batches: Any = BatchSampler(plan, start, stop, parallel.rank)
    held: Any = records
    if getattr(records, "visits", None) is not None:
        batches, held = VisitSampler(batches), Visited(records)
    # Its own generator: starting a loader draws from the global one, and a resumed run starts one more.
    return DataLoader(held, batch_sampler=batches, collate_fn=records.collate, num_workers=config.workers,
                      pin_memory=parallel.device.type == "cuda", generator=torch.Generator())


def _one_step(parallel: Parallel, objective: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Any], step: int,
              totals: Totals, config: LoopSettings, augmentations: Sequence[Augmentation]) -> list[Losses]:
    losses = []
    for batch in batches:
        inputs, on_device = network_input(batch, parallel.device, config.seed, step, augmentations)
        with parallel.accumulate(objective):
            with parallel.autocast():
                loss = objective(inputs, on_device, totals)
            parallel.backward(loss.total)
        losses.append(loss)
    parallel.step(objective, optimizer)
    return losses
