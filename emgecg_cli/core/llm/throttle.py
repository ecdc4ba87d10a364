"""How many requests are under way at once, and when nobody asks because the endpoint wants it so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Throttle:
    """At most `most` requests at once. Where the endpoint says that they are too many, all of them wait as long as it
    asks, and then half as many go on; for each round of answers one more is let in again.

    `sleep` is what waiting is done with; time that it does not really take counts as past.
    """

    most: int
    sleep: Callable[[float], object]
    answers: int = 0
    _allowed: int = field(init=False)
    _running: int = 0
    _in_round: int = 0
    _until: float = 0.0
    _skipped: float = 0.0
    _turns: threading.Condition = field(default_factory=threading.Condition, repr=False)

    def __post_init__(self) -> None:
        self._allowed = self.most

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One request; waits until it may be sent."""
        with self._turns:
            self._turns.wait_for(lambda: self._running < self._allowed)
            self._running += 1
        try:
            while (left := self._until - self._now()) > 0:
                self.pause(left)
            yield
        finally:
            with self._turns:
                self._running -= 1
                self._turns.notify_all()

    def answered(self) -> None:
        """A request was answered."""
        with self._turns:
            self.answers += 1
            self._in_round += 1
            if self._in_round >= self._allowed:
                self._in_round = 0
                self._allowed = min(self.most, self._allowed + 1)
                self._turns.notify_all()

    def limited(self, seconds: float) -> None:
        """The endpoint refused one of too many requests: no other is sent for some seconds."""
        with self._turns:
            if self._until <= self._now():  # requests that were under way together are refused for one reason
                self._allowed, self._in_round = max(1, self._allowed // 2), 0
            self._until = max(self._until, self._now() + seconds)

    def pause(self, seconds: float) -> None:
        """Wait, outside of a turn or in it."""
        began = time.monotonic()
        self.sleep(seconds)
        with self._turns:
            self._skipped += max(0.0, seconds - (time.monotonic() - began))

    def _now(self) -> float:
        return time.monotonic() + self._skipped
