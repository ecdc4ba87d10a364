"""Entries of GEM's and ECGBench's files: JSON arrays, JSON lines, and parquet files of the Hugging Face layout.

An entry has an `id`, `conversations` of {"from", "value"}, the paths `image` and `ecg`, and in grounding files `report`
and `machine_measurements`. Paths only say which recording is meant: nothing is opened by them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import polars

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.files import write_atomically, write_chunks_atomically

SUFFIXES = (".json", ".jsonl", ".parquet")
PLACEHOLDER = "<image>"
_HUMAN, _MODEL = ("human", "user"), ("gpt", "assistant", "model")
_CHUNK = 1 << 20  # characters
_BLANKS, _COMMAS = re.compile(r"\s*"), re.compile(r"[\s,]*")
_LARGEST = 1 << 26  # of one entry
_PATHS = ("image", "ecg")
_HINT = "a JSON array of entries as GEM's ECG_Grounding_30k.json has it, JSON lines, or ECGBench's parquet"
Rules = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Entry:
    """One conversation: `turns` are (who, text) with who "user" or "assistant" in turn; `fields` is all else of it,
    its `id`, which is text, among that."""

    turns: tuple[tuple[str, str], ...]
    fields: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its name in the file."""
        return str(self.fields["id"])

    def path(self, name: str) -> str:
        """Its path of that name; "" where it has none."""
        return str(self.fields.get(name) or "")


@dataclass(frozen=True)
class BadEntry:
    """An entry that cannot be used: its id, or its place where it has none, and why."""

    name: str
    reason: str
    detail: str


def read_entries(path: Path, remap: Rules = ()) -> Iterator[Entry | BadEntry]:
    """The entries of a file one after the other, with the beginnings of their paths replaced by the rules `remap`.

    Raises MedReportError for a file that is none of the three kinds, or ends amid an entry.
    """
    if path.suffix not in SUFFIXES:
        raise MedReportError(f"{path}: not one of {', '.join(SUFFIXES)}", _HINT)
    seen: set[str] = set()
    for number, values in enumerate(_values(path), 1):
        entry = parse_entry(values, number, remap)
        if isinstance(entry, Entry):
            if entry.id in seen:
                entry = BadEntry(entry.id, "id is there twice", f"entry {number}")
            else:
                seen.add(entry.id)
        yield entry


def parse_entry(values: Any, number: int, remap: Rules = ()) -> Entry | BadEntry:
    """One entry from its JSON values."""
    place = f"entry {number}"
    if not isinstance(values, dict):
        return BadEntry(place, "no entry", f"is {type(values).__name__}")
    name = values.get("id", values.get("question_id"))
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
        return BadEntry(place, "no id", f"id is {str(name)[:40]!r}")
    turns = _turns(values.get("conversations", values.get("conversation")))
    if isinstance(turns, str):
        return BadEntry(str(name), "no conversation", turns)
    fields = {key: value for key, value in values.items() if key not in ("conversations", "conversation") and
              value is not None} | {"id": str(name)}
    image = fields.get("image")
    if isinstance(image, dict):  # a picture of a Hugging Face data set: its path stands beside it, or in it
        fields["image"] = fields.pop("image_path", None) or image.get("path") or ""
    for key in _PATHS:
        if not isinstance(fields.get(key, ""), str):
            return BadEntry(str(name), "no path", f"{key} is {type(fields[key]).__name__}")
        if fields.get(key):
            fields[key] = remapped(str(fields[key]), remap)
    return Entry(turns, fields)


def parse_rules(words: Iterable[str]) -> list[tuple[str, str]]:
    """Rules of "OLD=NEW"; raises MedReportError for one that is none."""
    rules = []
    for word in words:
        old, equals, new = word.partition("=")
        if not equals or not old:
            raise MedReportError(f"--remap {word}: not OLD=NEW", "--remap mimic-iv/files=files, say")
        rules.append((old, new))
    return rules


def remapped(path: str, rules: Rules) -> str:
    """A path with its beginning replaced by the first rule that fits whole folders."""
    for old, new in rules:
        stem = old.rstrip("/")
        if path == stem or path.startswith(f"{stem}/"):
            return (new.rstrip("/") + path[len(stem):]).lstrip("/") if not new else new.rstrip("/") + path[len(stem):]
    return path


def write_entries(path: Path, entries: Iterable[Entry]) -> int:
    """Write entries in the form that the file's name says, atomically; returns how many."""
    if path.suffix == ".parquet":
        rows = [_row(entry) for entry in entries]
        table = polars.DataFrame(rows, schema=_schema(rows))
        stream = _Bytes()
        table.write_parquet(stream)  # type: ignore[arg-type]
        write_atomically(path, bytes(stream.data))
        return len(rows)
    if path.suffix not in SUFFIXES:
        raise MedReportError(f"{path}: not one of {', '.join(SUFFIXES)}", "name the file .json, .jsonl or .parquet")
    count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal count
        lines = path.suffix == ".jsonl"
        for entry in entries:
            text = json.dumps(values_of(entry), ensure_ascii=False)
            yield (f"{text}\n" if lines else f"{',' if count else '['}\n{text}").encode("utf-8", "surrogatepass")
            count += 1
        if not lines:
            yield b"\n]\n" if count else b"[]\n"

    write_chunks_atomically(path, chunks())
    return count


def values_of(entry: Entry) -> dict[str, Any]:
    """An entry as GEM's JSON has it."""
    first = [key for key in ("id", "ecg", "image") if key in entry.fields]
    said = [{"from": "human" if who == "user" else "gpt", "value": text} for who, text in entry.turns]
    return {key: entry.fields[key] for key in first} | {"conversations": said} | {
        key: value for key, value in entry.fields.items() if key not in first}


class _Bytes:
    """What polars writes to."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)


def _row(entry: Entry) -> dict[str, Any]:
    """An entry as ECGBench's parquet files have it; what is no text there is JSON."""
    told = {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in entry.fields.items() if key not in ("image", "id")}
    return {"id": entry.id, "image_path": entry.path("image"), "image": {"bytes": None, "path": entry.path("image")},
            "conversations": values_of(entry)["conversations"]} | told


def _schema(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    text = polars.String
    known: dict[str, Any] = {
        "id": text, "image_path": text, "image": polars.Struct({"bytes": polars.Binary, "path": text}),
        "conversations": polars.List(polars.Struct({"from": text, "value": text}))}
    return known | {key: text for row in rows for key in row if key not in known}


def _turns(said: Any) -> tuple[tuple[str, str], ...] | str:
    """The turns of a conversation, the arena's pairs of question and answer among them; else what is wrong."""
    if not isinstance(said, list) or not said:
        return "no list of turns"
    turns: list[tuple[str, str]] = []
    for turn in said:
        if isinstance(turn, dict) and isinstance(turn.get("question"), str) and isinstance(turn.get("answer"), str):
            turns += [("user", turn["question"]), ("assistant", turn["answer"])]
            continue
        who, text = (turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) \
            if isinstance(turn, dict) else (None, None)
        if who not in (*_HUMAN, *_MODEL) or not isinstance(text, str):
            return f"turn {len(turns) + 1} is from {str(who)[:40]!r}, or is no text"
        turns.append(("user" if who in _HUMAN else "assistant", text))
    expected = ["user", "assistant"] * len(turns)
    if [who for who, _ in turns] != expected[:len(turns)]:
        return "human and model do not take turns"
    return tuple(turns)


def _values(path: Path) -> Iterator[Any]:
    try:
        if path.suffix == ".parquet":
            yield from _of_parquet(path)
        else:
            with path.open(encoding="utf-8-sig") as stream:
                yield from _of_json(stream, path)
    except OSError as error:
        raise MedReportError(f"{path}: cannot be read ({error.strerror})", "check the path") from None
    except UnicodeDecodeError as error:
        raise MedReportError(f"{path}: not UTF-8 text ({error.reason})", _HINT) from None


def _of_parquet(path: Path) -> Iterator[Any]:
    """The rows without the bytes of pictures; texts that hold JSON objects or lists, as `_row` writes them, read."""
    try:
        table = polars.scan_parquet(path, glob=False)
        names = table.collect_schema().names()
        if "conversations" not in names or "id" not in names:
            raise MedReportError(f"{path}: has no columns id and conversations", _HINT)
        if "image" in names and isinstance(table.collect_schema()["image"], polars.Struct):
            table = table.with_columns(polars.col("image").struct.field("path").alias("image"))
            if "image_path" in names:
                table = table.with_columns(polars.coalesce("image_path", "image").alias("image")).drop("image_path")
        elif "image_path" in names:
            table = table.drop("image", strict=False).rename({"image_path": "image"})
        rows = table.collect()
    except polars.exceptions.PolarsError as error:
        raise MedReportError(f"{path}: not readable ({str(error).partition(chr(10))[0][:200]})", _HINT) from None
    for row in rows.iter_rows(named=True):
        yield {key: _opened(value) for key, value in row.items() if value not in (None, "")}


def _opened(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _of_json(stream: IO[str], path: Path) -> Iterator[Any]:
    """The values of an array, or of lines, decoded one after the other, so that no file is too large."""
    decoder, buffer, at, whole, number = json.JSONDecoder(), "", 0, False, 0
    array: bool | None = None
    while True:
        if not whole and len(buffer) - at < _CHUNK:
            buffer, at, whole = _further(stream, buffer, at)
        gap = (_COMMAS if array else _BLANKS).match(buffer, at)
        at = gap.end() if gap else at
        if array is None and at < len(buffer):
            array = buffer[at] == "["
            at += array
            continue
        if (array and buffer.startswith("]", at)) or (array is False and at == len(buffer) and whole):
            return
        try:
            value, at = decoder.raw_decode(buffer, at)
        except (ValueError, RecursionError):
            if whole or len(buffer) - at > _LARGEST:
                raise MedReportError(f"{path}: behind entry {number} stands no whole JSON value", _HINT) from None
            buffer, at, whole = _further(stream, buffer, at)
            continue
        number += 1
        yield value


def _further(stream: IO[str], buffer: str, at: int) -> tuple[str, int, bool]:
    """What is left of a buffer and some more of its file, the place in it, and whether the file has ended."""
    more = stream.read(_CHUNK)
    return buffer[at:] + more, 0, not more
