"""Texts from outside made safe to show on a terminal, a page or a card: nothing in them controls the display.

A record's id, a lead's name or a report may hold anything: escape sequences that clear a screen or set its title, the
C1 controls that some terminals take for the same, and characters that turn the direction of what stands around them.
"""

from __future__ import annotations

import json
import re
from typing import Any

REPLACED = "\N{REPLACEMENT CHARACTER}"
# Joiners have no direction and no shape; Persian and the scripts of India cannot be written without them.
_JOINERS = "\u200c\u200d"
_CONTROLS = "\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_STEERING = re.compile(f"[\0-\x08\x0b\x0c\x0e-\x1f{_CONTROLS}]")
_UNSEEN = re.compile(f"[{_CONTROLS}\u061c\u200b\u200e\u200f\u2060-\u2065\ufeff\ufff9-\ufffb]")


def one_line(text: str) -> str:
    """A text in one line for a terminal: runs of blanks are one, and what cannot be shown is U+FFFD."""
    return " ".join(_shown(text).split())


def shown_lines(text: str) -> list[str]:
    """The lines of a text for a terminal, with their blanks."""
    return [_shown(line) for line in text.splitlines()]


def steerless(text: str) -> str:
    """A whole page or card, with U+FFFD for what would steer its reader's program."""
    return _STEERING.sub(REPLACED, text)


def json_text(value: object, **how: Any) -> str:
    """JSON that keeps every character of its texts, those that cannot be seen as escapes."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}",
                       json.dumps(value, ensure_ascii=False, allow_nan=False, **how))


def _shown(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else " " if c.isspace() else REPLACED for c in text)
