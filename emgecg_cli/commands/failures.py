"""Errors from outside of our code, in one line: the disk, memory, and the reader of our output."""

from __future__ import annotations

import errno
import os
import select
import sys

from emgecg_cli.core.files import REFUSALS, RESUME, errno_of

_HINTS = {
    errno.ENOSPC: f"free some space, then {RESUME}",
    errno.EDQUOT: f"free some space, then {RESUME}",
    errno.EFBIG: f"choose a disk, or a limit, that takes larger files, then {RESUME}",
    errno.EIO: f"mend the disk, then {RESUME}",
    errno.EACCES: "choose a place you may read and write",
    errno.EPERM: "choose a place you may read and write",
    errno.EROFS: "choose a place you may write to with --out",
    errno.ENOENT: "check the path",
    errno.EMFILE: "allow more open files (`ulimit -n 4096`)",
}


def describe(error: BaseException) -> tuple[str, str | None] | None:
    """What an error of the operating system or of memory says, whichever library raises it, and what helps; None for
    what may be a bug."""
    if isinstance(error, OSError):
        return _describe_os(error)
    if _is_memory(error):
        return (f"out of memory ({_one_line(error)})",
                "work on less at once (smaller batches, shorter recordings, fewer workers), or on a larger machine")
    code = errno_of(error)
    if code in REFUSALS:
        return f"{os.strerror(code)} ({_one_line(error)})", _HINTS.get(code)
    return None


def _describe_os(error: OSError) -> tuple[str, str | None]:
    where = ", ".join(os.fspath(name) if isinstance(name, (str, os.PathLike)) else str(name)
                      for name in (error.filename, error.filename2) if name is not None)
    what = error.strerror or str(error) or type(error).__name__
    return (f"{where}: {what}" if where else what), _HINTS.get(error.errno or 0)


def _is_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says it in words only."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and "memory" in text and ("alloc" in text or "out of" in text)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def open_standard_streams() -> bool:
    """Give a stream that was closed before we began (`2>&-`) a place that takes everything; returns whether stdout was
    open.

    The next file to be opened would take its number, and have written into it what is said to the stream.
    """
    closed = []
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the smallest number that is free
            closed.append(number)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    return sys.stdout is not None and 1 not in closed


def reader_has_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more (`| head`)."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def let_stdout_go() -> None:
    """Let the interpreter's last flush go nowhere where stdout takes nothing, instead of failing."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
