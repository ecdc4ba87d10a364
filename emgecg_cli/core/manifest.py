"""Manifests: an artefact is finished when its manifest is there, which says how it was made.

A manifest holds no clock time and no absolute path of its own, so that the same command on the same input writes the
same bytes, killed or not. It holds a hash of its own content, and hashes of the artefact's files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from emgecg_cli import __version__
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import check_is_plain, check_plain, check_tree, reach_the_disk, write_atomically
from emgecg_cli.core.schema import why_not

FORMAT_VERSION = 2
HASHED_SINCE = 2  # the format since which a manifest holds a hash of its own content
CHANGED = "undo the change, or remove it and make it again"
ENDPOINT = "endpoint"  # of details: what a language model's answers took, which decides nothing
LARGEST = 1 << 28  # bytes of a manifest
PACKAGES = ("torch", "transformers", "peft", "accelerate", "wfdb", "polars", "numpy", "scipy", "safetensors",
            "sacrebleu", "rouge-score", "bert-score")


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says. `inputs` maps a role ("store", …) to {"path": from the artefact, "hash": of its
    manifest}."""

    kind: str
    command: str
    arguments: dict[str, Any]
    seed: int | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    versions: dict[str, str] = field(default_factory=dict)
    content_hash: str | None = None


def manifest_path(artefact: Path) -> Path:
    """`DIR/manifest.json` of a folder; `NAME.jsonl.manifest.json` beside a single file."""
    if is_single_file(artefact):
        return artefact.with_name(f"{artefact.name}.manifest.json")
    return artefact / "manifest.json"


def is_single_file(artefact: Path) -> bool:
    """Whether an artefact is one file (predictions, scores) rather than a folder; decided by its name."""
    return artefact.suffix in (".jsonl", ".json")


def check_folder_name(artefact: Path) -> None:
    """Raise MedReportError for a folder whose name says that it is a file."""
    if is_single_file(artefact):
        raise MedReportError(f"{artefact}: this command writes a folder", f"give --out {artefact.with_suffix('')}")


def is_finished(artefact: Path) -> bool:
    """Whether the artefact is there and its manifest has been written."""
    return artefact.exists() and manifest_path(artefact).is_file()


def write_manifest(artefact: Path, manifest: Manifest) -> None:
    """Finish an artefact: the last write, and atomic; all files it names are on the disk before it is there."""
    _base(artefact).mkdir(parents=True, exist_ok=True)
    for name in sorted(manifest.details.get("files", {})):
        reach_the_disk(_base(artefact) / name)
        reach_the_disk((_base(artefact) / name).parent)
    reach_the_disk(_base(artefact))
    values = json.loads(json.dumps(asdict(manifest) | {"versions": package_versions()}))
    values["content_hash"] = _content_hash(values)
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    write_atomically(manifest_path(artefact), text.encode("utf-8", "surrogatepass"))
    reach_the_disk(_base(artefact))


def read_manifest(artefact: Path, kind: str | None, made_by: str | None = None) -> Manifest:
    """Read the manifest of a finished artefact of this kind, None: of any; says what is there instead when it is not
    one.

    Raises MedReportError for a manifest that was changed after it was written, for fields of another type than later
    stages take, and for a folder that holds a device, a pipe, or a link out of it. Manifests of before
    they held a hash of their content are taken as they are.
    """
    path = manifest_path(artefact)
    hint = f"make one with `medreport {made_by}`" if made_by else "check the path"
    what = kind or "artefact"
    if not artefact.exists():
        raise MedReportError(f"{artefact}: no such {what}", hint)
    if not path.is_file():
        raise MedReportError(f"{artefact}: not a finished {what} ({path.name} is missing)",
                             "run the command that makes it again: it goes on where it stopped")
    check_is_plain(artefact) if is_single_file(artefact) else check_tree(artefact)
    manifest = _checked(path, _values_of(path, hint), hint)
    if kind and manifest.kind != kind:
        raise MedReportError(f"{artefact}: its kind is {manifest.kind}, needed is {kind}", hint)
    return manifest


def _values_of(path: Path, hint: str) -> dict[str, Any]:
    """The JSON object in a manifest's file."""
    try:
        values = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("format_version"), int):
        raise MedReportError(f"{path}: not a manifest that medreport wrote", hint)
    return values


def _checked(path: Path, values: dict[str, Any], hint: str) -> Manifest:
    """The manifest of these values, if they are what was written and of the types they must be."""
    written = values["format_version"]
    if written > FORMAT_VERSION:
        raise MedReportError(f"{path}: format {written}, this medreport reads {FORMAT_VERSION}",
                             "install a newer medreport")
    known = {one.name for one in fields(Manifest)}
    if (unknown := sorted(set(values) - known)) or not {"kind", "command", "arguments"} <= set(values):
        raise MedReportError(f"{path}: not a manifest that medreport wrote"
                             + (f" ('{unknown[0][:40]}' is none of its fields)" if unknown else ""), hint)
    if values.get("content_hash") is None:
        changed = written >= HASHED_SINCE
    else:
        changed = values["content_hash"] != _content_hash(values)
    if changed:
        raise MedReportError(f"{path}: was changed after it was written", CHANGED)
    blank: dict[str, Any] = {"seed": None, "counts": {}, "inputs": {}, "details": {}, "versions": {}}
    if wrong := why_not(blank | values):
        raise MedReportError(f"{path}: {wrong}", "it cannot be used; make it again")
    return Manifest(**values)


def _content_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 over all other fields of a manifest."""
    return json_hash({key: value for key, value in values.items() if key != "content_hash"})


def manifest_hash(artefact: Path) -> str:
    """SHA-256 of the manifest: the identity of an artefact."""
    return hashlib.sha256(manifest_path(artefact).read_bytes()).hexdigest()


def input_of(path: Path, artefact: Path) -> dict[str, str]:
    """How the manifest of `artefact` names one of its inputs: where it lies from there, and which one it is."""
    return {"path": path_from(path, artefact), "hash": manifest_hash(path)}


def hashes_of(inputs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Which inputs those are, wherever they lie."""
    return {role: named["hash"] for role, named in inputs.items()}


def path_from(path: Path, artefact: Path) -> str:
    """Where a path lies as seen from an artefact's folder, links resolved."""
    return Path(os.path.relpath(path.resolve(), _base(artefact).resolve())).as_posix()


def path_at(artefact: Path, named: str) -> Path:
    """The path that `path_from` named; relative to the current folder if it lies below it."""
    path = Path(os.path.normpath(_base(artefact).resolve() / named))
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def input_path(artefact: Path, manifest: Manifest, role: str) -> Path:
    """Where an input of an artefact lies; raises MedReportError when it is gone, or no longer the same."""
    named = manifest.inputs.get(role)
    if not named:
        raise MedReportError(f"{manifest_path(artefact)}: names no {role}", f"give --{role}")
    path = path_at(artefact, named["path"])
    if not is_finished(path):
        raise MedReportError(f"{artefact} was made from the {role} {path.as_posix()}, which is not there",
                             f"put it back, or give --{role}")
    if manifest_hash(path) != named["hash"]:
        raise MedReportError(f"{path.as_posix()}: is not the {role} that {artefact} was made from, but a later one",
                             f"give --{role} to use it all the same")
    return path


def _base(artefact: Path) -> Path:
    """The folder an artefact's inputs are named from."""
    return artefact.parent if is_single_file(artefact) else artefact


def check_files(artefact: Path, manifest: Manifest, but: str | None = None) -> None:
    """Raise MedReportError when a file of a finished artefact is not what its manifest says; files whose names end in
    `but` are left for later."""
    for name, digest in manifest.details.get("files", {}).items():
        if not (but and name.endswith(but)) and (why := why_damaged(artefact, name, digest)):
            raise MedReportError(f"{_base(artefact) / name}: {why}", CHANGED)


def why_damaged(artefact: Path, name: str, digest: str) -> str | None:
    """What is wrong with a file that a manifest names with this hash; None when it is what was written.

    Raises MedReportError for a name that leads out of the artefact.
    """
    check_plain(_base(artefact), name)
    try:
        found = file_hashes(_base(artefact), [name])[name]
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None if found == digest else "was changed after it was finished"


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of medreport and of the packages that decide its numbers, without importing them."""
    return {"medreport": __version__} | {package: _version(package) for package in packages}


@lru_cache(maxsize=64)
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)  # reads and parses a file
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def file_hashes(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files below a folder, so that an artefact's identity covers its content."""
    hashes = {}
    for name in sorted(names):
        with (folder / name).open("rb") as stream:
            hashes[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes


def json_hash(value: Any) -> str:
    """SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
