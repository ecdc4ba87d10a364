"""What drafts are asked for: files and folders as they are named, each recording under the key of what decides it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, read_each
from emgecg_cli.core.datasets.etm import open_source as open_tables
from emgecg_cli.core.datasets.etm import read as read_tables
from emgecg_cli.core.datasets.file_names import recording_files
from emgecg_cli.core.datasets.formats.recording_files import Stated, open_recording, read_recording
from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.errors import MedReportError

POPULATION = "drafts"  # nobody in it is a patient of a store
LOOKED_AT = 2 ** 20  # samples of a WFDB record that decide which it is: more than are drafted


@dataclass(frozen=True)
class Target:
    """One recording, or one examination of tables: the file it is in, as it was named, its reference in a store of all
    that are asked for, and the digest of its content."""

    file: str
    ref: RecordRef
    digest: str


@dataclass(frozen=True)
class Refused:
    """A file, or what a file holds, that cannot be read, and why."""

    file: str
    why: str


def recordings_asked(named: Sequence[Path], stated: Stated) -> Iterator[Target | Refused]:
    """The recordings in files, and in all files below folders; each once."""
    seen: set[str] = set()
    for path in named:
        try:
            files = [path / one for one in recording_files(path)] if path.is_dir() else [path]
        except MedReportError as error:
            yield Refused(path.as_posix(), error.message.removeprefix(f"{path}: "))
            continue
        if not files:
            yield Refused(path.as_posix(), "no file in it")
        for file in files:
            name = file.as_posix()
            if name not in seen:
                seen.add(name)
                yield _recording(file, name, stated, path if path.is_dir() else None)


def _recording(file: Path, name: str, stated: Stated, folder: Path | None) -> Target | Refused:
    """A file, which below a folder must not be a link that leads out of it; one that is named may lie anywhere."""
    header = Path(f"{file}.hea")
    place = os.path.realpath(header if not file.exists() and header.is_file() else file)
    root = os.path.dirname(place)
    if not os.path.exists(place):
        return Refused(name, "no such file")
    try:
        if folder is not None and not Path(place).is_relative_to(folder.resolve()):
            raise RecordError("path outside root", f"{file.name} is a link to outside")
        opened = open_recording(root, place, stated)
        digest = hashlib.sha256(opened.content)
        if opened.path.endswith(".hea"):  # which says nothing of the samples
            digest.update(read_recording(root, place, stated).leads.signal[:, :LOOKED_AT].tobytes())
    except RecordError as error:
        return Refused(name, f"{error.reason}: {error.detail}")
    return Target(name, RecordRef(name, name, place, "test", {}, unreported=True), digest.hexdigest())


def source_of_recordings(targets: Sequence[Target], stated: Stated) -> Source:
    """The recordings as a source that a store is prepared from."""
    def read_one(ref: RecordRef) -> Recording:
        found = read_recording(os.path.dirname(ref.source) or ".", ref.source, stated)
        return Recording(ref, found.leads.signal, found.leads.fs, None, codes=list(found.codes), age=found.age,
                         sex=found.sex, limb_leads_follow=found.has_two_limb_leads, **found.leads.facts())

    return Source("files", lambda: iter([one.ref for one in targets]), lambda refs: read_each(read_one, refs), {},
                  population=POPULATION)


def tables_asked(named: Sequence[Path], mapping: Path | None, folder: Path) -> Iterator[Target | Refused]:
    """The examinations in tables, as a store of tables reads them; a single file is read from a copy in `folder`."""
    seen: set[str] = set()
    for number, path in enumerate(named):
        name, root = path.as_posix(), path
        try:
            if path.is_file():
                root = folder / str(number)
                root.mkdir()
                shutil.copyfile(path, root / path.name)
            elif not path.is_dir():
                raise MedReportError(f"{path}: no such file", None)
            listed = list(open_tables(root, mapping, no_reports=True).listing())
        except MedReportError as error:
            yield Refused(name, error.message.removeprefix(f"{root}: "))
            continue
        for item in listed:
            if isinstance(item, QuarantineRow):
                yield Refused(name, f"{item.record_id}: {item.reason}: {item.detail}")
                continue
            record_id = item.record_id if item.record_id not in seen else f"{name}:{item.record_id}"
            if record_id in seen:
                yield Refused(name, f"{item.record_id}: the same examination is there twice")
                continue
            seen.add(record_id)
            details = dict(item.details) | {"findings": "", "impression": ""}
            yield Target(name, replace(item, record_id=record_id, subject_id=record_id, split="test", details=details,
                                       unreported=True), _digest(details))


def source_of_tables(targets: Sequence[Target]) -> Source:
    """The examinations as a source that a store is prepared from."""
    return Source("etm", lambda: iter([one.ref for one in targets]), read_tables, {}, population=POPULATION,
                  modality="tables")


def _digest(details: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(details, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
                          ).hexdigest()
