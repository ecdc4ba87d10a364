"""`draft_reports`: from a run and files to drafts, one recording after the other, so that no draft depends on another.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emgecg_cli import __version__
from emgecg_cli.core import names
from emgecg_cli.core.config import ALL_SPLITS, GenerateConfig, PrepareConfig
from emgecg_cli.core.datasets import Source
from emgecg_cli.core.datasets.formats.recording_files import NOTHING, Stated
from emgecg_cli.core.drafting.asked import (
    Refused,
    Target,
    recordings_asked,
    source_of_recordings,
    source_of_tables,
    tables_asked,
)
from emgecg_cli.core.drafting.draft import Draft, draft_of_file, draft_of_tables
from emgecg_cli.core.drafting.kept import Kept, kept_drafts
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import Manifest, input_path, is_finished, json_hash, path_at, read_manifest
from emgecg_cli.core.references import read_references
from emgecg_cli.core.references.files import hash_of
from emgecg_cli.core.store import prepare_store
from emgecg_cli.core.store.payloads.healthy import REFERENCES
from emgecg_cli.core.view import ViewedTables, view_of
from emgecg_cli.core.view_file import view_file

AT_ONCE = 64  # recordings that are prepared together; each is drafted by itself
TABLE_ARGUMENTS = ("language", "layout")


@dataclass(frozen=True)
class Asked:
    """What a run is asked to draft: files, and folders of them; what the user states of them; for tables, the JSON file
    that names their columns and the reference ranges in place of the run's; where the run's backbone lies now, whether
    it may be downloaded, and how long a draft may be."""

    files: Sequence[Path]
    stated: Stated = NOTHING
    mapping: Path | None = None
    references: Path | None = None
    backbone: Path | None = None
    download: bool = False
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Drafted:
    """The drafts in the order of the files, and what could not be read; `written` of the drafts are new."""

    run: str
    drafts: list[Draft]
    refused: list[Refused]
    written: int

    def _repr_html_(self) -> str:
        """What a notebook shows: each draft, drawn, and what could not be read."""
        from emgecg_cli.core.drafting.page import drafts_fragment

        return drafts_fragment(self)


@dataclass(frozen=True)
class _Job:
    """The run, and whether it reads tables; the references of their values; what decides a draft besides its recording.
    """

    run: Path
    manifest: Manifest
    asked: Asked
    tables: bool
    references: Path | None

    @property
    def seconds(self) -> float:
        """How long a recording the run is shown."""
        return float(self.manifest.details["sig_len"]) / float(self.manifest.details["fs"])

    def key(self, digest: str) -> str:
        """What decides a draft: recording, run, settings and version."""
        references = hash_of(read_references(self.references)) if self.references else None
        stated = self.asked.stated
        return json_hash([digest, self.manifest.content_hash, self.asked.max_new_tokens, references, __version__,
                          [stated.fs, stated.units, list(stated.leads)]])


def draft_reports(run: Path, asked: Asked, kept: Path | None = None,
                  progress: Callable[[int, int], None] | None = None) -> Drafted:
    """Draft the reports of recordings, or of EMG tables where that is what the run reads.

    Each is written by itself, greedily, from the run's own window of it, and held against the file's recording at the
    file's own rate. `kept` is a file in which drafts are kept: those that are there for the same content, run and
    settings are not written again, and a killed call goes on where it stopped. `progress(done, total)` counts
    recordings. What cannot be read is in `refused`; raises MedReportError where the run cannot be used, or nothing is
    asked for.
    """
    if not asked.files:
        raise MedReportError("no recording is named", "name files or folders: medreport report RUN FILE")
    manifest = read_manifest(run, "run", made_by="train")
    reads = names.encoders_of(str(manifest.details["model"]["encoder"]))
    tables = set(reads) == {"values"}
    job = _Job(run, manifest, asked, tables, _references(run, manifest, asked) if tables else None)
    with kept_drafts(kept) as held, tempfile.TemporaryDirectory(prefix="medreport-") as folder:
        found = list(tables_asked(asked.files, asked.mapping, Path(folder)) if tables
                     else recordings_asked(asked.files, asked.stated))
        refused = [one for one in found if isinstance(one, Refused)]
        targets = [one for one in found if isinstance(one, Target)]
        keys = {one.ref.record_id: job.key(one.digest) for one in targets}
        done = {one.ref.record_id: draft for one in targets
                if (draft := held.get(keys[one.ref.record_id], one.file)) is not None}
        left = [one for one in targets if one.ref.record_id not in done]
        before = len(done)
        for item in _written(job, left, keys, held, Path(folder)):
            if isinstance(item, Refused):
                refused.append(item)
            else:
                done[item[0]] = item[1]
            if progress:
                progress(len(done), len(targets))
    order = [done[one.ref.record_id] for one in targets if one.ref.record_id in done]
    return Drafted(run.resolve().name, order, refused, len(done) - before)


def _references(run: Path, manifest: Manifest, asked: Asked) -> Path:
    """The ranges that values stand beside: those that are given, else those that the run was trained with."""
    if asked.references:
        return asked.references
    named = manifest.inputs.get("references")
    file = path_at(run, named["path"]) if named else input_path(run, manifest, "store") / REFERENCES
    if not file.is_file():
        raise MedReportError(f"{file}: the reference ranges that {run} was trained with are not there",
                             "give them with --references FILE")
    return file


def _written(job: _Job, targets: Sequence[Target], keys: dict[str, str], held: Kept,
             folder: Path) -> Iterator[tuple[str, Draft] | Refused]:
    """Write the drafts that are left, some recordings prepared at once; the model is loaded once."""
    reporter: Any = None
    for at in range(0, len(targets), AT_ONCE):
        place = folder / f"batch-{at}"
        viewed: dict[str, Any] = {}
        for one in targets[at:at + AT_ONCE]:
            try:
                viewed[one.ref.record_id] = None if job.tables else \
                    view_file(Path(one.ref.source), 0.0, job.asked.stated, job.seconds)
            except MedReportError as error:
                install = f": {error.hint}" if error.hint and error.hint.startswith("pip ") else ""
                yield Refused(one.file, error.message.removeprefix(f"{one.ref.source}: ") + install)
        batch = [one for one in targets[at:at + AT_ONCE] if one.ref.record_id in viewed]
        if not batch:
            continue
        task = _task(job, batch, place)
        work = task.job()
        if reporter is None:
            reporter = task.reporter(work)
        reporter = replace(reporter, job=replace(work, config=replace(
            work.config, max_new_tokens=reporter.job.config.max_new_tokens)))
        evidence = Evidence(task.store)
        index = {str(record_id): i for i, record_id in enumerate(task.store.column("record_id"))}
        for one in batch:
            record_id = one.ref.record_id
            if record_id not in index:
                yield Refused(one.file, "it was set aside when it was prepared")
                continue
            row = reporter.rows([index[record_id]])[0]
            view = viewed[record_id]
            name, cut = job.run.resolve().name, bool(row.truncated)
            draft = _of_examination(job, one, evidence, index[record_id], row.prediction, cut) if job.tables \
                else draft_of_file(one.file, view, row.prediction, cut, name)
            held.add(keys[record_id], draft)
            yield record_id, draft


def _of_examination(job: _Job, target: Target, evidence: Evidence, index: int, text: str, cut: bool) -> Draft:
    assert job.references is not None
    limits = read_references(job.references)
    found = replace(evidence.at(index), references=limits)
    view = view_of(found)
    assert isinstance(view, ViewedTables)
    case = found.case.case if found.case else None
    return draft_of_tables(target.file, view, text, cut, job.run.resolve().name, case, limits)


def _task(job: _Job, batch: Sequence[Target], place: Path) -> Any:
    """A store of these recordings and a prompt for each, as the run was trained to be shown them."""
    from emgecg_cli.core.generation import Places  # seconds to import
    from emgecg_cli.core.generation.task import open_task

    details = job.manifest.details
    source: Source = source_of_tables(batch) if job.tables else source_of_recordings(batch, job.asked.stated)
    config = PrepareConfig(no_reports=True) if job.tables else \
        PrepareConfig(fs=int(details["fs"]), seconds=job.seconds, no_reports=True)
    prepare_store(source, place / "store", config)
    build_instructions(place / "store", place / "instructions", references=job.references, **_prompting(job))
    settings = GenerateConfig(split=ALL_SPLITS, batch_size=1, max_new_tokens=job.asked.max_new_tokens)
    places = Places(place / "store", place / "instructions", job.references, job.asked.backbone, job.asked.download)
    return open_task(job.run, None, settings, places)


def _prompting(job: _Job) -> dict[str, Any]:
    """How the run was prompted: the first prompt of its pool, whatever a file is called, or no words where it saw none;
    for tables their language and layout."""
    named = job.manifest.inputs.get("instructions")
    folder = path_at(job.run, named["path"]) if named else None
    made = read_manifest(folder, "instructions").arguments if folder and is_finished(folder) else {}
    if job.tables:
        return {name: made[name] for name in TABLE_ARGUMENTS if name in made}
    return {"pool_size": min(1, int(made.get("pool_size", 1)))}
