"""Small charts as inline SVG, drawn for the width of a telephone and no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH = 360
_LINE, _TOP, _LETTER = 22, 26, 7.3  # units of the viewBox, near a pixel each; a letter of a wide face
_MOST_LETTERS = 25
_BOLD = 7.8  # a letter of a title


def bar_chart(title: str, rows: Sequence[tuple[str, int]], total: int) -> str:
    """Horizontal bars of counts, each with its count and its share of `total`; a long label is cut short."""
    labels = [_cut(label) for label, _ in rows]
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
    return _chart(title, "", height, "".join(parts))


def share(count: int, total: int) -> str:
    """A share in words: "12 %", "0.3 %", "< 0.1 %"."""
    percent = 100 * count / total if total else 0.0
    if count and percent < 0.1:
        return "< 0.1 %"
    if count < total and percent > 99.9:
        return "> 99.9 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %"


def interval_chart(title: str, rows: Sequence[tuple[str, float, float | None, float | None]], low: float = 0.0,
                   high: float = 1.0, note: str = "") -> str:
    """Horizontal bars of values between `low` and `high`, from zero or from `low` where that is above it, each with a
    whisker over its interval (None: it has none). `note` stands below the title."""
    labels = [_cut(label) for label, *_ in rows]
    left = max(52.0, max((len(label) for label in labels), default=0) * _LETTER + 12)
    room = WIDTH - left - 7 * _LETTER
    top = _TOP + (14 if note else 0)

    def x(value: float) -> float:
        return left + (min(max(value, low), high) - low) / ((high - low) or 1.0) * room

    zero, parts = x(0.0), []
    for number, ((_, value, least, most), label) in enumerate(zip(rows, labels, strict=True)):
        y = top + number * _LINE
        start, end = sorted((zero, x(value)))
        side = "bad" if value < 0 else "good"
        whisker = "" if least is None or most is None else \
            (f'<path d="M{x(least):.1f} {y + 7}v8M{x(least):.1f} {y + 11}H{x(most):.1f}M{x(most):.1f} {y + 7}v8" '
             'class="whisker"/>')
        parts.append(f'<text x="{left - 8:.0f}" y="{y + 15}" text-anchor="end">{escape(label)}</text>'
                     f'<rect x="{start:.1f}" y="{y + 4}" width="{max(end - start, 1):.1f}" height="14" rx="1" '
                     f'class="{side}"/>{whisker}'
                     f'<text x="{left + room + 6:.1f}" y="{y + 15}" class="count">{_short(value)}</text>')
    axis = f'<path d="M{zero:.1f} {top}v{_LINE * len(rows)}" class="axis"/>'
    return _chart(title, note, top + _LINE * len(rows) + 4, axis + "".join(parts))


def line_chart(title: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]], across: str, note: str = "",
               ) -> str:
    """Lines through points (x, y), one for each name of `series`, four at the most; `across` is what x is."""
    points = [point for _, line in series for point in line]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    (x0, x1), (y0, y1) = (min(xs), max(xs)), (min(ys), max(ys))
    left, top, width, height = 48, _TOP + (14 if note else 0), WIDTH - 56, 150

    def at(x: float, y: float) -> str:
        return (f"{left + (x - x0) / ((x1 - x0) or 1) * width:.1f} "
                f"{top + 6 + (y1 - y) / ((y1 - y0) or 1) * height:.1f}")

    parts = [f'<path d="M{left} {top}V{top + height + 10}H{left + width}" class="axis"/>']
    for value, y in ((y1, top + 10), (y0, top + height + 8)):
        parts.append(f'<text x="{left - 5}" y="{y}" text-anchor="end" class="count">{_short(value)}</text>')
    for value, x, anchor in ((x0, left, "start"), (x1, left + width, "end")):
        parts.append(f'<text x="{x}" y="{top + height + 25}" text-anchor="{anchor}" class="count">{value:g}</text>')
    parts.append(f'<text x="{left + width / 2}" y="{top + height + 25}" text-anchor="middle" class="count">'
                 f'{escape(across)}</text>')
    for number, (name, line) in enumerate(series[:4]):
        parts.append(f'<path d="M{"L".join(at(*point) for point in line)}" class="line{number}"/>'
                     f'<text x="{left + 10 + number * 90}" y="{top + height + 43}" class="line{number}">— '
                     f'{escape(_cut(name, 11))}</text>')
        if len(line) < 30:
            parts += [f'<circle cx="{place.split()[0]}" cy="{place.split()[1]}" r="2.5" class="line{number}"/>'
                      for place in (at(*point) for point in line)]
    return _chart(title, note, top + height + 50, "".join(parts))


def _chart(title: str, note: str, height: float, parts: str) -> str:
    name = escape(title)
    squeezed = f' textLength="{WIDTH}" lengthAdjust="spacingAndGlyphs"' if len(title) * _BOLD > WIDTH else ""
    below = f'<text x="0" y="30" class="count">{escape(note)}</text>' if note else ""
    return (f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{name}">'
            f'<text x="0" y="15" class="title"{squeezed}>{name}</text>{below}{parts}</svg>')


def _cut(label: str, most: int = _MOST_LETTERS) -> str:
    return label if len(label) <= most else f"{label[:most - 1]}…"


def _short(value: float) -> str:
    value = round(value, 3) + 0.0  # no negative zero
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"
