"""A recording drawn with braille characters, for a terminal: two columns and four rows of dots to a character."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.leads import LEADS, to_float_uv
from emgecg_cli.core.signals.paper.geometry import LAYOUTS, SECONDS

_BLANK = 0x2800
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # of a character: 4 rows, 2 columns
_LINES = 30  # all rows together take about as many, without the names above them
_STEPS_UV = (10, 20, 25, 40, 50, 80, 100, 125, 150, 200, 250, 300, 400, 500, 1000, 2000, 5000)
_NARROWEST = 40


def draw_text(signal: np.ndarray, fs: int, *, layout: str = "3x4", start: float = 0.0, width: int = 80) -> list[str]:
    """Ten seconds of a recording from `start` seconds on as lines of at most `width` characters, 40 at least.

    `signal` is int16 microvolts (12, L) in the order of `leads.LEADS`, missing samples = `leads.MISSING`; `fs` in Hz.
    All leads share one scale, which the last line says; each is drawn around its own median. Above each row stand the
    names of its leads. Missing samples are gaps.
    """
    rows = LAYOUTS[layout].rows
    width = max(_NARROWEST, width)
    first = round(start * fs)
    values = to_float_uv(signal[:, first:first + round(SECONDS * fs)])
    present = np.isfinite(values)
    middle = np.array([np.median(lead[here]) if here.any() else 0 for lead, here in zip(values, present, strict=True)])
    leads = dict(zip(LEADS, values - middle[:, None], strict=True))
    parts = [[_part(leads[name], fs, column, len(names)) for column, name in enumerate(names)] for names in rows]
    spans = [_span(row) for row in parts]
    step, heights = _scale(spans)
    lines: list[str] = []
    for names, row, span, height in zip(rows, parts, spans, heights, strict=True):
        cells = width // len(names)
        heads = [name if np.isfinite(part).any() else f"{name} (nothing)"
                 for name, part in zip(names, row, strict=True)]
        lines.append("".join(head.ljust(cells) for head in heads).rstrip())
        drawn = [_draw(part, cells - (len(names) > 1), height, sum(span) / 2, step) for part in row]
        lines += [" ".join(line).rstrip(" " + chr(_BLANK)) for line in zip(*drawn, strict=True)]
    columns = width // len(rows[0]) - (len(rows[0]) > 1)
    seconds = SECONDS / len(rows[0]) / columns
    end = min(start + SECONDS, signal.shape[1] / fs)
    return [*lines, f"1 character: {seconds:.2g} s, {step * 4 / 1000:g} mV   {start:g}–{end:g} s of "
                    f"{signal.shape[1] / fs:.1f} s   {fs} Hz   no filter"]


def _part(values: np.ndarray, fs: int, column: int, n_columns: int) -> np.ndarray:
    """The samples of one lead's share of the row; NaN after the end of the recording."""
    length = round(SECONDS * fs)
    whole = np.full(length, np.nan, np.float32)
    whole[:values.size] = values
    return whole[column * length // n_columns:(column + 1) * length // n_columns]


def _span(parts: list[np.ndarray]) -> tuple[float, float]:
    """The lowest and the highest value of a row; zero is always in it."""
    values = np.concatenate(parts)
    values = values[np.isfinite(values)]
    return (min(0.0, float(values.min())), max(0.0, float(values.max()))) if values.size else (0.0, 0.0)


def _scale(spans: list[tuple[float, float]]) -> tuple[int, list[int]]:
    """Microvolts per dot, and the height of each row in characters: the finest of a few steps with which all fit."""
    step, heights = _STEPS_UV[-1], [2] * len(spans)
    for step in _STEPS_UV:
        heights = [max(2, int((high - low) / step + 1) // 4 + 1) for low, high in spans]
        if sum(heights) <= max(_LINES, 3 * len(spans)):
            return step, heights
    return step, [min(height, _LINES) for height in heights]


def _draw(values: np.ndarray, cells: int, height: int, middle: float, step: int) -> list[str]:
    """One lead as `height` lines of `cells` characters; a column of dots reaches over all its samples and joins the
    one before."""
    columns, n_rows = cells * 2, height * 4
    dots = np.zeros((n_rows, columns), bool)
    edges = np.linspace(0, values.size, columns + 1).astype(int)
    last: float | None = None
    for column in range(columns):
        here = values[edges[column]:max(edges[column] + 1, edges[column + 1])]
        here = here[np.isfinite(here)]
        if not here.size:
            last = None
            continue
        ends = (float(here.min()), float(here.max())) if last is None else (min(last, float(here.min())),
                                                                            max(last, float(here.max())))
        low, high = (min(n_rows - 1, max(0, round(n_rows / 2 - 0.5 - (end - middle) / step))) for end in ends)
        dots[high:low + 1, column] = True
        last = float(here[-1])
    codes = (dots.reshape(height, 4, cells, 2) * _DOTS[None, :, None, :]).sum(axis=(1, 3)) + _BLANK
    return ["".join(map(chr, line)) for line in codes.tolist()]
