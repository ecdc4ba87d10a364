"""Predictions on disk: which batches the files of all writers hold whole, and putting them together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emgecg_cli.core.claims import part_paths
from emgecg_cli.core.files import write_atomically


@dataclass(frozen=True)
class Held:
    """The whole batches at the head of a file, numbers and bytes in the file's order; what follows them is torn."""

    numbers: list[int]
    texts: list[bytes]

    @property
    def size(self) -> int:
        """Bytes up to the end of the last whole batch."""
        return sum(map(len, self.texts))


def read_held(path: Path, ids: Sequence[Sequence[str]]) -> Held:
    """Read the whole batches of a file, recognised by their record ids (`ids`, batch by batch)."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        lines = []
    found = [_record_id(line) for line in lines]
    first = {batch[0]: number for number, batch in enumerate(ids)}
    held, at = Held([], []), 0
    while at < len(lines):
        number = first.get(found[at] or "")
        if number is None or found[at:at + len(ids[number])] != list(ids[number]):
            break
        held.numbers.append(number)
        held.texts.append(b"".join(lines[at:at + len(ids[number])]))
        at += len(ids[number])
    return held


def read_all(out: Path, ids: Sequence[Sequence[str]]) -> list[Held]:
    """What the predictions hold themselves, and then each part beside them."""
    return [read_held(path, ids) for path in (out, *part_paths(out))]


def held_numbers(files: Iterable[Held]) -> set[int]:
    """The batches that any file holds."""
    return {number for held in files for number in held.numbers}


def merge(out: Path, files: Sequence[Held], batches: int) -> None:
    """Put all batches into `out` in their order, at one stroke, unless it is what it should be."""
    if files[0].numbers == list(range(batches)):
        return
    texts = {number: text for held in files for number, text in zip(held.numbers, held.texts, strict=True)}
    write_atomically(out, b"".join(texts[number] for number in range(batches)))


def _record_id(line: bytes) -> str | None:
    """The record a line is about; None for one that is torn or not ours."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row.get("record_id") if isinstance(row, dict) else None
