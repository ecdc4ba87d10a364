"""Resampling: against known sines, lengths, aliasing, and missing samples."""

from __future__ import annotations

import numpy as np
import pytest

from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.signals.resampling import resample, resampled_length


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


@pytest.mark.parametrize("rates", [(0, 100), (500, 0), (-500, 100)])
def test_a_rate_that_is_none_is_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="rates must be positive"):
        resample(np.zeros((1, 10), np.int16), *rates)
