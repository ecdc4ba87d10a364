"""Several samples a frame, rates that are no whole numbers, skews and segments: against wfdb and the definitions."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars
import pytest
import wfdb
from ptbxl_fixture import twelve_leads
from wfdb_files import BITS, Signal, write
from wfdb_made import leads_of, read, segments, stored, whole_numbers

from emgecg_cli.core.datasets.formats.wfdb_formats import is_plain, read_stored
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import physical
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.signals.resampling import resample


def random_signals(rng: random.Random, fmt: str) -> list[Signal]:
    """Leads and other signals with their own samples a frame, gains and baselines, in any order."""
    n_frames, limit = rng.choice((1, 7, 60, 333)), min(2 ** (BITS[fmt] - 1) - 1, 40_000)
    same = rng.choice((0, 1, 4))
    found = []
    for name in rng.sample([*LEADS, "ABP", "RESP", "MLII"], rng.randint(1, 15)):
        per_frame = same or rng.choice((1, 2, 3, 4, 10))
        numbers = np.random.default_rng(rng.randrange(2 ** 32)).integers(-limit, limit + 1, n_frames * per_frame)
        if fmt == "8":
            numbers = numbers // 8
        if rng.random() < 0.3:
            numbers[rng.randrange(len(numbers))] = -limit - 1 if fmt != "8" else 0
        gain = rng.choice(("1000/mV", "200(-7)/mV", "0.5(3)/uV", "1000(5)/mV", "204.8/mV"))
        found.append(Signal(name, numbers, per_frame, gain))
    return found


@pytest.mark.parametrize("fmt", list(BITS))
def test_random_headers_equal_wfdb_frame_by_frame(tmp_path: Path, fmt: str) -> None:
    rng = random.Random(fmt)
    for i in range(25 if fmt in ("16", "212") else 6):
        signals = random_signals(rng, fmt)
        write(tmp_path, "a", signals, rng.choice(("250", "62.4725", "125/1000(0)")), fmt,
              mat=fmt == "16" and i % 3 == 0, stated=fmt not in ("16", "212") or i % 2 == 0)
        header = read_header(tmp_path, "a")
        in_units = wfdb.rdrecord(str(tmp_path / "a"), smooth_frames=False)
        expected = [one.stored for one in signals]
        if fmt != "61":  # of which wfdb gives no numbers as stored
            expected = wfdb.rdrecord(str(tmp_path / "a"), physical=False, smooth_frames=False).e_d_signal
        found = read_stored(header).signals
        assert is_plain(header) == (fmt in ("16", "61", "212")) and len(found) == len(signals)
        for line, own, theirs, value in zip(header.signals, found, expected, in_units.e_p_signal, strict=True):
            assert np.array_equal(own, theirs), (i, line.name)
            assert np.array_equal(physical(own[None], [line])[0], value, equal_nan=True), (i, line.name)


@pytest.mark.parametrize("per_frame", [1, 2, 4, 50])
@pytest.mark.parametrize("fmt", ["16", "212", "mat", "80", "24", "32"])
def test_a_record_is_the_same_in_any_number_of_samples_a_frame(tmp_path: Path, per_frame: int, fmt: str) -> None:
    signal = whole_numbers(fmt)
    signals = [*leads_of(signal, per_frame), Signal("ABP", np.arange(1000 * 2 // per_frame) % 100, 2, "100/mmHg")]
    write(tmp_path, "a", signals, Fraction(500, per_frame), "16" if fmt == "mat" else fmt, mat=fmt == "mat")
    found = read(tmp_path)
    assert found.fs == 500 and np.array_equal(found.signal, signal) and found.unused_signals == ("ABP",)


def test_unlike_leads_come_to_the_highest_rate_of_a_lead(tmp_path: Path) -> None:
    fast, slow = twelve_leads(1, 500, 4), twelve_leads(1, 250, 4)
    signals = [Signal("I", fast[0], 4), Signal("RESP", np.arange(4000) % 9, 8), Signal("V1", slow[6], 2),
               Signal("II", fast[1], 4), Signal("V2", slow[7], 2), Signal("aVF", slow[5][::2], 1)]
    write(tmp_path, "a", signals, 125)
    found = read(tmp_path)
    assert found.fs == 500 and found.signal.shape == (12, 2000)
    assert np.array_equal(found.signal[[0, 1]], fast[[0, 1]])
    assert np.array_equal(found.signal[[6, 7]], resample(slow[[6, 7]], 250, 500)[0])
    assert np.array_equal(found.signal[5:6], resample(slow[5:6, ::2], 125, 500)[0])
    assert np.abs(found.signal[6:8, 50:-50].astype(int) - fast[6:8, 50:-50]).max() <= 3
    assert found.absent_leads == ["III", "aVR", "aVL", "V3", "V4", "V5", "V6"]


@pytest.mark.parametrize("fmt", ["16", "212", "80"])
def test_a_skew_counts_frames(tmp_path: Path, fmt: str) -> None:
    signal = whole_numbers(fmt)
    signals = leads_of(signal, 4)
    signals[0].skew, signals[1].skew = 3, 7
    write(tmp_path, "a", signals, 125, fmt)
    found = read(tmp_path).signal
    for lead, skew in ((0, 12), (1, 28)):
        assert np.array_equal(found[lead, :1000 - skew], signal[lead, skew:])
        assert (found[lead, 1000 - skew:] == MISSING).all()
    assert np.array_equal(found[2:], signal[2:])
    signals[1].skew = 3
    write(tmp_path, "a", [Signal(one.name, one.stored[::4], 1, one.gain, one.skew) for one in signals], 125, fmt)
    expected = wfdb.rdrecord(str(tmp_path / "a"), physical=False).d_signal.T
    found = read(tmp_path).signal
    assert np.array_equal(found[found != MISSING], expected[found != MISSING]) and (found[:2, -3:] == MISSING).all()


def test_a_sum_over_all_samples_of_a_frame_is_checked(tmp_path: Path) -> None:
    write(tmp_path, "a", leads_of(twelve_leads(1, 500, 2), 4), 125)
    content = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "a.dat").write_bytes(content[:2] + bytes([content[2] ^ 1]) + content[3:])
    with pytest.raises(RecordError, match="bad checksum: lead I"):
        read(tmp_path)


@pytest.mark.parametrize("layout", [False, True])
def test_segments_and_gaps_with_several_samples_a_frame(tmp_path: Path, layout: bool) -> None:
    expected = segments(tmp_path, layout)
    found = read(tmp_path)
    assert found.fs == 500 and np.array_equal(found.signal, expected)
    if layout:
        theirs = wfdb.rdrecord(str(tmp_path / "a"), smooth_frames=False)
        own = np.where(np.isnan(theirs.e_p_signal), MISSING, np.rint(np.nan_to_num(theirs.e_p_signal) * 1000))
        assert np.array_equal(own, expected)
    text = (tmp_path / "s2.hea").read_text()
    (tmp_path / "s2.hea").write_text(text.replace("125 125", "250 125"))
    with pytest.raises(RecordError, match="segment s2 has 250 Hz, the record 125 Hz"):
        read(tmp_path)
    (tmp_path / "s2.hea").write_text(text.replace("125 125", "125 124", 1).replace("16x4", "16x4"))
    with pytest.raises(RecordError, match="segment s2 has 124 samples"):
        read(tmp_path)


@pytest.mark.parametrize("rate, fs, length, ratio", [
    ("256.5", 256.5, 2565, "200/513"), ("62.4725x4", 249.89, 2500, "10000/24989"), ("0.976562x256", 249.999872, 2560,
                                                                                  "2/5"),
    ("360.0000001", 360.0000001, 3600, "5/18"), ("128.00037", 128.00037, 1281, None), ("99.9999", 99.9999, 1000, "1"),
    ("62.5", 62.5, 625, "8/5"), ("1e3", 1000, 10000, None), ("250.0/4000(17)", 250, 2500, None)])
def test_a_rate_need_not_be_whole(tmp_path: Path, rate: str, fs: float, length: int, ratio: str | None) -> None:
    per_frame = int(rate.partition("x")[2] or 1)
    time = np.arange(length) / fs
    wave = [np.rint(900 * np.sin(2 * np.pi * (1 + lead / 3) * time)).astype(int) for lead in range(12)]
    write(tmp_path / "set", "a", [Signal(n, row, per_frame) for n, row in zip(LEADS, wave, strict=True)],
          rate.partition("x")[0])
    store = stored(tmp_path, measure=True)
    row = store.row(0)
    assert row.resampled_from == fs and store.fs == 100 and row.n_padded == 0
    if fs != int(fs):
        assert row.reading is not None and ratio in (row.reading.resampled_by, None)
        assert f"{fs} Hz by {row.reading.resampled_by}" in (tmp_path / "store" / "card.md").read_text()
        up, down = Fraction(row.reading.resampled_by or "").as_integer_ratio()
        assert abs(up / down * fs / 100 - 1) <= 3e-6
    else:
        assert row.reading is None and isinstance(row.resampled_from, int)
    expected = [900 * np.sin(2 * np.pi * (1 + lead / 3) * np.arange(1000) / 100) for lead in range(12)]
    assert np.abs(store.signal(0) - expected)[:, 20:-20].max() <= 3
    column = store.scan().collect()["resampled_from"]
    assert column.to_list() == [fs] and column.dtype == (polars.Float64 if fs != int(fs) else polars.Int64)
    assert f"    {fs:.10g} Hz " in (tmp_path / "store" / "card.md").read_text()


def test_whole_and_other_rates_in_one_store(tmp_path: Path) -> None:
    for name, rate in (("a", 250), ("b", 100), ("c", "256.5")):
        write(tmp_path / "set", name, leads_of(twelve_leads(1, 250, 3), 1), rate)
    store = stored(tmp_path, seconds=2.0)
    assert [store.row(i).resampled_from for i in range(3)] == [250, None, 256.5]
    assert isinstance(store.row(0).resampled_from, int)
    assert store.scan().collect()["resampled_from"].to_list() == [250.0, None, 256.5]
    assert store.manifest.details["honesty"]["resampled_by_fraction"] == {"256.5 Hz by 200/513": 1}
    card = (tmp_path / "store" / "card.md").read_text()
    assert all(f"    {rate} Hz " in card for rate in ("100", "250", "256.5"))


def test_windows_of_a_rate_that_is_not_whole_follow_each_other(tmp_path: Path) -> None:
    time = np.arange(round(62.44 * 31)) / 62.44
    wave = np.rint(900 * np.sin(2 * np.pi * time)).astype(int)
    write(tmp_path / "set", "a", [Signal("II", wave)], "62.44")
    store = stored(tmp_path, window="all", fs=250)
    assert len(store) == 3 and [store.row(i).n_padded for i in range(3)] == [0, 0, 0]
    for i in range(3):
        expected = 900 * np.sin(2 * np.pi * (store.row(i).start_s + np.arange(2500) / 250))
        assert np.abs(store.signal(i)[1] - expected)[100:-100].max() <= 8, i


def test_the_frames_that_were_got_wrong(shared_data: Path) -> None:
    cases = shared_data.parent / "cases" / "01-frames"
    if not cases.is_dir():
        pytest.skip("the cases are not here")
    for name in ("f125x4", "f10x50"):
        found, theirs = read(cases, name), wfdb.rdrecord(str(cases / name), smooth_frames=False)
        assert found.fs == 500 and found.signal[1].max() == 998
        for lead, values in zip(("I", "II", "V1", "V5"), theirs.e_p_signal, strict=False):
            assert np.array_equal(found.signal[LEADS.index(lead)], np.rint(values * 1000))
