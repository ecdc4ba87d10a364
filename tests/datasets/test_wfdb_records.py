"""The own WFDB reader against wfdb, and against broken and hostile records."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb
from ptbxl_fixture import HEADER_LEADS, twelve_leads, write_record

from emgecg_cli.core.datasets.formats.wfdb_formats import is_plain, read_stored
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError, find_records, read_header
from emgecg_cli.core.datasets.formats.wfdb_records import Leads, physical, read_leads
from emgecg_cli.core.signals.leads import LEADS, MISSING


def read(root: Path, record: str = "a") -> Leads:
    return read_leads(read_header(root, record))


def physical_by_wfdb(path: Path) -> np.ndarray:
    """(12, L) float microvolts by wfdb.rdsamp, leads by name, NaN = missing."""
    values, fields = wfdb.rdsamp(str(path))
    names = [name.upper() for name in fields["sig_name"]]
    factors = {"mV": 1000, "mv": 1000, "uV": 1, "V": 1e6}
    rows = np.full((12, len(values)), np.nan)
    for row, lead in zip(rows, LEADS, strict=True):
        if lead.upper() in names:
            column = names.index(lead.upper())
            row[:] = values[:, column] * factors[fields["units"][column]]
    return rows


def microvolts_by_wfdb(path: Path) -> np.ndarray:
    """(12, L) int16 microvolts by wfdb.rdsamp: the oracle."""
    values = physical_by_wfdb(path)
    clipped = np.clip(np.rint(values), -32767, 32767)
    return np.where(np.isnan(values), int(MISSING), np.nan_to_num(clipped)).astype(np.int16)


@pytest.mark.parametrize("folder, n_records", [("ptb-xl", 800), ("ludb", 100), ("cinc2021", 35), ("nstdb", 2)])
def test_real_records_equal_wfdb(shared_data: Path, folder: str, n_records: int) -> None:
    compared = 0
    for record in find_records(shared_data / folder):
        try:
            found = read(shared_data / folder, record)
        except RecordError as error:
            assert folder == "nstdb" and error.reason == "no standard leads", error
            continue
        assert np.array_equal(found.signal, microvolts_by_wfdb(shared_data / folder / record)), record
        assert len(found.absent_leads) == (11 if folder == "nstdb" else 0)
        assert found.n_clipped == 0 and found.signal.flags.c_contiguous
        compared += 1
    assert compared == n_records


@pytest.mark.parametrize("folder, every", [("ptb-xl", 25), ("ludb", 10), ("cinc2021", 5), ("nstdb", 1), ("emgdb", 1)])
def test_stored_and_physical_numbers_equal_wfdb_before_rounding(shared_data: Path, folder: str, every: int) -> None:
    for record in list(find_records(shared_data / folder))[::every]:
        header = read_header(shared_data / folder, record)
        assert is_plain(header)
        stored = read_stored(header).signals
        expected = wfdb.rdrecord(str(shared_data / folder / record), physical=False)
        assert np.array_equal(stored.T, expected.d_signal), record
        if all(line.gain is not None for line in header.signals):
            assert np.array_equal(physical(stored, header.signals).T, expected.dac(), equal_nan=True), record


@pytest.mark.parametrize("gain", ["1000.0(0)/mV", "200(0)/mV", "204.8(-17)/mV", "1(0)/uV", "0.5(3)/uV", "2e5/V",
                                  "-1000.0(0)/mV", "1000"])
def test_gain_baseline_and_units_as_wfdb(tmp_path: Path, gain: str) -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, (500, 12)).astype(np.int16)
    samples[7, 3] = MISSING
    # Small numbers, which need no float, and those at the ends of what int16 holds.
    for stored in (samples, samples // 64, np.clip(samples, -6553, 6553), np.clip(samples, -6554, 6553)):
        write_record(tmp_path / "a", stored.T, 500, gain=gain)
        found = read(tmp_path)
        assert np.array_equal(found.signal, microvolts_by_wfdb(tmp_path / "a"))
        assert (found.signal[3, 7] == MISSING) == (stored[7, 3] == MISSING)
        assert found.n_clipped == np.count_nonzero(np.abs(physical_by_wfdb(tmp_path / "a")) > 32767)


@pytest.mark.parametrize("gains", [
    ("500(3)/uV", "2000/V", "1000.0(1)/mV", "1716(6)/mV", "-200/mV", "1e6(7)/V"),
    ("500(0)/mV",), ("1000(1)/mV",), ("1000(0)/uV",), ("100000(0)/V",), ("0.00001(0)/mV",),
])
def test_leads_of_different_calibration_as_wfdb(tmp_path: Path, gains: tuple[str, ...]) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100), 100)
    lines = (tmp_path / "a.hea").read_text().splitlines()
    for i, gain in enumerate(gains, 3):
        lines[i] = lines[i].replace("1000.0(0)/mV", gain)
    (tmp_path / "a.hea").write_text("\n".join(lines) + "\n")
    assert np.array_equal(read(tmp_path).signal, microvolts_by_wfdb(tmp_path / "a"))


def test_a_permutation_of_the_leads_changes_nothing(tmp_path: Path) -> None:
    signal = twelve_leads(1, 100)
    for seed in range(5):
        order = random.Random(seed).sample(range(12), 12)
        write_record(tmp_path / "a", signal[order], 100, [HEADER_LEADS[i] for i in order])
        assert np.array_equal(read(tmp_path).signal, signal)


def test_absent_leads_are_masked_and_others_left_out(tmp_path: Path) -> None:
    signal = twelve_leads(1, 100)
    write_record(tmp_path / "a", signal[[6, 1, 3]], 100, ["V1", "II", "RESP"])
    found = read(tmp_path)
    assert found.absent_leads == [name for name in LEADS if name not in ("V1", "II")]
    assert np.array_equal(found.signal[[1, 6]], signal[[1, 6]]) and (found.signal[[0, 11]] == MISSING).all()


def test_other_formats_go_through_wfdb(tmp_path: Path) -> None:
    stored = np.random.default_rng(2).integers(-1500, 1500, (300, 3))
    for fmt in ("80", "24", "32", "516"):
        digital = stored // 20 if fmt == "80" else stored
        wfdb.wrsamp("a", fs=250, units=["mV"] * 3, sig_name=["aVF", "I", "V2"], d_signal=digital, fmt=[fmt] * 3,
                    adc_gain=[500.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path))
        found = read(tmp_path)
        assert np.array_equal(found.signal, microvolts_by_wfdb(tmp_path / "a")), fmt
        assert np.array_equal(found.signal[[5, 0, 7]], 2 * digital.T)
        assert not is_plain(read_header(tmp_path, "a"))
    wfdb.wrsamp("a", fs=250, units=["mV"] * 3, sig_name=["aVF", "I", "V2"], d_signal=stored, fmt=["24"] * 3,
                adc_gain=[500.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path))
    lines = (tmp_path / "a.hea").read_text().splitlines()
    parts = lines[2].split()
    parts[6] = str(int(parts[6]) + 1)
    lines[2] = " ".join(parts)
    (tmp_path / "a.hea").write_text("\n".join(lines) + "\n")
    with pytest.raises(RecordError, match="bad checksum: lead I"):
        read(tmp_path)


def test_a_skewed_lead_is_shifted_as_by_wfdb(tmp_path: Path) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100), 100)
    header_with(tmp_path, "a.dat 16 ", "a.dat 16:3 ")
    found = read(tmp_path)
    assert np.array_equal(found.signal, microvolts_by_wfdb(tmp_path / "a"))
    assert np.array_equal(found.signal[0, :-3], twelve_leads(1, 100)[0, 3:])


def test_segments_follow_each_other(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        write_record(tmp_path / name, twelve_leads(3, 100), 100)
    (tmp_path / "a.hea").write_text("a/2 12 100 2000\ns1 1000\ns2 1000\n")
    assert np.array_equal(read(tmp_path).signal, np.tile(twelve_leads(3, 100), 2))
    content = (tmp_path / "s2.dat").read_bytes()
    (tmp_path / "s2.dat").write_bytes(b"\1" + content[1:])
    with pytest.raises(RecordError, match="bad checksum: lead I"):
        read(tmp_path)
    (tmp_path / "s2.dat").write_bytes(content)
    text = (tmp_path / "s2.hea").read_text()
    (tmp_path / "s2.hea").write_text(text.replace("1000.0(0)/mV", "0/mV", 1))
    with pytest.raises(RecordError, match="no calibration: lead I"):
        read(tmp_path)
    (tmp_path / "s2.hea").write_text(text)
    for segments, reason in (("s1 1000\n../s2 1000", "path outside root"), ("s1 1000\na 1000", "unreadable header"),
                             ("s1 1000\ns3 1000", "missing file"), ("s1 1000\ns2 999", "unreadable header"),
                             ("s1 1000", "unreadable header"), ("s1 1000\ns2 many", "unreadable header")):
        (tmp_path / "a.hea").write_text(f"a/2 12 100 2000\n{segments}\n")
        with pytest.raises(RecordError) as caught:
            read(tmp_path)
        assert caught.value.reason == reason, segments


@pytest.mark.parametrize("header", [
    "a 12 100 8333333\n" + "a.dat 16 1000/mV 16 0 0 0 0 I\n" * 12,
    "a 1 100 100000000\na.dat 80 1000/mV 8 0 0 0 0 I\n",
    "a 1 100 100000000\na.dat 516 1000/mV 8 0 0 0 0 I\n",
    "a 1 100 10\na.dat 16x10000000 1000/mV 8 0 0 0 0 I\n",
    "a 1 100 1\na.dat 16:1000000 1000/mV 8 0 0 0 0 I\n" + "# skewed\n",
    "a/2 1 100 100000000\nb 1000\n~ 99999000\n",
])
def test_what_is_announced_and_not_there_takes_no_memory(tmp_path: Path, header: str) -> None:
    write_record(tmp_path / "b", twelve_leads(1, 100), 100)
    (tmp_path / "a.dat").write_bytes(bytes(24000))
    (tmp_path / "a.hea").write_text(header)
    with pytest.raises(RecordError):
        read(tmp_path)
    tracemalloc.start()
    with pytest.raises(RecordError):
        read(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 2 * 10 ** 7
    tracemalloc.stop()


def header_with(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "a.hea"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("old, new, reason", [
    ("a.dat 16", "../a.dat 16", "path outside root"),
    ("a.dat 16", "/etc/passwd 16", "path outside root"),
    ("a.dat 16", "http://host/a.dat 16", "path outside root"),
    ("a.dat 16", "b.dat 16", "unreadable signal|missing file"),
    ("a 12 100", "a 11 100", "unreadable header"),
    ("a 12 100", "a twelve 100", "unreadable header"),
    ("a 12 100", "a 12 0", "unreadable header"),
    ("a 12 100", "a 12 1.2.3", "unreadable header"),
    ("100 1000", "100 999", "bad checksum"),
    ("100 1000", "100 1001", "wrong length"),
    ("100 1000", "100 99999999999999", "wrong length"),
    ("1000.0(0)/mV", "0(0)/mV", "no calibration"),
    ("1000.0(0)/mV", "1e999(0)/mV", "no calibration"),
    ("1000.0(0)/mV", "fast", "unreadable header"),
    ("1000.0(0)/mV", "1000.0(" + 400 * "9" + ")/mV", "unreadable header"),
    ("1000.0(0)/mV", "1000.0(0)/mmHg", "unknown units"),
    (" AVR", " I", "unreadable header"),
    ("16 1000", "17 1000", "unreadable header"),
    ("16 1000", "16x0 1000", "unreadable header"),
    ("16 1000", "16:99999999 1000", "unreadable header"),
    ("16 1000", "bad 1000", "unreadable header"),
    ("1000.0(0)/mV", "nan(0)/mV", "no calibration"),
    ("1000.0(0)/mV", "-inf/mV", "no calibration"),
    ("1000.0(0)/mV 16 0", "1000.0/mV 16 zero", "unreadable header"),
])
def test_broken_headers_have_a_reason(tmp_path: Path, old: str, new: str, reason: str) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100), 100)
    header_with(tmp_path, old, new)
    with pytest.raises(RecordError) as caught:
        read(tmp_path)
    assert caught.value.reason in reason.split("|"), caught.value
    assert str(tmp_path) not in caught.value.detail and "\n" not in caught.value.detail


def test_broken_signals_have_a_reason(tmp_path: Path) -> None:
    signal = twelve_leads(1, 100)
    write_record(tmp_path / "a", signal, 100)
    content = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "a.dat").write_bytes(content[:-2])
    with pytest.raises(RecordError, match="wrong length"):
        read(tmp_path)
    (tmp_path / "a.dat").write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    with pytest.raises(RecordError, match="bad checksum"):
        read(tmp_path)
    (tmp_path / "a.dat").unlink()
    with pytest.raises(RecordError, match=r"missing file: a\.dat"):
        read(tmp_path)
    signal[4] = MISSING
    write_record(tmp_path / "a", signal, 100)
    with pytest.raises(RecordError, match="nan lead: no sample in aVL"):
        read(tmp_path)
    write_record(tmp_path / "a", signal[:2], 100, ["X", "Y"])
    with pytest.raises(RecordError, match="no standard leads"):
        read(tmp_path)
    (tmp_path / "a.hea").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match="unreadable header"):
        read(tmp_path)


@pytest.mark.parametrize("record", ["../a", "/tmp/a", "b/../../a", "~/a", "..\\a", "s3://bucket/a", "", "a\0b"])
def test_a_record_outside_the_root_is_refused(tmp_path: Path, record: str) -> None:
    with pytest.raises(RecordError) as caught:
        read_header(tmp_path, record)
    assert caught.value.reason == "path outside root"
