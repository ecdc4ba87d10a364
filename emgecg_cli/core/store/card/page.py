"""The data card as one HTML page: charts as inline SVG, no scripts, nothing loaded."""

from __future__ import annotations

from html import escape
from itertools import groupby

from emgecg_cli.core.pages import document
from emgecg_cli.core.pages.charts import bar_chart
from emgecg_cli.core.store.card.blocks import Bars, Code, Section, Table
from emgecg_cli.core.store.card.facts import CardFacts
from emgecg_cli.core.store.card.of_signals import sections_of_signals
from emgecg_cli.core.store.card.sections import About, sections, title_of


def card_page(facts: CardFacts, about: About = sections_of_signals) -> str:
    """The page. `about` gives the sections on this kind of record alone. Texts from the data are escaped;
    the same facts give the same bytes."""
    return document(title_of(facts), "\n".join(map(_section, sections(facts, about))))


def _section(section: Section) -> str:
    """The heading and its blocks; charts that follow each other stand side by side where there is room."""
    heading = f"h{section.level}"
    parts = []
    for kind, blocks in groupby(section.blocks, type):
        drawn = "".join(map(_block, blocks))
        parts.append(f"<div class=charts>{drawn}</div>" if kind is Bars else drawn)
    return f"<section><{heading}>{escape(section.title)}</{heading}>{''.join(parts)}</section>"


def _block(block: str | Table | Bars | Code) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Bars):
        return bar_chart(block.title, block.rows, block.total)
    if isinstance(block, Code):
        return f"<p class=key>{escape(block.lead)} <code>{escape(block.text)}</code></p>"
    return f"<p>{escape(block)}</p>"


def _table(table: Table) -> str:
    """A table whose first column heads its rows."""
    right = [name in table.numbers for name in table.head]
    head = "".join(f"<th scope=col{' class=number' if number else ''}>{escape(name)}</th>"
                   for name, number in zip(table.head, right, strict=True))
    rows = "".join(f"<tr><th scope=row>{escape(row[0])}</th>" + "".join(
        f"<td{' class=number' if number else ''}>{escape(cell)}</td>"
        for cell, number in zip(row[1:], right[1:], strict=True)) + "</tr>" for row in table.rows)
    top = f"<thead><tr>{head}</tr></thead>" if any(table.head) else ""
    style = "facts record" if table.head[0] == "record" else "facts"
    return f"<div class=scroll tabindex=0><table class='{style}'>{top}<tbody>{rows}</tbody></table></div>"
