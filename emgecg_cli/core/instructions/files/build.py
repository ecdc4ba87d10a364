"""From a file of conversations to instructions of a store, and back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import InstructionRow, QuarantineRow, write_rows
from emgecg_cli.core.claims import claim
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.instructions.build import Instructions
from emgecg_cli.core.instructions.conversations import SHOWN, Conversations
from emgecg_cli.core.instructions.files.entries import (
    PLACEHOLDER,
    BadEntry,
    Entry,
    Rules,
    read_entries,
    remapped,
    write_entries,
)
from emgecg_cli.core.instructions.files.joined import Join
from emgecg_cli.core.instructions.grounded.grounds import grounds_of
from emgecg_cli.core.instructions.written import BuildResult, finished_before, write_instructions
from emgecg_cli.core.manifest import check_folder_name, file_hashes, hashes_of, input_of, is_finished
from emgecg_cli.core.store import QUARANTINE, Store, open_store

NOT_HELD, REFUSAL = "no such record in the store", "a refusal as answer"
_REFUSED = re.compile(r"^(?:sure|certainly|of course)\b.{0,40}\bplease\b|\bplease provide (?:the|me|your|an?)\b|"
                      r"\bas an? (?:ai|language) |\b(?:i'm|i am) (?:sorry|unable)|\bsomething (?:is|went) wrong\b",
                      re.I | re.S)
_BLANKS = re.compile(r"[ \t]*\n[ \t]*|[ \t]+")
Progress = Callable[[int, int], None]


def build_from_file(file: Path, store_path: Path, out: Path, *, remap: Rules = (), shown: str = "ecg",
                    progress: Progress | None = None) -> BuildResult:
    """Write the conversations of a file of GEM or ECGBench as instructions of the records that a store has of them.

    `remap` replaces the beginnings of paths, `shown` says which parts stand where the file has "<image>". What is no
    entry, speaks of no record of the store, or is answered by a refusal is set aside with the reason. Entries about one
    record have its id, or, where they are several, its id with a number. Raises MedReportError for a file that cannot
    be read, when no entry is left, and when `out` holds something else.
    """
    if shown not in SHOWN:
        raise names.unknown_name("input", shown, SHOWN)
    store = open_store(store_path)
    store.check_has_signals()
    if not file.is_file():
        raise MedReportError(f"{file}: no such file", "--from takes a .json, .jsonl or .parquet file")
    arguments: dict[str, Any] = {"kind": "file", "file": file.name, "file_hash": file_hashes(file.parent, [file.name])[
        file.name], "remap": [list(rule) for rule in remap], "inputs": shown}
    inputs = {"store": input_of(store_path, out)}
    check_folder_name(out)
    if is_finished(out):
        return BuildResult(out, finished_before(out, arguments, inputs), True)
    with claim(out, {"settings": arguments, "inputs": hashes_of(inputs)}) as claimed:
        claimed.begin()
        found = _Found(store, Join(store), shown)
        found.look_through(file, remap)
        pool = [(text, "file") for text in found.questions]
        manifest = write_instructions(out, Conversations(), pool, found.rows(file, remap, progress), arguments, inputs,
                                      lambda: found.ended(out, file))
        claimed.finish()
    return BuildResult(out, manifest, False)


def write_file(instructions: Instructions, store: Store, file: Path, remap: Rules = ()) -> int:
    """Write instructions as GEM's JSON, as JSON lines, or as ECGBench's parquet, as the file's name says; returns the
    entries. Those that were read from a file are written as they were there, others with their report and the
    measurements of their beats."""
    return write_entries(file, entries_of(instructions, store, remap))


def entries_of(instructions: Instructions, store: Store, remap: Rules = ()) -> Iterator[Entry]:
    """Instructions as entries of a file, in their order."""
    store.check_has_signals()
    at = {record_id: i for i, record_id in enumerate(store.column("record_id"))}
    evidence = Evidence(store)
    for row in instructions.rows.values():
        fields = dict(row.entry) if row.entry is not None else _own_fields(row, evidence, at[row.record_id])
        for key in ("image", "ecg"):
            if fields.get(key):
                fields[key] = remapped(fields[key], remap)
        first, *others = row.messages
        turns = [("user", marked(first["content"])), *((turn["role"], turn["content"]) for turn in others)]
        yield Entry(tuple(turns), fields)


def marked(content: Sequence[Mapping[str, Any]]) -> str:
    """A question with "<image>" where the recording stands."""
    kinds = [part["type"] if part["type"] == "text" else PLACEHOLDER for part in content]
    return "\n".join(part["text"] if kind == "text" else PLACEHOLDER
                     for i, (part, kind) in enumerate(zip(content, kinds, strict=True))
                     if kind == "text" or PLACEHOLDER not in kinds[:i])


def parts_of(text: str, shown: str) -> list[dict[str, Any]]:
    """A question as parts: those of the recording where the first "<image>" stands, else in front."""
    before, placeholder, behind = text.partition(PLACEHOLDER)
    if not placeholder:
        before, behind = "", text
    texts = [_trimmed(part.replace(PLACEHOLDER, "")) for part in (before, behind)]
    words = [{"type": "text", "text": part} if part else None for part in texts]
    return [part for part in (words[0], *({"type": name} for name in shown.split(",")), words[1]) if part]


def _trimmed(text: str) -> str:
    return text.strip() if _BLANKS.sub("", text) else ""


def _own_fields(row: InstructionRow, evidence: Evidence, at: int) -> dict[str, Any]:
    """The fields of an entry that no file had: where the signal is, the report, and what is measured on the beats."""
    grounds, source = grounds_of(evidence, at), evidence.store.row(at).source
    image = {"image": f"{row.record_id}-0.png"} if any(part["type"] == "image" for part in row.messages[0]["content"]) \
        else {}
    measured = {"machine_measurements": json.loads(grounds.text)} if grounds.text else {}
    return {"id": row.record_id, "ecg": re.sub(r"\.(?:hea|dat|mat)$", "", source)} | image | {
        "report": grounds.report} | measured


@dataclass
class _Found:
    """What a file has to say of the records of a store."""

    store: Store
    join: Join
    shown: str
    questions: dict[str, int] = field(default_factory=dict)
    of_record: Counter[int] = field(default_factory=Counter)
    aside: list[QuarantineRow] = field(default_factory=list)
    total: int = 0

    def look_through(self, file: Path, remap: Rules) -> None:
        """Learn the questions, and how many there are of each record."""
        for entry in read_entries(file, remap):
            self.total += 1
            joined = self._joined(entry)
            if isinstance(joined, QuarantineRow):
                self.aside.append(joined)
            else:
                self.of_record[joined] += 1
                self.questions.setdefault(_question(entry, self.shown), len(self.questions))
        if not self.of_record:
            why = Counter(row.reason for row in self.aside).most_common(1)
            raise MedReportError(f"{file}: no entry of {self.total} is about a record of {self.store.path}"
                                 + (f"; first {self.aside[0].record_id}: {why[0][0]}" if why else ""),
                                 "give the store of its data set, and --remap OLD=NEW where its paths begin otherwise")

    def rows(self, file: Path, remap: Rules, progress: Progress | None) -> Iterator[InstructionRow]:
        """The instruction of each entry that is kept, in the order of the file."""
        names, seen = self.store.column("record_id"), Counter[int]()
        for number, entry in enumerate(read_entries(file, remap), 1):
            if progress:
                progress(number, self.total)
            at = self._joined(entry)
            if isinstance(at, QuarantineRow) or isinstance(entry, BadEntry):
                continue
            seen[at] += 1
            several = self.of_record[at] > 1
            content = parts_of(entry.turns[0][1], self.shown)
            messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
            messages += [{"role": who, "content": text} for who, text in entry.turns[1:]]
            yield InstructionRow(f"{names[at]}#{seen[at]}" if several else names[at],
                                 self.questions[_question(entry, self.shown)], messages,
                                 names[at] if several else None, dict(entry.fields))

    def ended(self, out: Path, file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Write what was set aside; counts and details for the manifest."""
        write_rows(out / QUARANTINE, self.aside)
        reasons = Counter(row.reason for row in self.aside)
        return {"entries": self.total, "set_aside": len(self.aside)}, {"set_aside": dict(sorted(reasons.items()))}

    def _joined(self, entry: Entry | BadEntry) -> int | QuarantineRow:
        if isinstance(entry, BadEntry):
            return QuarantineRow(entry.name, entry.reason, entry.detail, "")
        source = entry.path("ecg") or entry.path("image")
        refused = next((found for who, text in entry.turns if who == "assistant"
                        and (found := _REFUSED.search(text))), None)
        if refused:
            return QuarantineRow(entry.id, REFUSAL, f"says '{refused[0][:60]}'", source)
        at = self.join.of(entry)
        return QuarantineRow(entry.id, NOT_HELD, "by its paths and its id", source) if at is None else at


def _question(entry: Entry | BadEntry, shown: str) -> str:
    """The words of the first question, as the pool has them."""
    assert isinstance(entry, Entry)
    return "\n".join(part["text"] for part in parts_of(entry.turns[0][1], shown) if part["type"] == "text")
