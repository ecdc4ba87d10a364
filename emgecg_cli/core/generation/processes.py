"""Several writers on one machine: a GPU each where there are GPUs, else a share of the cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from emgecg_cli.core.claims import check_place, check_plan, part_paths
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation.job import chosen_records
from emgecg_cli.core.generation.run import Progress
from emgecg_cli.core.generation.task import RUNS_OWN, Places, open_task
from emgecg_cli.core.launch import launch, threads_of_each
from emgecg_cli.core.manifest import is_finished

WRITER_VARIABLE = "MEDREPORT_WRITER"
LOOK = 0.5  # seconds between two looks at the parts


def write_parts(run: Path, out: Path, config: GenerateConfig, processes: int, *, places: Places = RUNS_OWN,
                progress: Progress | None = None) -> int:
    """Have `processes` writers write the parts of `out`, and wait; `generate_reports` puts them together afterwards.

    Returns the exit status of the first writer that failed, which has said why, or 0. Raises MedReportError for what
    can be refused before they start, and when one of them is killed.
    """
    task = open_task(run, out, config, places)
    if is_finished(out):
        return 0
    check_place(out)
    check_plan(out, task.plan)
    environment = _environment(task.plan["machine"]["device"], processes)
    total = len(chosen_records(task.store, config))
    arguments = _arguments(run, out, config, places)
    status = launch(arguments, processes, environment, quiet=True, tick=_watch(out, total, progress))
    if status > 128:
        raise MedReportError(f"a writer was killed by signal {status - 128}",
                             "if memory ran out, give fewer --num-processes; run it again: it goes on where it stopped")
    return status


def _arguments(run: Path, out: Path, config: GenerateConfig, places: Places) -> list[str]:
    """The command line of a writer; which one it is stands in its environment."""
    given: dict[str, Any] = {"out": out, "store": places.store, "instructions": places.instructions,
                             "references": places.references, "backbone": places.backbone}
    given |= {f.name: getattr(config, f.name) for f in fields(config) if getattr(config, f.name) != f.default}
    options = [word for key, value in given.items() if value is not None
               for word in (f"--{key.replace('_', '-')}", *([] if value is True else [str(value)]))]
    return ["generate", *["--allow-download"] * places.download, *options, "--", str(run)]


def _environment(device: str, processes: int) -> Callable[[int], dict[str, str]]:
    """What each writer's environment adds: its number, its threads, its GPU."""
    if device == "cuda" and processes > torch.cuda.device_count():
        raise MedReportError(f"--num-processes {processes}, and {torch.cuda.device_count()} GPUs",
                             f"give --num-processes {torch.cuda.device_count()} or less")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")

    def environment(rank: int) -> dict[str, str]:
        values = {WRITER_VARIABLE: f"{rank + 1}/{processes}", "OMP_NUM_THREADS": threads_of_each(processes)}
        if device == "cuda":
            values["CUDA_VISIBLE_DEVICES"] = visible[rank] if any(visible) else str(rank)
        return values

    return environment


def _watch(out: Path, total: int, progress: Progress | None) -> Callable[[], None] | None:
    """Something to call often that reports, now and then, how many lines all files have."""
    if progress is None:
        return None
    lines: dict[Path, int] = {}
    read: dict[Path, int] = {}
    looked = -LOOK

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked < LOOK:
            return
        looked = time.monotonic()
        for path in (out, *part_paths(out)):
            if path.is_file():
                with path.open("rb") as stream:
                    stream.seek(read.get(path, 0))
                    added = stream.read()
                lines[path] = lines.get(path, 0) + added.count(b"\n")
                read[path] = read.get(path, 0) + len(added)
        progress(min(total, sum(lines.values())), total)

    return look
