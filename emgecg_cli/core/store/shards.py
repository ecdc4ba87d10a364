"""One shard of a store: at most `shard_size` recordings, made in one go and written in one go.

The signals of shard i lie in `signals-0000i.npy`, int16 (n, 12, L) microvolts; a shard none of whose records could be
kept has no such file. Its rows wait as JSON in the partial folder until the whole store is finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from emgecg_cli.core.artifacts import QuarantineRow, RecordRow, write_atomically
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS

TABLE = "records.parquet"


@dataclass(frozen=True)
class Shard:
    """What became of the records of one shard.

    `signals` is int16 microvolts (n, 12, L), one per row, or None when there are no rows. `counts` are added up over
    all shards.
    """

    rows: Sequence[RecordRow]
    signals: np.ndarray | None
    quarantine: Sequence[QuarantineRow] = ()
    counts: dict[str, int] = field(default_factory=dict)


def make_shard(number: int, rows_and_signals: Sequence[tuple[RecordRow, np.ndarray]],
               quarantine: Sequence[QuarantineRow] = (), counts: dict[str, int] | None = None) -> Shard:
    """Pack rows and their int16 (12, L) signals as shard `number`; sets each row's `shard` and `row`."""
    rows = [replace(row, shard=number, row=i) for i, (row, _) in enumerate(rows_and_signals)]
    signals = np.stack([signal for _, signal in rows_and_signals]) if rows_and_signals else None
    return Shard(rows, signals, quarantine, counts or {})


def shard_file(number: int) -> str:
    """The name of a shard's signal file."""
    return f"signals-{number:05d}.npy"


def write_shard(out: Path, partial: Path, number: int, shard: Shard) -> None:
    """Write a shard's signals, then its rows; the rows' file says that the shard is done."""
    if shard.signals is not None:
        _write_signals(out / shard_file(number), partial, shard)
    rows = {"rows": [vars(row) for row in shard.rows], "quarantine": [vars(row) for row in shard.quarantine],
            "counts": dict(sorted(shard.counts.items()))}
    write_atomically(rows_path(partial, number), json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _write_signals(path: Path, partial: Path, shard: Shard) -> None:
    signals = shard.signals
    if signals is None or signals.dtype != np.int16 or signals.ndim != 3 or signals.shape[:2] != (len(shard.rows), 12):
        raise ValueError(f"{path.name}: signals must be int16 ({len(shard.rows)}, 12, L)")
    temporary = partial / f"{path.name}.tmp"
    with temporary.open("wb") as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(signals), allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def rows_path(partial: Path, number: int) -> Path:
    """Where the rows of a shard wait."""
    return partial / f"shard-{number:05d}.json"


def is_written(out: Path, partial: Path, number: int) -> bool:
    """Whether a killed run had finished this shard."""
    if not rows_path(partial, number).is_file():
        return False
    return (out / shard_file(number)).is_file() or not read_shard_rows(partial, number).rows


def read_shard_rows(partial: Path, number: int) -> Shard:
    """The rows of a written shard, without its signals."""
    values = json.loads(rows_path(partial, number).read_bytes().decode("utf-8", "surrogatepass"))
    return Shard([RecordRow(**row) for row in values["rows"]], None,
                 [QuarantineRow(**row) for row in values["quarantine"]], values["counts"])


def open_signals(path: Path, n_rows: int, sig_len: int) -> np.ndarray:
    """Map a shard's signals, read-only, int16 (n, 12, L); raises MedReportError when it is not what the store says."""
    hint = "the store is damaged: remove its folder and run `medreport prepare` again"
    try:
        signals = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise MedReportError(f"{path}: the signals of {n_rows} records are missing", hint) from None
    except (ValueError, EOFError, OSError) as error:
        raise MedReportError(f"{path}: not a readable shard ({_first_line(error)})", hint) from None
    expected = (n_rows, len(LEADS), sig_len)
    if signals.dtype != np.int16 or signals.shape != expected:
        raise MedReportError(f"{path}: holds {signals.dtype} {signals.shape}, the store needs int16 {expected}", hint)
    return signals


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
