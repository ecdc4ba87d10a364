"""One shard of a store: what at most `shard_size` recordings gave, made in one go and written in one go.

The signals of shard i lie in `signals-0000i.npy`, int16 (n, 12, L) microvolts, and its rows, for looking one up, as
JSON lines in `rows-0000i.jsonl`; a shard none of whose records could be kept has no such files. Its table and its
quarantine wait in the partial folder until the whole store is finished, beside a note that holds the hashes of all
these files: a shard that is no longer what was written counts as not written.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import QuarantineRow, RecordRow, to_json
from emgecg_cli.core.emg.stored import TableCase
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import removed_on_failure, write_atomically
from emgecg_cli.core.manifest import file_hashes, json_hash
from emgecg_cli.core.signals.fingerprint import checksum
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store.table import flat, frame_bytes, to_frame
from emgecg_cli.core.store.tables import tables_frame

SHARDS = "shards"  # what a manifest calls the hashes of the shards' files


@dataclass(frozen=True)
class Shard:
    """What became of the records of one shard: `signals` holds one int16 (12, L) in microvolts per row, or, in a store
    of tables, `tables` one case per row; `counts` are added up over all shards."""

    rows: Sequence[RecordRow]
    signals: Sequence[np.ndarray]
    quarantine: Sequence[QuarantineRow] = ()
    counts: dict[str, int] = field(default_factory=dict)
    tables: Sequence[TableCase] = ()


def make_shard(number: int, rows_and_data: Sequence[tuple[RecordRow, np.ndarray | TableCase]],
               quarantine: Sequence[QuarantineRow] = (), counts: dict[str, int] | None = None) -> Shard:
    """Pack rows and their int16 (12, L) signals, or their tables, as shard `number`; sets each row's `shard` and `row`.
    """
    rows = [replace(row, shard=number, row=i) for i, (row, _) in enumerate(rows_and_data)]
    signals = [data for _, data in rows_and_data if isinstance(data, np.ndarray)]
    tables = [data for _, data in rows_and_data if isinstance(data, TableCase)]
    return Shard(rows, signals, quarantine, counts or {}, tables)


def shard_file(number: int) -> str:
    """The name of a shard's signal file."""
    return f"signals-{number:05d}.npy"


def rows_file(number: int) -> str:
    """The name of the file with a shard's rows as lines."""
    return f"rows-{number:05d}.jsonl"


def table_path(partial: Path, number: int) -> Path:
    """Where the table of a shard waits; there is none for a shard without rows."""
    return partial / f"shard-{number:05d}.parquet"


def cases_path(partial: Path, number: int) -> Path:
    """Where the cases of a shard of tables wait; there is none for a shard of signals."""
    return partial / f"cases-{number:05d}.parquet"


def _done_path(partial: Path, number: int) -> Path:
    return partial / f"shard-{number:05d}.json"


def write_shard(out: Path, partial: Path, number: int, shard: Shard) -> None:
    """Write a shard's signals, its table, and last the note that says that it is done."""
    files: dict[Path, str] = {}
    if shard.rows:
        if shard.tables:
            cases = zip((row.record_id for row in shard.rows), shard.tables, strict=True)
            files |= _write(cases_path(partial, number), frame_bytes(tables_frame(cases)))
        else:
            files[out / shard_file(number)] = _write_signals(out / shard_file(number), partial, shard)
        lines = [(to_json(flat(row)) + "\n").encode("utf-8", "surrogatepass") for row in shard.rows]
        files |= _write(out / rows_file(number), b"".join(lines))
        offsets = [0, *accumulate(len(line) for line in lines[:-1])]
        table = to_frame(shard.rows, offsets, [checksum(signal) for signal in shard.signals])
        files |= _write(table_path(partial, number), frame_bytes(table))
    done = {"rows": len(shard.rows), "quarantine": [vars(row) for row in shard.quarantine],
            "counts": dict(sorted(shard.counts.items())),
            "files": {path.name: digest for path, digest in files.items() if path.parent == out},
            "parts": {path.name: digest for path, digest in files.items() if path.parent == partial}}
    done = json.loads(json.dumps(done))
    write_atomically(_done_path(partial, number), json.dumps(done | {"hash": json_hash(done)}).encode())


def _write(path: Path, data: bytes) -> dict[Path, str]:
    write_atomically(path, data)
    return {path: hashlib.sha256(data).hexdigest()}


def _write_signals(path: Path, partial: Path, shard: Shard) -> str:
    """Write the signals of a shard; returns the SHA-256 of the file."""
    shape = (len(shard.rows), *shard.signals[0].shape)
    if any(signal.dtype != np.int16 or signal.shape != shape[1:] for signal in shard.signals) \
            or len(shard.signals) != len(shard.rows) or len(shape) != 3 or shape[1] != len(LEADS):
        raise ValueError(f"{path.name}: signals must be int16 ({len(shard.rows)}, {len(LEADS)}, L)")
    temporary, digest = partial / f"{path.name}.{os.getpid()}.tmp", hashlib.sha256()
    with removed_on_failure(temporary):
        with temporary.open("wb") as stream:
            for block in chain([_npy_header(shape)], (signal.astype("<i2").tobytes() for signal in shard.signals)):
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


def is_written(out: Path, partial: Path, number: int) -> bool:
    """Whether a killed run had finished this shard, and its files are still what it wrote."""
    if not _done_path(partial, number).is_file():
        return False
    try:
        done = read_done(partial, number)
        return all(file_hashes(folder, done[named]) == done[named]
                   for folder, named in ((out, "files"), (partial, "parts")))
    except (OSError, MedReportError):
        return False


def read_done(partial: Path, number: int) -> dict[str, Any]:
    """What a written shard says of itself: the number of its `rows`, its `quarantine`, its `counts`, and the hashes of
    its `files` in the store and its `parts` beside this note.

    Raises MedReportError when the note, or one of the parts, is not what was written.
    """
    path = _done_path(partial, number)
    try:
        done = json.loads(path.read_bytes())
        digest = done.pop("hash")
    except (ValueError, RecursionError, KeyError, AttributeError):
        done, digest = {}, None
    if digest != json_hash(done) or file_hashes(partial, done["parts"]) != done["parts"]:
        raise MedReportError(f"{path}: was changed while the store was made",
                             "run the same command again: it makes that shard again")
    return done


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


_DAMAGED = "the store is damaged: remove its folder and run `medreport prepare` again"
