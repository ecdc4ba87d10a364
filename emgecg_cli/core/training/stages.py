"""Stages before the one that reports train in: a few parts learn something simpler first, and only once.

What a stage has trained is kept beside the checkpoints, so that a killed run takes it up and the random state after it
is the same in both cases.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from accelerate.utils import set_seed
from torch import nn

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.inputs.batch import Records
from emgecg_cli.core.training.augment import Augmentation
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, check_same, load_state, save_state
from emgecg_cli.core.training.loop import NOBODY, Watch, run_loop
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.setup import optimizer_maker


def train_stage(parallel: Parallel, name: str, objective: nn.Module, make: Callable[[], tuple[Records, np.ndarray]],
                out: Path, config: TrainConfig, *, frozen: Sequence[nn.Module], smallest: int = 1,
                augmentations: Sequence[Augmentation] = (), watch: Watch = NOBODY) -> None:
    """Train what is not `frozen` of an objective for `config.steps` steps, or take what a killed run had trained.

    `make` gives the records and their lengths, where they are needed; a batch holds at least `smallest` of them. Logs
    go to `out/name/`. Every process of the group calls this.
    """
    kept, folder = out / CHECKPOINTS / f"{name}.safetensors", out / name
    folder.mkdir(parents=True, exist_ok=True)
    with _frozen(frozen):
        prepared, optimizer = parallel.prepare_stage(objective, optimizer_maker(config))
        parallel.barrier()
        check_same(parallel, int(kept.is_file()), kept.parent)
        if kept.is_file():
            parallel.load(prepared, optimizer, load_state(kept), {})
        else:
            records, lengths = make()
            plan = BatchPlan(lengths, config.batch_size * parallel.world, config.seed, parallel.world,
                             smallest=smallest)
            run_loop(parallel, prepared, optimizer, records, plan, config, folder, augmentations=augmentations,
                     watch=watch)
            weights, _ = parallel.state(prepared, None)
            if parallel.is_main:
                save_state(kept, weights)
        parallel.barrier()
        if parallel.is_main:
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    optimizer.zero_grad()
    set_seed(config.seed + parallel.rank)


@contextmanager
def _frozen(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let no parameter of the modules train."""
    trained = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
