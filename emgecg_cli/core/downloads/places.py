"""Where the files of a download lie, coming and whole: plain files below its root, behind no link."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import RESUME

CHUNK = 1 << 18


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn an error of the file system into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise MedReportError(f"{target}: cannot be written ({error.strerror or error})",
                             f"free some space, or choose a --root you may write to, then {RESUME}") from None


def part_of(target: Path) -> Path:
    """Where a file lies while it is not known to be right."""
    return target.with_name(target.name + ".part")


def check_place(root: Path, target: Path) -> None:
    """Raise MedReportError if a file, or the part of it fetched so far, would lie behind a link, or is no plain file.

    The root itself may be a link: whoever gave it chose it.
    """
    way = target.relative_to(root).parents
    for place, fits in [*((root / folder, stat.S_ISDIR) for folder in way if folder != Path()),
                        (target, stat.S_ISREG), (part_of(target), stat.S_ISREG)]:
        try:
            mode = place.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not fits(mode):
            what = "a link, which a download does not follow" if stat.S_ISLNK(mode) else "in the way of the download"
            raise MedReportError(f"{place}: {what}", "remove it, or give another --root")


def new_digest(algorithm: str) -> Any:
    """A hash object; MD5 is what Zenodo publishes, and is no protection against forgery."""
    return hashlib.new(algorithm, usedforsecurity=False)


def digest_of(path: Path, algorithm: str) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: new_digest(algorithm)).hexdigest()


class Sink:
    """The file being written, at most `most` bytes long, with the digest of all bytes that are in it."""

    def __init__(self, stream: IO[bytes], algorithm: str, most: int) -> None:
        self.stream, self.algorithm, self.most, self.at = stream, algorithm, most, 0
        self.digest = new_digest(algorithm)
        stream.seek(0)
        while block := stream.read(CHUNK):
            self.digest.update(block)
            self.at += len(block)

    def takes(self, block: bytes) -> bool:
        """Write a block, if there is room for it."""
        if self.at + len(block) > self.most:
            return False
        self.stream.write(block)
        self.digest.update(block)
        self.at += len(block)
        return True

    def restart(self) -> None:
        """Drop what is there."""
        self.stream.truncate(0)
        self.digest, self.at = new_digest(self.algorithm), 0
