"""What stages cost: their time and the memory they took at most, one line for each session of each stage.

A session that was killed leaves a line of its beginning alone: its time is not known, and the sum is marked.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

FILE = "costs.jsonl"
_EVERY = 0.1  # seconds between two looks at the memory of this process


@dataclass(frozen=True)
class Cost:
    """The seconds of all sessions that ended, the most memory any of them held in bytes, and how many were cut."""

    seconds: float = 0.0
    peak_bytes: int = 0
    cut: int = 0


@contextmanager
def counted(folder: Path, artefact: str) -> Iterator[None]:
    """Count the time of what is done inside, and the most memory it takes: of the GPU, or else of this process."""
    _append(folder, {"artefact": artefact, "begun": True})
    ended, peak = threading.Event(), [0]
    watch = threading.Thread(target=_watch, args=(ended, peak), daemon=True)
    gpu = _gpu()
    if gpu is not None:
        gpu.reset_peak_memory_stats()
    watch.start()
    started = time.perf_counter()
    try:
        yield
    finally:
        ended.set()
        watch.join()
    held = gpu.max_memory_allocated() if gpu is not None else peak[0]
    _append(folder, {"artefact": artefact, "seconds": round(time.perf_counter() - started, 3), "peak_bytes": held})


def costs_of(folder: Path) -> dict[str, Cost]:
    """The costs by artefact; a line that a kill has cut is left out."""
    found: dict[str, Cost] = {}
    for line in (folder / FILE).read_text(encoding="utf-8").splitlines() if (folder / FILE).is_file() else []:
        try:
            said = json.loads(line)
            name, begun = said["artefact"], said.get("begun", False)
            seconds, peak = (0.0, 0) if begun else (float(said["seconds"]), int(said["peak_bytes"]))
        except (ValueError, KeyError, TypeError):
            continue
        one = found.get(name, Cost())
        found[name] = Cost(one.seconds + seconds, max(one.peak_bytes, peak), max(0, one.cut + (1 if begun else -1)))
    return found


def _append(folder: Path, said: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(said) + "\n")


def _watch(ended: threading.Event, peak: list[int]) -> None:
    process = psutil.Process()
    while True:
        peak[0] = max(peak[0], process.memory_info().rss)
        if ended.wait(_EVERY):
            return


def _gpu() -> Any:
    import torch

    return torch.cuda if torch.cuda.is_available() else None
