"""Rates from 18 to 300 per minute, ectopic beats, flutter and pacing, on beats drawn another way than the cohort's.

A beat is a handful of Gaussian bumps, each along a direction of its own, seen by twelve leads through a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.datasets.synthetic import open_source
from emgecg_cli.core.datasets.synthetic.reports import read_rate
from emgecg_cli.core.signals.delineation import delineate, measure

SECONDS = 10
# I, II, V1 to V6 of three orthogonal directions; the other limb leads follow
SEEN = np.array([[0.63, -0.24, 0.06], [0.24, 1.07, -0.13], [-0.52, 0.16, -0.92], [0.04, 0.16, -1.39],
                 [0.88, 0.10, -1.28], [1.21, 0.13, -0.60], [1.13, 0.13, -0.09], [0.83, 0.08, 0.23]])
# centre and width as parts of QRS, size as a part of R, direction
NARROW = ((0.20, 0.09, 0.25, (-0.6, -0.3, -0.8)), (0.48, 0.12, 1.0, (0.7, 0.65, 0.3)),
          (0.78, 0.10, 0.35, (-0.4, -0.2, 0.9)))
WIDE = ((0.35, 0.14, 1.0, (0.8, 0.1, 0.6)), (0.65, 0.14, 0.9, (0.7, -0.4, 0.7)))
NOTCHED = ((0.25, 0.10, 1.0, (0.8, 0.1, 0.6)), (0.75, 0.10, 0.9, (0.6, -0.5, 0.9)))
SINUS: dict[str, Any] = {"bumps": NARROW, "qrs": 0.086, "p": 0.12, "t": 0.3}
VENTRICULAR: dict[str, Any] = {"bumps": WIDE, "qrs": 0.16, "p": 0.0, "t": 0.5, "r": 1.4, "t_side": -1}


def bump(time: np.ndarray, centre: float, width: float, size: float, direction: Sequence[float]) -> np.ndarray:
    unit = np.array(direction) / np.linalg.norm(direction)
    return size * np.exp(-0.5 * ((time - centre) / width) ** 2) * unit[:, None]


def beat(time: np.ndarray, rr: float, bumps: Any = NARROW, qrs: float = 0.09, r: float = 1.2, p: float = 0.12,
         t: float = 0.3, t_width: float = 0.05, t_side: int = 1) -> np.ndarray:
    """One beat whose QRS begins at time 0, millivolts in three directions."""
    qt = max(0.17, rr * 0.92) if rr < 0.2 else min(0.40 * np.sqrt(min(rr, 1.4)), max(0.17, rr * 0.92))
    drawn = bump(time, -0.06 - 0.05 * min(rr, 1), 0.02, p, (0.6, 0.8, 0.1))
    drawn = drawn + sum(bump(time, at * qrs, width * qrs, size * r, way) for at, width, size, way in bumps)
    return drawn + bump(time, qt - 2 * t_width, t_width, t_side * t, (0.7, 0.6, -0.3))


def leads(body: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Twelve leads of (3, L) millivolts, with noise, as int16 microvolts."""
    eight = SEEN @ body + np.random.default_rng(seed).normal(0, noise, (8, body.shape[1]))
    i, ii = eight[:2]
    rows = np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *eight[2:]])
    return np.clip(np.rint(1000 * rows), -32767, 32767).astype(np.int16)


def draw(fs: int, onsets: np.ndarray, shapes: Sequence[dict[str, Any]] = (SINUS,), noise: float = 0.01,
         seed: int = 0, gain: float = 1.0, extra: np.ndarray | None = None) -> np.ndarray:
    """A recording with QRS onsets at `onsets` seconds, the shapes one after the other."""
    time = np.arange(SECONDS * fs) / fs
    rr = float(np.mean(np.diff(onsets)))
    body = sum(beat(time - onset, rr, **shapes[n % len(shapes)]) for n, onset in enumerate(onsets))
    return leads(gain * (body if extra is None else body + extra), noise, seed)


def steady(rate: float, phase: float) -> np.ndarray:
    rr = 60 / rate
    return np.arange(-2 * rr + phase * rr, SECONDS + rr, rr)


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "narrow": ({**SINUS}, {}), "without P": ({**SINUS, "p": 0.0}, {}),
    "wide": ({**VENTRICULAR, "qrs": 0.15}, {}), "notched": ({**VENTRICULAR, "bumps": NOTCHED}, {}),
    "tall T": ({**SINUS, "t": 1.3, "t_width": 0.035}, {}), "low": ({**SINUS}, {"gain": 0.25}),
    "noisy": ({**SINUS}, {"noise": 0.1}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_rate_is_found_at_every_rate_of_sampling_or_nothing(kind):
    shape, how = KINDS[kind]
    rng = np.random.default_rng(len(kind))
    wrong, n_none = [], 0
    for n, rate in enumerate(np.linspace(30, 300, 55)):
        fs = (100, 125, 200, 250, 360, 400, 500)[n % 7]
        found = measure(draw(fs, steady(rate, rng.uniform()), (shape,), seed=n, **how), fs)
        n_none += found.heart_rate_bpm is None
        if found.heart_rate_bpm is not None and abs(found.heart_rate_bpm - rate) > 1:
            wrong.append((round(rate), fs, found.heart_rate_bpm, found.heart_rate_quality))
    assert not wrong
    assert n_none <= (6 if kind in ("wide", "notched") else 0)  # above 280 per minute, wide complexes melt into a wave


def test_fast_rates_of_the_cases(shared_data):
    folder = shared_data.parent / "cases" / "07-fast"
    if not folder.is_dir():
        pytest.skip("no folder of cases")
    for rate in (200, 230, 250, 300):
        recording = read_leads(read_header(folder, f"hr{rate}"))
        assert measure(recording.signal, 250).heart_rate_bpm == pytest.approx(rate, abs=1)


def test_fast_beats_have_no_good_intervals_that_the_next_beat_touches():
    for rate in (190, 220, 250, 280):
        found = measure(draw(500, steady(rate, 0.3), ({**SINUS, "t": 0.6},)), 500)
        assert found.pr_ms is None and found.p_present is None
        assert found.qt_quality in (None, "poor") and (found.qt_ms is None or found.qt_ms < 60_000 / rate)


@pytest.mark.parametrize("rate", [18, 20, 25])
@pytest.mark.parametrize("noise", [0.01, 0.04])
def test_very_slow_rates_and_long_pauses(rate, noise):
    assert measure(draw(250, steady(rate, 0.4), noise=noise), 250).heart_rate_bpm == pytest.approx(rate, abs=0.2)
    onsets = np.array([0.5, 1.3, 2.1, 7.5, 8.3, 9.1])
    found = measure(draw(100, onsets, noise=noise), 100)
    assert found.n_beats == 6 and found.heart_rate_bpm == pytest.approx(60 / np.diff(onsets).mean(), abs=0.2)
    assert found.heart_rate_quality != "good"


def ectopic(pattern: str) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Onsets and shapes of sinus beats (S) every 0.8 s and premature ventricular ones (V) with their pauses."""
    time, onsets, shapes = -1.2, [], []
    for n in range(20):
        now, after = pattern[n % len(pattern)], pattern[(n + 1) % len(pattern)]
        onsets.append(time)
        shapes.append(SINUS if now == "S" else VENTRICULAR)
        time += 0.48 if after == "V" else 1.12 if now == "V" else 0.8
    return np.array(onsets), shapes


@pytest.mark.parametrize("pattern", ["SV", "SSV", "SSSV", "SVV", "SVVV", "SSSSVV"])
@pytest.mark.parametrize("fs", [100, 500])
def test_the_sinus_beat_is_measured_and_not_the_ectopic_one(pattern, fs):
    plain = measure(draw(fs, steady(75, 0.3)), fs)
    ventricular = measure(draw(fs, steady(75, 0.3), (VENTRICULAR,)), fs)
    onsets, shapes = ectopic(pattern)
    found = measure(draw(fs, onsets, shapes), fs)
    assert ventricular.qrs_ms - plain.qrs_ms > 40
    assert found.qrs_ms == pytest.approx(plain.qrs_ms, abs=6) and found.p_present is True
    assert found.pr_ms == pytest.approx(plain.pr_ms, abs=12)
    whole = onsets[(onsets > 0.1) & (onsets < SECONDS - 0.2)]
    assert abs(found.n_beats - len(whole)) <= 1
    if pattern in ("SV", "SVV", "SVVV"):
        assert found.qrs_quality != "good" and found.qt_quality == "poor"


@pytest.mark.parametrize("phase", [0.05, 0.2, 0.4, 0.6, 0.85])
def test_bigeminy_is_not_regular_wherever_the_recording_begins(phase):
    onsets = np.sort(np.concatenate([start + np.arange(-1, 8) * 1.5 for start in (phase, phase + 0.5)]))
    found = measure(draw(500, onsets, (SINUS, VENTRICULAR)), 500)
    assert found.regular is False and found.heart_rate_bpm == pytest.approx(80, abs=3)


def test_interpolated_beats_give_way_to_the_narrow_ones():
    onsets = np.sort(np.concatenate([np.arange(0.2, 10, 1.0), np.arange(0.65, 10, 1.0)]))
    found = measure(draw(500, onsets, (SINUS, VENTRICULAR)), 500)
    assert found.qrs_ms == pytest.approx(measure(draw(500, steady(75, 0.3)), 500).qrs_ms, abs=6)
    assert found.heart_rate_bpm == pytest.approx(120, abs=1)


def test_wide_escape_beats_do_not_make_the_narrow_ones_early():
    onsets = np.array([0.3, 1.1, 1.9, 3.4, 4.2, 5.0, 6.5, 7.3, 8.1, 9.6])
    escape = {**VENTRICULAR, "t": 0.4}
    found = measure(draw(500, onsets, (SINUS, SINUS, SINUS, escape)), 500)
    assert found.qrs_ms < 115


@pytest.mark.parametrize("conduction", [2, 3, 4])
@pytest.mark.parametrize("size", [0.15, 0.3])
def test_flutter_waves_are_not_beats(conduction, size):
    for fs, rate in ((100, 300), (250, 260), (500, 320)):
        phase = np.arange(SECONDS * fs) / fs * rate / 60 % 1
        wave = (np.where(phase < 0.7, phase / 0.7, 1 - (phase - 0.7) / 0.3) - 0.5) * 2 * size
        saw = wave * np.array([[0.2], [1.0], [0.1]])
        shape = {**SINUS, "p": 0.0, "t": 0.2}
        found = measure(draw(fs, steady(rate / conduction, 0.2), (shape,), extra=saw), fs)
        assert found.heart_rate_bpm == pytest.approx(rate / conduction, abs=1)


@pytest.mark.parametrize("rate", [150, 200, 250, 300])
def test_a_wave_without_edges_is_counted_once_a_cycle_but_never_called_good(rate):
    for fs in (100, 500):
        time = np.arange(SECONDS * fs) / fs
        wave = np.sin(2 * np.pi * rate / 60 * time) + 0.15 * np.sin(4 * np.pi * rate / 60 * time + 0.7)
        found = measure(leads(wave * np.array([[0.9], [0.4], [-0.6]]), 0.01, rate), fs)
        assert found.heart_rate_bpm is None or found.heart_rate_bpm == pytest.approx(rate, abs=1)
        assert found.heart_rate_quality != "good"


def test_a_paced_complex_begins_after_its_spike_and_is_at_best_fair():
    onsets = steady(70, 0.3)
    plain = measure(draw(500, onsets, (VENTRICULAR,)), 500)
    signal = draw(500, onsets, (VENTRICULAR,)).astype(np.int32)
    for onset in onsets[(onsets > 0.05) & (onsets < 9.9)]:
        at = round((onset - 0.012) * 500)
        signal[:, at:at + 2] += np.array([900, 700, -200, -800, 500, 250, -400, -600, 500, 800, 900, 700])[:, None]
    found = delineate(signal.clip(-32767, 32767).astype(np.int16), 500)
    spike_ms = -1000 * (found.beat_at / 500 - onsets[np.abs(onsets[:, None] - found.beat_at / 500).argmin(axis=0)]
                        ).mean() - 12
    assert found.qrs.on_ms > spike_ms + 12
    assert found.measurements.qrs_ms < plain.qrs_ms + 10
    assert found.measurements.qrs_quality != "good" and found.measurements.qt_quality != "good"
    assert found.measurements.heart_rate_bpm == pytest.approx(70, abs=0.3)


def test_fibrillation_has_no_pr_and_a_poor_qt():
    rng = np.random.default_rng(3)
    onsets = np.cumsum(rng.uniform(0.42, 1.05, 20)) - 0.4
    time = np.arange(SECONDS * 500) / 500
    waves = sum(0.05 * np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) for f in (5.1, 6.3, 7.4))
    found = measure(draw(500, onsets, ({**SINUS, "p": 0.0},), extra=waves * np.array([[0.3], [0.9], [0.5]])), 500)
    assert found.pr_ms is None and found.p_present is False and found.regular is False
    assert found.qt_quality == "poor"


def test_strong_noise_gives_nothing_or_the_rate():
    wrong = []
    for n, noise in enumerate(np.linspace(0.1, 0.6, 60)):
        rate = 40 + 4 * n
        shape = VENTRICULAR if n % 2 else SINUS
        found = measure(draw((100, 250, 500)[n % 3], steady(rate, 0.1), (shape,), noise=noise, seed=n),
                        (100, 250, 500)[n % 3])
        if found.heart_rate_bpm is not None and abs(found.heart_rate_bpm - rate) > 1:
            wrong.append((rate, noise, found.heart_rate_bpm, found.heart_rate_quality))
    assert not wrong


def test_the_rates_of_the_simulated_cohort_made_faster():
    """The cohort's own beats, played faster: what is measured is as much faster."""
    source = open_source(records=24, seed=11, fs=500)
    for recording in source.read(list(source.listing())):
        slow = measure(recording.signal, 500)
        fast = measure(recording.signal, 1000)
        if slow.heart_rate_bpm is not None and slow.heart_rate_bpm <= 150 and slow.regular:
            assert fast.heart_rate_bpm is None or fast.heart_rate_bpm == pytest.approx(2 * slow.heart_rate_bpm, abs=1)


def test_late_t_waves_are_not_beats_and_low_ectopic_beats_are():
    """T waves late enough to follow the refractory time, and ectopic beats of no more energy."""
    slow = {**VENTRICULAR, "bumps": NOTCHED, "qrs": 0.14, "r": 1.0, "t": 1.1, "t_width": 0.045}
    time = np.arange(SECONDS * 250) / 250
    onsets = steady(66, 0.3)
    body = sum(beat(time - onset, 1.6, **slow) for onset in onsets)
    assert measure(leads(body, 0.01, 1), 250).heart_rate_bpm == pytest.approx(66, abs=0.5)
    low = {**VENTRICULAR, "r": 0.5, "t": 0.3}
    onsets, shapes = ectopic("SSSV")
    found = measure(draw(250, onsets, [low if one is VENTRICULAR else one for one in shapes]), 250)
    whole = onsets[(onsets > 0.1) & (onsets < SECONDS - 0.2)]
    assert abs(found.n_beats - len(whole)) <= 1


def test_wide_ectopic_beats_of_the_simulated_cohort_are_counted():
    """They have no sharp edges, and stand behind many beats of a record as its T waves do."""
    source = open_source(records=600, seed=11, fs=100)
    told = [(read_rate(one.report), measure(one.signal, 100).heart_rate_bpm)
            for one in source.read(list(source.listing())) if "pvc" in (one.codes or ())]
    wrong = [pair for pair in told if pair[1] is not None and abs(pair[0] - pair[1]) > 6]
    assert len(told) > 40 and len(wrong) <= 0.25 * len(told), wrong  # left: most beats in pairs, as T waves would be
