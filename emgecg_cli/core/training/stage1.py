"""Stage 1 of EMGLLM: before any report, the encoder learns to say where values lie among their references.

The backbone is frozen, unless its weights are random and it could not answer, and so are the towers of other inputs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emgecg_cli.core.config import TrainConfig
from emgecg_cli.core.inputs.batch import TextRecords
from emgecg_cli.core.inputs.drawn.values import Drawn
from emgecg_cli.core.inputs.rendered import render_all
from emgecg_cli.core.instructions.turns import turn_end
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.training.checkpoint import STAGE1
from emgecg_cli.core.training.loop import NOBODY, Watch
from emgecg_cli.core.training.objective import Objective
from emgecg_cli.core.training.parallel import Parallel
from emgecg_cli.core.training.stages import train_stage


def run_stage1(parallel: Parallel, model: ReportModel, tokenizer: Any, records: Drawn, out: Path,
               config: TrainConfig, watch: Watch = NOBODY) -> None:
    """Train the encoder, or take what a killed run had trained; see `train_stage`."""
    objective = Objective(model, torch.zeros(0), weight=0.0, end=turn_end(tokenizer).ids, eos_weight=1.0)

    def make() -> tuple[TextRecords, np.ndarray]:
        rendered = render_all(records, np.arange(records.count), tokenizer, config.max_length, model.placeholders)
        items = TextRecords(records, rendered, np.zeros((records.count, 0), bool), tokenizer.pad_token_id,
                            preprocessing=model.preprocessing)
        return items, rendered.lengths

    idle = [model.towers[name] for name in model.towers if name != "values"]
    train_stage(parallel, STAGE1, objective, make, out, replace(config, steps=config.stage1_steps),
                frozen=[*idle, *([model.backbone] if config.backbone != "tiny" else [])], watch=watch)
