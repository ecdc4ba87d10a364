"""A loopback server that never ends: a byte now and then, or more and more of them."""

from __future__ import annotations

import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import cache

Answer = Callable[[], Iterator[bytes]]


def drip(data: bytes, seconds: float = 0.05) -> Iterator[bytes]:
    for i in range(len(data)):
        time.sleep(seconds)
        yield data[i:i + 1]


def slow_body() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    yield from drip(b" " * 100_000)


def slow_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    yield from drip(b"x" * 90_000)


def slow_chunks() -> Iterator[bytes]:
    """The length of a chunk that never ends: no body comes at all."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5;"
    yield from drip(b"x" * 90_000)


def endless_body() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"


def endless_error() -> Iterator[bytes]:
    yield b"HTTP/1.1 500 Oh no\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(b" " * (100 << 20)) + packer.flush()


def packed_bomb() -> Iterator[bytes]:
    body = _bomb()
    yield (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
           b"Content-Length: %d\r\n\r\n" % len(body))
    yield body


class SlowServer(AbstractContextManager["SlowServer"]):
    """Answers every request for a path in `files` with that body, and any other with `answer`."""

    def __init__(self, answer: Answer, files: dict[str, bytes] | None = None) -> None:
        self.answer, self.files, self.stopped = answer, files or {}, False
        _bomb()
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._one, args=(self._socket.accept()[0],), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            path = connection.recv(65536).split()[1].decode().lstrip("/")
            if path in self.files:
                body = self.files[path]
                head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
                connection.sendall(head + body)
                return
            for block in self.answer():
                if self.stopped:
                    return
                connection.sendall(block)

    def __exit__(self, *_: object) -> None:
        self.stopped = True
        self._socket.close()
