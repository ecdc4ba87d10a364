"""CPSC2018, raw and as the Challenge's copy: real recordings, made ones, and hostile files."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from challenge_fixture import write_challenge
from ptbxl_fixture import twelve_leads

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.datasets.cpsc2018 import CLASSES, STATEMENTS
from emgecg_cli.core.datasets.formats import mat_struct
from emgecg_cli.core.datasets.formats.mat_struct import read_struct
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import MISSING

HEAD = "Recording,First_label,Second_label,Third_label\n"


def write_raw(path: Path, signal: Any, compressed: bool = True, name: str = "ECG", **fields: Any) -> Path:
    """A struct as CPSC2018 has them; `signal` in microvolts (n, L), or whatever else `data` is to hold."""
    data = signal / 1000 if isinstance(signal, np.ndarray) else signal
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"sex": "Male", "age": 52.0, "data": data} | fields
    scipy.io.savemat(path, {name: {key: value for key, value in values.items() if value is not None}},
                     do_compression=compressed)
    return path


def read_all(source: Source) -> tuple[list[Recording], list[QuarantineRow]]:
    listed = list(source.listing())
    found = list(pickle.loads(pickle.dumps(source.read))([item for item in listed if isinstance(item, RecordRef)]))
    return ([item for item in found if isinstance(item, Recording)],
            [item for item in (*listed, *found) if isinstance(item, QuarantineRow)])


def test_real_recordings_whole_and_equal_to_scipy(shared_data: Path) -> None:
    root = shared_data / "cpsc2018"
    recordings, quarantine = read_all(open_dataset("cpsc2018", seed=0, root=root))
    assert len(recordings) == 10 and len(quarantine) == 6867 and {row.reason for row in quarantine} == {"missing file"}
    assert [recording.ref.record_id for recording in recordings] == [f"A{i}" for i in range(1980, 1990)]
    for recording in recordings:
        fields = scipy.io.loadmat(root / f"{recording.ref.record_id}.mat")["ECG"][0, 0]
        assert np.array_equal(recording.signal, np.rint(fields["data"] * 1000)) and recording.fs == 500
        assert recording.age == fields["age"].item() and recording.sex == fields["sex"].item()[0]
        assert recording.report_kind == "template" and recording.language == "en"
    assert [recording.signal.shape[1] for recording in recordings][-2:] == [27157, 8500]
    assert [recording.report for recording in recordings][:4] == [
        "Premature atrial contractions.", "ST depression.", "First-degree AV block.", "Normal ECG."]


def test_labels_become_codes_and_sentences(tmp_path: Path) -> None:
    signal = twelve_leads(1, 500, 6)
    rows = [f"A{i:04d},{i},,\n" for i in range(1, 10)] + ["A0010,7.0,2,7\n", "A0011,5,8,2.0\n"]
    (tmp_path / "REFERENCE.csv").write_text(HEAD + "".join(rows))
    for i in range(1, 12):
        write_raw(tmp_path / f"TrainingSet{1 + i % 3}" / f"A{i:04d}.mat", signal, compressed=i % 2 == 0)
    source = open_dataset("cpsc2018", seed=0, root=tmp_path)
    recordings, quarantine = read_all(source)
    assert not quarantine and source.details["layout"] == "raw" and len(source.details["table_sha256"]) == 64
    assert [recording.codes for recording in recordings[:9]] == [[name] for name in CLASSES]
    assert recordings[9].codes == ["AF", "PVC"]
    assert recordings[9].report == "Atrial fibrillation. Premature ventricular contractions."
    assert recordings[10].report == "Atrial fibrillation. Right bundle branch block. ST depression."
    assert set(STATEMENTS) == set(CLASSES) and recordings[0].ref.source == "TrainingSet2/A0001.mat"
    assert all(np.array_equal(recording.signal, signal) for recording in recordings)
    assert (recordings[0].age, recordings[0].sex, recordings[0].ref.split) == (52, "M", None)


def test_the_challenges_copy_is_recognised(tmp_path: Path) -> None:
    signal = twelve_leads(2, 500, 12)
    write_challenge(tmp_path, "cpsc_2018/g1/A0001", signal, "59118001,164884008")
    write_challenge(tmp_path, "cpsc_2018_extra/Q0001", signal, "164861001")
    write_challenge(tmp_path, "georgia/E00001", signal)
    source = open_dataset("cpsc2018", seed=0, root=tmp_path)
    recordings, quarantine = read_all(source)
    assert [recording.report for recording in recordings] == [
        "Ventricular ectopic beats. Right bundle branch block.", "Myocardial ischemia."]
    assert [(row.record_id, row.reason) for row in quarantine] == [("E00001", "other set")]
    assert source.details["layout"] == "challenge" and recordings[0].signal.shape == (12, 6000)


def test_other_statements_for_the_classes(tmp_path: Path) -> None:
    write_raw(tmp_path / "A0001.mat", twelve_leads(1, 500, 6))
    (tmp_path / "REFERENCE.csv").write_text(HEAD + "A0001,1,,\n")
    (tmp_path / "codes.csv").write_text("code,statement\nNormal,sinus rhythm\n")
    source = open_dataset("cpsc2018", seed=0, root=tmp_path, codes=tmp_path / "codes.csv")
    assert read_all(source)[0][0].report == "Sinus rhythm." and source.details["codes"]["statements"] == 1


def test_bad_rows_and_files_are_set_aside(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    signal = twelve_leads(3, 500, 6)
    rows = ["A0001,1,,", "A0002,10,,", "A0003,,,", "A0004,one,,", "A0005,0,,", "A0006,1,,", "A0007,1,,", "A0001,2,,",
            "../A0001,1,,", ",1,,", "A0009,1,,", "A0010,1,,", "A0011,²,,", "A0012,1,,"]
    root.mkdir()
    (root / "REFERENCE.csv").write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    for i in (1, 2, 3, 4, 5, 8, 11):
        write_raw(root / f"A{i:04d}.mat", signal)
    write_raw(root / "one" / "A0007.mat", signal)
    write_raw(root / "two" / "A0007.mat", signal)
    outside = write_raw(tmp_path / "outside.mat", signal)
    (root / "A0009.mat").symlink_to(outside)
    os.mkfifo(root / "A0010.mat")
    with (root / "A0012.mat").open("wb") as stream:
        stream.truncate(2 ** 30)
    recordings, quarantine = read_all(open_dataset("cpsc2018", seed=0, root=root))
    # That an id is there twice is found in the store's index, the same for all sources.
    assert [(recording.ref.record_id, recording.codes) for recording in recordings] \
        == [("A0001", ["Normal"]), ("A0001", ["AF"])]
    assert [(row.record_id, row.reason) for row in quarantine] == [
        ("A0002", "unknown code"), ("A0003", "no label"), ("A0004", "unknown code"), ("A0005", "unknown code"),
        ("A0006", "missing file"), ("A0007", "duplicate file"), ("../A0001", "missing file"), ("", "missing file"),
        ("A0011", "unknown code"), ("A0008", "no label"),
        ("A0009", "path outside root"), ("A0010", "not a file"), ("A0012", "file too large")]
    assert all("\n" not in row.detail and str(tmp_path) not in row.detail for row in quarantine)


def test_hostile_structs_are_set_aside(tmp_path: Path) -> None:
    signal = twelve_leads(4, 500, 6)
    nan = signal / 1000.0
    nan[4] = np.nan
    gap = signal / 1000.0
    gap[3, 10:20] = np.nan
    made: dict[str, tuple[dict[str, Any], str]] = {
        "no ECG": ({"name": "EEG"}, "unreadable signal"),
        "no data": ({"data": None}, "unreadable signal"),
        "text": ({"data": "12 x 5000"}, "unreadable signal"),
        "cell": ({"data": np.array([[1], [2]], dtype=object)}, "unreadable signal"),
        "complex": ({"data": signal * 1j}, "unreadable signal"),
        "cube": ({"data": np.zeros((12, 10, 2))}, "unreadable signal"),
        "11 leads": ({"data": signal[:11] / 1000}, "wrong shape"),
        "turned": ({"data": signal.T / 1000}, "wrong shape"),
        "empty": ({"data": np.zeros((12, 0))}, "wrong shape"),
        "nan lead": ({"data": nan}, "nan lead"),
        "gap": ({"data": gap, "age": np.nan, "sex": "unknown"}, ""),
        "odd person": ({"sex": 1.0, "age": "old"}, ""),
        "huge": ({"data": np.full((12, 10), 1e308)}, "nan lead"),
        "loud": ({"data": np.full((12, 10), 40.0)}, ""),
    }
    (tmp_path / "REFERENCE.csv").write_text(HEAD + "".join(f"{name},1,,\n" for name in (*made, "cut", "noise", "v4")))
    for name, (fields, _) in made.items():
        write_raw(tmp_path / f"{name}.mat", signal, **fields)
    whole = write_raw(tmp_path / "cut.mat", signal).read_bytes()
    (tmp_path / "cut.mat").write_bytes(whole[:-5000])
    (tmp_path / "noise.mat").write_bytes(whole[:128] + np.random.default_rng(0).bytes(4000))
    scipy.io.savemat(tmp_path / "v4.mat", {"ECG": signal}, format="4")
    recordings, quarantine = read_all(open_dataset("cpsc2018", seed=0, root=tmp_path))
    expected = {name: reason for name, (_, reason) in made.items() if reason}
    assert {row.record_id: row.reason for row in quarantine} \
        == expected | dict.fromkeys(("cut", "noise", "v4"), "unreadable signal")
    found = {recording.ref.record_id: recording for recording in recordings}
    assert list(found) == ["gap", "odd person", "loud"]
    assert (found["gap"].signal == MISSING).sum() == 10 and found["loud"].n_clipped == 120
    assert all((one.age, one.sex) == (None, None) for one in (found["gap"], found["odd person"]))


def test_unpacking_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat_struct, "LARGEST_UNPACKED", 2 ** 20)
    head = write_raw(tmp_path / "a.mat", twelve_leads(1, 500, 6)).read_bytes()[:128]
    bomb = zlib.compress(bytes(2 ** 26))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="unpacks to more than"):
            read_struct(head + struct.pack("<II", 15, len(bomb)) + bomb, "ECG")
        assert tracemalloc.get_traced_memory()[1] < 2 ** 23
    finally:
        tracemalloc.stop()


def test_a_struct_is_found_among_other_variables(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.int16).reshape(12, 2)
    for compressed in (False, True):
        path = tmp_path / "many.mat"
        scipy.io.savemat(path, {"a": 1.0, "cell": np.array(["x", 2.0], dtype=object),
                                "ECG": {"age": 7, "data": data, "sex": "é", "n": {"m": 1}}}, do_compression=compressed)
        fields = read_struct(path.read_bytes(), "ECG")
        assert list(fields) == ["age", "data", "sex", "n"] and fields["sex"] == "é" and fields["n"] is None
        assert isinstance(fields["data"], np.ndarray) and np.array_equal(fields["data"], data)


def test_mutated_structs_raise_nothing_but_valueerror(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    whole = bytearray(write_raw(tmp_path / "a.mat", twelve_leads(1, 500, 0.1), compressed=False).read_bytes())
    outcomes: Counter[str] = Counter()
    for _ in range(2000):
        broken = bytearray(whole)
        for at in rng.integers(120, 500, rng.integers(1, 4)):
            broken[at] = rng.integers(256)
        try:
            read_struct(bytes(broken[:rng.integers(100, len(broken) + 1)] if rng.random() < 0.3 else broken), "ECG")
            outcomes["read"] += 1
        except ValueError as error:
            assert str(error)
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 100


def test_one_table_only(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_raw(tmp_path / folder / f"{folder}.mat", twelve_leads(1, 500, 6))
        (tmp_path / folder / "REFERENCE.csv").write_text(HEAD + "one,1,,\ntwo,2,,\n")
    assert len(read_all(open_dataset("cpsc2018", seed=0, root=tmp_path))[0]) == 2
    (tmp_path / "two" / "REFERENCE.csv").write_text(HEAD + "two,2,,\n")
    with pytest.raises(MedReportError, match=r"several REFERENCE\.csv that differ"):
        open_dataset("cpsc2018", seed=0, root=tmp_path)


def test_roots_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no such folder"):
        open_dataset("cpsc2018", seed=0, root=tmp_path / "none")
    with pytest.raises(MedReportError, match=r"neither REFERENCE\.csv"):
        open_dataset("cpsc2018", seed=0, root=tmp_path)
    (tmp_path / "REFERENCE.csv").write_text("Recording,First_label\nA0001,1\n")
    with pytest.raises(MedReportError, match="lacks the column Second_label, Third_label"):
        open_dataset("cpsc2018", seed=0, root=tmp_path)
