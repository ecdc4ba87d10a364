"""Small charts as inline SVG, drawn for the width of a telephone and no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH = 360
_LINE, _TOP, _LETTER = 22, 26, 7.3  # units of the viewBox, near a pixel each; a letter of a wide face
_MOST_LETTERS = 25


def bar_chart(title: str, rows: Sequence[tuple[str, int]], total: int) -> str:
    """Horizontal bars of counts, each with its count and its share of `total`; a long label is cut short."""
    labels = [label if len(label) <= _MOST_LETTERS else f"{label[:_MOST_LETTERS - 1]}…" for label, _ in rows]
    notes = [f"{count:,} ({escape(share(count, total))})" for _, count in rows]
    left = max(52.0, max((len(label) for label in labels), default=0) * _LETTER + 12)
    room = max(40.0, WIDTH - left - max((len(note) for note in notes), default=0) * _LETTER - 8)
    longest = max((count for _, count in rows), default=0) or 1
    height = _TOP + _LINE * len(rows) + 4
    parts = []
    for number, ((_, count), label, note) in enumerate(zip(rows, labels, notes, strict=True)):
        y = _TOP + number * _LINE
        bar = max(1.0, count / longest * room) if count else 0
        parts.append(f'<text x="{left - 8:.0f}" y="{y + 15}" text-anchor="end">{escape(label)}</text>'
                     f'<rect x="{left:.0f}" y="{y + 3}" width="{bar:.1f}" height="16" rx="1"/>'
                     f'<text x="{left + bar + 6:.1f}" y="{y + 15}" class="count">{note}</text>')
    name = escape(title)
    return (f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">'
            f'<text x="0" y="15" class="title">{name}</text>{"".join(parts)}</svg>')


def share(count: int, total: int) -> str:
    """A share in words: "12 %", "0.3 %", "< 0.1 %"."""
    percent = 100 * count / total if total else 0.0
    if count and percent < 0.1:
        return "< 0.1 %"
    if count < total and percent > 99.9:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %"
