"""A page made ready for an image encoder of the CLIP family: brought to its size and normalised.

- `ori`, as GEM: the short side becomes the encoder's size and the middle is cut out. A landscape page loses its ends.
- `pad`, as LLaVA: the page is made a square with the encoder's mean colour, then resized.
- `anyres`, as LLaVA 1.6 and PULSE: the whole page squashed into one square, then the page in tiles, on the grid that
  keeps most of its pixels, with black around it.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from PIL import Image

from emgecg_cli.core.errors import MedReportError

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # of CLIP's training images, RGB
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
CLIP_SIZE = 336
MODES = ("ori", "pad", "anyres")
GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))  # tiles across and down


def prepare_image(page: np.ndarray, mode: str = "ori", size: int = CLIP_SIZE) -> np.ndarray:
    """A page in RGB, uint8 (H, W, 3), as float32 (3, size, size); with `anyres` (1 + tiles, 3, size, size), the whole
    page first, then its tiles from left to right and down. Raises MedReportError for an unknown mode."""
    if mode not in MODES:
        raise MedReportError(f"no image mode '{mode}'", f"available: {', '.join(MODES)}")
    image = Image.fromarray(page)
    if mode == "anyres":
        return np.stack([_normalised(one) for one in _tiles(image, size)])
    return _normalised(_middle(_square(image) if mode == "pad" else image, size))


def best_grid(width: int, height: int) -> tuple[int, int]:
    """The grid, tiles across and down, on which a page keeps most of its pixels and, of these, wastes least."""
    def kept_and_wasted(grid: tuple[int, int]) -> tuple[int, int]:
        across, down = (CLIP_SIZE * n for n in grid)
        scale = min(across / width, down / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - across * down

    return max(GRIDS, key=kept_and_wasted)


def _middle(image: Image.Image, size: int) -> Image.Image:
    """The short side resized to `size`, and the middle square of it."""
    short = min(image.size)
    width, height = (size if side == short else int(size * side / short) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))


def _square(image: Image.Image) -> Image.Image:
    side = max(image.size)
    padded = Image.new("RGB", (side, side), tuple(int(share * 255) for share in MEAN.tolist()))
    padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return padded


def _tiles(image: Image.Image, size: int) -> list[Image.Image]:
    across, down = best_grid(*image.size)
    full = across * size, down * size
    wide = full[0] * image.height < full[1] * image.width
    scale = full[0] / image.width if wide else full[1] / image.height
    width = full[0] if wide else min(ceil(image.width * scale), full[0])
    height = min(ceil(image.height * scale), full[1]) if wide else full[1]
    canvas = Image.new("RGB", full)
    canvas.paste(image.resize((width, height), Image.Resampling.BICUBIC),
                 ((full[0] - width) // 2, (full[1] - height) // 2))
    tiles = [canvas.crop((x, y, x + size, y + size)) for y in range(0, full[1], size) for x in range(0, full[0], size)]
    return [image.resize((size, size), Image.Resampling.BICUBIC), *tiles]


def _normalised(image: Image.Image) -> np.ndarray:
    shares = np.asarray(image, np.float32) / np.float32(255)
    return np.ascontiguousarray(((shares - MEAN) / STD).transpose(2, 0, 1))
