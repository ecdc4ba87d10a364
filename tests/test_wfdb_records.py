"""The own WFDB reader against wfdb, and against broken and hostile records."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import wfdb
from ptbxl_fixture import HEADER_LEADS, twelve_leads, write_record

from emgecg_cli.core.datasets.wfdb_headers import RecordError, read_header
from emgecg_cli.core.datasets.wfdb_records import Leads, read_leads
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


def real_records(shared_data: Path) -> list[Path]:
    ptb_xl = sorted((shared_data / "ptb-xl").glob("records*/*/*.hea"))
    return ptb_xl[::16] + sorted((shared_data / "cinc2021").glob("*/*.hea"))


def test_real_records_equal_wfdb(shared_data: Path) -> None:
    paths = real_records(shared_data)
    assert len(paths) >= 85
    for path in paths:
        found = read(path.parent, path.stem)
        assert np.array_equal(found.signal, microvolts_by_wfdb(path.with_suffix(""))), path.name
        assert found.absent_leads == [] and found.n_clipped == 0 and found.signal.flags.c_contiguous


@pytest.mark.parametrize("gain", ["1000.0(0)/mV", "200(0)/mV", "204.8(-17)/mV", "1(0)/uV", "0.5(3)/uV", "2e5/V",
                                  "-1000.0(0)/mV", "1000"])
def test_gain_baseline_and_units_as_wfdb(tmp_path: Path, gain: str) -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, (500, 12)).astype(np.int16)
    samples[7, 3] = MISSING
    write_record(tmp_path / "a", samples.T, 500, gain=gain)
    found = read(tmp_path)
    assert np.array_equal(found.signal, microvolts_by_wfdb(tmp_path / "a"))
    assert found.signal[3, 7] == MISSING
    assert found.n_clipped == np.count_nonzero(np.abs(physical_by_wfdb(tmp_path / "a")) > 32767)


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
    for fmt in ("212", "80", "24", "32", "516"):
        digital = stored // 20 if fmt == "80" else stored
        wfdb.wrsamp("a", fs=250, units=["mV"] * 3, sig_name=["aVF", "I", "V2"], d_signal=digital, fmt=[fmt] * 3,
                    adc_gain=[500.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path))
        found = read(tmp_path)
        assert np.array_equal(found.signal, microvolts_by_wfdb(tmp_path / "a")), fmt
        assert np.array_equal(found.signal[[5, 0, 7]], 2 * digital.T)
    wfdb.wrsamp("a", fs=250, units=["mV"] * 3, sig_name=["aVF", "I", "V2"], d_signal=stored, fmt=["212"] * 3,
                adc_gain=[500.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path))
    lines = (tmp_path / "a.hea").read_text().splitlines()
    parts = lines[2].split()
    parts[6] = str(int(parts[6]) + 1)
    lines[2] = " ".join(parts)
    (tmp_path / "a.hea").write_text("\n".join(lines) + "\n")
    with pytest.raises(RecordError, match="bad checksum: lead I"):
        read(tmp_path)


def test_segments_and_mat_files_go_through_wfdb(tmp_path: Path) -> None:
    for name in ("s1", "s2"):
        write_record(tmp_path / name, twelve_leads(3, 100), 100)
    (tmp_path / "a.hea").write_text("a/2 12 100 2000\ns1 1000\ns2 1000\n")
    assert np.array_equal(read(tmp_path).signal, np.tile(twelve_leads(3, 100), 2))
    (tmp_path / "a.hea").write_text("a/2 12 100 2000\ns1 1000\n../s2 1000\n")
    with pytest.raises(RecordError, match="path outside root"):
        read(tmp_path)


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
    ("100 1000", "100 999", "wrong length"),
    ("100 1000", "100 1001", "wrong length"),
    ("100 1000", "100 99999999999999", "unreadable header"),
    ("1000.0(0)/mV", "0(0)/mV", "no calibration"),
    ("1000.0(0)/mV", "1e999(0)/mV", "no calibration"),
    ("1000.0(0)/mV", "fast", "unreadable header"),
    ("1000.0(0)/mV", "1000.0(" + 400 * "9" + ")/mV", "unreadable header"),
    ("1000.0(0)/mV", "1000.0(0)/mmHg", "unknown units"),
    (" AVR", " I", "unreadable header"),
    ("16 1000", "17 1000", "unreadable signal"),
    ("16 1000", "16x0 1000", "unreadable signal"),
    ("16 1000", "bad 1000", "unreadable signal"),
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


def test_mutated_headers_are_read_or_refused(tmp_path: Path) -> None:
    write_record(tmp_path / "a", twelve_leads(1, 100, seconds=1), 100)
    original = (tmp_path / "a.hea").read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(400):
        mutated = bytearray(original)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(mutated))
            mutated[at:at + rng.randint(0, 3)] = bytes(rng.choices(b"0159 /()x+:-~\n.aV\xb5#", k=rng.randint(0, 3)))
        (tmp_path / "a.hea").write_bytes(mutated)
        try:
            assert read(tmp_path).signal.shape[0] == 12
        except RecordError:
            refused += 1
    assert 100 < refused < 400
