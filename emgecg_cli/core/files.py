"""Files on disk: written whole or not at all, safe when the power fails, and read only if they are plain files."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from emgecg_cli.core.errors import MedReportError

RESUME = "run the same command again: it goes on where it stopped"
# what the disk, its quota, a file system that became read-only or the rights to a folder say of what is written
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EACCES, errno.EPERM)
_CODE = re.compile(r"\(os error (\d+)\)")
_WORDS = {"No space left on device": errno.ENOSPC, "database or disk is full": errno.ENOSPC,
          "Disk quota exceeded": errno.EDQUOT}


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a killed run, sees the old bytes or the new ones and nothing between."""
    write_chunks_atomically(path, [data])


def write_chunks_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Write one chunk after the other as `write_atomically` does; what cannot be written leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with named(path), removed_on_failure(temporary):
        with temporary.open("wb") as stream:
            stream.writelines(chunks)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Name this file in errors of the operating system that name none, as those of a full disk do."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@contextmanager
def removed_on_failure(temporary: Path) -> Iterator[None]:
    """Remove a temporary file when what is done with it fails."""
    try:
        yield
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def reach_the_disk(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot do it for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def tree_reaches_the_disk(folder: Path) -> None:
    """Wait until all files below a folder, and all names, are on the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            reach_the_disk(Path(place) / name)
        reach_the_disk(Path(place))


def give_usual_modes(place: Path) -> None:
    """Give a file, or all files below a folder, the mode that the umask leaves a new file: some libraries write for
    their owner alone (safetensors: 0600), and a group that shares a folder could not read a run."""
    mask = os.umask(0o077)
    os.umask(mask)
    for path in (place.rglob("*") if place.is_dir() else [place]):
        if path.is_file():
            path.chmod(0o666 & ~mask)


@contextmanager
def made_aside(aside: Path) -> Iterator[Path]:
    """An empty folder to write into; what is in it at the end is on the disk and lies in the folder around it.

    What had these names is replaced. When writing fails, nothing of it is left. Raises MedReportError when the disk
    refuses it.
    """
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with writing(aside.parent):
            aside.mkdir(parents=True)
            yield aside
            give_usual_modes(aside)
            tree_reaches_the_disk(aside)
            for made in sorted(aside.iterdir()):
                target = aside.parent / made.name
                if target.is_dir():
                    shutil.rmtree(target)
                made.rename(target)
            aside.rmdir()
            reach_the_disk(aside.parent)
    except Exception:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def errno_of(error: BaseException) -> int | None:
    """The code of the operating system behind an error, whichever library tells it, in its causes too."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno:
            return seen.errno
        text = str(seen)
        if found := _CODE.search(text):
            return int(found[1])
        if said := next((code for words, code in _WORDS.items() if words in text), None):
            return said
        seen = seen.__cause__ or seen.__context__
    return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise MedReportError naming this path when the disk refuses what is written inside, whoever writes it."""
    try:
        yield
    except MedReportError:
        raise
    except Exception as error:
        code = errno_of(error)
        if code not in REFUSALS:
            raise
        where = getattr(error, "filename", None) or path
        raise MedReportError(f"{where}: cannot be written ({os.strerror(code)})",
                             f"free or mend the disk, then {RESUME}") from None


def check_tree(folder: Path, links: bool = False) -> None:
    """Raise MedReportError for what no artefact holds: a device, a pipe, or a link that leads out of the folder, unless
    `links` out of it are allowed to plain files.

    A folder may come from anybody, and reading one of these would never end, or read what nobody sent.
    """
    root, waiting = folder.resolve(), [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink() and links:
                    check_is_plain(Path(entry.path), folders=True)
                elif entry.is_symlink():
                    check_plain(folder, os.path.relpath(entry.path, folder), root)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    raise _not_plain(Path(entry.path))


def check_plain(folder: Path, name: str, root: Path | None = None) -> Path:
    """The path of a file that somebody named; raises MedReportError unless it lies below the folder and is plain.

    A file that is not there is left to whoever reads it.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise MedReportError(f"{folder}: names the file '{name[:80]}', which lies outside of it", _NOT_OURS)
    path = folder / name
    try:
        if not path.resolve().is_relative_to(root or folder.resolve()):
            raise MedReportError(f"{path}: a link that leads out of {folder}", _NOT_OURS)
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError) as error:  # a loop of links, a name too long
        raise MedReportError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})",
                             _NOT_OURS) from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _not_plain(path)
    return path


def check_is_plain(path: Path, folders: bool = False) -> None:
    """Raise MedReportError when a file is there and is no plain one, such as a device or a pipe, nor one of the
    `folders`, if they will do."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or (folders and stat.S_ISDIR(mode))):
        raise _not_plain(path)


_NOT_OURS = "no command of medreport makes this; do not use what it came with"


def _not_plain(path: Path) -> MedReportError:
    return MedReportError(f"{path}: neither a plain file nor a folder", _NOT_OURS)
