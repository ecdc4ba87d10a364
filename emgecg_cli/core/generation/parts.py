"""Predictions on disk: which chunks the files of all writers hold whole, and putting them together.

Beside a file that is appended to lie the hashes of what it held after each chunk, so that a chunk that was changed
since is not taken for one that was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emgecg_cli.core.claims import part_paths, sums_path
from emgecg_cli.core.files import write_atomically


@dataclass(frozen=True)
class Held:
    """The whole chunks at the head of a file, numbers and bytes in the file's order; what follows them is torn."""

    numbers: list[int]
    texts: list[bytes]

    @property
    def size(self) -> int:
        """Bytes up to the end of the last whole chunk."""
        return sum(map(len, self.texts))


@dataclass
class Sums:
    """Notes what a file holds: at first what it was seen to hold, then each text, by `add`, just before it is appended;
    and `why_static`, why its batches ran until their longest report ended, where they did."""

    path: Path
    held: Held
    why_static: str | None = None
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        for text in self.held.texts:
            self._count(text)
        if self.size or sums_path(self.path).is_file():  # anew, since the last line there may be torn
            write_atomically(sums_path(self.path), _line(self.size, self.digest, self.why_static).encode())

    def add(self, text: bytes) -> None:
        """Note what the file will hold when this text is behind it."""
        self._count(text)
        _note(self.path, self.size, self.digest, self.why_static)

    def _count(self, text: bytes) -> None:
        self.size += len(text)
        self.digest.update(text)


def _note(path: Path, size: int, digest: Any, why_static: str | None) -> None:
    with sums_path(path).open("a") as stream:
        stream.write(_line(size, digest, why_static))


def _line(size: int, digest: Any, why_static: str | None) -> str:
    return json.dumps([size, digest.hexdigest(), *([why_static] if why_static else [])]) + "\n"


def read_held(path: Path, ids: Sequence[Sequence[str]]) -> Held:
    """Read the whole chunks of a file, recognised by their record ids (`ids`, chunk by chunk), up to the last one
    that is as it was written."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        lines = []
    found = [_record_id(line) for line in lines]
    first = {chunk[0]: number for number, chunk in enumerate(ids)}
    held, at = Held([], []), 0
    while at < len(lines):
        number = first.get(found[at] or "")
        if number is None or found[at:at + len(ids[number])] != list(ids[number]):
            break
        held.numbers.append(number)
        held.texts.append(b"".join(lines[at:at + len(ids[number])]))
        at += len(ids[number])
    return _as_noted(path, held)


def _as_noted(path: Path, held: Held) -> Held:
    """The chunks up to the last after which the file was as its sums say; all where there are none."""
    if not sums_path(path).is_file():
        return held
    noted, count, size, digest = _read_sums(path), 0, 0, hashlib.sha256()
    for number, text in enumerate(held.texts, 1):
        size += len(text)
        digest.update(text)
        if (size, digest.hexdigest()) in noted:
            count = number
    return Held(held.numbers[:count], held.texts[:count])


def _read_sums(path: Path) -> dict[tuple[int, str], str | None]:
    """Sizes and hashes that a file was noted to have, with why its batches were static, if they were; a line that is
    torn or changed says nothing."""
    found: dict[tuple[int, str], str | None] = {}
    for line in sums_path(path).read_bytes().splitlines():
        try:
            size, digest, *why = json.loads(line)
            found[int(size), str(digest)] = str(why[0]) if why else None
        except (ValueError, TypeError, RecursionError):
            continue
    return found


def noted_static(out: Path) -> str | None:
    """Why the batches of predictions, or of a part of them, ran until their longest report ended; None where no file
    was noted to hold such."""
    noted = [why for path in (out, *part_paths(out)) if sums_path(path).is_file() for why in _read_sums(path).values()]
    return next((why for why in noted if why), None)


def read_all(out: Path, ids: Sequence[Sequence[str]]) -> list[Held]:
    """What the predictions hold themselves, and then each part beside them."""
    return [read_held(path, ids) for path in (out, *part_paths(out))]


def held_numbers(files: Iterable[Held]) -> set[int]:
    """The chunks that any file holds."""
    return {number for held in files for number in held.numbers}


def merge(out: Path, files: Sequence[Held], chunks: int) -> None:
    """Put all chunks into `out` in their order, at one stroke, unless it is what it should be."""
    if files[0].numbers == list(range(chunks)):
        return
    texts = {number: text for held in files for number, text in zip(held.numbers, held.texts, strict=True)}
    whole = b"".join(texts[number] for number in range(chunks))
    _note(out, len(whole), hashlib.sha256(whole), noted_static(out))
    write_atomically(out, whole)


def _record_id(line: bytes) -> str | None:
    """The record a line is about; None for one that is torn or not ours."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row.get("record_id") if isinstance(row, dict) else None
