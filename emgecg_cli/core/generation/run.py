"""`generate_reports`: what is refused, what is left to do, and the files that are written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.claims import check_place, check_plan, claim, claim_part, confirm_finished, part_path
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import named
from emgecg_cli.core.generation.job import (
    OTHER_STORE,
    Job,
    Limit,
    check_fits,
    check_signal,
    limit_of,
    plan_job,
    settings_of,
)
from emgecg_cli.core.generation.parts import Sums, held_numbers, merge, read_all, read_held
from emgecg_cli.core.generation.reports import Reporter, to_lines
from emgecg_cli.core.inputs.records import Inputs, open_inputs, references_input
from emgecg_cli.core.instructions.build import Instructions, open_instructions
from emgecg_cli.core.instructions.turns import turn_of
from emgecg_cli.core.manifest import (
    Manifest,
    check_files,
    file_hashes,
    hashes_of,
    input_of,
    input_path,
    is_finished,
    package_versions,
    path_at,
    read_manifest,
    write_manifest,
)
from emgecg_cli.core.models.backbones import machine_at_hand
from emgecg_cli.core.models.run_files import check_moved, load_run, load_tokenizer
from emgecg_cli.core.store import Store, open_store

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


@dataclass(frozen=True)
class Places:
    """Where a run's inputs are, if not where the run says: the store, the instructions, another hospital's references
    in place of the store's, or of those it was trained with, and the folder of the backbone, if it was moved.
    `download` allows to fetch a backbone that the run names from the hub."""

    store: Path | None = None
    instructions: Path | None = None
    references: Path | None = None
    backbone: Path | None = None
    download: bool = False


RUNS_OWN = Places()


@dataclass(frozen=True)
class Task:
    """What was asked for, opened and checked, before a model is loaded."""

    run: Path
    store: Store
    instructions: Instructions
    config: GenerateConfig
    shown: Inputs
    inputs: dict[str, dict[str, str]]
    plan: dict[str, Any]
    limit: Limit
    places: Places

    def job(self) -> Job:
        """Records and chunks; the tokenizer alone decides them."""
        return plan_job(self.shown, load_tokenizer(self.run), self.config)

    def reporter(self, job: Job) -> Reporter:
        """Load the model; the reporter's own job says how long its reports may be."""
        machine = self.plan["machine"]
        device = torch.device(machine["device"])
        dtype = torch.bfloat16 if machine["precision"] == "bf16" else torch.float32
        model, tokenizer, manifest = load_run(self.run, device, dtype, self.places.backbone, self.places.download)
        longest = max(map(len, job.prompts(job.chunks[-1], tokenizer, model.placeholders)))  # sorted by length
        new = self.limit.within(model.backbone, longest, model.encoder_decoder)
        return Reporter(model, tokenizer, turn_of(manifest.details, tokenizer),
                        replace(job, config=replace(job.config, max_new_tokens=new)), device)


def open_task(run: Path, out: Path | None, config: GenerateConfig, places: Places = RUNS_OWN) -> Task:
    """Open run, store and instructions; raises MedReportError when they do not fit each other.

    The task's config is the one given with its `max_new_tokens` resolved, and its `signal` in the shortest words.
    """
    manifest = read_manifest(run, "run", made_by="train")
    check_files(run, manifest, but=".safetensors")  # the weights when they are loaded
    if places.backbone:
        check_moved(run, manifest, places.backbone)
    limit = limit_of(run, manifest, config.max_new_tokens)
    config = replace(config, max_new_tokens=limit.tokens)
    store = open_store(places.store or input_path(run, manifest, "store"))
    instructions = open_instructions(places.instructions or input_path(run, manifest, "instructions"))
    check_fits(run, manifest, store, instructions, config)
    made_from = {"run": run, "store": store.path, "instructions": instructions.path}
    inputs = {role: input_of(path, out or Path()) for role, path in made_from.items()}
    file = places.references or (_trained_with(run, manifest) if places.store is None else None)
    if file:
        inputs["references"] = references_input(file, out or Path())
    shown = _shown(store, instructions, manifest, config, file)
    config = replace(config, signal=check_signal(run, shown, config))
    plan = {"settings": settings_of(config), "inputs": hashes_of(inputs), "machine": machine_at_hand(),
            "versions": package_versions()}
    return Task(run, store, instructions, config, shown, inputs, plan, limit, places)


def _shown(store: Store, instructions: Instructions, manifest: Manifest, config: GenerateConfig,
           file: Path | None) -> Inputs:
    """The records as the run was shown them; values of tables beside the references of `file`, if given."""
    model, tables = manifest.details["model"], manifest.details.get("tables") or {}
    return open_inputs(store, instructions, encoder=model["encoder"], hints=OTHER_STORE, references=file,
                       mode=model.get("values", "encoder"), random_seed=tables.get("random_seed"),
                       hidden=config.signal == "none")


def _trained_with(run: Path, manifest: Manifest) -> Path | None:
    """Another hospital's references that the run was trained with; raises MedReportError when they have changed."""
    named = manifest.inputs.get("references")
    if named is None:
        return None
    file = path_at(run, named["path"])
    if references_input(file, run)["hash"] != named["hash"]:
        raise MedReportError(f"{file}: not the references that {run} was trained with",
                             "put the old file back, or give one with --references")
    return file


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
        with out.open("ab") as stream:
            held = read_held(out, job.ids)
            stream.truncate(held.size)
            written = _append(stream, Sums(out, held), job, reporter, missing, progress)
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
        written = _append(part, Sums(path, held), job, reporter, _missing(out, job, own), progress, records)
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
