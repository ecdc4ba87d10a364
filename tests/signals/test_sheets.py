"""Pages as pixels: true to scale, the same every time, distorted by a seed, and prepared for image encoders."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from emgecg_cli.core import names
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.signals.paper.distortions import turned
from emgecg_cli.core.signals.paper.images import MEAN, STD, best_grid, prepare_image
from emgecg_cli.core.signals.paper.sheet import LEFT, render_page

DISTORTIONS = names.choices("distortion")


def stepped(fs: int = 250) -> np.ndarray:
    """Every lead n, from 0, rises by 1 mV for a fifth of a second, 0.2 n seconds after each whole 2.5 s."""
    t = np.arange(10 * fs) / fs % 2.5
    return np.stack([np.where((t >= 0.2 * n) & (t < 0.2 * n + 0.2), 1000, 0) for n in range(12)]).astype(np.int16)


def ink(page: np.ndarray) -> np.ndarray:
    return page.max(axis=2) < 160


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(flags.astype(int), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@pytest.mark.parametrize("dpi", [100, 200, 254])
@pytest.mark.parametrize("gain", [10.0, 5.0])
def test_the_pulse_is_one_millivolt_and_a_fifth_of_a_second_at_any_resolution(dpi, gain):
    page = render_page(np.zeros((12, 2500), np.int16), 250, layout="12x1", dpi=dpi, gain=gain)
    assert page.shape == (round(8.5 * dpi), round(11 * dpi), 3) and page.dtype == np.uint8
    mm = dpi / 25.4
    pulse = ink(page)[:, round(10.5 * mm):round(14.5 * mm)].all(axis=1)  # the top of each pulse, 5 mm wide
    tops = [sum(one) / 2 for one in runs(pulse)]
    side = ink(page)[:, round(10 * mm) - 1:round(10 * mm) + 2].sum(axis=1) > 0
    lengths = [end - start for start, end in runs(side) if min(abs(start - top) for top in tops) < 4]
    assert len(tops) == len(lengths) == 12
    assert np.diff(tops) == pytest.approx(15 * mm, abs=1.01)
    assert lengths == pytest.approx([(gain + 0.3) * mm] * 12, abs=1.5)  # and the width of the line


@pytest.mark.parametrize(("layout", "columns", "rows"), [("3x4", 4, 4), ("6x2", 2, 6), ("12x1", 1, 12)])
def test_each_column_begins_where_the_one_before_it_ends(layout, columns, rows):
    dpi, signal = 200, stepped()
    mm = dpi / 25.4
    base = {"3x4": (45, 40), "6x2": (40, 30), "12x1": (30, 15)}[layout]
    grid = {"3x4": [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"], ["II"]],
            "6x2": [list(pair) for pair in zip(LEADS[:6], LEADS[6:], strict=True)], "12x1": [[one] for one in LEADS]}
    page = ink(render_page(signal, 250, layout=layout, dpi=dpi))
    for number, row in enumerate(grid[layout]):
        top = round((base[0] + number * base[1] - 10) * mm)  # where 1 mV is
        high = page[top - 1:top + 3].any(axis=0)
        drawn = [start for start, end in runs(high[round((LEFT - 1) * mm):]) if abs(end - start - 5 * mm) < 4]
        true = [second for column, name in enumerate(row) for second in np.arange(0, 10, 2.5) + 0.2 * LEADS.index(name)
                if column * 10 / len(row) <= second < (column + 1) * 10 / len(row) - 0.1]
        assert [(one - mm) / mm / 25 for one in drawn] == pytest.approx(true, abs=0.02), (number, row)
    assert len(grid[layout]) == rows and len(grid[layout][0]) == columns


def test_traces_that_are_too_tall_change_no_shape_and_no_scale():
    signal = stepped() * 12
    assert render_page(signal, 250).shape == render_page(stepped(), 250).shape
    assert (render_page(signal, 250, gain=10 / 12)[400:1300, 170:] == render_page(stepped(), 250)[400:1300, 170:]) \
        .mean() > 0.99


def test_a_page_is_its_arguments_alone():
    signal = stepped()
    plain = render_page(signal, 250, dpi=100)
    assert (render_page(signal, 250, dpi=100) == plain).all()
    assert (render_page(signal, 250, dpi=100, header=("Record 1", "57 years")) != plain).any()
    one = render_page(signal, 250, dpi=100, distortions=DISTORTIONS, seed=3)
    assert one.tobytes() == render_page(signal, 250, dpi=100, distortions=DISTORTIONS[::-1], seed=3).tobytes()
    other = render_page(signal, 250, dpi=100, distortions=DISTORTIONS, seed=4)
    assert other.shape != one.shape or (other != one).any()


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_distortion_is_pure_and_drawn_from_its_seed(name):
    distortion = names.resolve("distortion", name)
    page = render_page(stepped(), 250, dpi=80)
    before = page.copy()
    made = [distortion(page, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    assert (page == before).all() and all(one.dtype == np.uint8 and one.shape[2] == 3 for one in made)
    assert made[0].tobytes() == made[1].tobytes() and len({one.tobytes() for one in made}) == 4
    assert all(one.shape == page.shape for one in made) or name == "crop"
    assert abs(made[0].mean() - page.mean()) < 70  # a page is still to be seen
    blank = np.full((4, 4, 3), 255, np.uint8)
    assert distortion(blank, np.random.default_rng(0)).ndim == 3


def test_a_crop_keeps_the_scale_and_light_the_lines():
    page = render_page(stepped(), 250, dpi=80)
    cut = names.resolve("distortion", "crop")(page, np.random.default_rng(0))
    assert any((cut == page[top:top + len(cut), left:left + cut.shape[1]]).all()
               for top in range(15) for left in range(19) if top + len(cut) <= len(page)
               and left + cut.shape[1] <= page.shape[1])
    lit = names.resolve("distortion", "colour-temperature")(page, np.random.default_rng(1)).astype(int)
    assert (lit <= page).all() and len(set(lit[0, 1].tolist())) == 3


@pytest.mark.parametrize("degrees", [-3.0, 0.0, 1.7])
def test_a_page_is_turned_as_pillow_turns_it(degrees):
    page = np.full((300, 400, 3), 255, np.uint8)
    page[40:60, 300:330] = (10, 200, 90)
    page[200:203] = 0
    there = np.asarray(Image.fromarray(page).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=(255, 255, 255)))
    error = np.abs(turned(page, degrees).astype(int) - there)
    assert error.mean() < 1.2 and error.max() <= (0 if degrees == 0 else 128)
    middles = [np.argwhere(one[..., 0] < 128).mean(axis=0) for one in (turned(page, degrees)[:150], there[:150])]
    assert middles[0] == pytest.approx(middles[1], abs=0.1)


def test_an_unknown_distortion_and_mode_are_answered_with_what_there_is():
    with pytest.raises(MedReportError, match="no distortion 'rotatoin'; did you mean 'rotation'"):
        render_page(stepped(), 250, distortions=["rotatoin"])
    with pytest.raises(MedReportError, match="no image mode 'crop'"):
        prepare_image(np.zeros((4, 4, 3), np.uint8), "crop")


def test_images_are_those_of_clip_and_llava():
    height, width = 340, 440  # 11 to 8.5
    page = np.zeros((height, width, 3), np.uint8)
    page[:, :, 0] = np.linspace(0, 255, width)[None]
    page[:, :, 1] = np.linspace(0, 255, height)[:, None]
    red, green, _ = prepare_image(page, "ori") * STD[:, None, None] + MEAN[:, None, None]
    # 434 × 336, and 49 columns cut left and right
    assert red[100, [0, -1]] == pytest.approx([49.5 / 434, 1 - 49.5 / 434], abs=0.005)
    assert green[[0, -1], 100] == pytest.approx([0, 1], abs=0.01)
    padded = prepare_image(page, "pad")
    assert padded.shape == (3, 336, 336) and padded.dtype == np.float32
    assert np.abs(padded[:, :30]).max() < 0.02 and np.abs(padded[:, -30:]).max() < 0.02  # the encoder's mean colour
    assert (padded * STD[:, None, None] + MEAN[:, None, None])[0, 168, [0, -1]] == pytest.approx([0, 1], abs=0.01)
    tiles = prepare_image(page, "anyres")
    assert tiles.shape == (5, 3, 336, 336)
    whole, *parts = tiles * STD[:, None, None] + MEAN[:, None, None]
    assert whole[0, 100, [0, -1]] == pytest.approx([0, 1], abs=0.01)
    assert whole[1, [0, -1], 100] == pytest.approx([0, 1], abs=0.01)
    together = np.concatenate([np.concatenate(parts[:2], axis=2), np.concatenate(parts[2:], axis=2)], axis=1)
    assert np.abs(together[:, :76]).max() < 1e-6 and np.abs(together[:, -76:]).max() < 1e-6  # 672 × 519.3, in black
    assert together[0, 336] == pytest.approx(np.linspace(0, 1, 672), abs=0.01)
    assert prepare_image(page, "ori", 64).shape == (3, 64, 64)


@pytest.mark.parametrize(("size", "grid"), [((2200, 1700), (2, 2)), ((3000, 500), (3, 1)), ((660, 330), (2, 1)),
                                            ((300, 900), (1, 3)), ((330, 660), (1, 2))])
def test_the_grid_of_tiles_keeps_most_of_a_page(size, grid):
    assert best_grid(*size) == grid
