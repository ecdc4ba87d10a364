"""The engine `ray`: tasks on a Ray cluster (`pip install 'medreport[ray]'`).

An address in RAY_ADDRESS, or a cluster that runs on this machine, is used; otherwise one is started here and stopped
again. All nodes need medreport, and the input and output folders under the same paths.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from emgecg_cli.core.engines import TASKS_PER_WORKER, lost_worker
from emgecg_cli.core.errors import MedReportError


def run(task: Callable[[Any], Any], arguments: Iterable[Any], workers: int) -> Iterator[Any]:
    """Run the tasks on Ray, `workers` at a time."""
    ray = _import_ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, workers)
    try:
        remote = ray.remote(max_retries=2)(_in_folder)
        folder = Path.cwd()
        waiting = iter(arguments)
        pending: list[Any] = []
        while True:
            room = TASKS_PER_WORKER * workers - len(pending)
            pending += [remote.remote(folder, task, one) for one in islice(waiting, room)]
            if not pending:
                return
            done, pending = ray.wait(pending)
            for reference in done:
                yield _result(ray, reference)
    finally:
        if ours:
            ray.shutdown()


def _in_folder(folder: Path, task: Callable[[Any], Any], argument: Any) -> Any:
    """Run the task where the command was typed, so that relative paths mean the same."""
    os.chdir(folder)
    return task(argument)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
    except ImportError:
        raise MedReportError("--engine ray needs the package ray", "pip install 'medreport[ray]'") from None
    return ray


def _connect(ray: Any, workers: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if os.environ.get("RAY_ADDRESS"):
            ray.init(**options)
        else:
            try:
                ray.init(address="auto", **options)
            except ConnectionError:
                ray.init(address="local", num_cpus=workers, include_dashboard=False, **options)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        raise MedReportError(f"Ray cannot be reached ({(str(error).splitlines() or ['no reason given'])[0][:200]})",
                             "check RAY_ADDRESS, or use --engine local") from None


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MedReportError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise lost_worker((str(error).splitlines() or [type(error).__name__])[0][:120]) from None
