"""What happens to a page between the printer and the reader: folds, a slanted scan, light, a noisy sensor.

Each distortion is a pure function of a page in RGB, uint8 (H, W, 3), and a random generator. Several are applied in the
order in which they happen in the world, whatever the order they are named in, and each draws from a generator of its
own, so that adding one leaves the others as they are.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection

import numpy as np
from PIL import Image

from emgecg_cli.core import names

MOST_DEGREES = 3.0
MOST_CROPPED = 0.02  # of a side's length, at each of its ends
NOISE_LEVELS = (2.0, 20.0)
WARM_K, COLD_K = (2000, 4000), (10_000, 20_000)
_WHITE = (255, 255, 255)
_CREASES = (2, 6)
_CREASE_WIDTH = 0.004  # of the page's width
_CREASE_DEPTH = (0.08, 0.30)
_NOISE_TABLE = 1 << 16


def distort(page: np.ndarray, chosen: Collection[str], seed: int) -> np.ndarray:
    """The page with the distortions of these names; raises MedReportError for a name that is in no table."""
    for name in chosen:
        names.check("distortion", name)
    for name in names.choices("distortion"):
        if name in chosen:
            page = names.resolve("distortion", name)(page, np.random.default_rng([seed, zlib.crc32(name.encode())]))
    return page


def creases(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Folds across the whole page in one direction and at right angles to it: each is dark, with a light edge."""
    height, width = page.shape[:2]
    out = page.copy()
    angle = rng.uniform(0, np.pi / 2)
    for _ in range(rng.integers(*_CREASES, endpoint=True)):
        direction = angle + np.pi / 2 * rng.integers(2)
        through = rng.uniform(0.1, 0.9, 2) * (width, height)
        half = max(1.5, _CREASE_WIDTH * width * rng.uniform(0.5, 1.5))
        _crease(out, direction, through, half, rng.uniform(*_CREASE_DEPTH))
    return out


def _crease(page: np.ndarray, direction: float, through: np.ndarray, half: float, depth: float) -> None:
    """Shade the pixels near a line, in place; they are walked along the side that the line crosses less often."""
    if abs(np.cos(direction)) > abs(np.sin(direction)):  # more lying than standing
        page, direction, through = page.transpose(1, 0, 2), np.pi / 2 - direction, through[::-1]
    rows = np.arange(len(page))
    middle = through[0] + (rows - through[1]) / np.tan(direction)
    reach = int(np.ceil(2 * half / abs(np.sin(direction)))) + 1
    columns = np.rint(middle).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    away = (columns - middle[:, None]) * np.sin(direction) / half
    shade = 1 - depth * (np.exp(-4 * away ** 2) - 0.4 * np.exp(-4 * (away - 1) ** 2))
    row, column = np.nonzero((columns >= 0) & (columns < page.shape[1]))
    at = rows[row], columns[row, column]
    page[at] = np.clip(page[at] * shade[row, column][:, None] + 0.5, 0, 255).astype(np.uint8)


def rotation(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turned about its middle by up to three degrees either way; beyond the page it is white."""
    return turned(page, rng.uniform(-MOST_DEGREES, MOST_DEGREES))


def turned(page: np.ndarray, degrees: float) -> np.ndarray:
    """The page turned to the left by a small angle, in three shears, which are exact and take half the time of one
    interpolation in both directions (Paeth, "A fast algorithm for general raster rotation", Graphics Interface 1986).
    """
    angle = np.deg2rad(degrees)
    page = _moved_along(page, np.tan(angle / 2))
    page = _moved_down(page, -np.sin(angle))
    return _moved_along(page, np.tan(angle / 2))


def _moved_along(page: np.ndarray, slope: float) -> np.ndarray:
    """Each row moved to the right by `slope` times how far it lies below the middle."""
    height, width = page.shape[:2]
    whole, part = _steps(height, slope)
    beyond = int(np.abs(whole).max()) + 2
    wide = np.full((height, (width + 2 * beyond) * 3), _WHITE[0], np.uint16)
    wide[:, beyond * 3:(beyond + width) * 3] = page.reshape(height, -1)
    out = np.empty((height, width * 3), np.uint8)
    for line, row, step, share in zip(out, wide, whole.tolist(), part, strict=True):
        start = (beyond - step) * 3
        line[:] = _between(row[start:start + width * 3], row[start - 3:start - 3 + width * 3], share)
    return out.reshape(page.shape)


def _moved_down(page: np.ndarray, slope: float) -> np.ndarray:
    """Each column moved down by `slope` times how far it lies to the right of the middle; columns that move by the same
    number of whole pixels at once."""
    height, width = page.shape[:2]
    whole, part = _steps(width, slope)
    out = np.empty_like(page)
    starts = np.flatnonzero(np.diff(whole, prepend=whole[0] - 1)).tolist()
    for left, right in zip(starts, [*starts[1:], width], strict=True):
        first, last = -int(whole[left]) - 1, height - int(whole[left])  # rows of the page, the one above them too
        there = slice(max(0, first), max(0, min(height, last)))
        block = np.full((height + 1, (right - left) * 3), _WHITE[0], np.uint16)
        rows = page[there, left:right]
        block[there.start - first:there.start - first + len(rows)] = rows.reshape(len(rows), -1)
        out[:, left:right] = _between(block[1:], block[:-1], np.repeat(part[left:right], 3)).reshape(height, -1, 3)
    return out


def _steps(n: int, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """By how many pixels each of n lines moves: whole ones, and 256ths (uint16)."""
    away = slope * (np.arange(n) - (n - 1) / 2)
    whole = np.floor(away).astype(np.int64)
    return whole, np.rint((away - whole) * 256).astype(np.uint16)


def _between(here: np.ndarray, before: np.ndarray, share: np.ndarray) -> np.ndarray:
    """uint16 levels that lie `share` 256ths of the way from those here to those of the pixel before."""
    return (here * (256 - share) + before * share + np.uint16(128)) >> 8


def crop(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to a fiftieth of the height and width cut off at each side; what is left keeps its scale."""
    height, width = page.shape[:2]
    top, bottom, left, right = rng.uniform(0, MOST_CROPPED, 4) * (height, height, width, width)
    return page[round(top):height - round(bottom), round(left):width - round(right)].copy()


def colour_temperature(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Under warm light of 2,000 to 4,000 K or cold light of 10,000 to 20,000 K."""
    kelvin = rng.uniform(*(WARM_K, COLD_K)[rng.integers(2)])
    levels = np.arange(256)
    table = np.concatenate([np.rint(levels * share) for share in white_of(kelvin)])
    return np.asarray(Image.fromarray(page).point(table.astype(int).tolist()))


def white_of(kelvin: float) -> np.ndarray:
    """What a white page looks like in the light of a black body, as shares (3,) of red, green and blue, the largest 1.

    Planck's law at 610, 550 and 465 nm, the middles of the primaries, beside daylight of 6,500 K.
    """
    metres = np.array([610e-9, 550e-9, 465e-9])
    emitted, daylight = (1 / np.expm1(0.014388 / (metres * one)) for one in (kelvin, 6500.0))
    share = (emitted / daylight) ** (1 / 2.2)
    return share / share.max()


def noise(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of a sensor, of one strength between 2 and 20 of 255 levels, independent in each pixel and alike
    in its three colours."""
    values = np.rint(rng.normal(0, rng.uniform(*NOISE_LEVELS), _NOISE_TABLE)).astype(np.int16)
    drawn = values[rng.integers(0, _NOISE_TABLE, page.shape[:2], dtype=np.uint16)]
    noisy = page + drawn[:, :, None]
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
