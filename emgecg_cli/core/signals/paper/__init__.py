"""A twelve-lead ECG drawn on paper: the page is laid out once, in millimetres, and written as SVG or PNG; a terminal
gets a drawing of its own."""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.paper.geometry import LAYOUTS, SECONDS, Page, lay_out
from emgecg_cli.core.signals.paper.svg import MM, page_svg

__all__ = ["LAYOUTS", "MM", "SECONDS", "Page", "draw_ecg", "lay_out", "page_svg"]


def draw_ecg(signal: np.ndarray, fs: int, *, label: str = "12-lead ECG") -> str:
    """Draw the first ten seconds of a recording as a self-contained SVG, 3×4 above a rhythm strip of lead II.

    `signal` is int16 microvolts (12, L) in the order of `leads.LEADS`, missing samples = `leads.MISSING`; `fs` in Hz.
    The page grows with tall traces. The line below the strips says at what gain it is drawn, and when there is more to
    the recording. Missing samples are gaps; a lead without samples is marked.
    `label` is for screen readers and shows as a tooltip. Raises ValueError on another shape.
    """
    return page_svg(lay_out(signal, fs), label)
