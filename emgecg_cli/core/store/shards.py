"""One shard of a store: what at most `shard_size` recordings gave, made in one go and written in one go.

What its rows hold is written by their kind, recordings as `signals-0000i.npy`, and its rows, for looking one up, as
JSON lines in `rows-0000i.jsonl`; a shard none of whose records could be kept has no such files. Its table and its
quarantine wait in the partial folder until the whole store is finished, beside a note that holds the hashes of all
these files: a shard that is no longer what was written counts as not written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import QuarantineRow, RecordRow, to_json
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically
from emgecg_cli.core.manifest import file_hashes, json_hash
from emgecg_cli.core.store.payloads import Kind
from emgecg_cli.core.store.stored_rows import rows_file
from emgecg_cli.core.store.table import flat, frame_bytes, to_frame


@dataclass(frozen=True)
class Shard:
    """What became of the records of one shard: `data` holds for each row what its kind of record writes, int16
    (12, L) in microvolts or tables; `counts` are added up over all shards."""

    rows: Sequence[RecordRow]
    data: Sequence[Any]
    quarantine: Sequence[QuarantineRow] = ()
    counts: dict[str, int] = field(default_factory=dict)


def make_shard(number: int, rows_and_data: Sequence[tuple[RecordRow, Any]],
               quarantine: Sequence[QuarantineRow] = (), counts: dict[str, int] | None = None) -> Shard:
    """Pack rows and what they hold as shard `number`; sets each row's `shard` and `row`."""
    rows = [replace(row, shard=number, row=i) for i, (row, _) in enumerate(rows_and_data)]
    return Shard(rows, [data for _, data in rows_and_data], quarantine, counts or {})


def table_path(partial: Path, number: int) -> Path:
    """Where the table of a shard waits; there is none for a shard without rows."""
    return partial / f"shard-{number:05d}.parquet"


def _done_path(partial: Path, number: int) -> Path:
    return partial / f"shard-{number:05d}.json"


def write_shard(kind: Kind, out: Path, partial: Path, number: int, shard: Shard) -> None:
    """Write what a shard's rows hold, its table, and last the note that says that it is done."""
    files: dict[Path, str] = {}
    if shard.rows:
        written, sums = kind.write(out, partial, number, shard.rows, shard.data)
        files |= written
        lines = [(to_json(flat(row)) + "\n").encode("utf-8", "surrogatepass") for row in shard.rows]
        files |= _write(out / rows_file(number), b"".join(lines))
        offsets = [0, *accumulate(len(line) for line in lines[:-1])]
        table = to_frame(shard.rows, offsets, sums)
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


def is_written(out: Path, partial: Path, number: int) -> bool:
    """Whether a killed run had finished this shard, and its files are still what it wrote."""
    if not _done_path(partial, number).is_file():
        return False
    try:
        done = read_done(partial, number)
        return file_hashes(out, done["files"]) == done["files"]
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
