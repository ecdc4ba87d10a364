"""The page once, in millimetres: where every line, trace and text of a drawn ECG lies. SVG and PNG are written from it.

Paper runs at 25 mm/s with lines every 1 mm and 5 mm, and at 10 mm/mV unless the traces are too tall for it. Times on
the page are those of the recording, so that a lead in the third column of 3×4 is drawn from the fifth second on.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.signals.paper.rows import EDGE_MM, ROOM_FOR_NAMES_MM, Part, Row, cut_parts, fit_rows, name_up

MM_PER_SECOND = 25
SECONDS = 10.0
LEFT, RIGHT, TOP, BOTTOM = 15, 5, 10, 10
LANE = 4  # from one line of brackets to the next
WIDTH = LEFT + int(SECONDS * MM_PER_SECOND) + RIGHT
STROKE = 0.3
TEXT_MM, SMALL_MM, HEAD_MM = 3.6, 3.0, 4.6
_ARROW_MM = 3.0  # nearer to each other, what is cut has one arrow
_LINE = 1.45  # from one line of text to the next, in sizes
# widths in sizes of letters unlike the others
_EM = dict.fromkeys(" .,;:!|'ijlI()[]/ftr-", 0.42) | dict.fromkeys("mwMW%@", 1.0)


@dataclass(frozen=True)
class Layout:
    """Rows of leads from top to bottom; the leads of a row share its ten seconds. `row_mm` is from row to row, where no
    trace needs more."""

    rows: tuple[tuple[str, ...], ...]
    row_mm: int


LAYOUTS = {
    "3x4": Layout((("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",)), 30),
    "6x2": Layout(tuple(zip(LEADS[:6], LEADS[6:], strict=True)), 25),
    "12x1": Layout(tuple((name,) for name in LEADS), 15),
}


@dataclass(frozen=True)
class Text:
    """A line of text: `x` where it begins, `y` its baseline, `size` the height of its face, all in mm."""

    x: float
    y: float
    text: str
    size: float = TEXT_MM
    bold: bool = False
    note: bool = False  # in the colour of remarks, not of ink

    def moved(self, x: float) -> Text:
        """The text so many mm further to the right."""
        return replace(self, x=self.x + x)


@dataclass
class Page:
    """A page in mm from its top left corner: the paper from `top` to `bottom` over the whole width, and what is on it.

    A stroke is (x, y), two arrays in mm; a NaN in y lifts the pen. `marks` are strokes of straight lines (pulses,
    ticks), `traces` are leads.
    """

    width: float
    height: float
    top: float
    bottom: float
    marks: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    traces: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


def lay_out(signal: np.ndarray, fs: int, *, layout: str = "3x4", start: float = 0.0, header: Sequence[str] = (),
            notes: Sequence[str] = (), gain: float | None = None,
            lanes: Mapping[str, Sequence[tuple[float, float]]] | None = None) -> Page:
    """The page of ten seconds of a recording, from `start` seconds on.

    `signal` is int16 microvolts (12, L) in the order of `leads.LEADS`, missing samples = `leads.MISSING`; `fs` in Hz.
    Each lead is drawn around its own median, as a recorder without DC coupling would. `gain` is in mm per millivolt;
    None takes 10, or less where the page would grow too tall. A row is as high as its traces; what is higher than a
    page allows is cut, with an arrow, and reported below the strips. `header` stands above the paper, its first line
    large; the paragraphs of `notes` stand below it and are wrapped. `lanes` are intervals by name, from and to in
    seconds of the recording, each name a line of brackets below the strips. Raises ValueError for another shape, an
    unknown layout, a gain that is not positive, or a start that is not in the recording.
    """
    first = first_sample(signal, fs, layout, start, gain)
    chosen, length = LAYOUTS[layout], round(SECONDS * fs)
    parts = cut_parts(signal[:, first:first + length], chosen.rows, length)
    used, rows = fit_rows(parts, chosen.row_mm, MM_PER_SECOND / fs, gain)
    head = lines_of(header, WIDTH - 2 * RIGHT)
    top = head[-1].y + 3.0 if head else 0.0
    strips = ceil(sum(row.up + row.down for row in rows))
    bottom = top + TOP + strips + len(lanes or {}) * LANE + BOTTOM
    page = Page(WIDTH, bottom, top, bottom, texts=head)
    base, cut = top + TOP, []
    for row in rows:
        cut += draw_row(page, row, fs, base + row.up, used, named_above=chosen.row_mm >= ROOM_FOR_NAMES_MM)
        base += row.up + row.down
    for number, (name, spans) in enumerate((lanes or {}).items()):
        _draw_lane(page, name, spans, top + TOP + strips + number * LANE, first / fs)
    write_scale(page, signal.shape[1], fs, first / fs, used, cut)
    below = lines_of(notes, WIDTH - 2 * RIGHT, y=bottom + 1.5, head=False)
    page.texts.extend(below)
    page.height = below[-1].y + 4.0 if below else bottom
    return page


def first_sample(signal: np.ndarray, fs: int, layout: str, start: float, gain: float | None) -> int:
    """The sample a page begins with; raises ValueError for what no page is drawn of, see `lay_out`."""
    if signal.ndim != 2 or signal.shape[0] != len(LEADS) or fs <= 0:
        raise ValueError(f"needs an ECG of shape ({len(LEADS)}, L) at a positive rate, not {signal.shape} at {fs} Hz")
    if layout not in LAYOUTS:
        raise ValueError(f"no layout {layout!r}: {', '.join(LAYOUTS)}")
    if gain is not None and not gain > 0:
        raise ValueError(f"a gain of {gain:g} mm/mV draws nothing")
    first = round(start * fs)
    if first < 0 or (first and first >= signal.shape[1]):
        raise ValueError(f"start {start:g} s is not in a recording of {signal.shape[1] / fs:g} s")
    return first


def draw_row(page: Page, row: Row, fs: int, base: float, gain: float, *, named_above: bool,
             room: float | None = None) -> list[str]:
    """One row: the calibration pulse, then its leads one after the other in time. What was cut is returned in words.
    A name stands above its trace, in `room` mm if these are given."""
    pulse = np.array([3, 5, 5, 10, 10, 12.0]), base - np.minimum(gain, row.up) * np.array([0, 0, 1, 1, 0, 0.0])
    page.marks.append(pulse)
    cut = []
    for part in row.parts:
        left = LEFT + part.first / fs * MM_PER_SECOND
        if part.first:
            for y in (base - 5, base + 3):
                page.marks.append((np.array([left, left]), np.array([y, y + 2])))
        # narrow rows have no room above the trace: the name stands under the pulse
        up = min(name_up(part, MM_PER_SECOND / fs, gain), row.up - TEXT_MM, room or row.up)
        place = (left + 1.2, base - up) if named_above else (3.0, base + 4.0)
        page.texts.append(Text(*place, part.name, bold=True))
        if part.remark:
            page.texts.append(Text(left + 1.2, base + 1.2, part.remark, note=True))
            continue
        cut += _draw_lead(page, part, row, left, fs, base, gain)
    return cut


def _draw_lead(page: Page, part: Part, row: Row, left: float, fs: int, base: float, gain: float) -> list[str]:
    """Draw one lead; where it leaves its row it stops at the edge, at an arrow."""
    x = left + np.arange(len(part.millivolts)) / fs * MM_PER_SECOND
    height = part.millivolts * gain
    up, down = row.up - EDGE_MM, row.down - EDGE_MM
    page.traces.append((x, base - np.clip(height, -down, up)))
    said = []
    for side, limit, outside in ((1, up, height > up), (-1, down, height < -down)):
        places = x[outside]
        for place in places[np.diff(places, prepend=-np.inf) > _ARROW_MM].tolist():
            tip = base - side * limit
            page.marks.append((place + np.array([-1.2, 0.0, 1.2]), tip + side * np.array([1.8, 0.0, 1.8])))
        if outside.any():
            most = part.millivolts[np.nanargmax(side * part.millivolts)]
            said.append(f"{part.name} {most:+.1f} mV")
    return said


def _draw_lane(page: Page, name: str, spans: Sequence[tuple[float, float]], y: float, start: float) -> None:
    """One line of brackets, those that lie wholly or partly in the ten seconds; open where one goes on beyond them."""
    page.texts.append(Text(3.0, y + 2.6, name, SMALL_MM, note=True))
    for begin, end in spans:
        left, right = max(begin - start, 0.0), min(end - start, SECONDS)
        if left >= right:
            continue
        x = LEFT + MM_PER_SECOND * np.array([left, left, right, right])
        ends = (begin - start == left, end - start == right)
        page.marks.append((x, y + np.array([0.6 if ends[0] else 2.0, 2.0, 2.0, 0.6 if ends[1] else 2.0])))


def write_scale(page: Page, sig_len: int, fs: int, start: float, gain: float, cut: Sequence[str]) -> None:
    """The line at the bottom of the paper, in several where much was cut."""
    scale = _scale(sig_len, fs, start, gain, cut)
    lines = wrap(scale, WIDTH - LEFT - RIGHT, SMALL_MM) if cut else [scale]
    for number, line in enumerate(lines):
        page.texts.append(Text(LEFT, page.bottom - 3.5 - (len(lines) - 1 - number) * SMALL_MM * _LINE, line, SMALL_MM,
                               note=True))


def _scale(sig_len: int, fs: int, start: float, gain: float, cut: Sequence[str]) -> str:
    """Scale, rate, filter, how much of the recording is shown, and what leaves the page."""
    seconds = sig_len / fs
    end = min(start + SECONDS, seconds)
    if start:
        shown = f"{start:g} s to {end:g} s of {seconds:.1f} s"
    else:
        shown = f"first {SECONDS:g} s of {seconds:.1f} s" if seconds > SECONDS else f"{seconds:.1f} s"
    leaves = f"cut at arrows: {', '.join(dict.fromkeys(cut))}   " if cut else ""
    return f"{MM_PER_SECOND} mm/s   {gain:g} mm/mV   {fs} Hz   no filter   {leaves}{shown}"


def lines_of(paragraphs: Sequence[str], width: float, y: float = 1.0, *, head: bool = True) -> list[Text]:
    """Paragraphs as wrapped lines of text from `y` downwards; the first paragraph of a head is large and bold."""
    lines: list[Text] = []
    for number, paragraph in enumerate(paragraphs):
        size = HEAD_MM if head and number == 0 else TEXT_MM
        for line in wrap(paragraph, width, size):
            y += size * _LINE
            lines.append(Text(RIGHT, y, line, size, bold=head and number == 0))
        y += 0 if head else 1.2
    return lines


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines of at most `width` mm at this size; a word that is longer is broken."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    lines = [""]
    for word in clean.split():
        if lines[-1] and _width(f"{lines[-1]} {word}") * size > width:
            lines.append("")
        if lines[-1]:
            lines[-1] += f" {word}"
            continue
        for character in word:
            if lines[-1] and _width(lines[-1] + character) * size > width:
                lines.append("")
            lines[-1] += character
    return [line for line in lines if line]


def _width(text: str) -> float:
    """The width of a text in sizes, at least that of a wide face, so that a narrower one fits as well."""
    return sum(_EM.get(c) or (1.0 if unicodedata.east_asian_width(c) in "WF" else 0.76 if c.isupper() else 0.62)
               for c in text)
