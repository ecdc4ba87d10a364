"""The resumable writer of stores.

A shard is a pure function of its number; it is written under a temporary name and renamed. A run that is killed at any
moment and started again with the same arguments goes on with the first shard that is not written, and ends with the
same bytes as an unbroken run. Unfinished work is known by `.partial/plan.json`; the manifest is written last.
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
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import Manifest, is_finished, json_hash, package_versions, read_manifest, write_manifest
from emgecg_cli.core.store.shards import Shard, is_written, read_shard_rows, write_shard
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
                make_manifest: MakeManifest, set_aside: Sequence[QuarantineRow] = (),
                progress: Progress | None = None) -> WriteResult:
    """Write a store shard by shard, or go on with a killed run.

    `identity` is all that decides the bytes (resolved arguments, hashes of inputs), as JSON values. `sizes` holds the
    number of input records of each shard; `build_shard(i)` must depend on nothing but `identity` and i.
    `make_manifest(rows, quarantine, counts)` gets all kept rows in order, all quarantined ones and the shards' summed
    counts; its `details` must hold dataset, fs and sig_len. `progress(done, total)` counts input records.

    Raises MedReportError when `out` holds something else, or when no record was kept (then only `quarantine.jsonl` is
    left there).
    """
    plan = json.loads(json.dumps(identity))
    if is_finished(out):
        return WriteResult(_finished_before(out, plan), True, len(sizes))
    partial = _start(out, plan)
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
    with _writing(out):
        return WriteResult(_finish(out, partial, plan, len(sizes), make_manifest, set_aside), False, n_reused)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MedReportError(f"{out}: cannot be written ({error.strerror})",
                             "free or mend the disk and repeat the command: it goes on where it stopped") from None


def _finished_before(out: Path, identity: dict[str, Any]) -> Manifest:
    manifest = read_manifest(out, "store")
    if manifest.details.get("plan_hash") != json_hash(identity):
        given = identity.get("arguments", {})
        raise MedReportError(f"{out}: a finished store made {_difference(manifest.arguments, given)}",
                             "choose another --out, or remove the folder to make it anew")
    shutil.rmtree(out / PARTIAL, ignore_errors=True)
    return manifest


def _start(out: Path, identity: dict[str, Any]) -> Path:
    partial = out / PARTIAL
    plan_path = partial / "plan.json"
    plan = {"identity": identity, "versions": package_versions()}
    if out.exists() and not out.is_dir():
        raise MedReportError(f"{out}: is a file, a store is a folder", "choose another --out")
    if plan_path.is_file():
        _check_plan(out, json.loads(plan_path.read_bytes()), plan)
        return partial
    # Without a plan nobody knows what the shards there belong to.
    shutil.rmtree(partial, ignore_errors=True)
    left_over = {PARTIAL, QUARANTINE, f".{QUARANTINE}.tmp"}
    if out.is_dir() and any(entry.name not in left_over for entry in out.iterdir()):
        raise MedReportError(f"{out}: not empty, and not a store", "choose another --out, or remove the folder")
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MedReportError(f"{out}: cannot be made ({error.strerror})", "choose another --out") from None
    write_atomically(plan_path, json.dumps(plan, ensure_ascii=False).encode())
    return partial


def _check_plan(out: Path, started: dict[str, Any], now: dict[str, Any]) -> None:
    if started == now:
        return
    if started["identity"] == now["identity"]:
        how = f"by other packages {_difference(started['versions'], now['versions'])}"
    else:
        how = _difference(started["identity"].get("arguments", {}), now["identity"].get("arguments", {}))
    raise MedReportError(f"{out}: an unfinished store, begun {how}",
                         "repeat the first command to finish it, choose another --out, or remove the folder")


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if not keys:
        return "from other input"
    return "with " + ", ".join(f"{key} {before.get(key)} (now {now.get(key)})" for key in keys)


def _finish(out: Path, partial: Path, identity: dict[str, Any], n_shards: int, make_manifest: MakeManifest,
            set_aside: Sequence[QuarantineRow]) -> Manifest:
    shards = [read_shard_rows(partial, number) for number in range(n_shards)]
    rows = [row for shard in shards for row in shard.rows]
    quarantine = [*set_aside, *(row for shard in shards for row in shard.quarantine)]
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(shard.counts)
    write_rows(out / QUARANTINE, quarantine)
    if not rows:
        shutil.rmtree(partial)
        reasons = Counter(row.reason for row in quarantine).most_common(3)
        why = ", ".join(f"{reason}: {n}" for reason, n in reasons) or "the source is empty"
        raise MedReportError(f"no record could be read ({why})", f"the reason for each is in {out / QUARANTINE}")
    check_splits(rows, [row.split for row in rows])
    write_atomically(out / "records.parquet", _parquet(rows))
    manifest = make_manifest(rows, quarantine, counts)
    manifest = replace(manifest, details=manifest.details | {"plan_hash": json_hash(identity)})
    write_manifest(out, manifest)
    shutil.rmtree(partial)
    return read_manifest(out, "store")


def _parquet(rows: Sequence[RecordRow]) -> bytes:
    stream = io.BytesIO()
    frame = polars.DataFrame([vars(row) for row in rows], schema=RECORD_SCHEMA, orient="row")
    frame.write_parquet(stream, compression="zstd", row_group_size=65536)
    return stream.getvalue()
