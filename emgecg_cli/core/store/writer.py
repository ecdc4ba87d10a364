"""The resumable writer of stores.

A shard is a pure function of its number; it is written under a temporary name and renamed. A run that is killed at any
moment and started again with the same arguments goes on with the first shard that is not written, and ends with the
same bytes as an unbroken run. Unfinished shards' rows lie in `.partial/`; the manifest is written last.
"""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.artifacts import QuarantineRow, RecordRow, write_atomically, write_rows
from emgecg_cli.core.claims import claim, difference, sweep
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    check_folder_name,
    file_hashes,
    is_finished,
    json_hash,
    package_versions,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.store.shards import TABLE, Shard, is_written, read_shard_rows, write_shard
from emgecg_cli.core.store.splits import check_splits

PARTIAL = ".partial"
QUARANTINE = "quarantine.jsonl"

MakeManifest = Callable[[Sequence[RecordRow], Sequence[QuarantineRow], Mapping[str, int]], Manifest]
Progress = Callable[[int, int], None]

RECORD_SCHEMA: dict[str, Any] = {
    "record_id": polars.String, "subject_id": polars.String, "split": polars.String, "fs": polars.Int64,
    "sig_len": polars.Int64, "report": polars.String, "report_raw": polars.String, "language": polars.String,
    "codes": polars.List(polars.String), "source": polars.String, "shard": polars.Int64, "row": polars.Int64,
    "n_missing": polars.Int64, "n_clipped": polars.Int64, "n_cropped": polars.Int64, "n_padded": polars.Int64,
    "absent_leads": polars.List(polars.String), "resampled_from": polars.Int64, "einthoven_p50_uv": polars.Float64,
    "einthoven_p99_uv": polars.Float64, "goldberger_p50_uv": polars.Float64, "goldberger_p99_uv": polars.Float64,
    "lead_check": polars.String,
}


@dataclass(frozen=True)
class WriteResult:
    """A finished store: its manifest, whether it had been finished before, and how many shards were found written."""

    manifest: Manifest
    already_finished: bool
    n_reused: int


def write_store(out: Path, *, identity: Mapping[str, Any], sizes: Sequence[int], build_shard: Callable[[int], Shard],
                make_manifest: MakeManifest, set_aside: Sequence[QuarantineRow] = (), files: Sequence[str] = (),
                progress: Progress | None = None) -> WriteResult:
    """Write a store shard by shard, or go on with a killed run.

    `identity` is all that decides the bytes (resolved arguments, hashes of inputs), as JSON values. `sizes` holds the
    number of input records of each shard; `build_shard(i)` must depend on nothing but `identity` and i.
    `make_manifest(rows, quarantine, counts)` gets all kept rows in order, all quarantined ones and the shards' summed
    counts; its `details` must hold dataset, fs and sig_len; `files` are what it writes besides.
    `progress(done, total)` counts input records.

    Raises MedReportError when `out` holds something else, or when no record was kept (then only `quarantine.jsonl` is
    left there).
    """
    check_folder_name(out)
    if is_finished(out):
        return WriteResult(_finished_before(out, identity), True, len(sizes))
    plan = dict(identity) | {"versions": package_versions()}
    with claim(out, plan, own=(PARTIAL, QUARANTINE, f".{QUARANTINE}.tmp")) as claimed:
        partial = out / PARTIAL
        if not claimed.resuming:  # without a plan nobody knows what the shards there belong to
            shutil.rmtree(partial, ignore_errors=True)
        with _writing(out):
            partial.mkdir(parents=True, exist_ok=True)
            claimed.begin()
        n_reused = _write_shards(out, partial, sizes, build_shard, progress)
        shards = [read_shard_rows(partial, number) for number in range(len(sizes))]
        quarantine = [*set_aside, *(row for shard in shards for row in shard.quarantine)]
        with _writing(out):
            write_rows(out / QUARANTINE, quarantine)
            rows = [row for shard in shards for row in shard.rows]
            if rows:
                _finish(out, rows, quarantine, shards, identity, make_manifest, files)
            shutil.rmtree(partial)
            claimed.finish()
        if not rows:
            raise _nothing_kept(out, quarantine)
        return WriteResult(read_manifest(out, "store"), False, n_reused)


def _write_shards(out: Path, partial: Path, sizes: Sequence[int], build_shard: Callable[[int], Shard],
                  progress: Progress | None) -> int:
    """Write the shards that are not there yet; returns how many were."""
    done, n_reused = 0, 0
    for number, size in enumerate(sizes):
        if is_written(out, partial, number):
            n_reused += 1
        else:
            shard = build_shard(number)
            with _writing(out):
                write_shard(out, partial, number, shard)
        done += size
        if progress is not None:
            progress(done, sum(sizes))
    return n_reused


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MedReportError(f"{out}: cannot be written ({error.strerror})",
                             "free or mend the disk and repeat the command: it goes on where it stopped") from None


def _finished_before(out: Path, identity: Mapping[str, Any]) -> Manifest:
    manifest = read_manifest(out, "store")
    if manifest.details.get("plan_hash") != _plan_hash(identity):
        changed = difference(manifest.arguments, identity.get("arguments", {})) or "input"
        raise MedReportError(f"{out}: a finished store, made with other {changed}",
                             "give another --out, or remove the folder to make it anew")
    check_files(out, manifest)
    shutil.rmtree(out / PARTIAL, ignore_errors=True)
    sweep(out)
    return manifest


def _finish(out: Path, rows: Sequence[RecordRow], quarantine: Sequence[QuarantineRow], shards: Sequence[Shard],
            identity: Mapping[str, Any], make_manifest: MakeManifest, files: Sequence[str]) -> None:
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(shard.counts)
    check_splits(rows, [row.split for row in rows])
    write_atomically(out / TABLE, _parquet(rows))
    manifest = make_manifest(rows, quarantine, counts)
    extra = {"plan_hash": _plan_hash(identity), "files": file_hashes(out, [TABLE, QUARANTINE, *files])}
    write_manifest(out, replace(manifest, details=manifest.details | extra))


def _nothing_kept(out: Path, quarantine: Sequence[QuarantineRow]) -> MedReportError:
    reasons = Counter(row.reason for row in quarantine).most_common(3)
    why = ", ".join(f"{reason}: {n}" for reason, n in reasons) or "the source is empty"
    hint = f"the reason for each is in {out / QUARANTINE}" if quarantine else "check the source"
    return MedReportError(f"no record could be read ({why})", hint)


def _plan_hash(identity: Mapping[str, Any]) -> str:
    return json_hash(json.loads(json.dumps(identity)))


def _parquet(rows: Sequence[RecordRow]) -> bytes:
    stream = io.BytesIO()
    frame = polars.DataFrame([vars(row) for row in rows], schema=RECORD_SCHEMA, orient="row")
    frame.write_parquet(stream, compression="zstd", row_group_size=65536)
    return stream.getvalue()
