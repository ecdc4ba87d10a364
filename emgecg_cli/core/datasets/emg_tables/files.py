"""The files of a folder of EMG tables, and their records one after the other: JSON, JSON lines, CSV, TSV, Parquet."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars

from emgecg_cli.core.datasets.formats.wfdb_files import RecordError
from emgecg_cli.core.delimited import detect, read_rows
from emgecg_cli.core.errors import MedReportError

EXTENSIONS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
TEXT_TABLES = (".csv", ".tsv")
CHUNK = 1 << 20
LARGEST_RECORD = 1 << 24
LARGEST_GROUP = 1 << 30
PARQUET_ROWS = 512
# What the hub's tools write beside the data.
_NOT_DATA = frozenset(("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json",
                       "etm_mapping.json"))
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
           "test": "test", "testing": "test"}
_WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class EtmFile:
    """A file of the folder: its path, that path relative to the root, and the split its name or folder says."""

    path: Path
    name: str
    split: str | None


@dataclass(frozen=True)
class RawRecord:
    """One record as the file has it, or the error in its place, and where: "train.jsonl, line 17"."""

    number: int
    where: str
    record: dict[str, Any] | RecordError


def split_of(name: str) -> str | None:
    """train, val or test from the words of a file name, else of its folder, nearest first."""
    for part in reversed(name.lower().split("/")):
        found = {_SPLITS[word] for word in _WORD.findall(part) if word in _SPLITS}
        if len(found) == 1:
            return found.pop()
    return None


def find_files(root: Path, leave_out: Path | None = None) -> list[EtmFile]:
    """The data files under `root`, in the order of their names; hidden folders and links out of the root left out.

    Raises MedReportError when there is no such folder, or no file in it.
    """
    if not root.is_dir():
        raise MedReportError(f"{root}: no such folder", "--root is the folder that holds the tables")
    real, found = root.resolve(), []
    outside = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(folder) / name
            if path.suffix.lower() not in EXTENSIONS or name.startswith(".") or name in _NOT_DATA:
                continue
            inside = path.resolve().is_relative_to(real)
            outside += not inside
            if inside and path.is_file() and not (leave_out and path.resolve() == leave_out.resolve()):
                relative = path.relative_to(root).as_posix()
                found.append(EtmFile(path, relative, split_of(relative)))
    if not found:
        links = f"; {outside} links lead out of it, copy the files themselves" if outside else ""
        raise MedReportError(f"{root}: no file of {', '.join(EXTENSIONS)}{links}",
                             "--root is the folder that holds the tables, or their train, validation and test files")
    return sorted(found, key=lambda file: file.name)


def iterate_records(file: EtmFile) -> Iterator[RawRecord]:
    """The records of a file in order; what cannot be read is an error in the place of the record.

    Where a file breaks off or is not what it is named, one error stands for the rest of it.
    """
    readers = {".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
    number = 0
    try:
        for raw in readers.get(file.path.suffix.lower(), _csv)(file):
            number = raw.number
            yield raw
    except (OSError, UnicodeDecodeError, csv.Error, polars.exceptions.PolarsError, RecordError,
            MedReportError) as error:
        told = error.detail if isinstance(error, RecordError) else str(error).partition("\n")[0][:120]
        if isinstance(error, MedReportError):  # says the whole path, and here the file is named
            told = error.message.removeprefix(f"{file.path}: ")
        where = f"{file.name}, record {number + 1}"
        yield RawRecord(number + 1, where, RecordError("unreadable file", f"{told}; nothing of the file is read from "
                                                                          "there on"))


def _loaded(text: str) -> dict[str, Any] | RecordError:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return RecordError("not JSON", str(error)[:120])
    return value if isinstance(value, dict) else RecordError("not JSON", f"a {type(value).__name__}, no JSON object")


def _json_lines(file: EtmFile) -> Iterator[RawRecord]:
    with file.path.open("rb") as stream:
        number = 0
        while line := stream.readline(LARGEST_RECORD):
            number += 1
            where = f"{file.name}, line {number}"
            if len(line) == LARGEST_RECORD and not line.endswith(b"\n"):
                raise RecordError("too large", f"line {number} is longer than {LARGEST_RECORD} bytes")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                yield RawRecord(number, where, RecordError("not UTF-8", error.reason))
                continue
            if text:
                yield RawRecord(number, where, _loaded(text))


def _json(file: EtmFile) -> Iterator[RawRecord]:
    """An array of records, read as a stream; JSON lines under another name; or `{"train": [...], "test": [...]}`."""
    with file.path.open("rb") as stream:
        head = stream.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
    if head.startswith(b"["):
        yield from _json_array(file)
        return
    with file.path.open("rb") as stream:
        first = stream.readline(LARGEST_RECORD).removeprefix(codecs.BOM_UTF8).strip()
        more = bool(stream.readline(LARGEST_RECORD).strip())
    if more and isinstance(_loaded(first.decode("utf-8", "replace")), dict):
        yield from _json_lines(file)
        return
    if file.path.stat().st_size > LARGEST_GROUP:
        raise RecordError("too large", f"a JSON object of more than {LARGEST_GROUP} bytes; write JSON lines")
    whole = _loaded(file.path.read_bytes().decode("utf-8-sig"))
    if isinstance(whole, RecordError):
        raise whole
    yield from _members(file, whole)


def _members(file: EtmFile, whole: dict[str, Any]) -> Iterator[RawRecord]:
    listed = {key: value for key, value in whole.items()
              if isinstance(value, list) and value and all(isinstance(one, dict) for one in value)}
    grouped = {key: value for key, value in listed.items() if key.lower() in (*_SPLITS, "data", "records", "rows")}
    if not grouped:
        yield RawRecord(1, f"{file.name}, record 1", whole)
        return
    number = 0
    for key, records in grouped.items():
        split = _SPLITS.get(key.lower())
        for record in records:
            number += 1
            yield RawRecord(number, f"{file.name}, record {number}", ({"split": split} if split else {}) | record)


def _json_array(file: EtmFile) -> Iterator[RawRecord]:
    """Decode one member after the other from a buffer that is filled as needed."""
    decoder, read = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8-sig")()
    with file.path.open("rb") as stream:
        buffer, position, number, ended = read.decode(stream.read(CHUNK)).lstrip()[1:], 0, 0, False
        while True:
            position = _skip(buffer, position)
            if buffer[position:position + 1] == "]":
                return
            try:
                value, after = decoder.raw_decode(buffer, position)
                # A number or word that ends with the buffer may go on; records are objects, whose end is certain.
                whole = after < len(buffer) or isinstance(value, dict | list)
            except (ValueError, RecursionError) as error:
                if ended or isinstance(error, RecursionError) or len(buffer) - position > LARGEST_RECORD:
                    raise RecordError("not JSON", str(error)[:120]) from None
                whole = False
            if whole:
                number += 1
                record = value if isinstance(value, dict) else RecordError("not JSON", f"a {type(value).__name__}, no "
                                                                                      "JSON object")
                yield RawRecord(number, f"{file.name}, record {number}", record)
                position = after
                continue
            if ended:
                raise RecordError("not JSON", "the list is never closed")
            # At least doubled, so that one long record is not decoded again for each chunk of it.
            more = stream.read(max(CHUNK, len(buffer) - position))
            ended = not more
            buffer, position = buffer[position:] + read.decode(more, final=ended), 0


def _skip(buffer: str, position: int) -> int:
    while position < len(buffer) and buffer[position] in " \t\r\n,":
        position += 1
    return position


def _csv(file: EtmFile) -> Iterator[RawRecord]:
    rows = read_rows(file.path, detect(file.path))
    _, header = next(rows, (1, []))
    if twice := [name for name in header if name.strip() and header.count(name) > 1]:
        raise RecordError("unreadable file", f"the column '{twice[0][:40]}' is there twice")
    for number, row in rows:
        record: dict[str, Any] | RecordError = dict(zip(header, row, strict=False))
        if len(row) != len(header):
            record = RecordError("row of another width", f"{len(row)} cells under {len(header)} headings")
        yield RawRecord(number, f"{file.name}, row {number}", record)


def _parquet(file: EtmFile) -> Iterator[RawRecord]:
    number = 0
    frame = polars.scan_parquet(file.path, glob=False)
    for batch in frame.collect_batches(chunk_size=PARQUET_ROWS, maintain_order=True):
        for row in batch.iter_rows(named=True):
            number += 1
            yield RawRecord(number, f"{file.name}, row {number}", row)
