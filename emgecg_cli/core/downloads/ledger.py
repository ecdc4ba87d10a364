"""What has been verified in a root: one line per file, appended, so that a large set is not hashed at every start.

The ledger only saves time. If it is lost, cut or damaged, the files are hashed again, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core import locks
from emgecg_cli.core.errors import MedReportError

NAME = ".medreport-verified.jsonl"
Member = tuple[str, int, int]  # name, size, mtime in ns


class Ledger:
    """The files of `root` known to be right, by name, size, time of change and checksum. Threads may share it.

    It is held by one process at a time; raises MedReportError when another holds it. A million files take 8 MB.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._descriptor = locks.open_descriptor(root / NAME)
        self._lock = threading.Lock()
        self._archives: dict[str, tuple[str, list[Member]]] = {}
        self.tags: dict[str, tuple[str, str]] = {}
        if not locks.try_lock(self._descriptor, locks.ALONE):
            locks.close(self._descriptor)
            raise MedReportError(f"{root}: another process is downloading into it", "wait for it, or stop it first")
        self._known = np.unique(np.fromiter(self._read(), dtype=np.uint64))
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")

    @property
    def is_new(self) -> bool:
        """Whether nothing has been verified in this root so far."""
        return not len(self._known)

    def close(self) -> None:
        """Release the root."""
        locks.close(self._descriptor)

    def knows(self, name: str, checksum: str) -> bool:
        """Whether the file that lies there now was verified as it is against this checksum."""
        key = np.uint64(_key(*_state(self.root, name), checksum)) if (self.root / name).is_file() else None
        if key is None or not len(self._known):
            return False
        place = int(np.searchsorted(self._known, key))
        return place < len(self._known) and bool(self._known[place] == key)

    def knows_unpacked(self, name: str, checksum: str) -> bool:
        """Whether this archive was verified and unpacked, and all that came out lies there unchanged."""
        before, members = self._archives.get(name, ("", []))
        return before == checksum and bool(members) and all(
            (self.root / member[0]).is_file() and _state(self.root, member[0]) == member for member in members)

    def add(self, name: str, checksum: str) -> None:
        """Remember a file whose bytes have just been verified."""
        self._append({"name": name, "state": _state(self.root, name)[1:], "checksum": checksum})

    def add_unpacked(self, name: str, checksum: str, members: list[str]) -> None:
        """Remember what came out of a verified archive."""
        self._append({"archive": name, "checksum": checksum, "members": [_state(self.root, one) for one in members]})

    def add_tag(self, name: str, checksum: str, tag: str) -> None:
        """Remember the server's tag (ETag) of a list, and the list as it came."""
        self.add(name, checksum)
        self._append({"list": name, "tag": tag, "checksum": checksum})
        self.tags[name] = (checksum, tag)

    def _append(self, line: dict[str, Any]) -> None:
        with self._lock:
            os.write(self._descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))

    def _read(self) -> Iterator[int]:
        with (self.root / NAME).open("rb") as stream:
            for line in stream:
                try:
                    row = json.loads(line)
                    if "name" in row:
                        size, mtime = row["state"]
                        yield _key(row["name"], size, mtime, row["checksum"])
                    elif "archive" in row:
                        members = [(str(name), int(size), int(mtime)) for name, size, mtime in row["members"]]
                        self._archives[row["archive"]] = (row["checksum"], members)
                    else:
                        self.tags[str(row["list"])] = (str(row["checksum"]), str(row["tag"]))
                except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
                    continue  # a damaged line: its file is verified again


def _state(root: Path, name: str) -> Member:
    status = (root / name).stat()
    return name, status.st_size, status.st_mtime_ns


def _key(name: str, size: int, mtime: int, checksum: str) -> int:
    text = f"{name}\0{size}\0{mtime}\0{checksum}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
