"""Drafts that were written, one a line, each under a key of what decides it: appended, and never written twice.

The key is of the recording's content and not of its name, so that a file that is moved keeps its draft, and one that
changes loses it. A line that a killed process left unfinished is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.drafting.draft import Draft, DraftTables
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence.checked import Checked
from emgecg_cli.core.files import named
from emgecg_cli.core.locks import ALONE, closing, open_descriptor, try_lock


class Kept:
    """The drafts in a file, or, without one, those of this process alone."""

    def __init__(self, path: Path | None, descriptor: int | None, found: dict[str, Draft]) -> None:
        self._path, self._descriptor, self._found = path, descriptor, found

    def get(self, key: str, file: str) -> Draft | None:
        """The draft under a key, of the file as it is named now; None where there is none."""
        found = self._found.get(key)
        return None if found is None else replace(found, file=file)

    def add(self, key: str, draft: Draft) -> None:
        """Keep a draft; it is on the disk when this returns."""
        self._found[key] = draft
        if self._descriptor is None or self._path is None:
            return
        line = json.dumps({"key": key, "draft": asdict(draft)}, ensure_ascii=False, allow_nan=False) + "\n"
        with named(self._path):
            os.write(self._descriptor, line.encode("utf-8", "surrogatepass"))
            os.fsync(self._descriptor)


@contextmanager
def kept_drafts(path: Path | None) -> Iterator[Kept]:
    """The drafts kept in a file, which no other process writes meanwhile; raises MedReportError where one does."""
    if path is None:
        yield Kept(None, None, {})
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with named(path), closing(open_descriptor(path)) as descriptor:
        if not try_lock(descriptor, ALONE):
            raise MedReportError(f"{path}: another process writes these drafts", "wait for it, or give another --out")
        yield Kept(path, descriptor, _read(path, descriptor))


def _read(path: Path, descriptor: int) -> dict[str, Draft]:
    """The whole lines; what follows the first that is none is cut off."""
    found: dict[str, Draft] = {}
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            values = json.loads(line.decode("utf-8", "surrogatepass"))
            if not line.endswith(b"\n"):
                break
            found[str(values["key"])] = _draft(values["draft"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            break
        size += len(line)
    os.ftruncate(descriptor, size)
    return found


def _draft(values: dict[str, Any]) -> Draft:
    measured, tables = values["measurements"], values["tables"]
    return Draft(**values | {
        "facts": tuple(Checked(**one) for one in values["facts"]), "checks": tuple(values["checks"]),
        "measurements": None if measured is None else Measurements(**measured),
        "lanes": {name: [(float(begin), float(end)) for begin, end in spans] for name, spans in
                  values["lanes"].items()},
        "tables": None if tables is None else _tables(tables)})


def _tables(values: dict[str, Any]) -> DraftTables:
    return DraftTables(**values | {
        "tables": tuple((title, tuple(head), tuple(map(tuple, rows))) for title, head, rows in values["tables"]),
        "ranges": {name: tuple(map(tuple, rows)) for name, rows in values["ranges"].items()}})
