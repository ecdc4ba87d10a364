"""`verify`: every file of a finished artefact, read whole and held against the hashes that were written with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emgecg_cli.core.claims import mark_path
from emgecg_cli.core.config import (
    CERTIFICATES,
    ENCODERS,
    INSTRUCTIONS,
    PAGES,
    PREDICTIONS,
    ROBUSTNESS,
    RUNS,
    SCORES,
    STORES,
)
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import (
    Manifest,
    is_finished,
    is_single_file,
    manifest_path,
    read_manifest,
    why_damaged,
)
from emgecg_cli.core.store.integrity import SHARDS
from emgecg_cli.core.store.reader import Store, open_store
from emgecg_cli.core.store.stored_rows import rows_file
from emgecg_cli.core.store.views import is_view, original_of

MANIFEST = "manifest.json"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Damage:
    """A file that is not what was written, and what is wrong with it."""

    file: str
    what: str


@dataclass(frozen=True)
class Verified:
    """What was found in an artefact: its kind, the files that were read and their bytes, and what is damaged.

    `other` are files in its folder that no hash covers: nobody reads them. `note` says what of an artefact written by
    an older version has no hash, and how it was checked instead; "" for the others.
    """

    path: str
    kind: str
    files: int
    bytes: int
    damaged: list[Damage]
    other: list[str]
    note: str = ""


def finished_artefacts() -> list[Path]:
    """All finished artefacts in their default places."""
    places = [Path(folder).glob("*") for folder in (STORES, INSTRUCTIONS, ENCODERS, RUNS, PAGES)]
    files = [*Path(PREDICTIONS).glob("*.jsonl"), *Path(SCORES).glob("*.json"),
             *(path for pattern in ("*.jsonl", "*.json") for path in Path(CERTIFICATES).glob(f"*/{pattern}")),
             *(path for pattern in ("*.json", "predictions/*.jsonl", "stores/*")
               for path in Path(ROBUSTNESS).glob(f"*/{pattern}"))]
    return sorted(path for path in [*(path for place in places for path in place), *files]
                  if is_finished(path) and not path.name.startswith("."))


def verify_artefact(path: Path, progress: Progress | None = None) -> Verified:
    """Read all of a finished artefact and say what is not as it was written; never raises for damage.

    `path` may also be its manifest. `progress(done, total)` counts files. Raises MedReportError for what is no finished
    artefact.
    """
    path = _artefact(path)
    try:
        manifest = read_manifest(path, None)
    except MedReportError as error:
        if not is_finished(path):
            raise
        return Verified(path.as_posix(), "?", 1, manifest_path(path).stat().st_size,
                        [Damage(manifest_path(path).as_posix(), error.message)], [])
    base = path.parent if is_single_file(path) else path
    hashes: dict[str, str] = manifest.details.get("files", {}) | manifest.details.get(SHARDS, {})
    damaged, size = [], manifest_path(path).stat().st_size
    for number, (name, digest) in enumerate(sorted(hashes.items()), 1):
        try:
            why = why_damaged(path, name, digest)
            size += (base / name).stat().st_size if (base / name).is_file() else 0
        except MedReportError as error:
            why = error.message
        damaged += [Damage((base / name).as_posix(), why)] if why else []
        if progress:
            progress(number, len(hashes))
    note, more = _of_old_store(path, manifest) if not damaged else ("", [])
    covered = {*hashes, *_of_shards(path, manifest), manifest_path(path).name}
    found = Verified(path.as_posix(), manifest.kind, len(hashes) + 1, size, damaged + more, _other(path, covered), note)
    return _with_original(found, path, manifest, progress) if manifest.kind == "store" and is_view(manifest) else found


def _artefact(path: Path) -> Path:
    """The artefact that is meant by its path, or by that of its manifest."""
    if path.name == MANIFEST:
        return path.parent
    if path.name.endswith(f".{MANIFEST}"):
        return path.with_name(path.name.removesuffix(f".{MANIFEST}"))
    return path


def _of_shards(path: Path, manifest: Manifest) -> Iterator[str]:
    """The names of all files of the shards of a store, hashed or not."""
    if manifest.kind == "store":
        yield from (one.name for pattern in ("signals-*.npy", "rows-*.jsonl") for one in path.glob(pattern)
                    if SHARDS not in manifest.details)


def _of_old_store(path: Path, manifest: Manifest) -> tuple[str, list[Damage]]:
    """What a store without hashes of its shards has instead: every signal's own hash, and the rows twice."""
    if manifest.kind != "store" or SHARDS in manifest.details or is_view(manifest):
        return "" if manifest.content_hash else "made before manifests were hashed", []
    try:
        store = open_store(path)
        signals = store.payload.is_checked()
        damaged = [*_odd_rows(store), *(_odd_signals(store) if signals else ())]
    except MedReportError as error:
        damaged = [Damage(path.as_posix(), error.message)]
    how = "rows were compared with records.parquet" + (", signals with their rows' hashes" if signals else "") \
        if not damaged else "records were compared one by one"
    return f"made before the files of shards were hashed: {how}", damaged


def _with_original(found: Verified, path: Path, manifest: Manifest, progress: Progress | None) -> Verified:
    """What was found in a view, with what is found in the store that its signals are drawn from; where both are as they
    were, every signal is drawn once and held against its checksum."""
    try:
        whole = verify_artefact(original_of(path, manifest), progress)
        damaged = [*found.damaged, *whole.damaged]
        if not damaged:
            damaged = list(_odd_signals(open_store(path)))
    except MedReportError as error:
        return replace(found, damaged=[*found.damaged, Damage(path.as_posix(), error.message)])
    return replace(found, files=found.files + whole.files, bytes=found.bytes + whole.bytes, damaged=damaged,
                   note=f"a view: {whole.path}, which its signals are drawn from, was read as well")


def _odd_signals(store: Store) -> Iterator[Damage]:
    for index in range(len(store)):
        try:
            store.signal(index)
        except MedReportError as error:
            place, _, why = error.message.partition(": ")
            yield Damage(place, why)


def _odd_rows(store: Store) -> Iterator[Damage]:
    index = 0
    for batch in store.scan().select(store.columns).collect_batches(maintain_order=True):
        for row in batch.iter_rows(named=True):
            if not _same(row, store.values(index)):
                name = rows_file(int(row["shard"]))
                yield Damage((store.path / name).as_posix(), f"row {index} is not the one in records.parquet")
            index += 1


def _same(row: dict[str, Any], read: dict[str, Any]) -> bool:
    return all(read.get(name) == value for name, value in row.items())


def _other(path: Path, covered: set[str]) -> list[str]:
    """Files in an artefact's folder that no hash covers."""
    if is_single_file(path):
        return []
    mark = mark_path(path)
    return sorted(name for name in (one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
                  if name not in covered and name not in (mark.name, f".{mark.name}.lock"))
