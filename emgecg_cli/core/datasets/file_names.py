"""The files of recordings below a root, and which of them a row of a user's table means."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emgecg_cli.core.datasets.formats.recording_files import COMPANIONS
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.datasets.record_names import unlisted
from emgecg_cli.core.errors import MedReportError

SHOWN = 3
# files beside a header of their name that are recordings of their own
RECORDINGS = (".xml", ".csv", ".tsv", ".txt", ".edf", ".bdf", ".dcm", ".scp", ".ecg", ".npy", ".npz", ".gz")


def recording_files(root: Path, but: Collection[Path] = ()) -> list[str]:
    """The files below `root`, "/" between folders, in order, without `but`: of a WFDB record its header alone.

    Left out is what begins with a dot, and linked folders are not entered. Raises MedReportError where a folder cannot
    be listed.
    """
    skipped = {path.resolve() for path in but}
    found = [path for path in _walk(root, "") if not skipped or (root / path).resolve() not in skipped]
    headers = {path[:-4] for path in found if path.endswith(".hea")}
    folders = {os.path.dirname(path) for path in headers}
    whole = {f"{record}.hea" for record in unlisted(root)} if headers else set()
    return sorted(path for path in found
                  if (path in whole if path.endswith(".hea") else not _is_companion(path, headers, folders)))


def _is_companion(path: str, headers: Collection[str], folders: Collection[str]) -> bool:
    """Whether a file belongs to a WFDB header: samples in its folder, or anything of its name that is no recording's,
    since annotations may have any ending."""
    stem, suffix = os.path.splitext(path)
    if suffix.lower() in COMPANIONS:
        return os.path.dirname(path) in folders
    return stem in headers and suffix.lower() not in RECORDINGS


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        raise MedReportError(f"{folder}: cannot be listed ({error.strerror})", "check the path, and who may read it"
                             ) from None
    for name, is_dir in found:
        if name[0] == ".":
            continue
        if is_dir:
            yield from _walk(folder / name, f"{prefix}{name}/")
        elif not (folder / name).is_dir():
            yield prefix + name


@dataclass(frozen=True)
class FileNames:
    """The files, and what each end of their paths, with or without its ending, stands for."""

    files: tuple[str, ...]
    ends: Mapping[str, tuple[str, ...]]

    def path_of(self, named: str) -> str:
        """The file that a cell means: its path from the root or the end of it, its ending being left out or not.

        Raises RecordError for the name of none, and of several.
        """
        plain = named.strip().replace("\\", "/").removeprefix("./")
        if not plain:
            raise RecordError("bad record", "no file is named")
        found = self.ends.get(plain, ())
        if plain in found:
            return plain
        if not found:
            raise RecordError("missing file", plain[:80])
        if len(found) > 1:
            shown = ", ".join(found[:SHOWN]) + (" …" if len(found) > SHOWN else "")
            raise RecordError("ambiguous record", f"'{plain[:80]}' may be {shown}; write the path from the root")
        return found[0]


def file_names(files: Sequence[str]) -> FileNames:
    """Every end of every path, so that a table may write any of them."""
    ends: dict[str, list[str]] = {}
    for path in files:
        parts = PurePosixPath(path).parts
        for first in range(len(parts)):
            end = "/".join(parts[first:])
            for one in {end, os.path.splitext(end)[0], end.removesuffix(".gz")}:
                ends.setdefault(one, []).append(path)
    return FileNames(tuple(files), {end: tuple(paths) for end, paths in ends.items()})
