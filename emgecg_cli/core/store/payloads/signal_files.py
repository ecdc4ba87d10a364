"""The signal files of a store: one for each shard, int16 (n, 12, L) microvolts, mapped when they are read."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import removed_on_failure
from emgecg_cli.core.signals.leads import LEADS

_DAMAGED = "the store is damaged: remove its folder and run `medreport prepare` again"


def shard_file(number: int) -> str:
    """The name of a shard's signal file."""
    return f"signals-{number:05d}.npy"


def write_signals(path: Path, partial: Path, signals: Sequence[np.ndarray], n_rows: int) -> str:
    """Write the signals of a shard of `n_rows`, first under `partial`; returns the SHA-256 of the file. Raises
    ValueError unless there is one int16 (12, L) for each row."""
    shape = (n_rows, *signals[0].shape)
    if any(signal.dtype != np.int16 or signal.shape != shape[1:] for signal in signals) \
            or len(signals) != n_rows or len(shape) != 3 or shape[1] != len(LEADS):
        raise ValueError(f"{path.name}: signals must be int16 ({n_rows}, {len(LEADS)}, L)")
    temporary, digest = partial / f"{path.name}.{os.getpid()}.tmp", hashlib.sha256()
    with removed_on_failure(temporary):
        with temporary.open("wb") as stream:
            for block in chain([_npy_header(shape)], (signal.astype("<i2").tobytes() for signal in signals)):
                digest.update(block)
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    return digest.hexdigest()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i2", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def check_signals(path: Path, n_rows: int, sig_len: int) -> None:
    """Raise MedReportError unless a shard's signal file is there and as long as the store says."""
    expected = (n_rows, len(LEADS), sig_len)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise MedReportError(f"{path}: the signals of {n_rows} records are missing", _DAMAGED) from None
    if size != len(_npy_header(expected)) + 2 * n_rows * len(LEADS) * sig_len:
        open_signals(path, n_rows, sig_len)
        raise MedReportError(f"{path}: {size} bytes, not what int16 {expected} takes", _DAMAGED)


def open_signals(path: Path, n_rows: int, sig_len: int) -> np.ndarray:
    """Map a shard's signals, read-only, int16 (n, 12, L); raises MedReportError when it is not what the store says."""
    try:
        signals = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise MedReportError(f"{path}: the signals of {n_rows} records are missing", _DAMAGED) from None
    except (ValueError, EOFError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MedReportError(f"{path}: not a readable shard ({reason})", _DAMAGED) from None
    expected = (n_rows, len(LEADS), sig_len)
    if signals.dtype != np.int16 or signals.shape != expected:
        raise MedReportError(f"{path}: holds {signals.dtype} {signals.shape}, the store needs int16 {expected}",
                             _DAMAGED)
    return signals.view(np.ndarray)  # of the same map; np.memmap itself makes every access several times slower
