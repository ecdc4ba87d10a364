"""A page as SVG: coordinates in whole tenths of a millimetre, so that it stays small."""

from __future__ import annotations

from html import escape

import numpy as np

from emgecg_cli.core.pages.printable import steerless
from emgecg_cli.core.signals.paper.geometry import STROKE, TEXT_MM, Page, Text

MM = 10  # drawing units per millimetre
WHITE, PAPER, THIN, THICK, INK, NOTE = "#ffffff", "#fff8f6", "#f6d5d0", "#e9a79f", "#1b1b1f", "#8a4b45"


def page_svg(page: Page, label: str) -> str:
    """The page as one self-contained SVG: no scripts, no identifiers, nothing loaded from elsewhere.

    `label` is for screen readers and shows as a tooltip.
    """
    width, height, title = _units(page.width), _units(page.height), escape(_printable(label))
    marks = "".join(_stroke(x, y, "") for x, y in page.marks)
    traces = "".join(_stroke(x, y, ' stroke-linejoin="round" stroke-linecap="round"') for x, y in page.traces)
    texts = "".join(map(_text, page.texts))
    return steerless(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{page.width:g}mm" '
        f'height="{height / MM:g}mm" role="img" aria-label="{title}"><title>{title}</title>{_grid(page)}'
        f'<g font-family="Helvetica,Arial,DejaVu Sans,sans-serif" font-size="{_units(TEXT_MM)}" fill="{INK}">'
        f'{marks}{traces}{texts}</g></svg>')


def _units(mm: float) -> int:
    return round(mm * MM)


def _printable(text: str) -> str:
    """The text without the characters that XML forbids."""
    return "".join(c if c.isprintable() else " " for c in text)


def _grid(page: Page) -> str:
    """The paper: thin lines each millimetre, thick ones every five."""
    width, top, bottom = _units(page.width), _units(page.top), _units(page.bottom)

    def lines(step: int, colour: str, stroke: int) -> str:
        across = "".join(f"M{x} {top}v{bottom - top}" for x in range(0, width + 1, step))
        down = "".join(f"M0 {y}h{width}" for y in range(top, bottom + 1, step))
        return f'<path d="{across}{down}" fill="none" stroke="{colour}" stroke-width="{stroke}"/>'

    white = f'<rect width="{width}" height="{_units(page.height)}" fill="{WHITE}"/>' if page.bottom < page.height \
        or page.top else ""
    paper = f'<rect y="{top}" width="{width}" height="{bottom - top}" fill="{PAPER}"/>'
    return white + paper + lines(MM, THIN, 1) + lines(5 * MM, THICK, 2)


def _text(text: Text) -> str:
    size = "" if text.size == TEXT_MM else f' font-size="{_units(text.size)}"'
    style = size + (' font-weight="bold"' if text.bold else "") + (f' fill="{NOTE}"' if text.note else "")
    return f'<text x="{_units(text.x)}" y="{_units(text.y)}"{style} xml:space="preserve">{escape(text.text)}</text>'


def _stroke(x: np.ndarray, y: np.ndarray, style: str) -> str:
    path = _path(np.rint(x * MM), np.rint(y * MM))
    return f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="{_units(STROKE)}"{style}/>' if path else ""


def _path(x: np.ndarray, y: np.ndarray) -> str:
    """Path data through whole points; a NaN lifts the pen, and points that fall on the last one are left out."""
    parts: list[str] = []
    at: tuple[int, int] | None = None
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if py != py:
            at = None
            continue
        point = int(px), int(py)
        if at is None:
            parts.append(f"M{point[0]} {point[1]}l0 0")
        elif point != at:
            parts.append(f" {point[0] - at[0]} {point[1] - at[1]}")
        at = point
    return "".join(parts).replace(" -", "-")
