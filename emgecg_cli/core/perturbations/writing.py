"""Writing a perturbed store: as a view, which holds what was reached and no signals, or as a copy with all of them."""

from __future__ import annotations

import hashlib
import io
import shutil
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import PERTURBED, PerturbedRow, QuarantineRow, read_rows, write_rows
from emgecg_cli.core.claims import claim
from emgecg_cli.core.config import PrepareConfig
from emgecg_cli.core.engines import run_tasks
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically, writing
from emgecg_cli.core.manifest import (
    Manifest,
    check_folder_name,
    file_hashes,
    json_hash,
    package_versions,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.perturbations.reached import achieved_snr_db, changed_share
from emgecg_cli.core.signals.fingerprint import checksum
from emgecg_cli.core.signals.leads import count_clipped
from emgecg_cli.core.store import QUARANTINE, Engine, Shard, Store, Written, make_shard, shard_file, write_store
from emgecg_cli.core.store.integrity import SHARDS
from emgecg_cli.core.store.table import CHECKSUM, frame_bytes, merge_parts, to_row
from emgecg_cli.core.store.views import (
    AT,
    CHANGED,
    NOISE,
    OF_SIGNAL,
    SCHEMA,
    VIEW,
    Drawing,
    DrawnSignals,
    ViewRows,
    of_signal,
)
from emgecg_cli.core.store.writer import DECIDING, PARTIAL

Progress = Callable[[int, int], None]
MakeManifest = Callable[[polars.LazyFrame, Iterable[PerturbedRow]], Manifest]


@dataclass(frozen=True)
class Job:
    """What is to be written: the rows `hit`, in order, of an open store, drawn as perturbed."""

    store: Store
    drawing: Drawing
    hit: list[int]

    def signals(self, place: Path) -> DrawnSignals:
        """The signals as they are drawn, not yet checked against anything."""
        ids = self.store.column("record_id").gather(self.hit).to_list()
        return DrawnSignals(self.store.payload, self.drawing, self.store.fs, place, np.asarray(self.hit, np.int64), ids)

    def rows(self, place: Path) -> ViewRows:
        """The rows of a view whose changed columns lie in `place`."""
        return ViewRows(self.store.rows, self.signals(place), place)


def write_view(job: Job, out: Path, identity: Mapping[str, Any], make_manifest: MakeManifest, engine: Engine,
               progress: Progress | None) -> Manifest:
    """Draw every perturbed record once and record what was reached, in parts, so that a killed run can resume.

    `make_manifest(table, rows)` is called last, with the table of the view and what `perturbed.jsonl` says.
    """
    check_folder_name(out)
    with claim(out, dict(identity) | {"versions": package_versions(DECIDING)}, own=(PARTIAL,)) as claimed:
        folder = out / PARTIAL
        try:
            with writing(out):
                if not claimed.resuming:
                    shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True, exist_ok=True)
                claimed.begin()
                _write_parts(job, folder, engine, progress)
                table, reached = _put_together(job, out, folder)
                manifest = make_manifest(table, reached)
                drawn = {"kind": job.drawing.kind, "level": job.drawing.level, "seed": job.drawing.seed}
                files = [CHANGED, PERTURBED]
                if job.drawing.noise is not None:  # so that the view stands without the recordings it is from
                    write_atomically(out / NOISE, _bytes_of(job.drawing.noise))
                    files, drawn = [*files, NOISE], drawn | {"noise": NOISE}
                extra = {"plan_hash": json_hash(identity), "files": file_hashes(out, files), VIEW: drawn}
                details = {name: value for name, value in manifest.details.items() if name != SHARDS}
                write_manifest(out, replace(manifest, details=details | extra))
                shutil.rmtree(folder)
        except polars.exceptions.PolarsError as error:
            raise MedReportError(f"{folder}: a part cannot be read ({str(error).partition(chr(10))[0][:200]})",
                                 "remove the folder and run the command again") from None
        except OSError as error:
            raise MedReportError(f"{out}: cannot be written ({error.strerror or error})",
                                 "free or mend the disk and repeat the command: it goes on where it stopped") from None
        claimed.finish()
    return read_manifest(out, "store")


def _bytes_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _write_parts(job: Job, folder: Path, engine: Engine, progress: Progress | None) -> None:
    size, total = PrepareConfig().shard_size, len(job.hit)
    parts = {number: job.hit[start:start + size] for number, start in enumerate(range(0, total, size))}
    missing = [number for number in parts if not _is_written(folder, number)]
    done = total - sum(len(parts[number]) for number in missing)
    if progress:
        progress(done, total)
    tasks = ((number, parts[number]) for number in missing)
    for number in run_tasks(engine.name, partial(_write_part, job.store, job.drawing, folder), tasks, engine.workers,
                            len(missing)):
        done += len(parts[number])
        if progress:
            progress(done, total)


def _write_part(store: Store, drawing: Drawing, folder: Path, numbered: tuple[int, list[int]]) -> int:
    number, hit = numbered
    signals = Job(store, drawing, hit).signals(folder)
    rows = []
    for index, record_id in zip(hit, signals.ids, strict=True):
        before = store.signal(index)
        after = signals.after(index, before)
        rows.append(_row(store, index, record_id, before, after))
    part = frame_bytes(polars.DataFrame(rows, schema=SCHEMA, orient="row"))
    write_atomically(_part(folder, number), part)
    write_atomically(_hash_of(folder, number), hashlib.sha256(part).hexdigest().encode())
    return number


def _row(store: Store, index: int, record_id: str, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    found = of_signal(store.rows.values(index), before, after, measure=False)
    return {AT: index, "record_id": record_id, CHECKSUM: checksum(after), "snr_db": achieved_snr_db(before, after),
            "changed": changed_share(before, after)} | {name: found[name] for name in OF_SIGNAL}


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def _hash_of(folder: Path, number: int) -> Path:
    return _part(folder, number).with_suffix(".sha256")


def _is_written(folder: Path, number: int) -> bool:
    """Whether a part is there as it was written: one that was changed since a run was killed is made again."""
    part, noted = _part(folder, number), _hash_of(folder, number)
    return part.is_file() and noted.is_file() and noted.read_text() == file_hashes(folder, [part.name])[part.name]


def _put_together(job: Job, out: Path, folder: Path) -> tuple[polars.LazyFrame, list[PerturbedRow]]:
    """One table of all parts, and `perturbed.jsonl`; returns the table of the view, and what was reached."""
    merge_parts(sorted(folder.glob("part-*.parquet")), folder / CHANGED)
    (folder / CHANGED).replace(out / CHANGED)
    told = polars.scan_parquet(out / CHANGED, glob=False).select("record_id", "snr_db", "changed", "n_clipped")
    rows = [PerturbedRow(*row) for row in told.collect().iter_rows()]
    write_rows(out / PERTURBED, rows)
    return job.rows(out).scan(), rows


def write_copy(job: Job, out: Path, identity: Mapping[str, Any], make_manifest: MakeManifest, engine: Engine,
               progress: Progress | None) -> Manifest:
    """Write a whole store, shard by shard; see `write_view`."""
    store, size = job.store, PrepareConfig().shard_size
    starts = range(0, len(store), size)

    def finish(written: Written) -> Manifest:
        rows = _measure(job, out, size)
        write_rows(out / PERTURBED, rows)
        return make_manifest(written.records, rows)

    return write_store(out, identity=identity, sizes=[min(size, len(store) - start) for start in starts],
                       job=lambda number: _part_of(job, starts[number], min(starts[number] + size, len(store))),
                       build=partial(_build_shard, store, job.drawing), make_manifest=finish, files=[PERTURBED],
                       engine=engine, progress=progress,
                       set_aside=read_rows(store.rows.home / QUARANTINE, QuarantineRow)).manifest


def _part_of(job: Job, start: int, stop: int) -> tuple[int, int, list[int]]:
    """Some rows, and those of them that are hit: a task is sent to its process with no more than it needs."""
    return start, stop, job.hit[bisect_left(job.hit, start):bisect_left(job.hit, stop)]


def _build_shard(store: Store, drawing: Drawing, number: int, part: tuple[int, int, list[int]]) -> Shard:
    start, stop, hit = part
    signals = Job(store, drawing, hit).signals(Path())
    kept = []
    for index in range(start, stop):
        values, before = store.rows.values(index), store.signal(index)
        signal = signals.after(index, before)
        if signals.at(index) is not None:
            values |= of_signal(values, before, signal)
        kept.append((to_row(values), signal))
    return make_shard(number, kept)


def _measure(job: Job, out: Path, shard_size: int) -> list[PerturbedRow]:
    """What was reached in each perturbed record, from the signals as they were and as they were written."""
    rows = []
    opened, shard = -1, np.empty(0)
    for index, record_id in zip(job.hit, job.signals(out).ids, strict=True):
        if index // shard_size != opened:
            opened = index // shard_size
            shard = np.load(out / shard_file(opened), mmap_mode="r", allow_pickle=False)
        before, after = job.store.signal(index), shard[index % shard_size]
        rows.append(PerturbedRow(record_id, achieved_snr_db(before, after), changed_share(before, after),
                                 count_clipped(after)))
    return rows
