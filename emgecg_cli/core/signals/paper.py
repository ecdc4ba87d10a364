"""A twelve-lead ECG drawn on paper, as SVG: 25 mm/s, 10 mm/mV, lines every 1 mm and 5 mm.

The layout is the usual one: three rows of four leads, 2.5 s each and one after the other in time, above a rhythm strip
of lead II over the whole width. The coordinates are whole tenths of a millimetre, so that a page stays small.
"""

from __future__ import annotations

from html import escape

import numpy as np

from emgecg_cli.core.signals.leads import LEADS, to_float_uv

MM = 10  # drawing units per millimetre
MM_PER_SECOND = 25
MM_PER_MILLIVOLT = 10
ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
RHYTHM = "II"
SECONDS = 10.0

_LEFT, _RIGHT, _TOP, _BOTTOM, _ROW = 15 * MM, 5 * MM, 10 * MM, 10 * MM, 30 * MM
_WIDTH = _LEFT + int(SECONDS * MM_PER_SECOND * MM) + _RIGHT
_HEIGHT = _TOP + 4 * _ROW + _BOTTOM
_PAPER, _THIN, _THICK, _INK, _NOTE = "#fff8f6", "#f6d5d0", "#e9a79f", "#1b1b1f", "#8a4b45"


def draw_ecg(signal: np.ndarray, fs: int, *, label: str = "12-lead ECG") -> str:
    """Draw one recording as a self-contained SVG: no scripts, no identifiers, nothing loaded from elsewhere.

    `signal` is int16 microvolts (12, L) in the order of `leads.LEADS`, missing samples = `leads.MISSING`; `fs` in Hz.
    Each lead is drawn around its own median, as a recorder without DC coupling would. The first ten seconds are shown,
    and the line below the strips says so when there is more. Missing samples are gaps; a lead without samples is
    marked. `label` is for screen readers and shows as a tooltip. Raises ValueError on another shape.
    """
    if signal.ndim != 2 or signal.shape[0] != len(LEADS) or fs <= 0:
        raise ValueError(f"needs an ECG of shape ({len(LEADS)}, L) at a positive rate, not {signal.shape} at {fs} Hz")
    shown = signal[:, : round(SECONDS * fs)]
    leads = dict(zip(LEADS, to_float_uv(shown), strict=True))
    strips = "".join(_row(leads, row, fs, number) for number, row in enumerate([*ROWS, (RHYTHM,)]))
    title = escape(label)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH / MM:g}mm" '
            f'height="{_HEIGHT / MM:g}mm" role="img" aria-label="{title}"><title>{title}</title>'
            f'{_grid()}<g font-family="Helvetica,Arial,sans-serif" font-size="36" fill="{_INK}">{strips}'
            f'{_footer(signal.shape[1], fs)}</g></svg>')


def _grid() -> str:
    """The paper: thin lines each millimetre, thick ones every five."""
    def lines(step: int, colour: str, width: int) -> str:
        across = "".join(f"M{x} 0v{_HEIGHT}" for x in range(0, _WIDTH + 1, step))
        down = "".join(f"M0 {y}h{_WIDTH}" for y in range(0, _HEIGHT + 1, step))
        return f'<path d="{across}{down}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    paper = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="{_PAPER}"/>'
    return paper + lines(MM, _THIN, 1) + lines(5 * MM, _THICK, 2)


def _row(leads: dict[str, np.ndarray], names: tuple[str, ...], fs: int, number: int) -> str:
    """One row of the page: the calibration pulse, then its leads one after the other in time."""
    base = _TOP + number * _ROW + _ROW // 2
    parts = [_calibration(base)]
    length = round(SECONDS * fs)
    for column, name in enumerate(names):
        first, last = column * length // len(names), (column + 1) * length // len(names)
        parts.append(_lead(leads[name], name, first, last, fs, base))
    return "".join(parts)


def _lead(values: np.ndarray, name: str, first: int, last: int, fs: int, base: int) -> str:
    """One lead from sample `first` to `last`: a tick where it begins, its name, its trace or that it is absent."""
    left = _LEFT + round(first / fs * MM_PER_SECOND * MM)
    tick = f'<path d="M{left} {base - 50}v20m0 60v20" stroke="{_INK}" stroke-width="3"/>' if first else ""
    text = f'<text x="{left + 12}" y="{base - 78}" font-weight="bold">{name}</text>'
    present = np.isfinite(values)
    if not present.any():
        return tick + text + f'<text x="{left + 12}" y="{base + 12}" fill="{_NOTE}">not recorded</text>'
    window = slice(first, min(last, len(values)))
    millivolts = (values[window] - np.median(values[present])) / 1000
    x = _LEFT + np.rint(np.arange(window.start, window.stop) / fs * MM_PER_SECOND * MM)
    path = _path(x, base - np.rint(millivolts * MM_PER_MILLIVOLT * MM))
    if not path:
        return tick + text
    return tick + text + (f'<path d="{path}" fill="none" stroke="{_INK}" stroke-width="3" stroke-linejoin="round" '
                          'stroke-linecap="round"/>')


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


def _calibration(base: int) -> str:
    """The pulse that shows the gain: 1 mV for 0.2 s."""
    height, width = MM_PER_MILLIVOLT * MM, MM_PER_SECOND * MM // 5
    return (f'<path d="M{3 * MM} {base}h20v-{height}h{width}v{height}h20" fill="none" stroke="{_INK}" '
            'stroke-width="3"/>')


def _footer(sig_len: int, fs: int) -> str:
    """Scale, rate, and how much of the recording is shown."""
    seconds = sig_len / fs
    shown = f"first {SECONDS:g} s of {seconds:.1f} s" if seconds > SECONDS else f"{seconds:.1f} s"
    text = f"{MM_PER_SECOND} mm/s   {MM_PER_MILLIVOLT} mm/mV   {fs} Hz   {shown}"
    return f'<text x="{_LEFT}" y="{_HEIGHT - 35}" font-size="30" fill="{_NOTE}" xml:space="preserve">{text}</text>'
