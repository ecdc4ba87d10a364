"""One shard of a store: what at most `shard_size` recordings gave, made in one go and written in one go.

The signals of shard i lie in `signals-0000i.npy`, int16 (n, 12, L) microvolts, and its rows, for looking one up, as
JSON lines in `rows-0000i.jsonl`; a shard none of whose records could be kept has no such files. Its table and its
quarantine wait in the partial folder until the whole store is finished.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import QuarantineRow, RecordRow, to_json, write_atomically
from emgecg_cli.core.emg.stored import TableCase
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store.table import flat, frame_bytes, to_frame
from emgecg_cli.core.store.tables import tables_frame


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
    """Write a shard's signals, its table, and last the file that says that it is done."""
    if shard.rows:
        if shard.tables:
            cases = zip((row.record_id for row in shard.rows), shard.tables, strict=True)
            write_atomically(cases_path(partial, number), frame_bytes(tables_frame(cases)))
        else:
            _write_signals(out / shard_file(number), partial, shard)
        lines = [(to_json(flat(row)) + "\n").encode("utf-8", "surrogatepass") for row in shard.rows]
        write_atomically(out / rows_file(number), b"".join(lines))
        offsets = [0, *accumulate(len(line) for line in lines[:-1])]
        write_atomically(table_path(partial, number), frame_bytes(to_frame(shard.rows, offsets)))
    done = {"rows": len(shard.rows), "tables": bool(shard.tables),
            "quarantine": [vars(row) for row in shard.quarantine], "counts": dict(sorted(shard.counts.items()))}
    write_atomically(_done_path(partial, number), json.dumps(done).encode())


def _write_signals(path: Path, partial: Path, shard: Shard) -> None:
    shape = (len(shard.rows), *shard.signals[0].shape)
    if any(signal.dtype != np.int16 or signal.shape != shape[1:] for signal in shard.signals) \
            or len(shard.signals) != len(shard.rows) or len(shape) != 3 or shape[1] != len(LEADS):
        raise ValueError(f"{path.name}: signals must be int16 ({len(shard.rows)}, {len(LEADS)}, L)")
    temporary = partial / f"{path.name}.{os.getpid()}.tmp"
    with temporary.open("wb") as stream:
        stream.write(_npy_header(shape))
        for signal in shard.signals:
            stream.write(np.ascontiguousarray(signal, "<i2").data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i2", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def is_written(out: Path, partial: Path, number: int) -> bool:
    """Whether a killed run had finished this shard."""
    if not _done_path(partial, number).is_file():
        return False
    done = read_done(partial, number)
    data = cases_path(partial, number) if done["tables"] else out / shard_file(number)
    return not done["rows"] or all(path.is_file() for path in (data, out / rows_file(number),
                                                               table_path(partial, number)))


def read_done(partial: Path, number: int) -> dict[str, Any]:
    """What a written shard says of itself: the number of its `rows`, its `quarantine` and its `counts`."""
    return json.loads(_done_path(partial, number).read_bytes())


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
    return signals


_DAMAGED = "the store is damaged: remove its folder and run `medreport prepare` again"
