"""Engines: how many independent tasks are run, here or on a cluster.

An engine is a function `run(task, arguments, workers) -> Iterator`, named in `names.ENGINES`. It takes a function that
can be pickled and a stream of arguments, keeps a few tasks per worker under way, and yields results as they come, in
any order. What a task raises is raised here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError

MOST_WORKERS_UNASKED = 16
TASKS_PER_WORKER = 2  # under way at once: one at work, one waiting


def run_tasks(engine: str, task: Callable[[Any], Any], arguments: Iterable[Any], workers: int | None,
              tasks: int) -> Iterator[Any]:
    """Run `task` on each of about `tasks` arguments on the engine of that name; yields results as they come.

    `workers` None takes the processors this process may use, at most MOST_WORKERS_UNASKED, and no more than there are
    tasks. Raises MedReportError for an unknown engine, fewer than one worker, a lost worker, and what tasks raise.
    """
    if workers is not None and workers < 1:
        raise MedReportError(f"--workers {workers}", "give 1 or more")
    if workers is None:
        workers = max(1, min(available_processors(), MOST_WORKERS_UNASKED, tasks))
    yield from names.resolve("engine", engine)(task, arguments, workers)


def available_processors() -> int:
    """The processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def lost_worker(detail: str) -> MedReportError:
    """The error for a worker that ended before its task."""
    return MedReportError(f"a worker process ended before its work was done ({detail})",
                          "it may have been killed for memory: repeat the command, which goes on where it stopped, "
                          "with fewer --workers")
