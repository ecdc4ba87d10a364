"""Tables as text: aligned, and on a terminal within its width. No number is ever split."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len

# A number, a share, an interval, or what stands where there is none.
NUMBER = re.compile(r"[+\-−]?[\d.,]+(?: ?%)?(?: ?[\[(±].*)?|-|–|n/a|")
GAP = "  "
INDENT = "  "


def is_right(cells: Sequence[Sequence[str]], columns: int) -> list[bool]:
    """Which columns hold numbers alone, and are right-aligned."""
    return [all(NUMBER.fullmatch(row[i]) for row in cells) for i in range(columns)]


def plain_lines(columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> Iterator[str]:
    """Aligned columns, two blanks between them, as wide as they are."""
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    for row in [columns, *cells]:
        padded = (text.rjust(width) if is_right else text.ljust(width)
                  for text, width, is_right in zip(row, widths, right, strict=True))
        yield GAP.join(padded).rstrip()


def ruled_lines(columns: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool],
                width: int) -> Iterator[str]:
    """The table within `width`, its head ruled off: texts are wrapped between their words; where the columns do not fit
    even so, each row is a paragraph of its own."""
    widths = _fitted([[columns[i], *(row[i] for row in cells)] for i in range(len(columns))], width)
    if widths is None:
        yield from _stacked(columns, cells, width)
        return
    for number, row in enumerate([columns, *cells]):
        parts = [_wrapped(text, room) for text, room in zip(row, widths, strict=True)]
        for line in range(max(map(len, parts))):
            texts = [part[line] if line < len(part) else "" for part in parts]
            yield GAP.join(_padded(*one) for one in zip(texts, widths, right, strict=True)).rstrip()
        if not number:
            yield "─" * (sum(widths) + len(GAP) * (len(widths) - 1))


def _padded(text: str, width: int, to_right: bool) -> str:
    blanks = " " * (width - cell_len(text))
    return blanks + text if to_right else text + blanks


def _fitted(table: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """How wide each column is to be; None where they cannot be narrow enough. The widest give way first."""
    widths = [max(map(cell_len, column)) for column in table]
    least = [max(map(_least, column)) for column in table]
    room = width - len(GAP) * (len(widths) - 1)
    if sum(least) > room:
        return None
    while (over := sum(widths) - room) > 0:
        loose = [i for i in range(len(widths)) if widths[i] > least[i]]
        widest = max(loose, key=lambda i: widths[i])
        others = [widths[i] for i in loose if widths[i] < widths[widest]]
        widths[widest] -= min(over, widths[widest] - max([least[widest], *others]) or 1)
    return widths


def _least(text: str) -> int:
    """The least width a cell can have: that of its longest word, or all of a number."""
    return cell_len(text) if NUMBER.fullmatch(text) else max(map(cell_len, text.split()), default=0)


def _wrapped(text: str, width: int) -> list[str]:
    """A cell in lines of a width; wide characters take two columns each."""
    if cell_len(text) <= width:
        return [text]
    found = [""]
    for word in text.split():
        longer = f"{found[-1]} {word}".lstrip()
        if found[-1] and cell_len(longer) > width:
            found.append(word)
        else:
            found[-1] = longer
    return found


def _stacked(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """A paragraph for each row: its first cell that is not empty, and below it the others with their columns' names."""
    longest = max(map(cell_len, columns[1:]), default=0)
    for number, row in enumerate(cells):
        if number:
            yield ""
        first = next((i for i, cell in enumerate(row) if cell), 0)
        yield from _broken(row[first], width, "")
        for name, cell in zip(columns[first + 1:], row[first + 1:], strict=True):
            if not cell:
                continue
            label = INDENT + name + " " * (longest - cell_len(name)) + GAP
            if cell_len(label) + _least(cell) <= width:
                top, *rest = _wrapped(cell, max(width - cell_len(label), _least(cell)))
                yield (label + top).rstrip()
                yield from (" " * cell_len(label) + line for line in rest)
            else:
                yield from _broken(name, width, INDENT)
                yield from _broken(cell, width, INDENT * 2)


def _broken(text: str, width: int, indent: str) -> list[str]:
    """A text in lines; a word that is too long for one is left to the terminal."""
    return textwrap.wrap(text, max(1, width), initial_indent=indent, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False) or [indent + text]
