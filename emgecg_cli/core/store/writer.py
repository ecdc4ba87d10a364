"""The resumable writer of stores.

A shard is a pure function of its number and job; it is written under a temporary name and renamed. A run that is killed
at any moment and started again with the same arguments makes the shards that are not written, with any engine and any
number of workers, and ends with the same bytes as an unbroken run. Unfinished shards' tables lie in `.partial/`; the
manifest is written last.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.artifacts import WITHOUT_REPORT, QuarantineRow, parse_rows, to_json
from emgecg_cli.core.claims import claim, difference, sweep
from emgecg_cli.core.engines import run_tasks
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_chunks_atomically, writing
from emgecg_cli.core.manifest import (
    Manifest,
    check_folder_name,
    file_hashes,
    is_finished,
    json_hash,
    package_versions,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.store.integrity import SHARDS
from emgecg_cli.core.store.payloads import Kind
from emgecg_cli.core.store.payloads.recordings import Recordings
from emgecg_cli.core.store.reader import open_store
from emgecg_cli.core.store.shards import Shard, is_written, read_done, table_path, write_shard
from emgecg_cli.core.store.splits import check_table
from emgecg_cli.core.store.table import TABLE, merge_tables

PARTIAL = ".partial"
# the packages that decide the bytes of a store: an update of another one does not keep a killed run from going on
DECIDING = ("wfdb", "polars", "numpy", "scipy")
QUARANTINE = "quarantine.jsonl"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Engine:
    """Where shards are made: the engine's name and its number of workers; None is what the machine has."""

    name: str = "local"
    workers: int | None = 1


@dataclass(frozen=True)
class Written:
    """What a manifest is made from once all shards are there: the table, why records were left out and how many, and
    the shards' summed counts."""

    records: polars.LazyFrame
    quarantined: Counter[str]
    counts: Counter[str]


IN_THIS_PROCESS = Engine()
OF_RECORDINGS = Recordings()

MakeManifest = Callable[[Written], Manifest]


@dataclass(frozen=True)
class WriteResult:
    """A finished store: its manifest, whether it had been finished before, and how many shards were found written."""

    manifest: Manifest
    already_finished: bool
    n_reused: int


def write_store(out: Path, *, identity: Mapping[str, Any], sizes: Sequence[int], job: Callable[[int], Any],
                build: Callable[[int, Any], Shard], make_manifest: MakeManifest,
                kind: Kind = OF_RECORDINGS, set_aside: Iterable[QuarantineRow] = (), files: Sequence[str] = (),
                engine: Engine = IN_THIS_PROCESS, progress: Progress | None = None) -> WriteResult:
    """Write a store shard by shard, or resume a killed run.

    `identity` is all that decides the bytes (resolved arguments, hashes of inputs), as JSON values. `sizes` holds the
    number of input records of each shard. `job(i)` is asked here for what shard i is made from, and `build(i, job)`
    makes it wherever the engine runs; both depend on nothing but `identity` and i, and with more than one worker
    `build` and the job are pickled. `make_manifest(written)` is called last; its `details` must hold dataset, fs and
    sig_len; `files` are what it writes besides. `kind` says what the records hold. `progress(done, total)` counts
    input records.

    Raises MedReportError when `out` holds something else, or when no record was kept (then only `quarantine.jsonl` is
    left there).
    """
    check_folder_name(out)
    if is_finished(out):
        return WriteResult(finished_before(out, identity), True, len(sizes))
    plan = dict(identity) | {"versions": package_versions(DECIDING)}
    with claim(out, plan, own=(PARTIAL, QUARANTINE)) as claimed:
        folder = out / PARTIAL
        if not claimed.resuming:  # without a plan nobody knows what the shards there belong to
            shutil.rmtree(folder, ignore_errors=True)
        with _writing(out):
            folder.mkdir(parents=True, exist_ok=True)
            claimed.begin()
        n_reused = _write_shards(out, folder, sizes, job, partial(_write_one, out, folder, kind, build), engine,
                                 progress)
        with _writing(out):
            gathered = _gather(out, folder, len(sizes), set_aside)
            quarantined, n_rows = gathered.reasons, gathered.n_rows
            if n_rows:
                written = Written(polars.scan_parquet(out / TABLE, glob=False), quarantined, gathered.counts)
                _finish(out, folder, len(sizes), kind, written, identity, make_manifest, files, gathered.hashes)
            shutil.rmtree(folder)
            claimed.finish()
        if not n_rows:
            raise _nothing_kept(out, quarantined, bool(identity.get("arguments", {}).get("no_reports")))
        return WriteResult(read_manifest(out, "store"), False, n_reused)


def _write_shards(out: Path, folder: Path, sizes: Sequence[int], job: Callable[[int], Any],
                  write: Callable[[tuple[int, Any]], int], engine: Engine, progress: Progress | None) -> int:
    """Write the shards that are not there yet; returns how many were."""
    missing = [number for number in range(len(sizes)) if not is_written(out, folder, number)]
    done, total = sum(sizes) - sum(sizes[number] for number in missing), sum(sizes)
    jobs = ((number, job(number)) for number in missing)
    if progress is not None:
        progress(done, total)
    for number in run_tasks(engine.name, write, jobs, engine.workers, len(missing)):
        done += sizes[number]
        if progress is not None:
            progress(done, total)
    return len(sizes) - len(missing)


def _write_one(out: Path, folder: Path, kind: Kind, build: Callable[[int, Any], Shard],
               numbered: tuple[int, Any]) -> int:
    number, job = numbered
    shard = build(number, job)
    with _writing(out):
        write_shard(kind, out, folder, number, shard)
    return number


@dataclass
class _Gathered:
    """Totals over all shards: why records were left out, their counts and rows, the hashes of their files."""

    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    n_rows: int = 0
    hashes: dict[str, str] = field(default_factory=dict)


def _gather(out: Path, folder: Path, n_shards: int, set_aside: Iterable[QuarantineRow]) -> _Gathered:
    """Write the quarantine, one shard after the other; returns the rest of what the shards say."""
    gathered = _Gathered()

    def lines() -> Iterator[str]:
        for row in set_aside:
            gathered.reasons[row.reason] += 1
            yield to_json(row)
        for number in range(n_shards):
            done = read_done(folder, number)
            gathered.reasons.update(row["reason"] for row in done["quarantine"])
            gathered.counts.update(done["counts"])
            gathered.n_rows += done["rows"]
            gathered.hashes |= done["files"]
            yield from map(to_json, done["quarantine"])

    write_chunks_atomically(out / QUARANTINE, ((line + "\n").encode("utf-8", "surrogatepass") for line in lines()))
    return gathered


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        with writing(out):
            yield
    except OSError as error:
        raise MedReportError(f"{out}: cannot be written ({error.strerror or error})",
                             "free or mend the disk and repeat the command: it goes on where it stopped") from None


def finished_before(out: Path, identity: Mapping[str, Any]) -> Manifest:
    """The manifest of a finished store, with what a kill left beside it cleared; raises MedReportError where it was
    made from something else."""
    manifest = read_manifest(out, "store")
    if manifest.details.get("plan_hash") != _plan_hash(identity):
        changed = difference(manifest.arguments, identity.get("arguments", {})) or "input"
        raise MedReportError(f"{out}: a finished store, made with other {changed}",
                             "give another --out, or remove the folder to make it anew")
    open_store(out)
    shutil.rmtree(out / PARTIAL, ignore_errors=True)
    sweep(out)
    return manifest


def _finish(out: Path, folder: Path, n_shards: int, kind: Kind, written: Written, identity: Mapping[str, Any],
            make_manifest: MakeManifest, files: Sequence[str], shards: dict[str, str]) -> None:
    parts = [path for path in (table_path(folder, number) for number in range(n_shards)) if path.is_file()]
    merge_tables(parts, folder / TABLE)
    (folder / TABLE).replace(out / TABLE)
    kind.gather(out, folder, n_shards)
    check_table(written.records)
    manifest = make_manifest(written)
    extra = {"plan_hash": _plan_hash(identity), "files": file_hashes(out, [TABLE, QUARANTINE, *kind.files, *files]),
             SHARDS: shards}
    write_manifest(out, replace(manifest, details=manifest.details | extra))


def _nothing_kept(out: Path, quarantined: Counter[str], no_reports: bool) -> MedReportError:
    why = ", ".join(f"{reason}: {n}" for reason, n in quarantined.most_common(3)) or "the source is empty"
    hint = f"the reason for each is in {out / QUARANTINE}" if quarantined else "check the source"
    if quarantined:
        with (out / QUARANTINE).open(encoding="utf-8") as stream:
            first = next(parse_rows(stream, QuarantineRow, QUARANTINE))
        why += f"); the first: {first.record_id} ({first.detail}"
    if WITHOUT_REPORT & {*quarantined} and not no_reports:
        hint += "; --no-reports keeps recordings that have none"
    return MedReportError(f"no record could be read ({why})", hint)


def _plan_hash(identity: Mapping[str, Any]) -> str:
    return json_hash(json.loads(json.dumps(identity)))
