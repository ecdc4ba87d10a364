"""Both stages of a training on tables, as tests run them in one process and in several with the same global batches.

Started as a script, it trains runs one after the other; beside each run, every process leaves its weights after each
stage.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from emgecg_cli.core.recipes import resolve_train_config
from emgecg_cli.core.training import run, stages
from emgecg_cli.core.training.loop import run_loop

SHORT: dict[str, Any] = dict(backbone="tiny", recipe="emgllm", steps=3, stage1_steps=3, select="last",
                             checkpoint_every=1000, max_grad_norm=0.0)  # clipped, half a gradient may be as good
BATCH = 8  # records of all processes together


def train(name: str, settings: dict[str, Any], instructions: Path, folder: Path, world: int) -> None:
    """Train one run; each process writes `<name>-<stage>-<rank>.safetensors`, the run itself is the main one's."""
    loops: list[str] = []

    def watched(parallel: Any, objective: Any, *rest: Any, **more: Any) -> Any:
        result = run_loop(parallel, objective, *rest, **more)
        loops.append(f"{name}-{len(loops) + 1}-{parallel.rank}.safetensors")
        tensors = {key: tensor.detach().clone() for key, tensor in parallel.unwrap(objective).named_parameters()}
        save_file(tensors, folder / loops[-1])
        return result

    stages.run_loop = run.run_loop = watched
    config = resolve_train_config(**SHORT | settings | {"batch_size": BATCH // world})
    run.train(instructions, folder / name, config)
    assert len(loops) == 2


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    # An epsilon so large that AdamW's steps depend on how large gradients are, and not on the noise of tiny ones. Each
    # process draws its own dropout.
    torch.optim.AdamW = partial(torch.optim.AdamW, eps=0.03)  # type: ignore[misc, assignment]
    torch.nn.functional.dropout = lambda x, *rest, **more: x  # type: ignore[assignment]
    for each in arguments["runs"]:
        train(each["name"], each["settings"], Path(each["instructions"]), Path(arguments["folder"]),
              int(os.environ["WORLD_SIZE"]))
