"""A recording as a NumPy file: `.npy` with one array, `.npz` with what goes with it. Nothing in either is unpickled.

An `.npz` has the array `signal` (or `ecg`, `data`, `p_signal`; any name where there is one array of two dimensions)
and may have `fs`, `leads` and `units`; what it lacks, and all of an `.npy`, is stated beside it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from emgecg_cli.core.datasets.formats.channels import Channel, check_count, leads_of, microvolts_per, rate_of
from emgecg_cli.core.datasets.formats.recording_files import (
    LARGEST_FILE,
    FileFormat,
    FileRecording,
    RecordingFile,
    refusing,
)
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError

_NPY = b"\x93NUMPY"
SIGNALS = ("signal", "signals", "ecg", "data", "p_signal", "x")
RATES = ("fs", "sampling_rate", "sampling_frequency", "sample_rate", "frequency")
LEAD_NAMES = ("leads", "lead_names", "sig_name", "channels", "names")
UNITS = ("units", "unit")


def _is_array(file: RecordingFile) -> bool:
    return file.content.startswith(_NPY)


def _is_archive(file: RecordingFile) -> bool:
    return file.content.startswith(b"PK\x03\x04") and b".npy" in file.head[:200]


def _read_array(file: RecordingFile) -> FileRecording:
    return _recording(file, _array(file.content, file.name), {})


def _read_archive(file: RecordingFile) -> FileRecording:
    with refusing(file.name, "a damaged archive"):
        found = _members(file)
    named = next((name for name in SIGNALS if name in found), None)
    tables = [name for name, array in found.items() if array.ndim == 2]
    if named is None and len(tables) != 1:
        raise RecordError("unreadable file", f"{file.name} has {', '.join(found)[:120] or 'no array'}; the recording "
                                             "is to be 'signal'")
    return _recording(file, found[named or tables[0]], found)


def _members(file: RecordingFile) -> dict[str, np.ndarray]:
    """The arrays of an archive by their names; no more is unpacked than its entries announce, nor than is allowed."""
    found = {}
    with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
        if sum(entry.file_size for entry in entries) > LARGEST_FILE:
            raise RecordError("file too large", f"{file.name} unpacks to more than {LARGEST_FILE} bytes")
        for entry in entries:
            if entry.flag_bits & 1:
                raise RecordError("encrypted file", f"{file.name} is encrypted: decrypt it first")
            with archive.open(entry) as stream:
                found[entry.filename[:-4]] = _array(stream.read(entry.file_size), file.name)
    return found


def _array(content: bytes, name: str) -> np.ndarray:
    """An array from its bytes, which are held against what its header announces before anything is allocated."""
    with refusing(name, "no array of numbers"):
        stream = io.BytesIO(content)
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        if dtype.kind not in "fiubUS":
            raise RecordError("unreadable file", f"{name} holds {dtype}, which is not read")
        count = 1
        for length in shape:
            count *= int(length)
        check_count(count)
        if count * dtype.itemsize != len(content) - stream.tell():
            raise RecordError("wrong length", f"{name}: {shape} of {dtype} is announced, and {len(content)} bytes are "
                                              "there")
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)


def _recording(file: RecordingFile, array: np.ndarray, beside: Mapping[str, np.ndarray]) -> FileRecording:
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise RecordError("unreadable file", f"{file.name}: {array.dtype} {array.shape}, a recording is numbers "
                                             "(leads, samples)")
    leads = [str(name) for name in _beside(beside, LEAD_NAMES, [])] or list(file.stated.leads)
    if not leads:
        raise RecordError("no standard leads", f"{file.name} does not say what its signals are: give --file-leads "
                                               "with their names, in order")
    axis = [i for i, length in enumerate(array.shape) if length == len(leads)]
    if len(axis) != 1:
        raise RecordError("wrong length", f"{file.name}: {array.shape} for {len(leads)} names of leads")
    signals = (array if axis == [0] else array.T).astype(np.float64)
    rate = _beside(beside, RATES, [file.stated.fs])[0]
    if rate is None:
        raise RecordError("unknown rate", f"{file.name} does not say its rate: give --file-fs HZ")
    with refusing(file.name, "no rate"):
        fs = rate_of(float(rate))
    units = [str(unit) for unit in _beside(beside, UNITS, [])] or [file.stated.units or ""]
    if units == [""]:
        raise RecordError("unknown units", f"{file.name} does not say the units of its numbers: give --file-units mV "
                                           "(or uV, V)")
    units = units * len(leads) if len(units) == 1 else units
    if len(units) != len(leads):
        raise RecordError("wrong length", f"{file.name}: {len(units)} units for {len(leads)} leads")
    return FileRecording(leads_of([Channel(name, signal * microvolts_per(unit, name), fs)
                                   for name, signal, unit in zip(leads, signals, units, strict=True)]))


def _beside(found: Mapping[str, np.ndarray], keys: tuple[str, ...], otherwise: list[Any]) -> list[Any]:
    """The values of the first of these arrays that is there."""
    for key in keys:
        if key in found:
            return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                    for value in np.atleast_1d(found[key]).ravel().tolist()] or otherwise
    return otherwise


NPY = FileFormat("NumPy .npy", _is_array, _read_array)
NPZ = FileFormat("NumPy .npz", _is_archive, _read_archive)
