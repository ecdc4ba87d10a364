"""When the loop pauses between steps: to write its log, to report, to write a checkpoint, to stop.

Every ten steps while they are fast, every step where one takes seconds. What is decided by a clock or by Ctrl-C is
decided for all processes at once, and changes when things are written, never what.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from emgecg_cli.core.training.parallel import Parallel

STEPS = 10  # between two pauses, each of which waits for the device
SECONDS = 5.0  # between two pauses where steps are slow

Asked = Callable[[], bool]
OnInterrupt = Callable[[], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be done now: write a checkpoint because it is time, or stop because somebody asked."""

    checkpoint: bool
    stop: bool


@dataclass
class Pace:
    """Counts steps from `done` to `last`; `minutes` are those between checkpoints, 0 for none by time. `asked` tells
    whether this process is to stop."""

    parallel: Parallel
    done: int
    last: int
    minutes: float
    asked: Asked
    looked: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    next: int = 0

    def __post_init__(self) -> None:
        """Pause after the first step, which shows how long one takes."""
        self.next = self.done + 1

    def is_due(self, step: int) -> bool:
        """Whether to pause after this step; the same in all processes."""
        return step >= self.next or step == self.last or (self.parallel.world == 1 and self.asked())

    def look(self, step: int) -> Wanted:
        """Say what is to be done, and when to pause again (collective). The main process's clock counts."""
        now = time.monotonic()
        each = (now - self.looked) / max(1, step - self.done)
        due = self.minutes > 0 and now - self.saved >= 60 * self.minutes
        own = [float(self.asked()), *((float(due), each) if self.parallel.is_main else (0.0, 0.0))]
        stop, checkpoint, each = self.parallel.sum(torch.tensor(own, dtype=torch.float32)).tolist()
        self.looked, self.done = now, step
        steps = STEPS - step % STEPS
        self.next = step + max(1, int(min(steps, SECONDS / max(each, 1e-6))))
        return Wanted(checkpoint > 0, stop > 0)

    def checkpointed(self) -> None:
        """Count the minutes from here."""
        self.saved = time.monotonic()


@contextmanager
def asked_to_stop(on_interrupt: OnInterrupt | None) -> Iterator[Asked]:
    """Take the first Ctrl-C as a wish to stop after this step, and call `on_interrupt`; the second stops at once.

    Without `on_interrupt`, and outside the main thread, nothing changes.
    """
    wishes: list[int] = []
    if on_interrupt is None or threading.current_thread() is not threading.main_thread() \
            or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        wishes.append(number)
        signal.signal(signal.SIGINT, before)
        on_interrupt()

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(wishes)
    finally:
        signal.signal(signal.SIGINT, before)
