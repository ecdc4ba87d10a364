"""The CODE-15% reader: HDF5 parts, padding, labels and their reports, and files that are not what they say."""

from __future__ import annotations

import pickle
import random
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from code15_fixture import SAMPLES, build_code15, exam_row, write_exams, write_part
from ptbxl_fixture import twelve_leads

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.datasets.formats import hdf5_parts
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import MISSING


def exam(seed: int, seconds: float = 7) -> np.ndarray:
    """(12, L) float32 millivolts at 400 Hz."""
    return (twelve_leads(seed, 400, seconds) / 1000).astype(np.float32)


def opened(root: Path) -> Source:
    return open_dataset("code15", seed=0, root=root)


def reasons(rows: list[Any]) -> dict[str, str]:
    return {row.record_id: row.reason for row in rows if isinstance(row, QuarantineRow)}


def read_all(source: Source) -> list[Recording | QuarantineRow]:
    return list(source.read([row for row in source.listing() if isinstance(row, RecordRef)]))


def labelled(root: Path, **given: Any) -> tuple[list[RecordRef], dict[str, QuarantineRow]]:
    """What is listed of a root of one exam, 100, whose row of exams.csv is this."""
    write_part(root / "exams_part0.hdf5", [100], [exam(1)], sentinel=False)
    write_exams(root, [exam_row(100, *given.pop("labels", ("AF",)), **given)])
    rows = list(opened(root).listing())
    return ([row for row in rows if isinstance(row, RecordRef)],
            {row.record_id: row for row in rows if isinstance(row, QuarantineRow)})


def test_real_exams_come_back_in_hdf5(shared_data: Path, tmp_path: Path) -> None:
    from scipy.io import loadmat

    signals = {int(path.stem.rpartition("_")[2]): loadmat(path)["feats"]
               for path in sorted((shared_data / "code15").glob("*.mat"))}
    assert len(signals) == 10
    root = build_code15(tmp_path, signals, n_parts=2, compression="gzip", chunks=True)
    found = read_all(opened(root))
    ids = list(signals)
    assert [row.record_id if isinstance(row, QuarantineRow) else row.ref.record_id for row in found] == [
        str(i) for i in ids[::2] + ids[1::2]]
    for recording in found:
        assert isinstance(recording, Recording) and recording.fs == 400
        expected = np.rint(signals[int(recording.ref.record_id)].astype(float) * 1000)
        assert np.array_equal(recording.signal, np.clip(expected, -32767, 32767))
        assert recording.n_trimmed == SAMPLES - expected.shape[1] and recording.n_clipped == 0


def test_the_unit_is_nearer_to_a_millivolt_than_to_a_tenth(shared_data: Path) -> None:
    from scipy.io import loadmat
    from scipy.signal import butter, sosfiltfilt

    amplitudes = []
    for path in (shared_data / "code15").glob("*.mat"):
        band = butter(2, [1, 40], "band", fs=400, output="sos")
        limb = sosfiltfilt(band, loadmat(path)["feats"][:2].astype(float), axis=1)
        amplitudes.append([np.median([np.ptp(lead[i:i + 480]) for i in range(0, limb.shape[1] - 480, 480)])
                           for lead in limb])
    assert 1.5 < np.median(amplitudes) < 2.5  # 0.8 to 1.0 mV in PTB-XL, Georgia, Ningbo and LUDB


def test_an_exam_is_what_the_table_and_the_part_say(tmp_path: Path) -> None:
    write_part(tmp_path / "exams_part0.hdf5", [100, 200], [exam(1), exam(2, 10)])
    write_exams(tmp_path, [exam_row(200, "LBBB", "SB", age=71, is_male="False", patient_id=9),
                           exam_row(100, "normal_ecg", age="", patient_id="9.0")])
    source = opened(tmp_path)
    listing = list(source.listing())
    assert [row.record_id for row in listing] == ["100", "200", "0"] and reasons(listing) == {"0": "not in table"}
    first, second = read_all(source)
    assert isinstance(first, Recording) and isinstance(second, Recording)
    assert (first.report, first.codes, first.age, first.sex) == ("Normal ECG.", ["normal_ecg"], None, "M")
    assert second.report == "Sinus bradycardia. Left bundle branch block."
    assert (second.codes, second.age, second.sex, second.report_kind) == (["sb", "lbbb"], 71.0, "F", "template")
    assert first.ref.subject_id == second.ref.subject_id == "9" and first.language == "en"
    assert np.array_equal(second.signal, twelve_leads(2, 400, 10)) and second.n_trimmed == 96
    assert np.array_equal(first.signal, twelve_leads(1, 400, 7)) and first.n_trimmed == 4096 - 2800
    assert source.arguments == {"root": tmp_path.name} and source.details["parts"] == ["exams_part0.hdf5"]
    assert source.details["microvolts_per_unit"] == 1000


@pytest.mark.parametrize("labels, report", [
    (("AF",), "Atrial fibrillation."), (("ST",), "Sinus tachycardia."), (("1dAVb",), "First-degree AV block."),
    (("RBBB", "LBBB"), "Right bundle branch block. Left bundle branch block."),
    (("RBBB", "AF"), "Atrial fibrillation. Right bundle branch block."),
    (("1dAVb", "SB"), "Sinus bradycardia. First-degree AV block."),
    ((), None), (("normal_ecg", "AF"), None), (("normal_ecg", "SB"), None), (("SB", "ST"), None), (("AF", "SB"), None),
    (("AF", "1dAVb"), None), (("SB", "ST", "AF", "RBBB", "LBBB", "1dAVb", "normal_ecg"), None),
])
def test_labels_become_a_report_or_are_set_aside(tmp_path: Path, labels: tuple[str, ...], report: str | None) -> None:
    refs, quarantine = labelled(tmp_path, labels=labels)
    if report is not None:
        assert [ref.details["report"] for ref in refs] == [report]
        assert set(refs[0].details["codes"]) == {label.lower() for label in labels}
    else:
        assert not refs and quarantine["100"].reason == ("contradicting labels" if labels else "no label")
        assert quarantine["100"].detail.startswith("exams.csv, row 2: ")


@pytest.mark.parametrize("cells, reason", [
    ({"AF": "maybe"}, "unreadable label"), ({"normal_ecg": ""}, "unreadable label"),
    ({"patient_id": ""}, "bad patient_id"), ({"patient_id": "x"}, "bad patient_id"),
    ({"trace_file": "exams_part1.hdf5"}, "missing file"), ({"trace_file": "../exams_part0.hdf5"}, "missing file"),
    ({"trace_file": ""}, "missing file"),
])
def test_rows_that_cannot_be_used(tmp_path: Path, cells: dict[str, str], reason: str) -> None:
    refs, quarantine = labelled(tmp_path, **cells)
    assert not refs and quarantine["100"].reason in (reason, "not in table") and "row 2" in quarantine["100"].detail


def test_nothing_is_lost_between_the_table_and_the_parts(tmp_path: Path) -> None:
    write_part(tmp_path / "exams_part0.hdf5", [1, 2, 3, 0, 0], [exam(1)] * 5)
    write_part(tmp_path / "exams_part10.hdf5", [7], [exam(1)])
    write_part(tmp_path / "exams_part2.hdf5", [5], [exam(1)])
    (tmp_path / "exams_part4.hdf5").write_bytes((tmp_path / "exams_part2.hdf5").read_bytes()[:5000])
    write_exams(tmp_path, [
        exam_row(3, "AF"), exam_row(1, "AF"), exam_row(1, "SB"), exam_row(4, "AF"), exam_row(9, "AF", exam_id="x"),
        exam_row(5, "AF", trace_file="exams_part2.hdf5"), exam_row(6, "AF", trace_file="exams_part4.hdf5"),
        exam_row(7, "AF", trace_file="exams_part10.hdf5"), exam_row(8, "AF", trace_file="exams_part3.hdf5")])
    source = opened(tmp_path)
    rows = list(source.listing())
    assert source.details["parts"] == [f"exams_part{i}.hdf5" for i in (0, 2, 4, 10)]
    assert [row.record_id for row in rows if isinstance(row, RecordRef)] == ["3", "5", "7"]
    assert reasons(rows) == {"1": "duplicate labels", "2": "not in table", "0": "not in table", "4": "missing exam",
                             "x": "bad exam_id", "6": "unreadable file", "8": "missing file"}
    detail = next(row.detail for row in rows if isinstance(row, QuarantineRow) and row.record_id == "6")
    assert detail.startswith("exams.csv, row 8: exams_part4.hdf5: ") and str(tmp_path) not in detail


def rewrite(path: Path, change: str) -> None:
    tracings, ids = np.stack([np.zeros((4096, 12), np.float32)] * 3), np.arange(3)
    elsewhere = path.with_name("outside.h5")
    with h5py.File(elsewhere, "w") as file:
        file["tracings"] = tracings
    with h5py.File(path, "w") as file:
        file["exam_id"] = ids.astype(float) if change == "float ids" else ids[:2] if change == "fewer ids" else ids
        match change:
            case "no tracings":
                pass
            case "group":
                file.create_group("tracings")
            case "external link":
                file["tracings"] = h5py.ExternalLink("outside.h5", "tracings")
            case "soft link":
                file["other"] = tracings
                file["tracings"] = h5py.SoftLink("/other")
            case "virtual":
                layout = h5py.VirtualLayout(tracings.shape, tracings.dtype)
                layout[:] = h5py.VirtualSource(elsewhere, "tracings", tracings.shape)
                file.create_virtual_dataset("tracings", layout)
            case "external storage":
                file.create_dataset("tracings", tracings.shape, "f4", external=[(str(elsewhere), 0, tracings.nbytes)])
            case "huge":
                file.create_dataset("tracings", (10 ** 9, 4096, 12), "f4", chunks=(1, 4096, 12))
            case "huge chunk":
                file.create_dataset("tracings", (40_000, 4096, 12), "f4", chunks=(20_000, 4096, 12))
            case _:
                shapes = {"two dimensions": (3, 4096), "eleven leads": (3, 4096, 11), "no samples": (3, 0, 12)}
                kind = "i2" if change == "integers" else "f4"
                file.create_dataset("tracings", shapes.get(change, (3, 4096, 12)), kind)


@pytest.mark.parametrize("change, message", [
    ("no tracings", "no dataset 'tracings'"), ("group", "is no dataset"), ("external link", "'tracings' is a link"),
    ("soft link", "'tracings' is a link"), ("virtual", "in other files"), ("external storage", "in other files"),
    ("two dimensions", r"float32 \(3, 4096\), not float \(N, L, 12\)"), ("eleven leads", r"not float \(N, L, 12\)"),
    ("no samples", "is too large, or empty"), ("integers", "int16"), ("float ids", "'exam_id' is float64"),
    ("fewer ids", r"'exam_id' is int64 \(2,\)"), ("huge", "is too large"), ("huge chunk", "is too large"),
    ("no file", "not a CODE-15% root, no exams_part"), ("truncated", "truncated file"), ("text", "signature not found"),
    ("empty", r"exams_part0\.hdf5"),
])
def test_files_that_are_not_what_they_say_are_refused_by_name(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "exams_part0.hdf5"
    write_exams(tmp_path, [exam_row(1, "AF")])
    if change in ("text", "empty"):
        path.write_bytes(b"exam_id,tracings\n" * 200 * (change == "text"))
    elif change != "no file":
        rewrite(path, change)
    if change == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(MedReportError, match=message) as caught:
        opened(tmp_path)
    assert "\n" not in caught.value.message and caught.value.hint
    # beside a good part the rest goes on
    write_part(tmp_path / "exams_part1.hdf5", [2], [exam(1)])
    write_exams(tmp_path, [exam_row(1, "AF"), exam_row(2, "AF", trace_file="exams_part1.hdf5")])
    rows = list(opened(tmp_path).listing())
    assert [row.record_id for row in rows if isinstance(row, RecordRef)] == ["2"]
    assert reasons(rows)["1"] in ("unreadable file", "path outside root", "missing file")


def test_signals_that_cannot_be_used(tmp_path: Path) -> None:
    nan_lead, gap, zero_inside, loud = (exam(seed) for seed in range(4))
    nan_lead[3], gap[2, 5:50], zero_inside[:, 1000:1100], loud[7, 9] = np.nan, np.nan, 0, 40
    signals = [nan_lead, gap, zero_inside, loud, np.zeros((12, 4096), np.float32)]
    write_part(tmp_path / "exams_part0.hdf5", range(1, 6), signals)
    write_exams(tmp_path, [exam_row(i, "AF") for i in range(1, 6)])
    one, two, three, four, five = read_all(opened(tmp_path))
    assert isinstance(one, QuarantineRow) and (one.reason, one.detail) == ("nan lead", "no sample in aVR")
    assert isinstance(five, QuarantineRow) and five.reason == "no signal"
    assert isinstance(two, Recording) and np.count_nonzero(two.signal == MISSING) == 45
    assert isinstance(three, Recording) and three.signal.shape == (12, 2800) and three.n_trimmed == 1296
    assert isinstance(four, Recording) and four.n_clipped == 1 and four.signal[7, 9] == 32767


def test_a_damaged_chunk_costs_its_own_exam(tmp_path: Path) -> None:
    signals = [exam(i) for i in range(6)]
    path = tmp_path / "exams_part0.hdf5"
    write_part(path, range(1, 7), signals, compression="gzip", chunks=(1, 4096, 12))
    write_exams(tmp_path, [exam_row(i, "AF") for i in range(1, 7)])
    with h5py.File(path) as file:
        chunk = file["tracings"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 100:chunk.byte_offset + 140] = bytes(40)
    path.write_bytes(bytes(content))
    found = read_all(opened(tmp_path))
    assert reasons(found) == {"3": "unreadable signal"} and len(found) == 6


@pytest.mark.parametrize("storage", [{}, {"compression": "gzip", "chunks": (16, 512, 3)}])
def test_blocks_equal_rows_read_one_by_one(tmp_path: Path, storage: dict[str, Any],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    root = build_code15(tmp_path, {i: exam(i, 1) for i in range(1, 41)}, **storage)
    source = opened(root)
    refs = [row for row in source.listing() if isinstance(row, RecordRef)]
    monkeypatch.setattr(hdf5_parts, "BLOCK_BYTES", 7 * 4096 * 12 * 4)
    opens = []
    real = h5py.File
    monkeypatch.setattr(h5py, "File", lambda *a, **k: opens.append(a) or real(*a, **k))
    for chosen in (refs, refs[::-1], refs[3::5], random.Random(1).sample(refs, 20), [refs[4], refs[4]]):
        opens.clear()
        found = list(source.read(chosen))
        assert len(opens) == 1
        for ref, recording in zip(chosen, found, strict=True):
            assert isinstance(recording, Recording) and recording.ref == ref
            assert np.array_equal(recording.signal, twelve_leads(int(ref.record_id), 400, 1))


def test_a_part_that_changed_since_the_listing(tmp_path: Path) -> None:
    source = opened(build_code15(tmp_path, {i: exam(i, 1) for i in range(1, 4)}))
    refs = [row for row in source.listing() if isinstance(row, RecordRef)]
    write_part(tmp_path / "exams_part0.hdf5", [1], [exam(1, 1)], sentinel=False)
    assert [row.reason for row in source.read(refs[1:]) if isinstance(row, QuarantineRow)] == ["missing exam"] * 2
    (tmp_path / "exams_part0.hdf5").unlink()
    assert set(reasons(list(source.read(refs))).values()) == {"missing file"}
    outside = RecordRef("1", "1", "../exams_part0.hdf5/0", details=refs[0].details)
    assert reasons(list(source.read([outside]))) == {"1": "path outside root"}


def test_mutated_parts_and_tables_raise_nothing_but_one_line(tmp_path: Path) -> None:
    build_code15(tmp_path, {i: exam(i, 1) for i in range(1, 4)})
    part, table = tmp_path / "exams_part0.hdf5", tmp_path / "exams.csv"
    originals = {part: part.read_bytes(), table: table.read_bytes()}
    rng = random.Random(3)
    for _ in range(120):
        for path, content in originals.items():
            changed = bytearray(content)
            for _ in range(rng.randint(0, 5)):
                changed[rng.randrange(min(len(changed), 4000))] = rng.choice(b'\x00",\n\xff\x01')
            path.write_bytes(bytes(changed))
        try:
            source = opened(tmp_path)
            list(source.read([row for row in source.listing() if isinstance(row, RecordRef)]))
        except MedReportError as error:
            assert "\n" not in error.message


@pytest.mark.parametrize("column", ["exam_id", "patient_id", "trace_file", "AF", "normal_ecg", "1dAVb"])
def test_missing_columns_are_named(tmp_path: Path, column: str) -> None:
    root = build_code15(tmp_path, {1: exam(1, 1)})
    table = root / "exams.csv"
    table.write_text(table.read_text().replace(column, "else", 1))
    with pytest.raises(MedReportError, match=rf"exams\.csv: lacks the column {column}"):
        opened(root)


def test_hints_for_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MedReportError, match=r"exams\.csv: no such file"):
        opened(tmp_path)
    write_exams(tmp_path, [exam_row(1, "AF")])
    (tmp_path / "exams_part3.zip").touch()
    with pytest.raises(MedReportError, match="no exams_part") as caught:
        opened(tmp_path)
    assert caught.value.hint == "unzip exams_part3.zip first"
    write_part(tmp_path / "exams_part3.hdf5", [1], [exam(1, 1)])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MedReportError, match="h5py is not installed") as caught:
        opened(tmp_path)
    assert caught.value.hint == "pip install 'medreport[hdf5]'"


def test_read_can_be_sent_to_another_process(tmp_path: Path) -> None:
    source = opened(build_code15(tmp_path, {1: exam(1, 1)}))
    read, refs = pickle.loads(pickle.dumps((source.read, [r for r in source.listing() if isinstance(r, RecordRef)])))
    assert isinstance(next(iter(read(refs))), Recording) and len(pickle.dumps(source.read)) < 1000
