"""The dataclass of every row on disk, and reading and writing JSON lines.

A row class is the schema: `read_rows` refuses a line that lacks a field without a default, and names file and line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any, TypeVar

from emgecg_cli.core.errors import MedReportError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class RecordRow:
    """One row of a store's `records.parquet`: one recording with its report.

    `shard` and `row` say where its signal lies. Residuals are in microvolts, at the median and the 99th percentile of
    the samples; they are None when a limb lead is absent. `resampled_from` is the rate in Hz the file had, when it was
    another one than `fs`.
    """

    record_id: str
    subject_id: str
    split: str
    fs: int
    sig_len: int
    report: str
    report_raw: str
    language: str
    codes: list[str]
    source: str
    shard: int
    row: int
    n_missing: int = 0
    n_clipped: int = 0
    n_cropped: int = 0
    n_padded: int = 0
    absent_leads: list[str] = field(default_factory=list)
    resampled_from: int | None = None
    einthoven_p50_uv: float | None = None
    einthoven_p99_uv: float | None = None
    goldberger_p50_uv: float | None = None
    goldberger_p99_uv: float | None = None
    lead_check: str = "ok"


@dataclass(frozen=True)
class QuarantineRow:
    """One line of `quarantine.jsonl`: a record that was left out of a store, and why."""

    record_id: str
    reason: str
    detail: str
    source: str


@dataclass(frozen=True)
class PerturbedRow:
    """One line of a perturbed store's `perturbed.jsonl`: a record that was hit.

    `snr_db` is the ratio that was reached (None: nothing changed, or there was no signal), `changed` the share of time
    in which any lead differs, `n_clipped` the samples at the end of the int16 scale.
    """

    record_id: str
    snr_db: float | None
    changed: float
    n_clipped: int


@dataclass(frozen=True)
class InstructionRow:
    """One line of `instructions.jsonl`: the chat of one record, in Hugging Face's messages convention."""

    record_id: str
    prompt_id: int
    messages: list[dict[str, Any]]


@dataclass(frozen=True)
class PredictionRow:
    """One line of `predictions.jsonl`: a generated report beside its reference.

    `signal` says what the model was shown ("real", "shuffled", "zeros" or "none"), `signal_from` whose recording.
    """

    record_id: str
    prediction: str
    reference: str
    prompt_id: int | None = None
    subject_id: str | None = None
    dataset: str | None = None
    language: str | None = None
    codes: list[str] | None = None
    signal: str | None = None
    signal_from: str | None = None


Row = TypeVar("Row")

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
    return json.dumps(asdict(row) if not isinstance(row, dict) else row, ensure_ascii=False)  # type: ignore[call-overload]


def write_rows(path: Path, rows: Iterable[object]) -> None:
    """Write all rows as JSON lines, atomically."""
    write_atomically(path, "".join(to_json(row) + "\n" for row in rows).encode("utf-8", "surrogatepass"))


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
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}  # type: ignore[arg-type]
    types = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    for number, line in _numbered_lines(stream, name):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MedReportError(f"{where}: not JSON ({error})", "each line holds one JSON object") from None
        if not isinstance(values, dict):
            raise MedReportError(f"{where}: not a JSON object", "each line holds one JSON object")
        missing = [key for key, required in known.items() if required and key not in values]
        if missing:
            raise MedReportError(f"{where}: lacks {', '.join(missing)}", f"a {kind.__name__} has {', '.join(known)}")
        row = {key: value for key, value in values.items() if key in known}
        for key, value in row.items():
            if expected := _mismatch(value, types[key]):
                raise MedReportError(f"{where}: {key} is {_JSON_NAMES[type(value)]}, where {expected} is needed",
                                     "write the field as its type, or leave the line out")
        yield kind(**row)


def _numbered_lines(stream: IO[str] | Iterable[str], name: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1."""
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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a killed run, sees the old bytes or the new ones and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
