"""The data card as Markdown: tables, and charts as bars of characters."""

from __future__ import annotations

import re

from emgecg_cli.core.pages.charts import share
from emgecg_cli.core.pages.printable import steerless
from emgecg_cli.core.store.card.blocks import Bars, Code, Section, Table
from emgecg_cli.core.store.card.facts import CardFacts
from emgecg_cli.core.store.card.of_signals import sections_of_signals
from emgecg_cli.core.store.card.sections import About, sections, title_of

_BAR = 30
_EIGHTHS = " ▏▎▍▌▋▊▉"
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&])")


def card_markdown(facts: CardFacts, about: About = sections_of_signals) -> str:
    """The card. `about` gives the sections on this kind of record alone. Texts from the data are escaped;
    the same facts give the same bytes."""
    parts = [f"# {_escape(title_of(facts))}", *map(_section, sections(facts, about))]
    return steerless("\n\n".join(parts) + "\n")


def _section(section: Section) -> str:
    return "\n\n".join([f"{'#' * section.level} {_escape(section.title)}", *map(_block, section.blocks)])


def _block(block: str | Table | Bars | Code) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Bars):
        return _bars(block)
    if isinstance(block, Code):
        return f"{_escape(block.lead)} `{block.text}`"
    return _escape(block)


def _table(table: Table) -> str:
    ruler = ("---:" if name in table.numbers else "---" for name in table.head)
    lines = [" | ".join(map(_escape, table.head)), " | ".join(ruler),
             *(" | ".join(map(_escape, row)) for row in table.rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _bars(bars: Bars) -> str:
    """Label, bar, count and share, aligned; indented as code is, so that no label can end the block."""
    longest = max((count for _, count in bars.rows), default=0) or 1
    width = max((len(label) for label, _ in bars.rows), default=0)
    digits = max((len(f"{count:,}") for _, count in bars.rows), default=1)
    lines = [f"    {label.ljust(width)}  {_bar(count / longest):<{_BAR}}  {count:>{digits},}  "
             f"{share(count, bars.total)}" for label, count in bars.rows]
    return f"{_escape(bars.title)}:\n\n" + "\n".join(lines or ["    (none)"])


def _bar(part: float) -> str:
    whole, eighth = divmod(max(round(part * _BAR * 8), 1 if part else 0), 8)
    return ("█" * whole + _EIGHTHS[eighth]).rstrip()


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
