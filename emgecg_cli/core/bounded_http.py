"""HTTP exchanges that end: bounded in bytes and in time at the socket, whatever the server sends and however slowly.

A client's timeout bounds only the silence between two bytes. Here every read of a connection, of headers and of bodies
alike, is held to the limits that stand around the request.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

SLOWEST = 1000.0  # bytes a second below which nobody waits for the end


@dataclass
class Limits:
    """At most `most` bytes (None: any number) in at most `seconds`, and, with a `rate` (bytes a second), as much longer
    as what has come takes at that rate."""

    seconds: float
    most: int | None = None
    rate: float | None = None
    received: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the end."""
        longer = self.received / self.rate if self.rate else 0.0
        return self.began + self.seconds + longer - time.monotonic()

    def why_late(self) -> str:
        """What is said when time is up."""
        return f"slower than {self.rate:g} bytes a second" if self.rate else f"not whole within {self.seconds:g} s"


_around: ContextVar[Limits | None] = ContextVar("limits", default=None)


@contextmanager
def within(limits: Limits) -> Iterator[None]:
    """Hold what bound clients do in this thread to these limits."""
    token = _around.set(limits)
    try:
        yield
    finally:
        _around.reset(token)


def bound(client: Any) -> Any:
    """Make an httpx client (or one of httpx2, which others of our libraries use) obey the limits around it; returns it.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None and not isinstance(pool._network_backend, _Backend):
            errors = sys.modules[type(pool).__module__.partition(".")[0]]
            pool._network_backend = _Backend(pool._network_backend, errors)
    return client


def refuse_encodings(response: Any) -> None:
    """A hook for answers: a compressed body, which was not asked for, may unpack to any size; raises the
    client's own DecodingError."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        errors = sys.modules[type(response).__module__.partition(".")[0]]
        raise errors.DecodingError(f"the answer is compressed ({encoding[:20]}), which was not asked for")


@dataclass
class _Backend:
    """Opens connections as the one it stands for does; `errors` is the module of their exceptions."""

    inner: Any
    errors: Any

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
                    socket_options: Iterable[Any] | None = None) -> _Stream:
        return _Stream(self.inner.connect_tcp(host, port, _wait(timeout, self.errors.ConnectTimeout), local_address,
                                              socket_options), self.errors)

    def connect_unix_socket(self, *given: Any, **more: Any) -> _Stream:
        return _Stream(self.inner.connect_unix_socket(*given, **more), self.errors)

    def sleep(self, seconds: float) -> None:
        self.inner.sleep(seconds)


@dataclass
class _Stream:
    """A connection whose reads and writes obey the limits."""

    inner: Any
    errors: Any

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        limits = _around.get()
        try:
            data: bytes = self.inner.read(max_bytes, _wait(timeout, self.errors.ReadTimeout))
        except self.errors.ReadTimeout:
            _wait(None, self.errors.ReadTimeout)  # says so if it is the whole that took too long
            raise
        if limits is not None:
            limits.received += len(data)
            if limits.most is not None and limits.received > limits.most:
                raise self.errors.ReadError(f"more than {limits.most} bytes")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.inner.write(buffer, _wait(timeout, self.errors.WriteTimeout))

    def close(self) -> None:
        self.inner.close()

    def start_tls(self, *given: Any, **more: Any) -> _Stream:
        return _Stream(self.inner.start_tls(*given, **more), self.errors)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


def _wait(timeout: float | None, error: type[Exception]) -> float | None:
    """How long the next step may take; raises `error` when time is up."""
    limits = _around.get()
    if limits is None:
        return timeout
    left = limits.left
    if left <= 0:
        raise error(limits.why_late())
    return left if timeout is None else min(timeout, left)
