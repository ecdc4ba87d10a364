"""Matching the rows of a user's table to the headers below a root, however the table writes their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars

from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, find_records, read_header

_NAMES_PER_BATCH = 1 << 16
_ENDINGS = (".hea", ".dat", ".mat")
_OF_WINDOWS = re.compile("[A-Za-z]:/|//")


@dataclass(frozen=True)
class RecordNames:
    """What a table says of the headers below a root, in a few bytes a row.

    `n_headers` are there, `n_unlisted` of them in no row; `n_named` rows name one. `elsewhere` has the records that are
    no path from the root, each with the headers whose path ends so: one, several or none. `listed` are the sorted
    hashes of the paths that rows name.
    """

    n_headers: int
    n_unlisted: int
    n_named: int
    elsewhere: Mapping[str, list[str]]
    listed: np.ndarray

    def path_of(self, record: str) -> str:
        """The path of the header a record means, from the root and without `.hea`; that of no header as it is written.

        Raises RecordError for the end of several paths, and for a whole path of a Windows machine.
        """
        path = spelled(record)
        if _OF_WINDOWS.match(path):
            raise RecordError("path of another machine",
                              f"'{record.strip()[:80]}' is a whole path of a Windows machine; write it from the root "
                              f"on, as in '{path.rpartition('/')[2][:40]}'")
        found = self.elsewhere.get(path) or [path]
        if len(found) > 1:
            shown = ", ".join(found[:3]) + (" …" if len(found) > 3 else "")
            raise RecordError("ambiguous record", f"'{path[:80]}' may be {shown}; write the path from the root")
        return found[0]


def spelled(record: str) -> str:
    """A record as a path from the root: "/" between folders, without `.hea` and "./"."""
    path = record.strip().replace("\\", "/")
    stem, ending = path[:-4], path[-4:].lower()
    return (stem if ending in _ENDINGS and stem else path).removeprefix("./")


def match_names(root: Path, records: Iterable[str]) -> RecordNames:
    """Match the records of a table to the headers below `root`."""
    headers = _headers(root)
    named, hashes, unknown = 0, [], []
    for batch in _batches(records):
        paths = [spelled(record) for record in batch]
        own = _hashes(paths)
        known = np.isin(own, headers)
        named += int(known.sum())
        hashes.append(own[known])
        unknown += [path for path, is_known in zip(paths, known.tolist(), strict=True) if not is_known and path]
    elsewhere = _ends_of(root, set(unknown))
    meant = [elsewhere[path][0] for path in unknown if len(elsewhere[path]) == 1]
    listed = np.unique(np.concatenate([*hashes, _hashes(meant)]))
    return RecordNames(len(headers), int(np.isin(headers, listed, invert=True).sum()), named + len(meant), elsewhere,
                       listed)


def unlisted(root: Path, listed: np.ndarray | None = None) -> Iterator[str]:
    """The records below `root` that no row names, all without a table; segments of a longer record are none."""
    segments = set(_segments(root))
    for batch in _batches(path for path in find_records(root) if path not in segments):
        known = np.zeros(len(batch), bool) if listed is None else np.isin(_hashes(batch), listed)
        yield from (path for path, is_known in zip(batch, known.tolist(), strict=True) if not is_known)


def _segments(root: Path) -> Iterator[str]:
    for path in find_records(root):
        try:
            header = read_header(root, path)
        except RecordError:
            continue
        folder = path[:path.rfind("/") + 1]
        yield from (folder + segment.name for segment in header.segments or ())


def _headers(root: Path) -> np.ndarray:
    """The hashes of the paths of all headers."""
    found = [_hashes(batch) for batch in _batches(_walk(root))]
    return np.concatenate([*found, np.empty(0, np.uint64)])


def _walk(root: Path) -> Iterator[str]:
    for folder, _, files in os.walk(root):
        prefix = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in files:
            if name.endswith(".hea"):
                yield name[:-4] if prefix == "." else f"{prefix}/{name[:-4]}"


def _ends_of(root: Path, wanted: set[str]) -> dict[str, list[str]]:
    """For each of these ends of paths the headers that have it."""
    found: dict[str, list[str]] = {end: [] for end in wanted}
    by_name: dict[str, list[str]] = {}
    for end in wanted:
        by_name.setdefault(end.rpartition("/")[2], []).append(end)
    for path in _walk(root) if wanted else ():
        for end in by_name.get(path.rpartition("/")[2], ()):
            if path.endswith("/" + end):
                found[end].append(path)
    return {end: sorted(paths) for end, paths in found.items()}


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    taken = iter(items)
    while batch := list(islice(taken, _NAMES_PER_BATCH)):
        yield batch


def _hashes(paths: list[str]) -> np.ndarray:
    # a file name need not be Unicode, and polars' text is
    clean = [path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for path in paths]
    return polars.Series(clean, dtype=polars.String).hash().to_numpy()
