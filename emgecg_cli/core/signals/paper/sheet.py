"""Pages for eyes and for image encoders: one sheet of letter paper, always at the same scale, as pixels.

A page that `geometry` lays out grows with its traces. A sheet does not: its rows lie at fixed places and traces run
into the rows beside theirs, as a recorder prints them, so that all sheets of a layout and resolution have one shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emgecg_cli.core.signals.paper import geometry
from emgecg_cli.core.signals.paper.distortions import distort
from emgecg_cli.core.signals.paper.geometry import LAYOUTS, SECONDS, Page
from emgecg_cli.core.signals.paper.png import page_rgb
from emgecg_cli.core.signals.paper.rows import ROOM_FOR_NAMES_MM, Row, cut_parts

WIDTH, HEIGHT = 11 * 25.4, 8.5 * 25.4  # mm
LEFT = 20.0  # where the first second begins
GAIN = 10.0  # mm per millivolt
_ROWS = {"3x4": (45, 40), "6x2": (40, 30), "12x1": (30, 15)}  # mm: base line of the first row, from row to row
_HEADER_LINES = 3


def lay_out_sheet(signal: np.ndarray, fs: int, *, layout: str = "3x4", start: float = 0.0, gain: float = GAIN,
                  header: Sequence[str] = ()) -> Page:
    """Ten seconds of a recording, from `start` seconds on, on a sheet of 11 × 8.5 inches.

    `signal` is int16 microvolts (12, L) in the order of `leads.LEADS`, missing samples = `leads.MISSING`; `fs` in Hz.
    `gain` is in mm per millivolt. The paragraphs of `header` stand at the top, as many as fit three lines. What leaves
    the sheet is cut at an arrow. Raises ValueError as `geometry.lay_out`.
    """
    first = geometry.first_sample(signal, fs, layout, start, gain)
    length = round(SECONDS * fs)
    page = Page(WIDTH, HEIGHT, 0.0, HEIGHT, texts=geometry.lines_of(header, WIDTH - 2 * geometry.RIGHT)[:_HEADER_LINES])
    n_texts, cut = len(page.texts), []
    base, pitch = _ROWS[layout]
    for parts in cut_parts(signal[:, first:first + length], LAYOUTS[layout].rows, length):
        row = Row(parts, float(base), HEIGHT - base)
        cut += geometry.draw_row(page, row, fs, base, gain, named_above=pitch >= ROOM_FOR_NAMES_MM, room=0.8 * pitch)
        base += pitch
    geometry.write_scale(page, signal.shape[1], fs, first / fs, gain, cut)
    right = LEFT - geometry.LEFT
    page.marks = [(x + right, y) for x, y in page.marks]
    page.traces = [(x + right, y) for x, y in page.traces]
    page.texts[n_texts:] = [text.moved(right) for text in page.texts[n_texts:]]
    return page


def render_page(signal: np.ndarray, fs: int, *, layout: str = "3x4", dpi: int = 200, start: float = 0.0,
                gain: float = GAIN, header: Sequence[str] = (), distortions: Sequence[str] = (),
                seed: int = 0) -> np.ndarray:
    """A sheet as pixels in RGB, uint8 (8.5 dpi, 11 dpi, 3): 2200 × 1700 at 200 dpi.

    See `lay_out_sheet` for what is drawn, at 25 mm/s and `gain` mm/mV whatever the resolution. `distortions` are names
    of `names.DISTORTIONS`; a page is distorted in one way by each `seed`, and equal arguments give equal pixels. Only
    "crop" changes the shape.
    """
    return distort(page_rgb(lay_out_sheet(signal, fs, layout=layout, start=start, gain=gain, header=header), dpi),
                   distortions, seed)
