"""`generate_reports`: what is refused, what is left to do, and the files that are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.claims import check_place, check_plan, claim, claim_part, confirm_finished, part_path
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import named
from emgecg_cli.core.generation.job import Job, settings_of
from emgecg_cli.core.generation.parts import Sums, held_numbers, merge, noted_static, read_all, read_held
from emgecg_cli.core.generation.reports import Reporter, to_lines
from emgecg_cli.core.generation.task import RUNS_OWN, Places, Task, open_task
from emgecg_cli.core.manifest import Manifest, file_hashes, is_finished, read_manifest, write_manifest

Progress = Callable[..., None]


@dataclass(frozen=True)
class GenerateResult:
    """Predictions, or the part of one writer: `records` of them in all, `written` in this session, by this process.

    `truncated` of them had `max_new_tokens` tokens and no end; None of a writer's part, and where rows do not say it.
    `max_new_tokens` is what the positions left of the default, where this session, or the finished file, knows it.
    `why_static` says why batches ran until their longest report ended, where this process wrote any that did.
    """

    path: Path | None
    records: int
    written: int
    already_finished: bool = False
    truncated: int | None = None
    max_new_tokens: int | None = None
    why_static: str | None = None


def generate_reports(run: Path, out: Path | IO[str], config: GenerateConfig, *, places: Places = RUNS_OWN,
                     writer: tuple[int, int] | None = None, progress: Progress | None = None) -> GenerateResult:
    """Generate a report for each record of a split and write them to `out`, a `.jsonl` file or an open text stream.

    `writer` (R, W), 1 <= R <= W, makes this the R-th of W processes that share the work: it writes only its part, and
    ends when that is done. Without it, what parts hold already is taken, the rest is written, and the file finished.
    Raises MedReportError when they do not fit the run, when `out` belongs to other settings, or when another
    process writes it.
    """
    if isinstance(out, Path) and out.suffix != ".jsonl":
        raise MedReportError(f"{out}: predictions are written to a .jsonl file", f"give --out {out}.jsonl")
    if writer and not 1 <= writer[0] <= writer[1]:
        raise MedReportError(f"no writer {writer[0]} of {writer[1]}", f"give --writer 1/{max(1, writer[1])}, say")
    if writer and not isinstance(out, Path):
        raise MedReportError("several writers need a file they share", "give --out NAME.jsonl, or leave --writer out")
    task = open_task(run, out if isinstance(out, Path) else None, config, places)
    if not isinstance(out, Path):
        return _stream(out, task, progress)
    if is_finished(out):
        return _finished(out, task)
    return _write_part(out, task, *writer, progress) if writer else _write_all(out, task, progress)


def _finished(out: Path, task: Task) -> GenerateResult:
    manifest = read_manifest(out, "predictions", made_by="generate")
    confirm_finished(out, manifest, task.plan)
    return GenerateResult(out, manifest.counts["records"], 0, True, manifest.counts.get("truncated"),
                          manifest.details.get("max_new_tokens", task.limit.tokens))


def _stream(out: IO[str], task: Task, progress: Progress | None) -> GenerateResult:
    """Write all records to an open stream, chunk by chunk."""
    job = task.job()
    reporter, total = task.reporter(job), 0
    cut: list[bool | None] = []
    for chunk in job.chunks:
        rows = reporter.rows(chunk, _within(progress, total, len(job.order)))
        out.write(to_lines(rows))
        out.flush()
        total += len(chunk)
        cut += [row.truncated for row in rows]
        if progress:
            progress(total, len(job.order))
    return GenerateResult(None, total, total, False, _truncated(cut), _limit(task, reporter), reporter.why_static)


def _write_all(out: Path, task: Task, progress: Progress | None) -> GenerateResult:
    """Write what no file holds yet, put everything together, and finish."""
    with claim(out, task.plan) as claimed:
        job = task.job()
        missing = _missing(out, job, range(len(job.chunks)))
        reporter = task.reporter(job) if missing else None
        claimed.begin()
        why_static = reporter.why_static if reporter else noted_static(out)
        with out.open("ab") as stream:
            held = read_held(out, job.ids)
            stream.truncate(held.size)
            written = _append(stream, Sums(out, held, why_static), job, reporter, missing, progress)
        merge(out, read_all(out, job.ids), len(job.chunks))
        rows = read_rows(out, PredictionRow)
        counts = {"records": len(rows), "empty": sum(not row.prediction for row in rows),
                  "truncated": _truncated(row.truncated for row in rows)}
        if unreported := sum(row.reference is None for row in rows):
            counts["without_reference"] = unreported
        limit = _limit(task, reporter)
        details = {"dataset": task.store.dataset, "run": task.run.name, "machine": task.plan["machine"],
                   "files": file_hashes(out.parent, [out.name])}
        details |= {"max_new_tokens": limit} if limit != task.limit.tokens else {}
        details |= {"static_batches": why_static} if why_static else {}
        config = task.config
        write_manifest(out, Manifest("predictions", "generate", settings_of(config), config.seed, counts, task.inputs,
                                     details))
        claimed.finish()
    return GenerateResult(out, len(rows), written, False, counts["truncated"], limit,
                          reporter.why_static if reporter else None)


def _write_part(out: Path, task: Task, writer: int, writers: int, progress: Progress | None) -> GenerateResult:
    """Write those of one writer's chunks that no file holds yet, to its part."""
    check_place(out)
    check_plan(out, task.plan)
    job = task.job()
    own = range(writer - 1, len(job.chunks), writers)
    records, path = sum(len(job.chunks[number]) for number in own), part_path(out, writer, writers)
    if not _missing(out, job, own):
        return GenerateResult(path, records, 0, max_new_tokens=task.limit.tokens)
    reporter = task.reporter(job)
    with claim_part(out, task.plan, writer, writers) as part:
        if part is None:
            return _finished(out, task)
        held = read_held(path, job.ids)
        part.truncate(held.size)
        sums, missing = Sums(path, held, reporter.why_static), _missing(out, job, own)
        written = _append(part, sums, job, reporter, missing, progress, records)
    return GenerateResult(path, records, written, max_new_tokens=_limit(task, reporter),
                          why_static=reporter.why_static)


def _within(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    """Tells how many reports of a chunk have ended, behind those `done` before it."""
    return lambda ended: progress(done + ended, total) if progress else None


def _limit(task: Task, reporter: Reporter | None) -> int | None:
    """How long reports might be; where no model was loaded, at most."""
    return reporter.job.config.max_new_tokens if reporter else task.limit.tokens


def _truncated(cut: Iterable[bool | None]) -> int | None:
    """How many reports were cut before their end; None where one does not say it, from a part of an older version."""
    said = list(cut)
    return None if None in said else said.count(True)


def _missing(out: Path, job: Job, numbers: Iterable[int]) -> list[int]:
    """Those of some chunks that neither the predictions nor any part holds whole."""
    held = held_numbers(read_all(out, job.ids))
    return [number for number in numbers if number not in held]


def _append(stream: IO[bytes], sums: Sums, job: Job, reporter: Reporter | None, numbers: list[int],
            progress: Progress | None, total: int | None = None) -> int:
    """Write chunks one after the other, each safe on disk before the next; returns how many records that were."""
    chunks = job.chunks
    total = total or len(job.order)
    left = sum(len(chunks[number]) for number in numbers)
    before = done = total - left
    if progress:
        progress(done, total)
    for number in numbers:
        assert reporter is not None
        text = to_lines(reporter.rows(chunks[number], _within(progress, done, total))).encode()
        with named(sums.path):
            sums.add(text)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        done += len(chunks[number])
        if progress:
            progress(done, total)
    return done - before
