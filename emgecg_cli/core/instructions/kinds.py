"""The kinds of instructions, and which options each of them takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.config import InstructionDefaults
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.instructions.written import BuildResult

REPORT, GROUNDED, FILE = "report", "grounded", "file"
KINDS = (REPORT, GROUNDED)
_ENDPOINT = ("base_url", "model", "requests_at_once", "prices", "client")
_DRAWN = ("pool_size", "rephraser", "language", "layout", "references", "tables")
_TAKES = {REPORT: (*_DRAWN, *_ENDPOINT, "seed"), GROUNDED: ("writer", "inputs", *_ENDPOINT, "seed"),
          FILE: ("inputs", "remap")}
_DEFAULTS = {"pool_size": InstructionDefaults.pool_size, "rephraser": InstructionDefaults.rephraser,
             "language": "record", "layout": "published", "seed": InstructionDefaults.seed}
_OPTIONS = {"prices": "price-in"}


def build_of_kind(store: Path, out: Path, *, kind: str = REPORT, from_file: Path | None = None,
                  remap: Sequence[tuple[str, str]] = (), inputs: str | None = None, progress: Any = None,
                  **settings: Any) -> BuildResult:
    """Build instructions of a kind, or, with `from_file`, those of a file of conversations; `settings` are those of
    `build_instructions` and `build_grounded`. Raises MedReportError for a setting that has no effect, and as these do.
    """
    check_kind(kind, from_file)
    chosen = FILE if from_file else kind
    given = {name: value for name, value in {**settings, "inputs": inputs, "remap": remap or None}.items()
             if value not in (None, _DEFAULTS.get(name))}
    for name in given:
        if name not in _TAKES[chosen]:
            others = [f"--kind {one}" if one != FILE else "--from FILE" for one, takes in _TAKES.items()
                      if name in takes]
            raise MedReportError(f"--{_OPTIONS.get(name, name.replace('_', '-'))} has no effect with "
                                 + ("--from" if from_file else f"--kind {kind}"),
                                 f"leave it out; it is for {' and '.join(others)}")
    if from_file:
        from emgecg_cli.core.instructions.files.build import build_from_file

        return build_from_file(from_file, store, out, remap=remap, shown=inputs or "ecg", progress=progress)
    taken = {name: value for name, value in settings.items() if name in _TAKES[kind] and value is not None}
    if kind == GROUNDED:
        from emgecg_cli.core.instructions.grounded.build import build_grounded

        return build_grounded(store, out, shown=inputs or "ecg", progress=progress, **taken)
    return build_instructions(store, out, progress=progress, **taken)


def check_kind(kind: str, from_file: Path | None) -> None:
    """Raise MedReportError for a kind that is none, and for one beside a file."""
    if kind not in KINDS:
        raise names.unknown_name("kind", kind, KINDS)
    if from_file and kind != REPORT:
        raise MedReportError("--kind and --from are given: the file has its own answers", "leave one of them out")


def usual_name(store: Path, kind: str, from_file: Path | None) -> str:
    """The name of the folder that instructions are written to if none is given."""
    more = f"-{from_file.stem}" if from_file else "" if kind == REPORT else f"-{kind}"
    return store.resolve().name + more
