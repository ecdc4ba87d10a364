"""The engine `local`: processes on this machine, or this process where one worker is enough."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

from emgecg_cli.core.engines import TASKS_PER_WORKER, lost_worker

# read when numpy and polars are first imported, which is later than this
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


def run(task: Callable[[Any], Any], arguments: Iterable[Any], workers: int) -> Iterator[Any]:
    """Run the tasks in `workers` processes; with one, in this process and in order."""
    if workers == 1:
        yield from map(task, arguments)
        return
    # Not forked: numpy's and polars' threads do not survive a fork.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    waiting = iter(arguments)
    pending: set[Future[Any]] = set()
    try:
        while True:
            pending |= {_submit(pool, task, one) for one in islice(waiting, TASKS_PER_WORKER * workers - len(pending))}
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise lost_worker("killed, or it could not be started") from None
    except BaseException:  # interrupted, or a task failed: what is half done will be done again
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, task: Callable[[Any], Any], argument: Any) -> Future[Any]:
    """Submit a task, which may start a process; one that is starting must not take a Ctrl-C that is meant for us."""
    if threading.current_thread() is not threading.main_thread():
        return pool.submit(task, argument)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return pool.submit(task, argument)
    finally:
        signal.signal(signal.SIGINT, before)


def _begin() -> None:
    """Take one thread, leave Ctrl-C to the parent, and end when it is gone: no orphan writes beside its successor."""
    for variable in ONE_THREAD:
        os.environ.setdefault(variable, "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
