"""A line of values with its band, against horizontal lines: inline SVG for the width of a telephone and no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from emgecg_cli.core.pages.charts import WIDTH

_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 220, 34, 44, 44, 12
_NAME, _SAMPLE = 17, 34  # the height of a line's name, and how much of the line stands before it
_DASHES = ("6 4", "2 3", "10 3 2 3", "1 5")


@dataclass(frozen=True)
class Spot:
    """A value at a place of the horizontal axis, `label` for its tick, with an interval where there is one."""

    label: str
    at: float
    value: float
    low: float | None = None
    high: float | None = None


def line_chart(title: str, spots: Sequence[Spot], lines: Sequence[tuple[str, float]], axis: str) -> str:
    """Values from left to right with a band of their intervals, and dashed lines whose names and values stand below;
    `axis` says what is on the horizontal one. The vertical axis begins at 0 where nothing is below it."""
    known = [number for spot in spots for number in (spot.value, spot.low, spot.high) if number is not None]
    known += [value for _, value in lines]
    bottom, top = min(0.0, *known), max(known)
    top = top if top > bottom else bottom + 1
    first, last = spots[0].at, spots[-1].at

    def x(at: float) -> float:
        return _LEFT + (at - first) / ((last - first) or 1) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - bottom) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text x="0" y="15" class="title">{escape(title)}</text>', _frame(bottom, top, y)]
    if all(spot.low is not None and spot.high is not None for spot in spots):
        ends = [(x(spot.at), y(float(spot.high or 0))) for spot in spots]
        ends += [(x(spot.at), y(float(spot.low or 0))) for spot in reversed(spots)]
        parts.append(f'<polygon points="{_points(ends)}" style="fill:var(--accent);opacity:.18"/>')
    for number, (name, value) in enumerate(lines):
        below = _HEIGHT + _NAME * number + 8
        parts.append(_dashed(_LEFT, WIDTH - _RIGHT, y(value), number) + _dashed(_LEFT, _LEFT + _SAMPLE, below, number)
                     + f'<text x="{_LEFT + _SAMPLE + 8}" y="{below + 4}" class="count">{escape(name)}: {value:.3f}'
                       '</text>')
    parts.append(f'<polyline points="{_points([(x(spot.at), y(spot.value)) for spot in spots])}" '
                 'style="fill:none;stroke:var(--accent);stroke-width:2"/>')
    for spot in spots:
        parts.append(f'<circle cx="{x(spot.at):.1f}" cy="{y(spot.value):.1f}" r="3.5" style="fill:var(--accent)">'
                     f"<title>{escape(spot.label)}: {spot.value:.3f}</title></circle>"
                     f'<text x="{x(spot.at):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
                     f"{escape(spot.label)}</text>")
    parts.append(f'<text x="{(WIDTH + _LEFT) / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle" class="count">'
                 f"{escape(axis)}</text>")
    height = _HEIGHT + _NAME * len(lines)
    return (f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
            f'{"".join(parts)}</svg>')


def _dashed(start: float, end: float, y: float, number: int) -> str:
    """A horizontal line, broken in the way of this number."""
    return (f'<line x1="{start}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}" '
            f'style="stroke:var(--soft);stroke-width:1.5;stroke-dasharray:{_DASHES[number % len(_DASHES)]}"/>')


def _frame(bottom: float, top: float, y: object) -> str:
    """Three horizontal rules with their values."""
    assert callable(y)
    rules = ""
    for value in (bottom, (bottom + top) / 2, top):
        rules += (f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
                  f'style="stroke:var(--line)"/><text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end" '
                  f'class="count">{value:.2f}</text>')
    return rules


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
