"""Instructions whose answers are their own: interpretations, or the conversations of a file, and not a store's reports.

They may leave records of their store out, which `quarantine.jsonl` beside them tells, and ask several things of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emgecg_cli.core.artifacts import InstructionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import manifest_hash
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.store.selection import select

if TYPE_CHECKING:
    from emgecg_cli.core.instructions.build import Instructions

CONVERSATIONS = "conversations"  # the form, as manifests have it
SHOWN = ("ecg", "image", "ecg,image")
_PARTS = {"ecg", "image", "text"}


@dataclass(frozen=True)
class Conversations:
    """A user's question about a recording and its answer, and any turns behind; see `forms.Form`."""

    own_answers: bool = True

    def n_values(self, row: InstructionRow) -> int:
        """See `Form`."""
        return 0

    def details(self, n_values: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Form`."""
        return {}, {"form": CONVERSATIONS}

    def check_pool(self, pool: Sequence[tuple[Any, Any]], path: Path) -> list[str]:
        """See `Form`."""
        for number, (prompt_id, text) in enumerate(pool):
            if type(prompt_id) is not int or prompt_id != number or not isinstance(text, str):
                raise MedReportError(f"{path}: prompt {number} has another id, or is no text",
                                     "remove the folder and build the instructions again")
        return [text for _, text in pool]

    def why_not(self, row: InstructionRow, prompts: Sequence[str]) -> str | None:
        """See `Form`."""
        if not row.messages or [message.get("role") for message in row.messages] != \
                ["user", "assistant"] * (len(row.messages) // 2) + ["user"] * (len(row.messages) % 2):
            return "not a user and an assistant in turn"
        first, *others = (message.get("content") for message in row.messages)
        if not all(isinstance(content, str) for content in others) or not isinstance(first, list) or not all(
                isinstance(part, dict) and part.get("type") in _PARTS for part in first):
            return "not a question about a recording and texts"
        return None if question_of(first) == prompts[row.prompt_id] else "not its prompt"


def question_of(content: Sequence[Mapping[str, Any]]) -> str:
    """The words of a user's first message, a line for each of its texts."""
    return "\n".join(part["text"] for part in content if part["type"] == "text")


def entry_id_of(row: InstructionRow) -> str | None:
    """The id of the entry of a file that an instruction was read from; None where it is from none."""
    return None if row.entry is None else str(row.entry["id"])


def asked_in_file(row: InstructionRow) -> str | None:
    """The question of an entry of a file, the first of several; None for other instructions."""
    return None if row.entry is None else question_of(row.messages[0]["content"])


def answer_of(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """The last answer of a conversation; None where it ends with a question."""
    return messages[-1]["content"] if messages and messages[-1]["role"] == "assistant" else None


def records_asked(store: Store, instructions: Instructions) -> Store:
    """The records of a store as instructions ask about them, with their answers as reports.

    That is the store itself where the answers are its reports. Raises MedReportError for instructions about a record
    that it does not hold.
    """
    from emgecg_cli.core.instructions.forms import form_of

    if not form_of(instructions.manifest).own_answers:
        return store
    at_of = {record_id: i for i, record_id in enumerate(store.column("record_id"))}
    at, ids, texts = [], [], []
    for row in instructions.rows.values():
        if (recording := row.recording or row.record_id) not in at_of:
            raise MedReportError(f"{instructions.path}: asks about record '{recording}', which {store.path} does not "
                                 "hold", "give the store that they were built from")
        at.append(at_of[recording])
        ids.append(row.record_id)
        texts.append(answer_of(row.messages))
    return select(store, at, ids, texts, (_again, (store.path.absolute(), manifest_hash(store.path),
                                                   instructions.path.absolute())))


@lru_cache(maxsize=4)
def _again(path: Path, digest: str, instructions: Path) -> Store:
    """The same in a process that a store was sent to; one that was made anew has another `digest`."""
    from emgecg_cli.core.instructions.build import open_instructions

    return records_asked(open_store(path), open_instructions(instructions))
