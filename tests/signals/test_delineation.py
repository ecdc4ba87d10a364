"""Measuring drawn beats whose intervals are known, and recordings that are none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.signals.delineation import Delineation, delineate, measure
from emgecg_cli.core.signals.leads import LEADS, MISSING

NOTHING = Measurements()
# One column per wave: P, Q, R, S, T. I and II make the other limb leads.
SIZES = np.array([[60, -60, 700, -120, 180], [120, -90, 1100, -160, 260], *([[0] * 5] * 4), [50, 0, 250, -900, -80],
                  [60, 0, 400, -1100, 350], [60, -30, 700, -700, 400], [70, -80, 1200, -350, 350],
                  [70, -100, 1100, -150, 280], [60, -90, 850, -80, 200]], float)
SIZES[2] = SIZES[1] - SIZES[0]
SIZES[3] = -(SIZES[0] + SIZES[1]) / 2
SIZES[4] = (SIZES[0] - SIZES[2]) / 2
SIZES[5] = (SIZES[1] + SIZES[2]) / 2


def bump(t: np.ndarray, start: float, end: float) -> np.ndarray:
    """A raised cosine that leaves zero at `start` and is back at `end`, seconds."""
    part = (t - start) / (end - start)
    return np.where((part > 0) & (part < 1), 0.5 - 0.5 * np.cos(2 * np.pi * part), 0)


def draw(fs: int = 500, seconds: float = 10.0, rate: float = 70.0, pr: float = 0.16, qrs: float = 0.09,
         qt: float = 0.40, p: float = 0.10, sizes: np.ndarray = SIZES, first: float = 0.35, st: float = 0.0,
         beats: np.ndarray | None = None) -> np.ndarray:
    """Microvolts (12, L): beats at a steady rate, or at `beats` (QRS onsets in seconds)."""
    t = np.arange(int(seconds * fs)) / fs
    signal = np.zeros((12, len(t)))
    for onset in np.arange(first, seconds - 0.05, 60 / rate) if beats is None else beats:
        q, r = onset + 0.25 * qrs, onset + 0.72 * qrs
        waves = [bump(t, onset - pr, onset - pr + p), bump(t, onset, onset + 0.40 * qrs), bump(t, q - 0.1 * qrs, r),
                 bump(t, r - 0.2 * qrs, onset + qrs), bump(t, onset + qt - 0.20, onset + qt)]
        signal += sizes @ np.array(waves)
        signal[7] += st * (bump(t, onset + qrs - 0.02, onset + qrs + 0.16))
    return signal


def as_int16(signal: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(signal), -32767, 32767).astype(np.int16)


def test_intervals_of_drawn_beats():
    for pr, qrs, qt, rate in ((0.14, 0.09, 0.38, 75), (0.20, 0.09, 0.40, 62), (0.28, 0.10, 0.44, 55),
                              (0.16, 0.14, 0.46, 60), (0.13, 0.08, 0.34, 95)):
        found = measure(as_int16(draw(rate=rate, pr=pr, qrs=qrs, qt=qt)), 500)
        assert found.heart_rate_bpm == pytest.approx(rate, abs=0.1)
        assert found.pr_ms == pytest.approx(1000 * pr, abs=16)
        assert found.qrs_ms == pytest.approx(1000 * qrs, abs=16)
        assert found.qt_ms == pytest.approx(1000 * qt, abs=25)
        assert found.p_ms == pytest.approx(100, abs=25)
        assert found.p_present is True and found.regular is True


def test_a_longer_interval_is_measured_as_that_much_longer():
    short, long = (measure(as_int16(draw(rate=55, pr=pr, qt=qt)), 500) for pr, qt in ((0.14, 0.38), (0.22, 0.47)))
    assert long.pr_ms - short.pr_ms == pytest.approx(80, abs=4)
    assert long.qt_ms - short.qt_ms == pytest.approx(90, abs=8)
    assert long.qrs_ms == pytest.approx(short.qrs_ms, abs=4)


def test_qtc_is_the_formula_of_the_mean_rr():
    found = measure(as_int16(draw(rate=90)), 500)
    rr = 60 / found.heart_rate_bpm
    assert found.qtc_bazett_ms == pytest.approx(found.qt_ms / rr ** 0.5, abs=0.1)
    assert found.qtc_fridericia_ms == pytest.approx(found.qt_ms / rr ** (1 / 3), abs=0.1)


@pytest.mark.parametrize("degrees", [-150, -60, 0, 45, 90, 135])
def test_axes_of_one_dipole(degrees):
    turned = np.deg2rad(degrees - np.array([0, 60, 120, -150, -30, 90]))
    strength = 1000 * np.cos(turned) * np.where(np.arange(6) < 3, 1, 0.75 ** 0.5)
    sizes = SIZES.copy()
    sizes[:6] = strength[:, None] * np.array([0.12, 0, 1.0, 0, 0.25])
    found = measure(as_int16(draw(sizes=sizes)), 500)
    for axis in (found.p_axis_deg, found.qrs_axis_deg, found.t_axis_deg):
        assert abs((axis - degrees + 180) % 360 - 180) < 5
    assert found.qrs_axis_quality == "good"


def test_a_swapped_limb_lead_spoils_the_axis_only():
    signal = as_int16(draw())
    signal[[3, 1]] = signal[[1, 3]]
    found = measure(signal, 500)
    assert found.qrs_axis_quality == "poor" and found.qrs_quality == "good"


def test_st_level_of_each_lead():
    found = measure(as_int16(draw(st=300)), 500)
    assert found.st_uv[7] == pytest.approx(300, abs=45)
    assert all(abs(level) < 45 for lead, level in enumerate(found.st_uv) if lead != 7)


def test_the_r_peaks_are_where_they_were_drawn():
    found = delineate(as_int16(draw(rate=72)), 500)
    drawn = np.arange(0.35, 9.95, 60 / 72) + 0.05
    assert len(found.r_peaks) == len(drawn) == found.measurements.n_beats
    assert np.abs(found.r_peaks / 500 - drawn).max() < 0.02
    assert found.used.sum() == len(found.beat_at) <= len(drawn)
    onset = found.beat_at / 500 + found.qrs.on_ms / 1000
    assert all(np.abs(np.arange(0.35, 9.95, 60 / 72) - one).min() < 0.02 for one in onset)


def test_irregular_beats_and_one_ectopic_beat():
    rng = np.random.default_rng(5)
    chaos = 0.4 + np.cumsum(rng.uniform(0.45, 1.15, 11))
    found = measure(as_int16(draw(beats=chaos[chaos < 9.5])), 500)
    assert found.regular is False and found.rr_cv > 0.15
    steady = np.arange(0.4, 9.5, 0.8)
    steady[5] -= 0.25
    assert measure(as_int16(draw(beats=steady)), 500).regular is True


def test_no_p_wave_is_false_and_no_interval():
    sizes = SIZES.copy()
    sizes[:, 0] = 0
    rng = np.random.default_rng(0)
    found = measure(as_int16(draw(sizes=sizes) + rng.normal(0, 10, (12, 5000))), 500)
    assert found.p_present is False and found.p_present_quality is not None
    assert found.pr_ms is None and found.p_ms is None and found.p_axis_deg is None and found.pr_quality is None
    assert found.qrs_ms is not None and found.qt_ms is not None


def times(found: Measurements) -> np.ndarray:
    return np.array([found.p_ms, found.pr_ms, found.qrs_ms, found.qt_ms, found.heart_rate_bpm], float)


@pytest.mark.parametrize(("change", "tolerance"), [
    (lambda x: 2 * x, 0.6), (lambda x: -x, 0.1), (lambda x: x + 900, 0.6), (lambda x: x[:, 150:], 2.0),
    (lambda x: x + np.linspace(0, 2000, x.shape[1]), 2.0),
], ids=["gain", "inverted", "offset", "later", "drift"])
def test_what_does_not_change_the_times(change, tolerance):
    signal = draw()
    before, after = (times(measure(as_int16(one), 500)) for one in (signal, change(signal)))
    assert np.abs(after - before).max() < tolerance


@pytest.mark.parametrize("fs", [100, 128, 240, 250, 257, 360, 400, 997, 1000])
def test_the_rate_of_sampling_does_not_matter(fs):
    tolerance = 4 if fs >= 200 else 12
    assert np.abs(times(measure(as_int16(draw(fs=fs)), fs)) - times(measure(as_int16(draw()), 500))).max() < tolerance


@pytest.mark.parametrize("disturb", ["noise", "mains", "wander", "spikes"])
def test_disturbances_move_the_times_little(disturb):
    signal, t = draw(), np.arange(5000) / 500
    rng = np.random.default_rng(1)
    clean = times(measure(as_int16(signal), 500))
    if disturb == "noise":
        signal += rng.normal(0, 20, signal.shape)
    elif disturb == "mains":
        signal += 100 * np.sin(2 * np.pi * 50 * t + rng.uniform(0, 6, (12, 1)))
    elif disturb == "wander":
        signal += 500 * np.sin(2 * np.pi * 0.2 * t + rng.uniform(0, 6, (12, 1)))
    else:
        signal[:, (np.arange(0.35, 9.9, 60 / 70) * 500).astype(int) - 6] += 900
    assert np.abs(times(measure(as_int16(signal), 500)) - clean).max() < 12


def test_noise_lowers_the_quality():
    rng = np.random.default_rng(2)
    clean, noisy = (measure(as_int16(draw() + rng.normal(0, size, (12, 5000))), 500) for size in (2, 300))
    assert clean.qrs_quality == clean.qt_quality == clean.pr_quality == clean.heart_rate_quality == "good"
    assert clean.st_quality == "good" and noisy.st_quality == "poor"
    assert "good" not in (noisy.qrs_quality, noisy.qt_quality, noisy.pr_quality, noisy.heart_rate_quality)


def test_missing_samples_and_leads():
    signal = as_int16(draw())
    whole = times(measure(signal, 500))
    for lead in range(12):
        signal[lead, 400 * lead:400 * lead + 60] = MISSING
    signal[8] = MISSING
    signal[10] = 17
    found = delineate(signal, 500)
    assert np.abs(times(found.measurements) - whole).max() < 8
    assert [level is None for level in found.measurements.st_uv] == [lead in (8, 10) for lead in range(12)]
    assert np.isnan(found.beat[8]).all() and not np.isnan(found.beat[0]).any()


def test_a_gap_in_all_leads_is_no_pause():
    signal = as_int16(draw(rate=75))
    for value in (MISSING, 0):
        signal[:, 2000:3300] = value
        found = measure(signal, 500)
        assert found.heart_rate_bpm == pytest.approx(75, abs=0.3) and found.regular is True
        assert found.n_beats < 11


@pytest.mark.parametrize("kept", [0, 1, 6, 11])
def test_one_lead_is_enough_for_times_but_not_for_axes(kept):
    signal = np.full((12, 5000), MISSING)
    signal[kept] = as_int16(draw())[kept]
    found = measure(signal, 500)
    assert found.heart_rate_bpm == pytest.approx(70, abs=0.1) and found.qrs_ms == pytest.approx(90, abs=25)
    assert found.qrs_axis_deg is None and found.qrs_axis_quality is None
    assert sum(level is not None for level in found.st_uv) == 1


def empty(length: int, value: int = 0) -> np.ndarray:
    return np.full((12, length), value, np.int16)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("signal", [
    empty(0), empty(1), empty(10), empty(549), empty(5000), empty(5000, MISSING), empty(5000, 32767),
    as_int16(draw())[:, :500],
    np.random.default_rng(0).normal(0, 300, (12, 5000)).astype(np.int16),
    np.random.default_rng(0).integers(-32768, 32767, (12, 5000), dtype=np.int16, endpoint=True),
    np.tile(np.arange(5000, dtype=np.int16), (12, 1)),
], ids=["L=0", "L=1", "L=10", "1.098 s", "zero", "missing", "high", "1 s", "noise", "wild", "ramp"])
def test_nothing_is_found_where_nothing_is(signal):
    assert measure(signal, 500) == NOTHING
    found = delineate(signal, 500)
    assert found.r_peaks.size == found.used.size == found.beat_at.size == 0 and found.beat is None


@pytest.mark.filterwarnings("error")
def test_the_ends_of_the_scale_in_turn_are_measured_badly_at_most():
    found = measure(np.tile(np.array([32767, -32767], np.int16), (12, 2500)), 500)
    assert {found.heart_rate_quality, found.qrs_quality, found.qt_quality, found.pr_quality} <= {"poor", None}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_samples_are_nothing_breaks(seed):
    rng = np.random.default_rng(seed)
    fs = int(rng.integers(100, 1001))
    length = int(rng.integers(0, 12 * fs))
    signal = as_int16(draw(fs=fs, seconds=length / fs, rate=float(rng.uniform(25, 230)), qt=0.25, pr=0.12, first=0.05)
                      * rng.uniform(0, 40, (12, 1)))
    for _ in range(int(rng.integers(0, 6))):
        start = int(rng.integers(0, max(1, length)))
        rows = rng.random(12) < rng.random()
        signal[rows, start:start + int(rng.integers(0, max(1, length)))] = rng.choice([MISSING, 0, 32767, -32767])
    found = delineate(signal, fs)
    check(found, length)


def check(found: Delineation, length: int) -> None:
    """Whatever was found is finite, in range and of the type its field says."""
    assert (np.diff(found.r_peaks) > 0).all() and ((found.r_peaks >= 0) & (found.r_peaks < max(1, length))).all()
    for field in dataclasses.fields(Measurements):
        value = getattr(found.measurements, field.name)
        kind = str(field.type).split(" | ")[0]
        if kind in ("float", "int") and value is not None:
            assert isinstance(value, float if kind == "float" else int) and np.isfinite(value)
        elif kind in ("bool", "str") and value is not None:
            assert isinstance(value, {"bool": bool, "str": str}[kind])
        if field.name.endswith("_ms") and value is not None:
            assert value > 0
        if field.name.endswith("_quality"):
            assert value in ("good", "fair", "poor", None)


def test_a_quality_is_there_exactly_where_its_measure_is():
    for signal in (as_int16(draw()), empty(5000), as_int16(draw())[:, :900]):
        found = measure(signal, 500)
        for name, measured in (("heart_rate", "heart_rate_bpm"), ("regular", "regular"), ("p_present", "p_present"),
                               ("p", "p_ms"), ("pr", "pr_ms"), ("qrs", "qrs_ms"), ("qt", "qt_ms"),
                               ("p_axis", "p_axis_deg"), ("qrs_axis", "qrs_axis_deg"), ("t_axis", "t_axis_deg"),
                               ("st", "st_uv")):
            assert (getattr(found, f"{name}_quality") is None) == (getattr(found, measured) is None), name


@pytest.mark.parametrize(("signal", "fs"), [(np.zeros((5000, 12), np.int16), 500), (np.zeros((12, 5000)), 500),
                                            (empty(5000), 99), (empty(5000), 1001), (np.zeros(5, np.int16), 500)])
def test_another_shape_or_rate_is_refused(signal, fs):
    with pytest.raises(ValueError, match=r"needed|out of range"):
        measure(signal, fs)


def test_the_same_signal_gives_the_same_bytes():
    signal = as_int16(draw())
    kept = signal.copy()
    assert measure(signal, 500) == measure(signal, 500)
    assert np.array_equal(signal, kept)
    assert len(measure(signal, 500).st_uv) == len(LEADS)
