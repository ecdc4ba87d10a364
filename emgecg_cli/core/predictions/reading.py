"""Reading predictions: JSON lines, or one JSON array, from a file or a stream.

Nothing is left out: a row that cannot be read ends the reading, with the line it stands in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.claims import mark_path
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.json_lines import numbered_lines, parse_objects
from emgecg_cli.core.manifest import Manifest, check_files, is_finished, read_manifest
from emgecg_cli.core.predictions.fields import to_row

_BLANK = re.compile(r"[ \t\r\n]*")
_ARRAY_HINT = "a file is JSON lines, or one array of objects"


@dataclass(frozen=True)
class Predictions:
    """The rows of a predictions file, and its manifest where `generate` finished it."""

    rows: list[PredictionRow]
    manifest: Manifest | None


def read_predictions(source: Path | IO[str], mapping: Mapping[str, str] | None = None) -> Predictions:
    """Read a predictions file or stream; `mapping` says which field of the file is which of ours
    (`fields.parse_fields`).

    Raises MedReportError for a file that `generate` has begun and not finished, that is damaged, that is empty, or that
    holds something else, naming the line.
    """
    manifest = None
    if not isinstance(source, Path):
        name = str(getattr(source, "name", "stdin")).strip("<>")
        rows = list(_rows(source, mapping or {}, name))
    else:
        if mark_path(source).exists() and not is_finished(source):
            raise MedReportError(f"{source}: `generate` has not finished it",
                                 "repeat that command: it goes on where it stopped")
        if is_finished(source):
            manifest = read_manifest(source, "predictions")
            check_files(source, manifest)
        rows, name = _read_file(source, mapping or {}), str(source)
    if not rows:
        raise MedReportError(f"{name}: holds no predictions",
                             "run `medreport generate`, or pipe `medreport generate RUN --out -` into it")
    return Predictions(rows, manifest)


def _read_file(path: Path, mapping: Mapping[str, str]) -> list[PredictionRow]:
    try:
        with path.open("rb") as stream:
            return list(_rows(_decoded(stream, str(path)), mapping, str(path)))
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise MedReportError(f"{path}: {reason}", "check the path") from None


def _decoded(stream: IO[bytes], name: str) -> Iterator[str]:
    """The lines as text; each is decoded by itself, so that one that is not UTF-8 is named exactly."""
    for number, line in enumerate(stream, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise MedReportError(f"{name}, line {number}: not UTF-8 text ({error.reason})",
                                 "save the file as UTF-8") from None


def _rows(stream: Iterable[str], mapping: Mapping[str, str], name: str) -> Iterator[PredictionRow]:
    unseen, rows = dict(mapping), 0
    for where, values in _objects(stream, name):
        rows += 1
        unseen = {ours: theirs for ours, theirs in unseen.items() if theirs not in values} if unseen else unseen
        yield to_row(values, mapping, where)
    if unseen and rows:
        ours, theirs = next(iter(unseen.items()))
        raise MedReportError(f"{name}: no row has a field {theirs} (--field {ours}={theirs})",
                             "check the name, or leave it out of --field")


def _objects(stream: Iterable[str], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file and where each stands; the first character that is no blank decides how it is read."""
    lines = iter(stream)
    head: list[str] = []
    for _, line in numbered_lines(lines, name):
        head.append(line if head else line.removeprefix("\ufeff"))
        if head[-1].strip():
            break
    whole = chain(head, lines)
    if head and head[-1].lstrip().startswith("["):
        yield from _array("".join(line for _, line in numbered_lines(whole, name)), name)
    else:
        yield from parse_objects(whole, name)


def _array(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSON array, each with the line it begins in and its number."""
    decoder, line, counted, number = json.JSONDecoder(), 1, 0, 0
    at = _after(text, text.index("[") + 1)
    while number or text[at:at + 1] != "]":
        number += 1
        line, counted = line + text.count("\n", counted, at), at
        where = f"{name}, line {line}, row {number}"
        try:
            values, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            said = f"{error.msg} in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise MedReportError(f"{where}: not JSON ({said})", _ARRAY_HINT) from None
        if not isinstance(values, dict):
            raise MedReportError(f"{where}: not a JSON object", _ARRAY_HINT)
        yield where, values
        at = _after(text, at)
        if text[at:at + 1] == "]":
            break
        if text[at:at + 1] != ",":
            raise MedReportError(f"{where}: neither a comma nor a ] behind it", _ARRAY_HINT)
        at = _after(text, at + 1)
    if (end := _after(text, at + 1)) < len(text):
        raise MedReportError(f"{name}, line {1 + text.count(chr(10), 0, end)}: there is more behind the end of the "
                             "array", _ARRAY_HINT)


def _after(text: str, at: int) -> int:
    """The first place from `at` on that is no blank."""
    found = _BLANK.match(text, at)
    return at if found is None else found.end()
