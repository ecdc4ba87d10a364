"""A page as pixels, to scale at any resolution and the same bytes everywhere: exact coverage, own faces, own palette.

A pixel is one byte: its ground (white, paper, thin line, thick line), its ink (of traces or of remarks) and how much
of it the ink covers, in 31 steps. So a page of 2126×1100 takes 2 MB, blending is an addition, and files are small.
"""

from __future__ import annotations

import io
from functools import lru_cache
from importlib.resources import files

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emgecg_cli.core.signals.paper.geometry import STROKE, Page, Text
from emgecg_cli.core.signals.paper.svg import INK, NOTE, PAPER, THICK, THIN, WHITE

MM_PER_INCH = 25.4
LEVELS = 31
_GROUND, _REMARK = 64, 32  # the steps of a byte: ground * 64 + ink * 32 + level
_SUB = 4  # columns in which a trace is measured, per pixel
_BAND = 96  # pixels that are filled at once: a slow wander makes a wide band tall, and a tall one costs time


def page_png(page: Page, dpi: int) -> bytes:
    """The page as a PNG file that says its resolution."""
    image = Image.fromarray(page_pixels(page, dpi))
    image.putpalette(palette().tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", dpi=(dpi, dpi), compress_level=6)
    return stream.getvalue()


@lru_cache(maxsize=1)
def palette() -> np.ndarray:
    """The colours of the 256 bytes, uint8 (256, 3); `palette()[page_pixels(page, dpi)]` is the page in RGB."""
    grounds, inks = (np.array([_rgb(colour) for colour in colours], float)
                     for colours in ((WHITE, PAPER, THIN, THICK), (INK, NOTE)))
    cover = (np.arange(LEVELS + 1) / LEVELS)[:, None]
    colours = [ground * (1 - cover) + ink * cover for ground in grounds for ink in inks]
    return np.rint(np.concatenate(colours)).astype(np.uint8)


def page_rgb(page: Page, dpi: int) -> np.ndarray:
    """The page in RGB, uint8 (height, width, 3)."""
    image = Image.fromarray(page_pixels(page, dpi), "P")
    image.putpalette(palette().tobytes())
    return np.asarray(image.convert("RGB"))


def page_pixels(page: Page, dpi: int) -> np.ndarray:
    """The page as bytes of `palette()`, uint8 (height, width). A millimetre is dpi / 25.4 pixels, not rounded."""
    scale = dpi / MM_PER_INCH
    height, width = round(page.height * scale), round(page.width * scale)
    ink = np.zeros((height, width), np.uint8)
    for x, y in (*page.marks, *page.traces):
        for run in _runs(np.isfinite(y)):
            _cover(ink, x[run] * scale, y[run] * scale, STROKE / 2 * scale)
    for text in page.texts:
        _write(ink, text, scale)
    return _ground(height, width, round(page.top * scale), page.bottom - page.top, scale) + ink


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


@lru_cache(maxsize=4)
def _ground(height: int, width: int, top: int, paper_mm: float, scale: float) -> np.ndarray:
    """The empty page. Each line lies on whole pixels, nearest to its place, so that all look the same."""
    ground = np.zeros((height, width), np.uint8)
    bottom = min(height, top + round(paper_mm * scale))
    paper = ground[top:bottom]
    paper[:] = _GROUND
    for step, stroke, value in ((1, 0.1, 2 * _GROUND), (5, 0.2, 3 * _GROUND)):
        thickness = max(1, round(stroke * scale))
        for axis, size in enumerate(paper.shape):
            at = np.rint(np.arange(0, size / scale + step, step) * scale).astype(int) - (thickness - 1) // 2
            lines = (at[:, None] + np.arange(thickness)).ravel()
            lines = lines[(lines >= 0) & (lines < size)]
            paper[(lines, slice(None)) if axis == 0 else (slice(None), lines)] = value
    ground.setflags(write=False)
    return ground


def _runs(present: np.ndarray) -> list[slice]:
    """The stretches without a gap."""
    edges = np.flatnonzero(np.diff(present, prepend=False, append=False)).reshape(-1, 2)
    return [slice(start, stop) for start, stop in edges.tolist()]


def _cover(ink: np.ndarray, x: np.ndarray, y: np.ndarray, radius: float) -> None:
    """Draw a stroke with round ends and joints through (x, y), pixels, x not falling.

    The stroke is the line's neighbourhood within `radius`. In each of a few columns per pixel it is one interval from
    its highest to its lowest point, and an interval's share of a pixel is exact.
    """
    height, width = ink.shape
    left, right = max(0, int(x[0] - radius)), min(width, int(x[-1] + radius) + 1)
    if left >= right:
        return
    top, bottom = _extent(x, np.clip(y, -9, height + 9), left, right, radius)
    for start in range(left, right, _BAND):
        band = slice((start - left) * _SUB, (start - left + _BAND) * _SUB)
        _fill(ink[:, start:min(start + _BAND, right)], top[band], bottom[band])


def _fill(ink: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> None:
    """Ink a band of pixels with one interval for each of its narrow columns."""
    height, columns = ink.shape
    there = np.flatnonzero(top <= bottom)
    top, bottom = np.clip(top[there], 0, height), np.clip(bottom[there], 0, height)
    if not there.size:
        return
    first, last = int(top.min()), min(height, int(bottom.max()) + 1)
    rows = last - first + 2
    change = np.zeros(rows * columns)
    for edge, sign in ((top, 1.0), (bottom, -1.0)):
        row = np.floor(edge).astype(int)
        part = edge - row
        place = (row - first) * columns + there // _SUB
        change += np.bincount(place, sign * (1 - part), change.size)
        change += np.bincount(place + columns, sign * part, change.size)
    share = np.cumsum(change.reshape(rows, columns), axis=0)[:last - first] / _SUB
    level = np.rint(np.minimum(share, 1) * LEVELS).astype(np.uint8)
    np.maximum(ink[first:last], level, out=ink[first:last])


def _extent(x: np.ndarray, y: np.ndarray, left: int, right: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The highest and the lowest point of a stroke in each of the columns between two pixels; +inf, -inf: none."""
    reach = int(radius * _SUB)
    edges = left + np.arange(-reach, (right - left) * _SUB + reach + 1) / _SUB
    line = np.interp(edges, x, y, left=np.nan, right=np.nan)
    low, high = np.fmin(line[:-1], line[1:]), np.fmax(line[:-1], line[1:])
    np.nan_to_num(low, copy=False, nan=np.inf)
    np.nan_to_num(high, copy=False, nan=-np.inf)
    column = np.floor((x - edges[0]) * _SUB).astype(int)
    inside = (column >= 0) & (column < low.size)
    column, y = column[inside], y[inside]
    if column.size:
        first = np.flatnonzero(np.diff(column, prepend=-1))  # of the points in each column
        at = column[first]
        low[at] = np.minimum(low[at], np.minimum.reduceat(y, first))
        high[at] = np.maximum(high[at], np.maximum.reduceat(y, first))
    n = (right - left) * _SUB
    top, bottom = np.full(n, np.inf), np.full(n, -np.inf)
    for shift in range(-reach, reach + 1):
        arc = (radius ** 2 - (shift / _SUB) ** 2) ** 0.5
        np.minimum(top, low[reach + shift:reach + shift + n] - arc, out=top)
        np.maximum(bottom, high[reach + shift:reach + shift + n] + arc, out=bottom)
    return top, bottom


def _write(ink: np.ndarray, text: Text, scale: float) -> None:
    """Write a line of text; what does not fit on the page is cut off."""
    word, up = _word(text.text, text.bold, round(text.size * scale, 3))
    left, top = round(text.x * scale), round(text.y * scale) - up
    word = word[max(0, -top):max(0, ink.shape[0] - top), max(0, -left):max(0, ink.shape[1] - left)]
    top, left = max(0, top), max(0, left)
    block = ink[top:top + word.shape[0], left:left + word.shape[1]]
    if text.note:
        word = np.where(word > 0, word + np.uint8(_REMARK), 0).astype(np.uint8)
        word = np.where(block > 0, block, word)
    np.maximum(block, word, out=block)


@lru_cache(maxsize=512)
def _word(text: str, bold: bool, size: float) -> tuple[np.ndarray, int]:
    """A line of text as levels, and how many rows it reaches above its baseline."""
    font = _font(bold, size)
    ascent, descent = font.getmetrics()
    width = int(font.getlength(text)) + 4
    image = Image.new("L", (width, ascent + descent))
    ImageDraw.Draw(image).text((0, ascent), text, fill=255, font=font, anchor="ls")
    return np.rint(np.asarray(image) * (LEVELS / 255)).astype(np.uint8), ascent


@lru_cache(maxsize=16)
def _font(bold: bool, size: float) -> ImageFont.FreeTypeFont:
    """The face that comes along, so that no page depends on what is installed: Latin, Greek and Cyrillic letters."""
    data = files("emgecg_cli").joinpath("data", "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf").read_bytes()
    return ImageFont.truetype(io.BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)
