"""What notebooks show of a value: a caption and tables, plain HTML that takes the notebook's own look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from emgecg_cli.core.pages.printable import one_line, steerless


def html_of(caption: str, *tables: str) -> str:
    """A caption above tables or drawings, which are HTML; the caption is text."""
    return steerless(f"<div><p><strong>{escape(one_line(caption))}</strong></p>{''.join(tables)}</div>")


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of texts."""
    def line(tag: str, cells: Iterable[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(one_line(str(cell)))}</{tag}>" for cell in cells) + "</tr>"

    return f"<table><thead>{line('th', head)}</thead><tbody>{''.join(line('td', row) for row in rows)}</tbody></table>"


def html_text(text: str) -> str:
    """Paragraphs of a text, one for each of its lines."""
    return "".join(f"<p>{escape(one_line(line))}</p>" for line in text.splitlines() if line.strip())
