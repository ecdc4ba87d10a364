"""Starting several processes of this program on one machine: they live, fail and die together.

Nothing of them outlives their parent, however it ends: each child reads a pipe whose other end only the parent holds,
and kills itself when that end closes.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO

POLL = 0.05  # seconds between two checks of the processes
GRACE = 10.0  # seconds a process gets between a signal and SIGKILL
PATIENCE = 1800.0  # and between a Ctrl-C and SIGKILL, unless a second one comes: a step may end, and be kept
CHILD_VARIABLE = "MEDREPORT_CHILD"  # set in every process started here
FORWARDED = (signal.SIGINT, signal.SIGTERM)

Processes = list[subprocess.Popen[bytes]]


def launch(arguments: Sequence[str], processes: int, environment: Callable[[int], Mapping[str, str]], *,
           quiet: bool = False, tick: Callable[[], None] | None = None) -> int:
    """Run `python -m emgecg_cli ARGUMENTS` `processes` times, each with `environment(rank)` over this one, and wait.

    Process 0 writes to our stdout and stderr (`quiet`: only its error, as the others). The first that fails stops the
    others, and what it said on stderr is written to ours, once. SIGINT and SIGTERM are passed on; once all have ended
    SIGINT becomes KeyboardInterrupt, and SIGTERM ends this process too. `tick` is called while waiting.

    Returns 0, or the status of the first that failed: 128 + the signal for one that was killed.
    """
    with ExitStack() as stack:
        received = stack.enter_context(_signals_noted())
        watched, held = os.pipe()
        stack.callback(os.close, held)
        running: Processes = []
        stack.callback(_stop, running, signal.SIGKILL)  # whatever happens here, also half-way through the starts
        said = [_own_stderr(rank, quiet, stack) for rank in range(processes)]
        try:
            for rank in range(processes):
                running.append(_start(arguments, watched, environment(rank), rank == 0 and not quiet, said[rank]))
        finally:
            os.close(watched)
        failed = _wait(running, received, tick)
        if received:
            _stop(running, received[0], received)
            _end_as(received[0], stack)
        if failed is None:
            return 0
        status = _status(running[failed])
        if failed and status == 2 and said[0] is None:
            with suppress(subprocess.TimeoutExpired):  # process 0 is about to say the same
                running[0].wait(GRACE)
        _stop(running, signal.SIGTERM)
        # An error of the user's (status 2) is the same in all of them; process 0 may have said it on its own.
        if not (failed and status == 2 and _status(running[0]) == 2 and said[0] is None):
            _pass_on(said[failed])
        return status


def launch_group(arguments: Sequence[str], processes: int) -> int:
    """`launch` processes that train together, as a group of `torch.distributed` on this machine."""
    port = free_port()
    return launch(arguments, processes, lambda rank: distributed_environment(rank, processes, port))


def launched() -> bool:
    """Whether a launcher, ours or another, started this process as one of a group."""
    return world() > 1


def world() -> int:
    """How many processes the group has in all."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process speaks for its group; alone it always does."""
    return int(os.environ.get("RANK", "0")) == 0


def speaks() -> bool:
    """Whether this process reports progress to the user: not if another one, which started it, does."""
    return is_main() and (launched() or CHILD_VARIABLE not in os.environ)


def distributed_environment(rank: int, world: int, port: int) -> dict[str, str]:
    """What `torch.distributed` and Accelerate read, for process `rank` of `world` on one machine."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": threads_of_each(world)}


def threads_of_each(processes: int) -> str:
    """OMP_NUM_THREADS of each of some processes: as it is set, else an equal share of the cores we may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // processes))


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _own_stderr(rank: int, quiet: bool, stack: ExitStack) -> IO[bytes] | None:
    """A file for what a process says on stderr; None for process 0, which says it to the user."""
    return stack.enter_context(tempfile.TemporaryFile()) if rank or quiet else None


def _start(arguments: Sequence[str], watched: int, environment: Mapping[str, str], speaks: bool,
           said: IO[bytes] | None) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C at the terminal comes once, from us, and a stop reaches its loader workers too.
    return subprocess.Popen([sys.executable, "-m", __name__, str(watched), *arguments], pass_fds=(watched,),
                            env={**os.environ, CHILD_VARIABLE: "1", **environment}, start_new_session=True,
                            stdin=subprocess.DEVNULL, stdout=None if speaks else subprocess.DEVNULL, stderr=said)


@contextmanager
def _signals_noted() -> Iterator[list[signal.Signals]]:
    """Collect SIGINT and SIGTERM instead of dying of them. Only the main thread can."""
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, lambda got, _: received.append(signal.Signals(got)))
              for number in FORWARDED if signal.getsignal(number) is not signal.SIG_IGN}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(running: Processes, received: Sequence[int], tick: Callable[[], None] | None) -> int | None:
    """Wait until all have ended well (None), one has failed (its rank), or a signal has come."""
    while not received:
        ended = [process.poll() for process in running]
        for rank, status in enumerate(ended):
            if status:
                return rank
        if None not in ended:
            break
        if tick:
            tick()
        time.sleep(POLL)
    return None


def _stop(running: Processes, number: int, received: Sequence[int] = ()) -> None:
    """Send a signal to those that still run, wait for them, and after a while kill them with all they started; at once
    when another signal is `received` meanwhile."""
    for process in running:
        if process.poll() is None:
            process.send_signal(number)
    deadline = time.monotonic() + (PATIENCE if number == signal.SIGINT else GRACE)
    for process in running:
        while process.poll() is None:
            if time.monotonic() > deadline or len(received) > 1:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            with suppress(subprocess.TimeoutExpired):
                process.wait(POLL)


def _end_as(number: signal.Signals, stack: ExitStack) -> None:
    """End this process as the signal would have, now that the others have ended."""
    stack.close()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    os.kill(os.getpid(), number)


def _status(process: subprocess.Popen[bytes]) -> int:
    """The exit status as a shell gives it."""
    status = process.wait()
    return status if status >= 0 else 128 - status


def _pass_on(said: IO[bytes] | None) -> None:
    if said is not None:
        said.seek(0)
        sys.stderr.write(said.read().decode(errors="replace"))
        sys.stderr.flush()


def _die_with_parent(watched: int) -> None:
    """Kill this process and what it started when the other end of the pipe closes."""
    os.read(watched, 1)
    os.killpg(0, signal.SIGKILL)


def _run_child() -> None:
    """What a child runs: `PIPE ARGUMENT…`."""
    os.set_inheritable(int(sys.argv[1]), False)
    threading.Thread(target=_die_with_parent, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["medreport", *sys.argv[2:]]
    runpy.run_module("emgecg_cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run_child()
