"""Resampling: against known sines, lengths, aliasing, and missing samples."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import firwin, resample_poly

from emgecg_cli.core.datasets.formats.wfdb_headers import find_records, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.signals import resampling
from emgecg_cli.core.signals.leads import MISSING, to_int16_uv
from emgecg_cli.core.signals.resampling import resample, resampled_length, resampling_ratio


def sine(frequency: float, fs: int, seconds: float = 10, amplitude: float = 1000, offset: float = 0) -> np.ndarray:
    time = np.arange(round(fs * seconds)) / fs
    return np.rint(offset + amplitude * np.sin(2 * np.pi * frequency * time))[None].astype(np.int16)


@pytest.mark.parametrize("fs_from, fs_to", [(500, 100), (500, 250), (400, 500), (100, 500), (257, 100), (360, 250)])
def test_a_slow_sine_comes_out_as_the_same_sine(fs_from: int, fs_to: int) -> None:
    resampled, clipped = resample(sine(5, fs_from, offset=2000), fs_from, fs_to)
    expected = sine(5, fs_to, offset=2000)
    assert resampled.shape == expected.shape and resampled.dtype == np.int16 and clipped == 0
    inner = slice(fs_to // 2, -fs_to // 2)
    assert np.abs(resampled.astype(int) - expected)[:, inner].max() <= 12
    # The filter sees no jump from 2000 uV to nothing at the ends.
    assert np.abs(resampled.astype(int) - expected).max() <= 300


def test_what_is_too_fast_is_filtered_out_not_folded() -> None:
    fast = sine(80, 500)
    assert np.abs(fast[:, ::5]).max() > 500
    assert np.abs(resample(fast, 500, 100)[0][:, 20:-20]).max() <= 2


@pytest.mark.parametrize("sig_len, fs_from, fs_to, expected", [
    (5000, 500, 100, 1000), (4999, 500, 100, 1000), (4997, 500, 100, 999), (1001, 400, 500, 1251), (7, 3, 2, 5),
    (1, 500, 100, 0),
])
def test_length_is_the_rounded_quotient(sig_len: int, fs_from: int, fs_to: int, expected: int) -> None:
    assert resampled_length(sig_len, fs_from, fs_to) == expected
    assert resample(np.zeros((2, sig_len), np.int16), fs_from, fs_to)[0].shape == (2, expected)


def test_the_same_rate_is_a_copy() -> None:
    signal = sine(3, 100)
    same, clipped = resample(signal, 100, 100)
    assert np.array_equal(same, signal) and same is not signal and clipped == 0


@pytest.mark.parametrize("fs_from, fs_to", [(500, 100), (100, 500), (400, 500), (360, 100)])
def test_missing_samples_stay_missing_and_no_more(fs_from: int, fs_to: int) -> None:
    signal = np.concatenate([sine(5, fs_from, offset=300), sine(7, fs_from)])
    gap = np.arange(fs_from * 2, fs_from * 3)
    signal[0, gap] = MISSING
    signal[0, fs_from * 5] = MISSING
    resampled, _ = resample(signal, fs_from, fs_to)
    # The definition, sample by sample and in fractions.
    times = np.arange(resampled.shape[1]) * fs_from / fs_to
    half = max(1.0, fs_from / fs_to) / 2
    missing = np.flatnonzero(signal[0] == MISSING)
    expected = [bool(np.any(np.abs(missing - time) <= half + 1e-9)) for time in times]
    assert (resampled[0] == MISSING).tolist() == expected
    assert not (resampled[1] == MISSING).any()
    near = np.abs(resampled[0].astype(int) - sine(5, fs_to, offset=300)[0])[int(fs_to * 3.5):int(fs_to * 4.5)]
    assert near.max() <= 12


def test_an_absent_lead_stays_absent() -> None:
    signal = np.concatenate([sine(5, 500), np.full((1, 5000), MISSING)])
    resampled, _ = resample(signal, 500, 100)
    assert (resampled[1] == MISSING).all() and not (resampled[0] == MISSING).any()


RATES = [(500, 100), (400, 100), (400, 500), (257, 100), (360, 500), (100, 500), (500, 250), (4000, 500), (128, 360),
         (3, 7), (1000, 999), (500, 499), (1, 50), (50, 1)]


@pytest.mark.parametrize("fs_from, fs_to", RATES)
def test_the_numbers_are_those_of_scipy(fs_from: int, fs_to: int) -> None:
    rng = np.random.default_rng(fs_from)
    for sig_len in (2, 3, 11, 4 * fs_from, 4 * fs_from + 1, 2501):
        steps = rng.integers(-400, 401, (3, sig_len))
        signal = np.clip(np.cumsum(steps, axis=1), -32767, 32767).astype(np.int16)
        whole = resample_poly(signal.astype(np.float64), fs_to, fs_from, axis=1, padtype="line")
        expected, clipped = to_int16_uv(np.rint(whole[:, :resampled_length(sig_len, fs_from, fs_to)]))
        found, found_clipped = resample(signal, fs_from, fs_to)
        assert found.shape == expected.shape and found.dtype == np.int16 and found_clipped == clipped
        difference = np.abs(found.astype(int) - expected)
        assert difference.max(initial=0) <= 1 and np.count_nonzero(difference) <= difference.size // 10 ** 4


@pytest.mark.parametrize("fs_from, fs_to", RATES)
def test_the_filter_is_that_of_scipy_bit_by_bit(fs_from: int, fs_to: int) -> None:
    ratio = resampling_ratio(fs_from, fs_to)
    most = max(ratio.numerator, ratio.denominator)
    expected = firwin(20 * most + 1, 1 / most, window=("kaiser", 5.0))
    assert np.array_equal(resampling._taps(ratio.numerator, ratio.denominator), expected)


def test_real_recordings_are_resampled_as_by_scipy(shared_data: Path) -> None:
    root = shared_data / "ptb-xl" / "records500"
    for record in list(find_records(root))[::20]:
        signal = read_leads(read_header(root, record)).signal
        expected = np.rint(resample_poly(signal.astype(np.float64), 1, 5, axis=1, padtype="line"))
        assert np.array_equal(resample(signal, 500, 100)[0], expected)


def test_overshoot_is_clipped_and_counted() -> None:
    square = np.where(np.arange(5000) // 250 % 2, 32767, -32767)[None].astype(np.int16)
    found, clipped = resample(square, 500, 360)
    whole = resample_poly(square.astype(np.float64), 18, 25, axis=1, padtype="line")
    assert clipped == np.count_nonzero(np.abs(np.rint(whole)) > 32767) > 10
    assert found.max() == 32767 and found.min() == -32767


@pytest.mark.parametrize("fs_from, fs_to", RATES)
def test_one_sample_and_none(fs_from: int, fs_to: int) -> None:
    length = resampled_length(1, fs_from, fs_to)
    for value in (123, MISSING):
        found, clipped = resample(np.full((2, 1), value, np.int16), fs_from, fs_to)
        assert found.tolist() == [[value] * length] * 2 and clipped == 0
    assert resample(np.zeros((2, 0), np.int16), fs_from, fs_to)[0].shape == (2, 0)
    assert resample(np.zeros((0, 70), np.int16), fs_from, fs_to)[0].shape == (0, resampled_length(70, fs_from, fs_to))


def test_gaps_at_the_ends_and_leads_without_a_sample() -> None:
    signal = np.concatenate([sine(5, 500, offset=900), np.full((1, 5000), MISSING), sine(3, 500)])
    signal[0, :100], signal[0, -50:] = MISSING, MISSING
    found, _ = resample(signal, 500, 100)
    assert (found[0, :20] == MISSING).all() and (found[0, 991:] == MISSING).all() and (found[1] == MISSING).all()
    assert np.array_equal(found[2], resample(signal[2:], 500, 100)[0][0])
    inner = found[0, 70:940].astype(int) - sine(5, 100, offset=900)[0, 70:940]
    assert np.abs(inner).max() <= 12
    nothing = np.full((12, 5000), MISSING)
    assert (resample(nothing, 500, 100)[0] == MISSING).all()


def test_a_rate_pair_without_a_matrix_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = np.concatenate([sine(5, 360), sine(11, 360, offset=-400)])
    by_matrix = resample(signal, 360, 500)[0]
    monkeypatch.setattr(resampling, "LARGEST_MATRIX", 0)
    assert np.array_equal(resample(signal, 360, 500)[0], by_matrix)


@pytest.mark.parametrize("rates", [(0, 100), (500, 0), (-500, 100)])
def test_a_rate_that_is_none_is_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="rates must be positive"):
        resample(np.zeros((1, 10), np.int16), *rates)


@pytest.mark.parametrize("fs_from, fs_to, expected", [
    ("256.5", 100, "200/513"), ("249.999872", 100, "2/5"), ("249.999872", 500, "2"), ("62.4999999", 500, "8"),
    ("249.89", 500, "15909/7951"), ("99.9999999", 100, "1"), ("1000.123", 100, "813/8131"), ("0.5", 100, "200"),
    ("333.333333333", 500, "3/2")])
def test_rates_that_are_not_whole_take_the_nearest_fraction(fs_from: str, fs_to: int, expected: str) -> None:
    rate = Fraction(fs_from)
    assert str(resampling_ratio(rate, fs_to)) == expected
    signal = np.random.default_rng(0).integers(-900, 900, (2, 1200)).astype(np.int16)
    up, down = Fraction(expected).as_integer_ratio()
    length = resampled_length(1200, rate, fs_to)
    whole = signal.astype(float) if up == down else resample_poly(signal.astype(float), up, down, axis=1,
                                                                  padtype="line")
    assert np.array_equal(resample(signal, rate, fs_to)[0], np.rint(whole[:, :length]))
    assert resample(signal, rate, fs_to)[0].shape[1] == round(1200 * up / down)


def test_whole_rates_are_resampled_as_they_are() -> None:
    assert str(resampling_ratio(99_991, 500)) == "500/99991" and str(resampling_ratio(12_347, 12_343)) == "12343/12347"
