"""Manifests: an artefact is finished when its manifest is there, and the manifest says how it was made.

A manifest holds no clock time and no absolute path of its own, so that the same command on the same input writes the
same bytes, killed or not.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emgecg_cli import __version__
from emgecg_cli.core.artifacts import write_atomically
from emgecg_cli.core.errors import MedReportError

FORMAT_VERSION = 1
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
    """Finish an artefact: the last write, and atomic."""
    values = asdict(manifest) | {"versions": package_versions()}
    write_atomically(manifest_path(artefact), (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


def read_manifest(artefact: Path, kind: str, made_by: str | None = None) -> Manifest:
    """Read the manifest of a finished artefact of this kind; says what is there instead when it is not one."""
    path = manifest_path(artefact)
    hint = f"make one with `medreport {made_by}`" if made_by else "check the path"
    if not artefact.exists():
        raise MedReportError(f"{artefact}: no such {kind}", hint)
    if not path.is_file():
        raise MedReportError(f"{artefact}: not a finished {kind} ({path.name} is missing)",
                             "run the command that makes it again: it goes on where it stopped")
    try:
        values = json.loads(path.read_bytes())
        written = int(values["format_version"])
        if written > FORMAT_VERSION:
            raise MedReportError(f"{path}: format {written}, this medreport reads {FORMAT_VERSION}",
                                 "install a newer medreport")
        manifest = Manifest(**values)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MedReportError(f"{path}: not a manifest that medreport wrote", hint) from None
    if manifest.kind != kind:
        raise MedReportError(f"{artefact}: its kind is {manifest.kind}, needed is {kind}", hint)
    return manifest


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


def check_files(artefact: Path, manifest: Manifest) -> None:
    """Raise MedReportError when a file of a finished artefact is not what its manifest says."""
    named = manifest.details.get("files", {})
    try:
        found = file_hashes(_base(artefact), named)
    except OSError as error:
        raise MedReportError(f"{error.filename}: {error.strerror}", f"remove {artefact} and make it again") from None
    for name, digest in named.items():
        if found[name] != digest:
            raise MedReportError(f"{_base(artefact) / name}: was changed after it was finished",
                                 "undo the change, or remove it and make it again")


def package_versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of medreport and of the packages that decide its numbers, without importing them."""
    versions = {"medreport": __version__}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


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
