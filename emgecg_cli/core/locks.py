"""Locks on files: held by a process for as long as it lives, released by the system however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ALONE, TOGETHER = fcntl.LOCK_EX, fcntl.LOCK_SH
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
_held_here: set[int] = set()


def _let_go_in_child() -> None:
    """A forked loader worker must not keep a lock alive that its killed parent held."""
    for descriptor in _held_here:
        os.close(descriptor)
    _held_here.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def open_descriptor(path: Path) -> int:
    """Open a file that is to be locked, for reading and appending; it is made if it is not there."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
    _held_here.add(descriptor)
    return descriptor


def close(descriptor: int) -> None:
    """Close a descriptor, and release its lock."""
    _held_here.discard(descriptor)
    os.close(descriptor)


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close a descriptor at the end, whatever happens."""
    try:
        yield descriptor
    finally:
        close(descriptor)


def try_lock(descriptor: int, how: int, unsure: bool = True) -> bool:
    """Try to lock `ALONE` or `TOGETHER`, without waiting, and without a lock of the other kind held so far.

    `unsure` is the answer of network file systems that have no locks, where all else about a claim still holds.
    """
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError as error:
        return unsure and error.errno in NO_LOCKS
    return True


def is_still(descriptor: int, path: Path) -> bool:
    """Whether a descriptor is of the file that lies there; opened just before its holder removed it, it is not."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def wait_for(descriptor: int) -> None:
    """Lock `ALONE`, and wait for it; where there are no locks, not at all."""
    try:
        fcntl.flock(descriptor, ALONE)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
