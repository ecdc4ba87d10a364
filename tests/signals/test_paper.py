"""The ECG on paper: scale, layout, gaps, and that the drawing is self-contained."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.signals.paper import LAYOUTS, MM, draw_ecg, lay_out, page_svg, png
from emgecg_cli.core.signals.paper.geometry import Page, wrap
from emgecg_cli.core.signals.paper.terminal import draw_text

SVG = "{http://www.w3.org/2000/svg}"
LEFT = 150


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [element.text for element in parse(svg).iter(f"{SVG}text")]


def traces(svg: str) -> list[list[list[tuple[int, int]]]]:
    """The strokes of every trace, one list of points per stroke, in the order drawn."""
    drawn = []
    for element in parse(svg).iter(f"{SVG}path"):
        if element.get("stroke-linejoin") == "round":
            strokes = []
            for stroke in element.get("d").split("M")[1:]:
                numbers = [int(number) for number in re.findall(r"-?\d+", stroke)]
                steps = np.array(numbers).reshape(-1, 2)
                strokes.append([tuple(point) for point in np.cumsum(steps, axis=0).tolist()])
            drawn.append(strokes)
    return drawn


def one_millivolt_step(fs: int = 500, seconds: float = 10.0) -> np.ndarray:
    """In every lead zero, but 1 mV from 1.0 to 1.2 s of each 2.5 s."""
    t = np.arange(round(fs * seconds)) / fs % 2.5
    return np.tile(np.where((t >= 1.0) & (t < 1.2), 1000, 0).astype(np.int16), (12, 1))


def test_scale_is_25_mm_per_second_and_10_mm_per_millivolt():
    root = parse(draw_ecg(one_millivolt_step(), 500))
    assert root.get("viewBox") == f"0 0 {float(root.get('width')[:-2]) * MM:g} {float(root.get('height')[:-2]) * MM:g}"
    lead_i, rhythm = traces(draw_ecg(one_millivolt_step(), 500))[0], traces(draw_ecg(one_millivolt_step(), 500))[-1]
    points = np.array(lead_i[0])
    assert points[0, 0] == LEFT and np.ptp(points[:, 1]) == 10 * MM
    high = points[points[:, 1] == points[:, 1].min(), 0]
    assert high[0] == LEFT + 25 * MM and high[-1] == pytest.approx(LEFT + 30 * MM, abs=1)
    assert np.array(rhythm[0])[-1, 0] == pytest.approx(LEFT + 250 * MM, abs=1)


def test_calibration_pulse_is_one_millivolt_for_a_fifth_of_a_second():
    pulses = [element.get("d") for element in parse(draw_ecg(one_millivolt_step(), 500)).iter(f"{SVG}path")
              if element.get("d").startswith(f"M{3 * MM} ")]
    assert len(pulses) == 4
    for pulse in pulses:
        steps = np.array([int(number) for number in re.findall(r"-?\d+", pulse)]).reshape(-1, 2)[2:]
        assert steps.tolist() == [[20, 0], [0, -10 * MM], [5 * MM, 0], [0, 10 * MM], [20, 0]]


def test_grid_is_drawn_every_millimetre_and_every_five():
    root = parse(draw_ecg(one_millivolt_step(), 500))
    width, height = (int(number) for number in root.get("viewBox").split()[2:])
    thin, thick = list(root.iter(f"{SVG}path"))[:2]
    for path, step in ((thin, MM), (thick, 5 * MM)):
        assert path.get("d").count("M") == width // step + 1 + height // step + 1


def test_leads_stand_in_the_usual_places():
    svg = draw_ecg(one_millivolt_step(), 500)
    assert texts(svg)[:13] == ["I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6", "II"]
    starts = [strokes[0][0][0] for strokes in traces(svg)]
    assert starts == [LEFT + column * 625 for column in (0, 1, 2, 3)] * 3 + [LEFT]


def test_each_trace_is_its_own_lead():
    signal = np.zeros((12, 1000), np.int16)
    for i in range(12):
        signal[i, ::250] = 100 * (i + 1)
    heights = {name: np.ptp(np.array(strokes[0])[:, 1])
               for name, strokes in zip(texts(draw_ecg(signal, 100)), traces(draw_ecg(signal, 100)), strict=False)}
    assert heights == {name: 10 * (i + 1) for i, name in enumerate(LEADS)}


def test_missing_samples_are_gaps_and_an_absent_lead_is_marked():
    signal = one_millivolt_step()
    signal[LEADS.index("I"), 200:300] = MISSING
    signal[LEADS.index("V6")] = MISSING
    svg = draw_ecg(signal, 500)
    assert len(traces(svg)) == 12 and len(traces(svg)[0]) == 2
    left, right = traces(svg)[0]
    assert left[-1][0] <= LEFT + 100 < LEFT + 150 <= right[0][0]
    assert texts(svg).count("not recorded") == 1 and str(MISSING) not in svg


def test_offset_is_removed_per_lead():
    signal = one_millivolt_step()
    assert traces(draw_ecg(signal + np.int16(3000), 500)) == traces(draw_ecg(signal, 500))


@pytest.mark.parametrize(("seconds", "said"), [(10, "10.0 s"), (4, "4.0 s"), (30, "first 10 s of 30.0 s")])
def test_other_lengths(seconds, said):
    svg = draw_ecg(one_millivolt_step(100, seconds), 100)
    after = 6 if seconds == 4 else 0  # the leads of the last two columns
    assert texts(svg)[-1].endswith(said) and len(texts(svg)) == 14 + after
    assert texts(svg).count("after the end of the recording") == after
    assert max(x for strokes in traces(svg) for stroke in strokes for x, _ in stroke) <= LEFT + 250 * MM


@pytest.mark.parametrize("signal", [np.full((12, 1000), MISSING), np.zeros((12, 0), np.int16),
                                    np.full((12, 1), 5, np.int16)])
def test_next_to_nothing_can_be_drawn(signal):
    assert len(texts(draw_ecg(signal, 100))) >= 14


def test_self_contained_escaped_and_small():
    noise = np.random.default_rng(0).normal(0, 300, (12, 5000)).astype(np.int16)
    svg = draw_ecg(noise, 500, label='<script>"x"&')
    assert "<script" not in svg and parse(svg).find(f"{SVG}title").text == '<script>"x"&'
    assert not re.search(r"(href|src|url\(|@import|\bid=|\bon\w+=)", svg)
    assert len(draw_ecg(one_millivolt_step(), 500)) < 60_000 and len(svg) < 200_000


@pytest.mark.parametrize(("shape", "fs"), [((11, 100), 100), ((12,), 100), ((12, 100), 0)])
def test_other_shapes_are_refused(shape, fs):
    with pytest.raises(ValueError, match="shape"):
        draw_ecg(np.zeros(shape, np.int16), fs)


def assert_apart(page: Page) -> None:
    """No trace leaves the paper or the room between the rows above and below, and no name lies on a trace."""
    rows: dict[float, list[float]] = {}
    for x, y in page.traces:
        base = next(mark_y[0] for mark_x, mark_y in page.marks if mark_x[0] == 3 and len(mark_x) == 6
                    and abs(mark_y[0] - np.nanmedian(y)) < 3)
        rows.setdefault(base, []).extend([np.nanmin(y), np.nanmax(y)])
        for text in (text for text in page.texts if text.bold and text.size == 3.6):
            under = (x >= text.x - 0.3) & (x <= text.x + 3.6 * len(text.text) + 0.3)
            assert not ((y[under] > text.y - 2.8) & (y[under] < text.y + 0.3)).any(), text.text
    spans = [(min(ends), max(ends)) for _, ends in sorted(rows.items())]
    assert spans[0][0] >= page.top and spans[-1][1] <= page.bottom
    assert all(above[1] <= below[0] for above, below in pairwise(spans))


def beats(millivolts: dict[str, float], fs: int = 250, at: float = 0.15) -> np.ndarray:
    """Narrow triangles of that height, the first at `at` seconds."""
    signal = np.zeros((12, 10 * fs))
    for name in LEADS:
        for place in np.arange(at, 10, 0.8):
            n = round(place * fs)
            signal[LEADS.index(name), n - 3:n + 4] = millivolts.get(name, 0.5) * 1000 * np.array(
                [0.2, 0.5, 0.8, 1, 0.8, 0.5, 0.2])[:signal.shape[1] - n + 3]
    return np.rint(signal).astype(np.int16)


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("tall", [{"II": 2.75}, {"V2": -4.1, "V3": 3.3, "V5": 3.9}, {"aVL": -2.0, "III": -2.9},
                                  dict.fromkeys(LEADS, 1.6)], ids=["2.75 mV", "chest", "down", "all"])
def test_a_page_grows_with_its_traces(layout, tall):
    signal = beats(tall)
    page = lay_out(signal, 250, layout=layout)
    assert_apart(page)
    gain = float(re.search(r"([\d.]+) mm/mV", page.texts[-1].text)[1])
    assert "cut" not in page.texts[-1].text and page.height <= 430
    names = [text.text for text in page.texts if text.bold]
    for name, (_, y) in zip(names, page.traces, strict=True):
        assert np.ptp(y) == pytest.approx(gain * abs(tall.get(name, 0.5)), abs=0.02)


def test_an_ordinary_page_stays_as_it_is():
    assert lay_out(beats({}), 250).height == 140 and lay_out(beats({}), 250, layout="6x2").height == 170


def test_the_gain_is_halved_where_a_page_would_be_too_tall_and_is_taken_where_it_is_given():
    signal = beats(dict.fromkeys(LEADS, 4.0))
    assert "5 mm/mV" in lay_out(signal, 250, layout="12x1").texts[-1].text
    assert "10 mm/mV" in lay_out(signal, 250).texts[-1].text
    for gain in (2.5, 5.0, 20.0):
        page = lay_out(beats({}), 250, gain=gain)
        assert f"{gain:g} mm/mV" in page.texts[-1].text and np.ptp(page.traces[0][1]) == pytest.approx(0.5 * gain)
        pulse = next(y for x, y in page.marks if len(x) == 6)
        assert np.ptp(pulse) == gain
        assert_apart(page)
    with pytest.raises(ValueError, match="gain"):
        lay_out(signal, 250, gain=0)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_what_no_page_can_hold_is_cut_with_an_arrow_and_said(layout):
    signal = beats({})
    signal[LEADS.index("I"), 400:420] = -32767
    signal[LEADS.index("V1"), 700:720] = 32767
    signal[:, 1000:1004] = 30000
    page = lay_out(signal, 250, layout=layout)
    assert_apart(page)
    said = " ".join(text.text for text in page.texts if text.note)
    assert "cut at arrows" in said and "I -32.8 mV" in said and page.height <= 430
    arrows = [(x, y) for x, y in page.marks if len(x) == 3]
    assert arrows and all(page.top < y.min() and y.max() < page.bottom for _, y in arrows)
    assert "cut" in " ".join(texts(page_svg(page, "x")))


@pytest.mark.parametrize(("layout", "rows"), [("6x2", 6), ("12x1", 12)])
def test_other_layouts_hold_each_lead_once(layout, rows):
    signal = np.zeros((12, 1000), np.int16)
    for i in range(12):
        signal[i, ::100] = 100 * (i + 1)
    page = lay_out(signal, 100, layout=layout)
    assert sorted(text.text for text in page.texts if text.bold) == sorted(LEADS) and len(page.traces) == 12
    names = [text.text for text in page.texts if text.bold]
    heights = {name: round(float(np.ptp(y)), 6) for name, (_, y) in zip(names, page.traces, strict=True)}
    assert heights == {name: i + 1 for i, name in enumerate(LEADS)}
    assert len({round(float(np.median(y)), 6) for _, y in page.traces}) == rows
    assert_apart(page)


def test_a_later_start_shows_later_samples():
    signal = np.zeros((12, 3000), np.int16)
    signal[:, 1500:1510] = 1000
    page = lay_out(signal, 100, start=10.0)
    x, y = page.traces[-1]
    assert x[np.argmin(y)] == pytest.approx(LEFT / MM + 5 * 25)
    assert page.texts[-1].text.endswith("10 s to 20 s of 30.0 s")
    with pytest.raises(ValueError, match="start"):
        lay_out(signal, 100, start=30.0)
    with pytest.raises(ValueError, match="layout"):
        lay_out(signal, 100, layout="4x3")


def test_words_around_the_paper_are_wrapped_and_escaped():
    report = "<b>sinus & rhythm</b> \x00\x1b[31m " + "überdrehter linkstyp " * 30
    page = lay_out(one_millivolt_step(), 500, header=("Record <1>", "small"), notes=("Report: " + report,))
    svg = page_svg(page, "x")
    assert texts(svg)[0] == "Record <1>" and "\x1b" not in svg and "<b>" not in svg
    below = [text for text in page.texts if text.y > page.bottom]
    assert len(below) > 3 and all(text.y < page.height for text in below)
    assert " ".join(text.text for text in below).split() == ("Report: " + report).replace("\x00\x1b", " ").split()
    assert all(text.y < page.top for text in page.texts[:2])


@pytest.mark.parametrize("text", ["ABNORMAL ECG WITH WIDE QRS COMPLEXES AND MM WWW " * 9, "W" * 500, "iiii lll " * 90,
                                  "überdrehter Linkstyp, möglicher Zustand nach " * 9, "синусовый ритм " * 20])
def test_no_wrapped_line_is_wider_than_it_may_be_in_our_face(text):
    for line in wrap(text, 260, 3.6):
        assert png._font(False, 36).getlength(line) <= 2600
        assert "".join(wrap(text, 260, 3.6)).replace(" ", "") == text.replace(" ", "")


# Pixels


def coverage(x, y, radius, shape, fine=8):
    """The share of each pixel within `radius` of a polyline, by brute force."""
    rows, columns = ((np.arange(size * fine) + 0.5) / fine for size in shape)
    points = np.stack(np.meshgrid(columns, rows), axis=-1)
    near = np.full(points.shape[:2], np.inf)
    for a, b in zip(np.c_[x, y][:-1], np.c_[x, y][1:], strict=True):
        step = b - a
        along = np.clip(((points - a) @ step) / max(step @ step, 1e-12), 0, 1)
        near = np.minimum(near, np.hypot(*np.moveaxis(points - a - along[..., None] * step, -1, 0)))
    return (near <= radius).reshape(shape[0], fine, shape[1], fine).mean(axis=(1, 3))


@pytest.mark.parametrize(("seed", "steep"), [(0, 1), (1, 6), (2, 30)])
def test_a_stroke_covers_what_lies_within_half_its_width(seed, steep):
    rng = np.random.default_rng(seed)
    x = 3 + np.cumsum(rng.uniform(0.2, 2, 20))
    y = 20 + np.cumsum(rng.normal(0, steep, 20))
    ink = np.zeros((40, 40), np.uint8)
    png._cover(ink, x, y, 1.2)
    error = np.abs(ink / png.LEVELS - coverage(x, y, 1.2, ink.shape))
    # a column is a quarter of a pixel wide, which shows at the sides of what is nearly upright
    assert error.max() < (0.4 if steep > 10 else 0.2) and error.mean() < 0.01


@pytest.mark.parametrize("dpi", [100, 200, 300])
def test_png_is_to_scale(dpi):
    signal = np.zeros((12, 5000), np.int16)
    signal[:, 500:] = 1000  # each lead steps by 1 mV at one second
    page = lay_out(signal, 500)
    image = Image.open(io.BytesIO(png.page_png(page, dpi)))
    assert image.info["dpi"] == pytest.approx((dpi, dpi), abs=0.02)
    assert image.size == (round(270 / 25.4 * dpi), round(140 / 25.4 * dpi))
    level = np.asarray(image) % 32
    first = level[:round(45 / 25.4 * dpi)]
    at_half, at_two = (round((15 + 25 * seconds) / 25.4 * dpi) for seconds in (0.5, 2))
    middles = [np.average(np.arange(len(first)), weights=first[:, at]) + 0.5 for at in (at_half, at_two)]
    assert middles[0] - middles[1] == pytest.approx(10 / 25.4 * dpi, abs=0.1)
    height = round((middles[0] + middles[1]) / 2)
    near = np.arange(round(40 / 25.4 * dpi) - 5, round(40 / 25.4 * dpi) + 5)
    edge = np.average(near + 0.5, weights=level[height, near])
    assert edge == pytest.approx((15 + 25 * 0.999) / 25.4 * dpi, abs=0.1)  # between the samples before and after


def test_the_grid_never_drifts():
    pixels = png.page_pixels(Page(270, 140, 0, 140), 200)
    thick = np.flatnonzero((pixels[3] == 3 * 64) & (pixels[4] == 3 * 64))
    centres = thick.reshape(-1, 2).mean(axis=1) if len(thick) % 2 == 0 else thick[1:].reshape(-1, 2).mean(axis=1)
    assert np.abs(centres - np.arange(len(centres)) * 5 / 25.4 * 200 - centres[0]).max() <= 1.01


def test_png_is_the_same_bytes_and_in_the_colours_of_the_svg():
    page = lay_out(one_millivolt_step(), 500, header=("Überschrift",), notes=("µV ° ≥",))
    one = png.page_png(page, 120)
    assert one == png.page_png(lay_out(one_millivolt_step(), 500, header=("Überschrift",), notes=("µV ° ≥",)), 120)
    rgb = np.asarray(Image.open(io.BytesIO(one)).convert("RGB"))
    assert (rgb == png.palette()[png.page_pixels(page, 120)]).all()
    assert tuple(rgb[0, 0]) == (255, 255, 255) and (rgb == (27, 27, 31)).all(axis=-1).any()


def test_gaps_and_what_leaves_the_page_are_not_drawn():
    signal = np.full((12, 5000), 0, np.int16)
    signal[:, 2000:2500] = MISSING
    signal[:, ::7] = 32767
    signal[:, 2000:2500] = MISSING
    pixels = png.page_pixels(lay_out(signal, 500, layout="12x1"), 100) % 32
    pixels = pixels[:-round(20 / 25.4 * 100)]  # the line below the strips says what was cut
    left, right = (round((15 + 25 * seconds) / 25.4 * 100) for seconds in (4.05, 4.95))
    assert not pixels[:, left:right].any() and pixels[:, left - 40:left - 20].any()


# The terminal


def dots(line):
    return np.array([[(ord(c) - 0x2800) >> bit & 1 for c in line.replace(" ", chr(0x2800)) for bit in bits]
                     for bits in ((0, 3), (1, 4), (2, 5), (6, 7))])


@pytest.mark.parametrize("width", [20, 40, 80, 133, 250])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_drawing_fits_the_terminal(layout, width):
    lines = draw_text(one_millivolt_step(), 500, layout=layout, width=width)
    assert max(map(len, lines[:-1])) <= max(40, width) and len(lines) < 60
    names = {name for line in lines for name in re.findall(r"[a-zA-Z]+[1-6]?", line) if line is not lines[-1]}
    assert names == set(LEADS)


def test_a_drawing_shows_the_trace_where_and_as_high_as_it_is():
    lines = draw_text(one_millivolt_step(), 500, layout="12x1", width=125)
    first = lines[1:lines.index("II")]
    drawn = np.vstack([dots(line.ljust(125)) for line in first])
    columns = np.flatnonzero(drawn.sum(axis=0) > 1)
    assert columns.min() == pytest.approx(25, abs=1)  # one second of 125 characters, two columns each, for ten
    top = np.argmax(drawn[:, 27])
    millivolts = float(re.search(r"([\d.]+) mV", lines[-1])[1]) / 4
    assert (np.argmax(drawn[:, 5]) - top) * millivolts == pytest.approx(1.0, abs=millivolts)


def test_gaps_and_absent_leads_in_the_terminal():
    signal = one_millivolt_step()
    signal[0, 2000:3000] = MISSING
    signal[0, 3000:] += 800
    signal[5] = MISSING
    lines = draw_text(signal, 500, layout="12x1", width=100)
    drawn = np.vstack([dots(line.ljust(100)) for line in lines[1:lines.index("II")]])
    assert not drawn[:, 81:119].any() and drawn[:, 79].any() and drawn[:, 121].any()
    assert drawn[:, 120].sum() == 1  # the pen is lifted over the gap, and sets down higher
    assert "aVF (nothing)" in lines


@pytest.mark.parametrize("signal", [np.full((12, 1000), MISSING), np.zeros((12, 0), np.int16)])
def test_next_to_nothing_is_drawn_too(signal):
    assert draw_text(signal, 100)
    assert png.page_png(lay_out(signal, 100), 50)
