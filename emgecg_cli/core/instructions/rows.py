"""The rows of finished instructions, read one at a time from their file, so that no set is too large to open."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from emgecg_cli.core.artifacts import InstructionRow, parse_rows
from emgecg_cli.core.errors import MedReportError

_BEGIN = re.compile(rb'\{"record_id": ("(?:[^"\\]|\\.)*")[,}]')  # as rows are written; others are parsed whole


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows by record id, in the order of their file; `check` raises for one that is no instruction.

    `starts` says where the line of each row begins and `sizes` how long it is. `known` are the hashes of the ids in
    ascending order, of which `numbers` are the rows: an id is looked for by its hash, and the row that is read there
    says whose it is. Hashes of texts differ between processes, so that a pickle holds the file's name alone.
    """

    path: Path
    check: Callable[[InstructionRow], None] = field(repr=False)
    stream: IO[bytes] = field(repr=False)
    starts: np.ndarray = field(repr=False)
    sizes: np.ndarray = field(repr=False)
    known: np.ndarray = field(repr=False)
    numbers: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[str]:
        return (row.record_id for row in self.values())

    def __contains__(self, record_id: str) -> bool:
        return self._find(record_id) is not None

    def __getitem__(self, record_id: str) -> InstructionRow:
        row = self._find(record_id)
        if row is None:
            raise KeyError(record_id)
        return row

    def __reduce__(self) -> tuple[Callable[..., Rows], tuple[Path, Callable[[InstructionRow], None]]]:
        return index_rows, (self.path, self.check)

    def values(self) -> Iterator[InstructionRow]:
        """All rows, one after the other."""
        return map(self._at, range(len(self)))

    def items(self) -> Iterator[tuple[str, InstructionRow]]:
        """Record ids and rows."""
        return ((row.record_id, row) for row in self.values())

    def line_sizes(self, record_ids: Sequence[str]) -> np.ndarray:
        """Bytes of the lines of some records, which grow with their texts."""
        places = np.searchsorted(self.known, np.fromiter(map(hash, record_ids), np.int64, len(record_ids)))
        return self.sizes[self.numbers[np.minimum(places, len(self) - 1)]]

    def _find(self, record_id: str) -> InstructionRow | None:
        key = hash(record_id)
        place = int(np.searchsorted(self.known, key))
        while place < len(self) and self.known[place] == key:
            row = self._at(int(self.numbers[place]))
            if row.record_id == record_id:
                return row
            place += 1
        return None

    def _at(self, number: int) -> InstructionRow:
        # Not a seek and a read: processes that were forked share the place where a file is read.
        line = os.pread(self.stream.fileno(), int(self.sizes[number]), int(self.starts[number]))
        text = line.decode("utf-8", "surrogatepass")
        try:
            values = json.loads(text)
            row = InstructionRow(values["record_id"], values["prompt_id"], values["messages"],
                                 values.get("recording"), values.get("entry"))
        except (ValueError, RecursionError, KeyError, TypeError):
            row = next(parse_rows([text], InstructionRow, str(self.path)))  # which says what is wrong
        self.check(row)
        return row


def index_rows(path: Path, check: Callable[[InstructionRow], None]) -> Rows:
    """Find where the rows of a file lie; they are checked when they are read."""
    sizes, keys, blank = [], [], []
    stream = path.open("rb")
    for line in stream:
        sizes.append(len(line))
        blank.append(line.isspace())
        keys.append(0 if blank[-1] else hash(_record_id(line, path)))
    lengths, there = np.array(sizes, np.int64), ~np.array(blank, bool)
    starts = np.cumsum(lengths) - lengths
    hashes = np.array(keys, np.int64)[there]
    numbers = np.argsort(hashes, kind="stable")
    return Rows(path, check, stream, starts[there], lengths[there], hashes[numbers], numbers)


def _record_id(line: bytes, path: Path) -> str:
    begin = _BEGIN.match(line)
    text = line.decode("utf-8-sig", "surrogatepass") if begin is None else begin[1].decode("utf-8", "surrogatepass")
    try:
        value = json.loads(text) if begin is None or "\\" in text else text[1:-1]
        return value if isinstance(value, str) else str(value["record_id"])
    except (ValueError, RecursionError, KeyError, TypeError):
        raise MedReportError(f"{path}: a line that is no instruction", "build the instructions again") from None
