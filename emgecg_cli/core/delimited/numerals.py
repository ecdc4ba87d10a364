"""Numbers as people write them: a decimal point or comma, and marks between thousands.

"5,6" is five point six; "1,234" alone may be a little more than one, or a thousand. The other numbers of its column
decide, or else those of the file; if none does, the number is ambiguous and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

COMMA, POINT = ",", "."
_TOKEN = re.compile(r"(?<![\d.,])[-+]?(?:\d[\d.,]*|[.,]\d+)", re.ASCII)
_GROUPED = {mark: re.compile(rf"[-+]?\d{{1,3}}(?:{re.escape(mark)}\d{{3}})+", re.ASCII) for mark in (COMMA, POINT)}
_OTHER = {COMMA: POINT, POINT: COMMA}


@dataclass
class Evidence:
    """How many numbers of a column can only have a decimal comma, a decimal point, or may have either."""

    comma: int = 0
    point: int = 0
    either: int = 0

    def look(self, text: object) -> None:
        """Take in one cell; one that holds no number, or several, counts for nothing."""
        if isinstance(text, str) and ("," in text or "." in text):
            found = _TOKEN.findall(text)
            if len(found) == 1:
                mark = _mark_of(found[0])
                self.comma += mark == COMMA
                self.point += mark == POINT
                self.either += mark == "" and "," in found[0]

    def add(self, other: Evidence) -> None:
        """Take in what another column says."""
        self.comma, self.point, self.either = (self.comma + other.comma, self.point + other.point,
                                               self.either + other.either)

    @property
    def mark(self) -> str | None:
        """The decimal mark; None if there is no evidence, or evidence for both."""
        return None if bool(self.comma) == bool(self.point) else COMMA if self.comma else POINT


def weigh(texts: Iterable[object]) -> Evidence:
    """The evidence in the cells of a column."""
    found = Evidence()
    for text in texts:
        found.look(text)
    return found


def decide(columns: dict[str, Evidence], usual: str | None = None) -> dict[str, str | None]:
    """The decimal mark of each column: its own, else that of all columns together, else `usual` where there is a comma
    at all. None for a column whose numbers contradict each other."""
    whole = Evidence()
    for column in columns.values():
        whole.add(column)
    fallback = whole.mark or (usual if whole.either and not whole.comma and not whole.point else None)
    return {name: column.mark or (fallback if not (column.comma and column.point) else None)
            for name, column in columns.items()}


def with_point(number: str, mark: str | None = None) -> str | None:
    """A number with a decimal point and nothing between thousands, as `float` takes it; None where it is none, or may
    be two. `mark` is the decimal mark of its column, None where that is not known.
    """
    own = _mark_of(number)
    if own is None:
        return None
    if own == "" and (COMMA in number or mark == COMMA):
        own = _either(number, mark)
        if own is None:
            return None
    if own == COMMA:
        return number.replace(POINT, "").replace(COMMA, POINT)
    return number.replace(COMMA, "") if own == POINT else number


def _either(number: str, mark: str | None) -> str | None:
    """The decimal mark of "1,234" or "1.234" in a column of that mark. A point in a column of commas stays in doubt."""
    return mark if COMMA in number else None


def is_ambiguous(number: str) -> bool:
    """Whether a number reads as two, as "1,234" does."""
    return _mark_of(number) == ""


def replaced(text: str, mark: str | None) -> str:
    """A cell with its number as `with_point` gives it; unchanged where it holds no number, or several, or one in
    doubt."""
    found = _TOKEN.findall(text)
    plain = with_point(found[0], mark) if len(found) == 1 else None
    return text if plain is None else text.replace(found[0], plain)


def _mark_of(number: str) -> str | None:
    """The decimal mark that a number must have: "," or "."; "" for one that may have either, or is of three digits
    behind its only mark; None for what is no number. A number without a mark has a point."""
    commas, points = number.count(COMMA), number.count(POINT)
    if not commas and not points:
        return POINT
    if commas and points:
        last = COMMA if number.rindex(COMMA) > number.rindex(POINT) else POINT
        whole, _, fraction = number.rpartition(last)
        return last if fraction and _GROUPED[_OTHER[last]].fullmatch(whole) else None
    mark = COMMA if commas else POINT
    if commas + points > 1:
        return _OTHER[mark] if _GROUPED[mark].fullmatch(number) else None
    whole, _, fraction = number.partition(mark)
    if not fraction and mark == COMMA:
        return None
    grouped = _GROUPED[mark].fullmatch(number) and whole.lstrip("+-") not in ("0", "00", "000")
    return "" if grouped else mark
