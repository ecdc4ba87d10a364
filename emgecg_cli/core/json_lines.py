"""Rows as JSON lines.

A row class is the schema: `read_rows` refuses a line that lacks a field without a default, and names file and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_chunks_atomically

Row = TypeVar("Row")
UNSAID = {"unsaid": True}  # metadata of a field that a line leaves out where it is None

# annotation of a field -> the JSON values it takes, and their name in an error; other annotations are not checked
_JSON_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((float, int), "a number"),
    "list[str]": ((list,), "a list of texts"),
    "list[dict[str, Any]]": ((list,), "a list of objects"),
}
_JSON_NAMES = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "text",
               list: "a list", dict: "an object"}


def to_json(row: object) -> str:
    """One line of JSON, UTF-8, keys in field order."""
    return json.dumps(row if isinstance(row, dict) else _values(row), ensure_ascii=False)


def _values(row: Any) -> dict[str, Any]:
    values = asdict(row)
    for one in fields(row):
        if one.metadata.get("unsaid") and values[one.name] is None:
            del values[one.name]
    return values


def write_rows(path: Path, rows: Iterable[object]) -> None:
    """Write all rows as JSON lines, atomically."""
    write_chunks_atomically(path, ((to_json(row) + "\n").encode("utf-8", "surrogatepass") for row in rows))


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Read JSON lines as rows of `kind`; raises MedReportError naming file and line."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            return list(parse_rows(stream, kind, str(path)))
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise MedReportError(f"{path}: {reason}", "check the path") from None


def parse_rows(stream: IO[str] | Iterable[str], kind: type[Row], name: str) -> Iterator[Row]:
    """Parse JSON lines as rows of `kind`; unknown keys are ignored, so that others may add theirs.

    Raises MedReportError naming the line for bytes that are not UTF-8, for what is not a JSON object, and for a field
    that is missing or of another type.
    """
    for where, values in parse_objects(stream, name):
        yield row_of(values, kind, where)


def parse_objects(stream: IO[str] | Iterable[str], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object of each line and where it stands ("NAME, line 3"), blank lines left out; raises as `parse_rows`."""
    for number, line in numbered_lines(stream, name):
        if line.strip():
            where = f"{name}, line {number}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise MedReportError(f"{where}: not JSON ({error})", "each line holds one JSON object") from None
            if not isinstance(values, dict):
                raise MedReportError(f"{where}: not a JSON object", "each line holds one JSON object")
            yield where, values


def row_of(values: Mapping[str, Any], kind: type[Row], where: str) -> Row:
    """The row of a JSON object that stands at `where`; raises MedReportError for a field that is missing or of another
    type."""
    known, types = _schema(kind)  # type: ignore[arg-type]
    missing = [key for key, required in known.items() if required and key not in values]
    if missing:
        raise MedReportError(f"{where}: lacks {', '.join(missing)}", f"a {kind.__name__} has {', '.join(known)}")
    row = {key: value for key, value in values.items() if key in known}
    for key, value in row.items():
        if expected := _mismatch(value, types[key]):
            raise MedReportError(f"{where}: {key} is {_JSON_NAMES[type(value)]}, where {expected} is needed",
                                 "write the field as its type, or leave the line out")
    return kind(**row)


@lru_cache(maxsize=64)
def _schema(kind: type) -> tuple[dict[str, bool], dict[str, str]]:
    """The fields of a row class: whether each is required, and its annotation."""
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}
    return known, {f.name: str(f.type) for f in fields(kind)}


@lru_cache(maxsize=64)
def _unsaid(kind: type) -> tuple[str, ...]:
    """The fields of a row class that are not written where they are None."""
    return tuple(f.name for f in fields(kind) if f.metadata.get("unsaid"))


def numbered_lines(stream: IO[str] | Iterable[str], name: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1; raises MedReportError where bytes are not UTF-8."""
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            yield number, line
    except UnicodeDecodeError as error:
        raise MedReportError(f"{name}, after line {number}: not UTF-8 text ({error.reason})",
                             "save the file as UTF-8") from None


def _mismatch(value: object, annotation: str) -> str | None:
    """What a field of this annotation needs, when the value is not that; None when it is."""
    base = annotation.removesuffix(" | None")
    if base not in _JSON_TYPES or (value is None and base != annotation):
        return None
    accepted, expected = _JSON_TYPES[base]
    fits = isinstance(value, accepted) and not isinstance(value, bool)
    if isinstance(value, list):
        item = str if base == "list[str]" else dict
        fits = fits and all(isinstance(one, item) for one in value)
    return None if fits else expected
