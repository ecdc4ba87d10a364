"""Shared by the readers of a record's tables: cells as text, names of the vocabulary, sides, and the faults found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from emgecg_cli.core.emg.cells import LONGEST_TEXT
from emgecg_cli.core.emg.sides import CONFLICT, find_side
from emgecg_cli.core.emg.terms import SIDES, canonical

# Further spellings per kind of term, folded by `terms.fold`, each with its canonical name.
Extra = Mapping[str, Mapping[str, str]]
SHORTEST_GLUED = 3
HEADING = "heading above"
_GLUED = {"L": "left", "R": "right"}


@dataclass(frozen=True)
class Flag:
    """Something wrong with a table that is kept: where (`table` is "emg" or "ncv", `row` counts from 1, `column` as in
    `terms.EMG_COLUMNS` and `NCV_COLUMNS`), a short countable reason, and what was found and done."""

    table: str
    row: int
    column: str
    reason: str
    detail: str


@dataclass
class Reading:
    """What has been read of one record so far; `marks` are the decimal marks of its columns of numbers."""

    extra: Extra
    marks: Mapping[str, str | None] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)

    def flag(self, table: str, row: int, column: str, reason: str, detail: str) -> None:
        """Note a fault."""
        self.flags.append(Flag(table, row, column, reason, detail))

    def drop_flags(self, places: Sequence[tuple[int, str]]) -> None:
        """Drop the flags of these rows and columns of the nerve-conduction table, which another flag covers."""
        self.flags[:] = [flag for flag in self.flags
                         if not (flag.table == "ncv" and (flag.row, flag.column) in places)]


def has_content(value: object) -> bool:
    """Whether a raw cell holds anything."""
    return value is not None and value == value and (not isinstance(value, str) or bool(value.strip()))


def cell_text(value: object) -> str:
    """A raw cell as one line of at most LONGEST_TEXT characters; "|" is kept free for keys and pipe tables."""
    if value is None or value != value:
        return ""
    if isinstance(value, str) and len(value) <= LONGEST_TEXT:
        return _one_line(value)
    return " ".join(str(value)[:4 * LONGEST_TEXT].replace("|", "/").split())[:LONGEST_TEXT]


@lru_cache(maxsize=1 << 14)
def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def name_of(reading: Reading, table: str, number: int, column: str, kind: str, text: str) -> str:
    """The canonical name of a text without its side, else the text with a flag; "" for an empty one."""
    if not text or text in ("-", "/", "nan", "NaN"):
        return ""
    found = canonical(kind, text, reading.extra.get(kind))
    if found is None:
        reading.flag(table, number, column, f"unknown {kind if kind != 'place' else 'site'}",
                     f"'{text}' is not in the vocabulary and kept as it is")
    return found or text


def part_side(reading: Reading, kind: str, value: object) -> tuple[str | None, str]:
    """The side that a cell gives beside a name of the vocabulary, as `sides.find_side` does, and the name.

    A name that the vocabulary has as a whole gives no side, unless what is left without it is a name too.
    """
    text = cell_text(value)
    side, rest = find_side(text)
    if side is None:
        return _glued(reading, kind, text)
    if rest and _known(reading, kind, rest) is None and _known(reading, kind, text):
        return None, text
    return side, rest


def _glued(reading: Reading, kind: str, text: str) -> tuple[str | None, str]:
    """A side run together with a name, as in "RMedian" or "LAPB"."""
    if len(text) <= SHORTEST_GLUED:
        return None, text
    head, tail = _GLUED.get(text[0]), _GLUED.get(text[-1])
    if (head or tail) and _known(reading, kind, text) is None:
        if head and _known(reading, kind, text[1:]):
            return head, text[1:]
        if tail and text[-2].islower() and _known(reading, kind, text[:-1]):
            return tail, text[:-1]
    return None, text


def _known(reading: Reading, kind: str, text: str) -> str | None:
    return canonical(kind, text, reading.extra.get(kind))


def column_side(reading: Reading, table: str, number: int, value: object) -> str | None:
    """The side that the column `side` gives, as in "R", "右侧" or "right arm"; a text that gives none is flagged."""
    text = cell_text(value)
    side, _ = find_side(text)
    if side is None and text and text not in ("-", "/", "nan", "NaN"):
        reading.flag(table, number, "side", "unknown side", f"'{text}' is neither left nor right")
    return side


def sheet_side(value: object) -> str | None:
    """The side in the name of a sheet, a section or a limb, if there is one."""
    side, _ = find_side(cell_text(value))
    return side if side in SIDES else None


def agree(reading: Reading, table: str, number: int, told: Sequence[tuple[str, str | None]]) -> str | None:
    """The side of a row, from what its columns say: the first, with a flag if another disagrees.

    "both" if that is what they say, None if they say nothing. A cell that contradicts itself is ignored and flagged.
    """
    clear = [(column, side) for column, side in told if side and side != CONFLICT]
    for column, side in told:
        if side == CONFLICT:
            reading.flag(table, number, column, "two sides", "left and right in one cell; it tells no side")
    if not clear:
        return None
    column, side = clear[0]
    for other, differs in clear[1:]:
        if differs != side:
            reading.flag(table, number, column, "two sides", f"'{side}' here, '{differs}' with the {other}; '{side}' "
                         "taken")
            break
    return side


def heading_side(row: Mapping[str, object], name: str) -> str | None:
    """The side of a row that holds nothing else and so is a heading for the rows below: "" if it names no single side;
    None for any other row."""
    side, rest = find_side(cell_text(row.get(name)))
    if side is None or rest or any(has_content(value) for key, value in row.items() if key != name):
        return None
    return side if side in SIDES else ""
