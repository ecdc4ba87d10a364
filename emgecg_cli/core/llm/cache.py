"""Answers kept by what was asked, in a file of JSON lines that is only appended to.

Several processes may share one: each line is written whole under a lock, and what others wrote is read as it is needed.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emgecg_cli.core.artifacts import to_json
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.llm.usage import Tokens
from emgecg_cli.core.locks import closing, open_descriptor, wait_for
from emgecg_cli.core.manifest import json_hash


@dataclass(frozen=True)
class Answer:
    """The text of an answer, and its tokens where the endpoint counted them."""

    text: str
    tokens: Tokens | None = None


@dataclass
class AnswerCache:
    """Answers by key, in `path` if there is one. What a killed process left of an unfinished line is cut off before the
    next one is written. Raises MedReportError for a file that cannot be read or written, or was changed."""

    path: Path | None = None
    _answers: dict[str, Answer] = field(default_factory=dict, repr=False)
    _read_to: int = 0
    _lines: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __len__(self) -> int:
        with self._lock:
            self._refresh()
            return len(self._answers)

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key, by this process or another one."""
        with self._lock:
            if key not in self._answers:
                self._refresh()
            return self._answers.get(key)

    def put(self, key: str, model: str, answer: Answer) -> None:
        """Keep an answer; once this returns it is on disk."""
        with self._lock:
            self._answers[key] = answer
            if self.path is None:
                return
            tokens: dict[str, Any] = {} if answer.tokens is None else {"tokens": list(answer.tokens)}
            row = {"key": key, "model": model, "answer": answer.text, **tokens, "hash": _hash(key, answer)}
            line = (to_json(row) + "\n").encode("utf-8", "surrogatepass")
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with closing(open_descriptor(self.path)) as descriptor:
                    wait_for(descriptor)
                    os.truncate(descriptor, _whole(descriptor, self._read_to))
                    while line:
                        line = line[os.write(descriptor, line):]
                    os.fsync(descriptor)
            except OSError as error:
                raise MedReportError(f"{self.path}: cannot be written ({error.strerror})", "check the path") from None

    def _refresh(self) -> None:
        """Read the whole lines behind what was read before."""
        if self.path is None:
            return
        try:
            if not self.path.exists() or self.path.stat().st_size == self._read_to:
                return
            with self.path.open("rb") as stream:
                stream.seek(self._read_to)
                data = stream.read()
        except OSError as error:
            raise MedReportError(f"{self.path}: cannot be read ({error.strerror})", "check the path") from None
        whole = data.rfind(b"\n") + 1
        for line in data[:whole].splitlines():
            self._lines += 1
            key, answer = _parse(line, f"{self.path}, line {self._lines}")
            self._answers[key] = answer
        self._read_to += whole


def _whole(descriptor: int, from_there: int) -> int:
    """The length of a file up to its last whole line; `from_there` is known to be the start of one."""
    size = os.fstat(descriptor).st_size
    if size <= from_there:
        return size
    tail = os.pread(descriptor, size - from_there, from_there)
    return from_there + tail.rfind(b"\n") + 1


def _hash(key: str, answer: Answer) -> str:
    return json_hash([key, answer.text] if answer.tokens is None else [key, answer.text, *answer.tokens])


def _parse(line: bytes, where: str) -> tuple[str, Answer]:
    """The key and the answer of a line; older ones have no hash, those of silent endpoints no tokens."""
    try:
        row = json.loads(line)
        key, text = row["key"], row["answer"]
        tokens = row.get("tokens")
        answer = Answer(text, None if tokens is None else (int(tokens[0]), int(tokens[1])))
        changed = "hash" in row and row["hash"] != _hash(key, answer)
    except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError):
        raise MedReportError(f"{where}: not an answer of this cache", "remove that line or the file") from None
    if changed:
        raise MedReportError(f"{where}: was changed after it was written", "remove that line: it is asked for again")
    if not isinstance(key, str) or not isinstance(text, str):
        raise MedReportError(f"{where}: not an answer of this cache", "remove that line or the file")
    return key, answer
