"""Find the files of WFDB records below a root, and read them without leaving it, blocking or trusting their names."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from emgecg_cli.core.errors import MedReportError

_DIGITS = re.compile(r"(\d+)")
_NO_FILE = (errno.ENOENT, errno.ENOTDIR)


class RecordError(Exception):
    """A record that cannot be read: a short reason that can be counted, and the detail.

    The detail may quote the file; it is made one printable line.
    """

    def __init__(self, reason: str, detail: str) -> None:
        if not detail.isprintable():
            detail = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in detail)
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def find_records(root: Path) -> Iterator[str]:
    """The records below `root`, each as the path of its header relative to it, "/" between folders, no extension.

    Folders are walked depth first in natural order (p2 before p10), holding one listing at a time. A linked
    folder is not entered: it would give records twice, or lead out of the root; neither is what begins with a dot.
    Raises MedReportError where a folder cannot be listed.
    """
    yield from _walk(Path(root), "")


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except OSError as error:
        raise MedReportError(f"{folder}: cannot be listed ({error.strerror})",
                             "check the path, and who may read it") from None
    names = [(name if is_dir else name[:-4], is_dir) for name, is_dir in found
             if (is_dir or name.endswith(".hea")) and name[0] != "."]
    for name, is_dir in sorted(names, key=_natural):
        if is_dir:
            yield from _walk(folder / name, f"{prefix}{name}/")
        else:
            yield prefix + name


def _natural(entry: tuple[str, bool]) -> tuple[list[tuple[int, int, str]], str, bool]:
    """Numbers compare as numbers; a record comes before a folder of its name."""
    parts = _DIGITS.split(entry[0])
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part], *entry


def read_file(root: str, path: str, largest: int) -> bytes:
    """The bytes of a regular file below `root`; raises RecordError.

    A link is followed only to a place below `root`; a pipe or device is refused without waiting for it; a file of more
    than `largest` bytes is refused before anything is read.
    """
    content, size = read_span(root, path, 0, largest)
    if size > largest:
        raise RecordError("file too large", f"{os.path.basename(path)} holds {size} bytes, {largest} are allowed")
    return content


def read_span(root: str, path: str, start: int, size: int) -> tuple[bytes, int]:
    """`size` bytes of a regular file below `root` from byte `start` on, fewer where it ends before, and how many bytes
    it holds; raises RecordError as `read_file` does."""
    descriptor = _open(root, path)
    try:
        there = os.fstat(descriptor).st_size
        return os.pread(descriptor, max(0, min(size, there - start)), start), there
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "an offset out of range"
        raise RecordError("unreadable file", f"{os.path.basename(path)}: {reason}") from None
    finally:
        os.close(descriptor)


def locate(root: str, folder: str, name: str) -> str:
    """The path of a file that a header in `folder` names: where the name says, if that lies below `root` and is there,
    else beside the header. Raises RecordError for a name that leads out of the root."""
    check_file_name(name)
    name = name.replace("\\", "/")
    beside = os.path.join(folder, os.path.basename(name))
    if "/" not in name:
        return beside
    stated = os.path.normpath(os.path.join(folder, name))
    if os.path.relpath(stated, root).split(os.sep)[0] == os.pardir:
        raise RecordError("path outside root", f"the header names the file {name[:80]!r}")
    return stated if os.path.lexists(stated) else beside


@lru_cache(maxsize=1024)
def check_file_name(name: str) -> None:
    """Raise RecordError for the name of a signal file or segment that is no file's, or a path from elsewhere than the
    header's folder."""
    parts = name.replace("\\", "/").split("/")
    if (parts[0] in ("", "~") and len(parts) > 1) or parts[-1] in ("", ".", "..", "-") or any(c in name for c in ":\0"):
        raise RecordError("path outside root", f"the header names the file {name[:80]!r}")


def file_size(root: str, path: str) -> int:
    """Bytes of a regular file below `root`; raises RecordError as `read_file` does."""
    descriptor = _open(root, path)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _open(root: str, path: str) -> int:
    name = os.path.basename(path)
    folder = os.path.dirname(path)
    if folder != root and not _folder_inside(root, folder):
        raise RecordError("path outside root", f"{name} lies in a folder linked to outside")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        try:
            descriptor = os.open(path, flags | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            if not _inside(root, path):
                raise RecordError("path outside root", f"{name} is a link to outside") from None
            descriptor = os.open(path, flags)
    except ValueError:
        raise RecordError("path outside root", repr(name)) from None
    except OSError as error:
        if error.errno in _NO_FILE:
            raise RecordError("missing file", name) from None
        raise RecordError("unreadable file", f"{name}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordError("not a file", f"{name} is a folder, a pipe or a device")
    return descriptor


def _inside(root: str, path: str) -> bool:
    real = os.path.realpath(root)
    return os.path.commonpath([real, os.path.realpath(path)]) == real


# The records of a folder come one after the other, and resolving its path costs as much as parsing a header.
_folder_inside = lru_cache(maxsize=1024)(_inside)
