"""The ECG on paper: scale, layout, gaps, and that the drawing is self-contained."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.signals.paper import MM, draw_ecg

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
              if element.get("d").count("h") == 3 and "stroke-linejoin" not in element.attrib]
    assert len(pulses) == 4 and all(f"v-{10 * MM}h{5 * MM}v{10 * MM}" in pulse for pulse in pulses)


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
    assert texts(svg)[-1].endswith(said) and len(texts(svg)) == 14
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
