"""HDF5 files with a dataset of ids and one of recordings, read in blocks and never whole; nothing outside is followed.

h5py is an optional dependency (`medreport[hdf5]`), imported when a file is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError
from emgecg_cli.core.errors import MedReportError

# Compressed files hold hundreds of recordings to a chunk: reading in blocks, with a cache, saves decompressing one
# twice.
BLOCK_BYTES = 1 << 24
CACHE_BYTES = 1 << 27
LARGEST_CHUNK = 1 << 30
LARGEST_N, LARGEST_L = 10 ** 7, 10 ** 6

# All that h5py is known to raise on a file that is not what it says.
_FILE_ERRORS = (OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError)


def import_h5py() -> Any:
    """The module h5py; raises MedReportError with the command that installs it."""
    try:
        import h5py
    except ImportError:
        raise MedReportError("h5py is not installed, which reads HDF5 files", "pip install 'medreport[hdf5]'") from None
    return h5py


def read_ids(path: Path, ids: str, signals: str, n_leads: int) -> np.ndarray:
    """The int64 ids (N) of a file whose recordings are (N, L, n_leads); raises RecordError where it is not so."""
    with open_file(path) as file, _refusing(path.name):
        n = len(recordings_of(file, path.name, signals, n_leads))
        vector = _dataset(file, ids, path.name)
        if vector.shape != (n,) or vector.dtype.kind not in "iu":
            raise _unreadable(path.name, f"'{ids}' is {vector.dtype} {vector.shape}, not whole numbers ({n},)")
        return vector[:].astype(np.int64)


def recordings_of(file: Any, name: str, signals: str, n_leads: int) -> Any:
    """The dataset (N, L, n_leads) of an opened file, nothing of it read; raises RecordError where it is not so."""
    with _refusing(name):
        found = _dataset(file, signals, name)
        if found.ndim != 3 or found.shape[2] != n_leads or found.dtype.kind != "f":
            raise _unreadable(name, f"'{signals}' is {found.dtype} {found.shape}, not float (N, L, {n_leads})")
        chunk = math.prod(found.chunks or (0,)) * found.dtype.itemsize
        if found.shape[0] > LARGEST_N or not 0 < found.shape[1] <= LARGEST_L or chunk > LARGEST_CHUNK:
            raise _unreadable(name, f"'{signals}' {found.shape} in chunks of {chunk} bytes is too large, or empty")
        return found


def read_recordings(recordings: Any, name: str, rows: Sequence[int]) -> Iterator[np.ndarray | RecordError]:
    """The recordings (L, leads) at these rows, in their order; neighbours are read together."""
    n, length, n_leads = recordings.shape
    most = max(1, BLOCK_BYTES // (length * n_leads * recordings.dtype.itemsize))
    start = 0
    while start < len(rows):
        first, end = rows[start], start + 1
        while end < len(rows) and rows[end - 1] < rows[end] < first + most:
            end += 1
        try:
            block = recordings[first:rows[end - 1] + 1]
        except _FILE_ERRORS as error:
            if end == start + 1:
                yield RecordError("unreadable signal", f"{name}, row {first}: {_line(error)}")
            for row in rows[start:end] if end > start + 1 else ():  # a damaged one must not take its neighbours along
                yield from read_recordings(recordings, name, [row])
        else:
            for row in rows[start:end]:
                yield block[row - first] if row < n else RecordError("missing exam", f"{name} has no row {row}")
        start = end


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """An HDF5 file to read, without a lock, so that many processes can; raises RecordError."""
    h5py = import_h5py()
    try:
        file = h5py.File(path, "r", locking=False, rdcc_nbytes=CACHE_BYTES)
    except FileNotFoundError:
        raise RecordError("missing file", path.name) from None
    except _FILE_ERRORS as error:
        raise _unreadable(path.name, str(error).replace(str(path), path.name)) from None
    try:
        yield file
    finally:
        file.close()


def _dataset(file: Any, key: str, name: str) -> Any:
    """A dataset that lies in this very file: no link, virtual dataset or external storage leads elsewhere."""
    h5py = import_h5py()
    link = file.get(key, getlink=True)
    if link is None:
        raise _unreadable(name, f"no dataset '{key}'")
    if not isinstance(link, h5py.HardLink):
        raise RecordError("path outside root", f"{name}: '{key}' is a link")
    found = file[key]
    if not isinstance(found, h5py.Dataset):
        raise _unreadable(name, f"'{key}' is no dataset")
    if found.is_virtual or found.external:
        raise RecordError("path outside root", f"{name}: '{key}' keeps its data in other files")
    return found


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """What h5py raises on a damaged file, as a RecordError that names the file."""
    try:
        yield
    except _FILE_ERRORS as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: object) -> RecordError:
    return RecordError("unreadable file", f"{name}: {_line(error)}")


def _line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
