"""What a source of an input is told of a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emgecg_cli.core.inputs.values import Messages


@dataclass(frozen=True)
class Record:
    """A record that is to be shown: its row, the row whose measurement it is shown, its conversation, its id, the
    person it is of, and, where it may look otherwise at each visit, what that depends on."""

    index: int
    shown: int
    messages: Messages
    record_id: str
    person: Any = None
    seed: int | None = None
