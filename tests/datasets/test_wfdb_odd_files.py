"""Records whose files are longer than they say, lie elsewhere than they say, or are too long to be held at once."""

from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb
from ptbxl_fixture import twelve_leads
from store_helpers import prepare
from wfdb_files import Signal, write
from wfdb_made import leads_of, read, segments, stored, whole_numbers

from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.datasets.formats import wfdb_records
from emgecg_cli.core.datasets.formats.wfdb_headers import RecordError
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS, MISSING
from emgecg_cli.core.store.reader import Store, open_store
from emgecg_cli.core.view import check_lines

FORMATS = ["16", "212", "mat", "61", "80", "24", "32", "310", "311", "8"]


def written(root: Path, fmt: str, per_frame: int = 1, name: str = "a", **given: object) -> np.ndarray:
    signal = whole_numbers("80" if fmt in ("80", "8", "310", "311") else fmt)
    if fmt == "8":
        signal = np.clip(signal, -60, 60)
    write(root, name, leads_of(signal, per_frame), 500 // per_frame, "16" if fmt == "mat" else fmt, mat=fmt == "mat",
          **given)
    return signal


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("per_frame", [1, 2])
def test_a_longer_file_is_read_to_the_stated_length(tmp_path: Path, fmt: str, per_frame: int) -> None:
    signal = written(tmp_path, fmt, per_frame, frames=400 // per_frame)
    found = read(tmp_path)
    assert np.array_equal(found.signal, signal[:, :400])
    assert len(found.flags) == 1 and found.flags[0].startswith("file longer than its header: a.")
    written(tmp_path, fmt, per_frame, beyond=bytes(600))
    found = read(tmp_path)
    assert np.array_equal(found.signal, signal) and len(found.flags) == 1
    written(tmp_path, fmt, per_frame)
    assert read(tmp_path).flags == ()


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_longer_file_with_other_sums_and_a_shorter_one_are_refused(tmp_path: Path, fmt: str) -> None:
    written(tmp_path, fmt)
    path = tmp_path / "a.hea"
    path.write_text(path.read_text().replace(" 500 1000", " 500 600"))
    with pytest.raises(RecordError, match="bad checksum"):
        read(tmp_path)
    path.write_text(path.read_text().replace(" 500 600", " 500 1001"))
    with pytest.raises(RecordError, match="wrong length"):
        read(tmp_path)


def test_a_longer_flac_file(tmp_path: Path) -> None:
    signal = twelve_leads(1, 250, 4)[:3]
    wfdb.wrsamp("a", fs=250, units=["mV"] * 3, sig_name=["I", "II", "V1"], d_signal=signal.T.astype(int),
                fmt=["516"] * 3, adc_gain=[1000.0] * 3, baseline=[0] * 3, write_dir=str(tmp_path))
    assert np.array_equal(read(tmp_path).signal[[0, 1, 6]], signal) and read(tmp_path).flags == ()
    lines = (tmp_path / "a.hea").read_text().replace(" 250 1000", " 250 600").splitlines()
    lines[1:] = [" ".join([*line.split()[:6], str(int(row[:600].sum()) % 65536), *line.split()[7:]])
                 for line, row in zip(lines[1:], signal, strict=True)]
    (tmp_path / "a.hea").write_text("\n".join(lines) + "\n")
    found = read(tmp_path)
    assert np.array_equal(found.signal[[0, 1, 6]], signal[:, :600])
    assert found.flags == ("file longer than its header: a.dat holds 1000 frames, the header says 600",)
    (tmp_path / "a.hea").write_text("\n".join(lines).replace(" 250 600", " 250 1200"))
    with pytest.raises(RecordError, match="wrong length"):
        read(tmp_path)


def test_a_flag_is_counted_and_shown(tmp_path: Path) -> None:
    written(tmp_path / "set", "16", frames=900)
    written(tmp_path / "set", "16", name="b")
    store = stored(tmp_path, fs=500, seconds=1.0)
    flag = "file longer than its header: a.dat holds 24000 bytes of samples, 900 frames need 21600"
    assert store.manifest.counts["flagged"] == {"file longer than its header": 1}
    assert store.row(0).reading.file_flags == [flag] and store.row(1).reading is None
    assert "Faults of files: 1" in (tmp_path / "store" / "card.md").read_text() and flag in check_lines(store.row(0))


@pytest.mark.parametrize("fmt", ["16", "24"])
def test_a_relative_folder_is_tried_and_then_the_file_beside_the_header(tmp_path: Path, fmt: str) -> None:
    root, beside = tmp_path / "root", twelve_leads(9, 500, 2)
    signal = written(root / "data", fmt, name="x")
    write(root / "heads", "x", leads_of(beside, 1), 500, fmt)
    heads = [(root / folder / "x.hea").read_text() for folder in ("data", "heads")]

    def named(name: str, there: bool) -> str:
        (root / "heads" / "x.hea").write_text(heads[not there].replace("x.dat", name))
        return "heads/x"

    for name in ("signals/x.dat", "../data/x.dat", "signals\\x.dat", "./x.dat"):
        there = name[:3] == "../"
        assert np.array_equal(read(root, named(name, there)).signal, signal if there else beside), name
    (root / "heads" / "signals").symlink_to("../data")
    assert np.array_equal(read(root, named("signals/x.dat", True)).signal, signal)
    (tmp_path / "outside").mkdir()
    (root / "data" / "x.dat").rename(tmp_path / "outside" / "x.dat")
    (root / "away").symlink_to(tmp_path / "outside")
    for name in ("../../outside/x.dat", "../../root/../outside/x.dat", "/etc/passwd", "../away/x.dat", "..\\..\\x.dat",
                 "C:\\data\\x.dat", "~/x.dat", "http://host/x.dat", "..", "data/..", "data/"):
        with pytest.raises(RecordError) as caught:
            read(root, named(name, True))
        assert caught.value.reason == "path outside root", name


def test_segments_in_a_relative_folder(tmp_path: Path) -> None:
    expected = segments(tmp_path / "root" / "parts", True)
    for where, prefix in (("heads", "../parts/"), ("parts", "elsewhere/")):
        text = (tmp_path / "root" / "parts" / "a.hea").read_text()
        (tmp_path / "root" / where).mkdir(exist_ok=True)
        text = "\n".join(prefix + line if line[0] in "sl" else line for line in text.splitlines())
        (tmp_path / "root" / where / "b.hea").write_text(text.replace("a/", "b/"))
        assert np.array_equal(read(tmp_path / "root", f"{where}/b").signal, expected)
    text = (tmp_path / "root" / "heads" / "b.hea").read_text()
    (tmp_path / "root" / "heads" / "b.hea").write_text(text.replace("../parts/s1", "../../s1"))
    with pytest.raises(RecordError, match="path outside root"):
        read(tmp_path / "root", "heads/b")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of a few thousand samples are too long to be held."""
    monkeypatch.setattr(wfdb_records, "LARGEST_AT_ONCE", 900)
    monkeypatch.setattr(wfdb_records, "CHUNK", 700)


def long_records(root: Path) -> dict[str, int]:
    """Records of every kind, and by how much a stretch may differ from the whole."""
    for fmt in FORMATS[:-1]:
        for per_frame in (1, 4):
            signal = whole_numbers("80" if fmt in ("80", "310", "311") else fmt)[:7 if fmt in ("212", "310") else 12]
            write(root, f"{fmt}-{per_frame}", leads_of(signal, per_frame), 125, "16" if fmt == "mat" else fmt,
                  mat=fmt == "mat")
    skewed = leads_of(twelve_leads(2, 500, 2), 2)
    skewed[3].skew, skewed[8].skew = 5, 60
    write(root, "skewed", skewed, 250)
    slow = twelve_leads(3, 250, 4)
    unlike = [*leads_of(twelve_leads(3, 500, 4)[:6], 4), *(Signal(LEADS[i], slow[i], 2) for i in range(6, 12))]
    write(root, "unlike", [*unlike, Signal("ABP", np.arange(500) % 99)], 125)
    segments(root, True)
    return {path.stem: path.stem == "unlike" for path in root.glob("*.hea") if path.stem not in ("s1", "s2", "l")}


def test_stretches_of_long_records_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                          request: pytest.FixtureRequest) -> None:
    names = long_records(tmp_path)
    whole = {name: read(tmp_path, name) for name in names}
    request.getfixturevalue("short")
    rng = random.Random(1)
    for name, tolerance in names.items():
        found, expected = read(tmp_path, name), whole[name].signal
        assert not isinstance(found.signal, np.ndarray) and found.signal.shape == expected.shape, name
        assert (found.fs, found.absent_leads, found.unused_signals) == (
            whole[name].fs, whole[name].absent_leads, whole[name].unused_signals)
        for _ in range(12):
            a, b = sorted(rng.randrange(expected.shape[1] + 1) for _ in range(2))
            difference = found.signal[:, a:b].astype(int) - expected[:, a:b]
            if tolerance:  # beyond its ends a signal goes on along a line, from one end of what is read to the other
                difference = difference[:, max(0, 40 - a):max(0, min(b, expected.shape[1] - 40) - a)]
            assert np.abs(difference).max(initial=0) <= tolerance, (name, a, b)


def test_long_records_are_checked_against_their_sums(tmp_path: Path, short: None) -> None:
    for name in long_records(tmp_path):
        path = tmp_path / ("s2.dat" if name == "a" else f"{name}.mat" if name[:3] == "mat" else f"{name}.dat")
        content = path.read_bytes()
        path.write_bytes(content[:-12] + bytes([content[-12] ^ 2]) + content[-11:])
        with pytest.raises(RecordError, match="bad checksum"):
            read(tmp_path, name)
        path.write_bytes(content[:-40])
        with pytest.raises(RecordError, match="wrong length"):
            read(tmp_path, name)
        path.write_bytes(content)


@pytest.mark.parametrize("window", ["first", "center", "all"])
def test_a_store_of_long_records_is_that_of_short_ones(tmp_path: Path, window: str,
                                                       request: pytest.FixtureRequest) -> None:
    for name in ("a", "b"):
        write(tmp_path / "set", name, leads_of(twelve_leads(5, 500, 9) * (40 if name == "b" else 1), 4), 125)
    expected = stored(tmp_path, window=window, seconds=2.0, measure=True)
    rows, signals = [expected.row(i) for i in range(len(expected))], [expected.signal(i) for i in range(len(expected))]
    (tmp_path / "store").rename(tmp_path / "other")
    request.getfixturevalue("short")
    found = stored(tmp_path, window=window, seconds=2.0, measure=True)
    assert [found.row(i) for i in range(len(found))] == rows and rows[-1].n_clipped > 0
    assert all(np.array_equal(found.signal(i), signal) for i, signal in enumerate(signals))


def test_a_limit_is_named_as_one(tmp_path: Path, short: None) -> None:
    written(tmp_path, "8")
    with pytest.raises(RecordError, match=r"over a limit: 12,000 samples in format 8, .*at most 900 are read at once"):
        read(tmp_path)
    (tmp_path / "b.hea").write_text("b 1 250 5\na.dat 16x2000000 1000 16 0 0 0 0 I\n")
    with pytest.raises(RecordError, match="over a limit: a frame of 2,000,000 samples, at most 1,000,000"):
        read(tmp_path, "b")
    (tmp_path / "b.hea").write_text("b 1 900000 5\na.dat 16x50 1000 16 0 0 0 0 I\n")
    with pytest.raises(RecordError, match=r"over a limit: 4.5e\+07 Hz, at most 1,000,000 Hz"):
        read(tmp_path, "b")


def day(root: Path, beat: np.ndarray) -> None:
    """Twenty-four hours of twelve leads at 250 Hz, nothing but a wave in their middle, in a file with holes."""
    n_frames = 24 * 3600 * 250
    root.mkdir()
    with (root / "a.dat").open("wb") as stream:
        os.truncate(stream.fileno(), 24 * n_frames)
        stream.seek(24 * (n_frames // 2))
        stream.write(beat.T.astype("<i2").tobytes())
    lines = [f"a.dat 16 1000/mV 16 0 0 {int(row.sum()) % 65536} 0 {name}"
             for name, row in zip(LEADS, beat, strict=True)]
    (root / "a.hea").write_text(f"a 12 250 {n_frames}\n" + "\n".join(lines) + "\n")


def test_windows_of_a_day_can_be_read(tmp_path: Path) -> None:
    beat = twelve_leads(1, 250, 1)
    day(tmp_path / "set", beat)
    tracemalloc.start()
    store = stored(tmp_path, fs=250, window="center")
    assert tracemalloc.get_traced_memory()[1] < 1.5e8
    tracemalloc.stop()
    assert np.array_equal(store.signal(0)[:, 1250:1500], beat) and not store.signal(0)[:, :1250].any()
    assert store.row(0).start_s == 43195.0 and store.row(0).n_cropped == 24 * 3600 * 250 - 2500
    content = (tmp_path / "set" / "a.hea").read_text()
    (tmp_path / "set" / "a.hea").write_text(content.replace(f" {int(beat[5].sum()) % 65536} 0 aVF", " 77 0 aVF"))
    with pytest.raises(MedReportError, match="bad checksum"):
        prepare(open_dataset("wfdb", seed=0, root=tmp_path / "set", reports=tmp_path / "reports.csv"), tmp_path / "two")


def test_a_long_record_that_cannot_be_read_any_more_is_set_aside(tmp_path: Path, short: None,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        written(tmp_path / "set", "16", name=name)
    real = wfdb_records._read_samples

    def fails(plan: wfdb_records.Plan, *span: int) -> tuple[np.ndarray, int]:
        if plan.parts[0].header.path.endswith("a"):
            raise RecordError("unreadable file", "a.dat: Input/output error")
        return real(plan, *span)

    monkeypatch.setattr(wfdb_records, "_read_samples", fails)
    store: Store = stored(tmp_path)
    assert store.manifest.counts["quarantined"] == {"unreadable file": 1} and store.row(0).record_id == "b"


def test_the_longer_files_that_were_got_wrong(shared_data: Path, tmp_path: Path) -> None:
    cases = shared_data.parent / "cases" / "04-longer"
    if not cases.is_dir():
        pytest.skip("the cases are not here")
    prepare(open_dataset("wfdb", seed=0, root=cases, reports=cases / "reports.csv"), tmp_path / "store", fs=250)
    store = open_store(tmp_path / "store")
    assert [store.row(i).n_padded for i in range(2)] == [0, 500]
    assert store.manifest.counts["flagged"] == {"file longer than its header": 2}
    assert (store.signal(1)[:, 2000:] == MISSING).all()
    assert np.array_equal(store.signal(0)[:, :2000], store.signal(1)[:, :2000])
