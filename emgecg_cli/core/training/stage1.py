"""Stage 1 of EMGLLM: before any report, the encoder learns to say where values lie among their references.

The backbone is frozen, unless its weights are random and it could not answer, and so are the towers of other inputs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from torch import nn

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.inputs.batch import TextRecords
from emgecg_cli.core.inputs.drawn.values import Drawn
from emgecg_cli.core.inputs.rendered import render_all
from emgecg_cli.core.instructions.turns import turn_end
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.training.batches import BatchPlan
from emgecg_cli.core.training.checkpoint import CHECKPOINTS, STAGE1, load_state, save_state
from emgecg_cli.core.training.loop import NOBODY, Watch, run_loop
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.setup import optimizer_maker


def run_stage1(parallel: Parallel, model: ReportModel, tokenizer: Any, records: Drawn, out: Path,
               config: TrainConfig, watch: Watch = NOBODY) -> None:
    """Train the encoder, or take what a killed run had trained; its weights then lie beside the checkpoints.

    Every process of the group calls this. The random state afterwards is the same in both cases.
    """
    own = replace(config, steps=config.stage1_steps)
    objective = Objective(model, torch.zeros(0), weight=0.0, end=turn_end(tokenizer).ids, eos_weight=1.0)
    kept, folder = out / CHECKPOINTS / f"{STAGE1}.safetensors", out / STAGE1
    folder.mkdir(parents=True, exist_ok=True)
    idle = [model.towers[name] for name in model.towers if name != "values"]
    with _frozen([*idle, *([model.backbone] if config.backbone != "tiny" else [])]):
        prepared, optimizer = parallel.prepare(objective, optimizer_maker(config))
        parallel.barrier()
        if kept.is_file():
            parallel.load(prepared, optimizer, load_state(kept), {})
        else:
            rendered = render_all(records, np.arange(records.count), tokenizer, config.max_length, model.placeholders)
            items = TextRecords(records, rendered, np.zeros((records.count, 0), bool), tokenizer.pad_token_id,
                                preprocessing=model.preprocessing)
            plan = BatchPlan(rendered.lengths, config.batch_size * parallel.world, config.seed, parallel.world,
                             smallest=1)
            run_loop(parallel, prepared, optimizer, items, plan, own, folder, watch=watch)
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
