"""What the card is made of: sections of paragraphs, tables and charts, and texts that can be shown."""

from __future__ import annotations

from dataclasses import dataclass

from emgecg_cli.core.store.card.tallies import Tally


@dataclass(frozen=True)
class Table:
    """A head and rows of texts; the columns named in `numbers` are right-aligned."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bars:
    """A chart of counts; shares are of `total`."""

    title: str
    rows: tuple[tuple[str, int], ...]
    total: int


@dataclass(frozen=True)
class Code:
    """An expression to type, with words that introduce it."""

    lead: str
    text: str


@dataclass(frozen=True)
class Section:
    """A heading of level 2 or 3 and what stands below it: paragraphs, tables, charts."""

    title: str
    blocks: tuple[str | Table | Bars | Code, ...]
    level: int = 2


def clean(text: str) -> str:
    """One line of characters that can be seen and encoded."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def short(text: str, most: int = 160) -> str:
    """One line of at most so many characters."""
    text = clean(text)
    return text if len(text) <= most else f"{text[:most - 1]}…"


def bars(title: str, tally: Tally, total: int) -> Bars:
    """A chart of a tally; what it left out is its last bar."""
    rows = tuple((clean(label), count) for label, count in tally.rows)
    if tally.n_more:
        rows += ((f"{tally.n_more:,} others", tally.more),)
    return Bars(title, rows, total)


def number(value: float | None) -> str:
    """Whole above ten, one decimal below; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"
