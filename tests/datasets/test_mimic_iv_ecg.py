"""The MIMIC-IV-ECG reader: the join, the texts and intervals, the order of leads, and broken tables."""

from __future__ import annotations

import pickle
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from mimic_fixture import (
    HEADER_LEADS,
    HEADER_ROWS,
    build_mimic,
    measurement_row,
    path_of,
    record_row,
    write_study,
    write_tables,
)
from ptbxl_fixture import twelve_leads

from emgecg_cli.core.artifacts import MachineIntervals, QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import MISSING

A, B, C = (10_000_032, 40_689_238), (10_000_032, 44_458_630), (10_000_117, 45_090_959)


def opened(root: Path) -> Source:
    return open_dataset("mimic-iv-ecg", seed=0, root=root)


def listed(root: Path) -> tuple[dict[str, RecordRef], dict[str, QuarantineRow]]:
    rows = list(opened(root).listing())
    return ({row.record_id: row for row in rows if isinstance(row, RecordRef)},
            {row.record_id: row for row in rows if isinstance(row, QuarantineRow)})


def read_all(source: Source) -> list[Recording | QuarantineRow]:
    return list(source.read([row for row in source.listing() if isinstance(row, RecordRef)]))


def with_measurement(root: Path, **given: object) -> Recording:
    """The one recording of a root whose row of measurements has these cells."""
    statements = given.pop("statements", ("Sinus rhythm",))
    write_tables(root, [record_row(*A)], [measurement_row(*A, statements=statements, **given)])  # type: ignore[arg-type]
    write_study(root, *A, twelve_leads(1, 500, 1))
    (recording,) = read_all(opened(root))
    assert isinstance(recording, Recording)
    return recording


def test_real_recordings_in_mimic_s_layout(shared_data: Path, tmp_path: Path) -> None:
    headers = sorted((shared_data / "ptb-xl" / "records500").rglob("*.hea"))[:12]
    headers += sorted((shared_data / "cinc2021" / "georgia").rglob("*.hea"))[:4]
    signals = [read_leads(read_header(path.parent, path.stem)).signal for path in headers]
    held = build_mimic(tmp_path, signals)
    recordings = read_all(opened(tmp_path))
    assert len(recordings) == 16
    for recording, signal, original in zip(recordings, held, signals, strict=True):
        assert isinstance(recording, Recording) and recording.fs == 500 and recording.n_clipped == 0
        assert np.array_equal(recording.signal, signal)
        assert np.abs(recording.signal.astype(int) - original).max() <= 3  # 5 microvolts a step


def test_a_recording_is_what_the_tables_and_the_header_say(tmp_path: Path) -> None:
    signal = (twelve_leads(3, 500) // 5) * 5
    signal[7, 100:200] = MISSING
    write_study(tmp_path, *A, signal)
    write_tables(tmp_path, [record_row(*A)], [measurement_row(
        *A, statements=("Sinus rhythm", "", " Possible inferior infarct - age undetermined. ", "Abnormal ECG"))])
    source = opened(tmp_path)
    (ref,) = source.listing()
    assert isinstance(ref, RecordRef)
    assert (ref.record_id, ref.subject_id, ref.source, ref.split) == ("40689238", "10000032", path_of(*A), None)
    (found,) = source.read([ref])
    assert isinstance(found, Recording)
    assert np.array_equal(found.signal, signal) and found.fs == 500 and found.absent_leads == []
    assert found.report == "Sinus rhythm. Possible inferior infarct - age undetermined. Abnormal ECG."
    assert (found.report_kind, found.language, found.codes) == ("machine", "en", [])
    assert found.machine == MachineIntervals(659, 40, 128, 170, 258, 518, 81, 77, None)
    assert source.arguments == {"root": tmp_path.name} and str(tmp_path) not in str(source.details)
    assert source.details["measurements_without_record"] == 0


def test_the_order_of_the_leads_in_the_header_changes_nothing(tmp_path: Path) -> None:
    signal = (twelve_leads(4, 500, 2) // 5) * 5
    write_tables(tmp_path, [record_row(*A)], [measurement_row(*A)])
    for seed in range(4):
        order = list(range(12)) if seed else list(HEADER_ROWS)
        random.Random(seed).shuffle(order) if seed else None
        names = [HEADER_LEADS[HEADER_ROWS.index(row)] for row in order]
        write_study(tmp_path, *A, signal, order=order, names=names)
        (found,) = read_all(opened(tmp_path))
        assert isinstance(found, Recording) and np.array_equal(found.signal, signal)
    assert names != list(HEADER_LEADS)


def test_rows_are_joined_in_any_order(tmp_path: Path) -> None:
    keys = [(10_000_000 + i // 3, 40_000_000 + 7 * i) for i in range(500)]
    shuffled = random.Random(1).sample(keys, len(keys))
    measurements = [measurement_row(*key, statements=(f"Statement {key[1]}, \"quoted\"\nand on",)) for key in shuffled]
    write_tables(tmp_path, [record_row(*key) for key in keys], measurements)
    refs, quarantine = listed(tmp_path)
    assert not quarantine and list(refs) == [str(study) for _, study in keys]
    assert all(ref.details["report"] == f"Statement {study}, \"quoted\"\nand on." for study, ref in refs.items())
    write_tables(tmp_path, [record_row(*key) for key in shuffled], list(reversed(measurements)))
    again, _ = listed(tmp_path)
    assert list(again) == [str(study) for _, study in shuffled] and again == refs


@pytest.mark.parametrize("cells, field, value", [
    ({"rr_interval": 29999}, "rr_ms", None), ({"rr_interval": "29999.0"}, "rr_ms", None),
    ({"rr_interval": 0}, "rr_ms", None), ({"rr_interval": 65535}, "rr_ms", None), ({"rr_interval": ""}, "rr_ms", None),
    ({"rr_interval": "fast"}, "rr_ms", None), ({"rr_interval": "inf"}, "rr_ms", None),
    ({"rr_interval": "1200.5"}, "rr_ms", 1200.5),
    ({"p_onset": 29999, "p_end": 128}, "p_end_ms", 128.0), ({"p_onset": 140, "p_end": 128}, "p_onset_ms", None),
    ({"p_onset": 140, "p_end": 128}, "p_end_ms", None), ({"qrs_onset": 170, "qrs_end": 170}, "qrs_end_ms", None),
    ({"qrs_end": 258, "t_end": 200}, "t_end_ms", None), ({"qrs_end": 29999, "t_end": 500}, "t_end_ms", 500.0),
    ({"qrs_axis": -45}, "qrs_axis_deg", -45.0), ({"qrs_axis": 0}, "qrs_axis_deg", 0.0),
    ({"t_axis": 29999}, "t_axis_deg", None), ({"p_axis": -1000}, "p_axis_deg", None),
])
def test_machine_intervals(tmp_path: Path, cells: dict[str, object], field: str, value: float | None) -> None:
    assert getattr(with_measurement(tmp_path, **cells).machine, field) == value


def test_what_cannot_be_used_is_set_aside_and_named(tmp_path: Path) -> None:
    other = (10_000_999, 49_999_999)
    records = [record_row(*A), record_row(*B), record_row(*C), record_row(1, 2, study_id="x"),
               record_row(1, 3, subject_id=""), record_row(1, 4), record_row(1, 5), record_row(1, 6), record_row(1, 7)]
    measurements = [measurement_row(*A), measurement_row(*B), measurement_row(*other), measurement_row(*B),
                    measurement_row(1, 4, statements=(" ", "")), measurement_row(2, 5),
                    measurement_row(1, 9, study_id=""), measurement_row(1, 7)]
    write_tables(tmp_path, records, measurements)
    table = tmp_path / "machine_measurements.csv"
    table.write_bytes(table.read_bytes() + b"1,6,too,short\n")
    refs, quarantine = listed(tmp_path)
    assert list(refs) == [str(A[1]), "7"]
    told = {key: (row.reason, row.detail.replace("machine_measurements.csv", "MM")) for key, row in quarantine.items()}
    assert told == {
        str(B[1]): ("two reports", "record_list.csv, row 3: MM, rows 3, 5: study 44458630 2 times"),
        str(C[1]): ("no report", "record_list.csv, row 4: study 45090959 is not in MM"),
        "x": ("bad study_id", "record_list.csv, row 5: 'x' is no whole number"),
        "3": ("bad subject_id", "record_list.csv, row 6: '' is no whole number"),
        "4": ("no report", "record_list.csv, row 7: MM, row 6: no statement"),
        "5": ("two patients", "record_list.csv, row 8: MM, row 7: subject '2', not 1"),
        "6": ("unreadable measurements", "record_list.csv, row 9: MM, row 10: not a row of 33 cells"),
    }
    details = opened(tmp_path).details
    assert details["measurements_without_record"] == 1 and details["measurements_without_study_id"] == 1


def test_files_that_are_not_there_or_broken_are_set_aside(tmp_path: Path) -> None:
    keys = [A, B, C, (10_000_118, 45_090_960), (10_000_119, 45_090_961)]
    records = [record_row(*key) for key in keys]
    records[3]["path"], records[4]["path"] = "../files/1", "/etc/passwd"
    write_tables(tmp_path, records, [measurement_row(*key) for key in keys])
    write_study(tmp_path, *A, twelve_leads(1, 500, 1))
    write_study(tmp_path, *B, twelve_leads(1, 500, 1))
    data = tmp_path / f"{path_of(*B)}.dat"
    data.write_bytes(data.read_bytes()[:-100])
    found = read_all(opened(tmp_path))
    assert isinstance(found[0], Recording)
    assert [row.reason for row in found[1:] if isinstance(row, QuarantineRow)] == [
        "wrong length", "missing file", "path outside root", "path outside root"]


@pytest.mark.parametrize("table, old, new, message", [
    ("record_list.csv", "study_id", "study", "lacks the column study_id"),
    ("record_list.csv", "subject_id,study_id", "a,b", "lacks the column subject_id, study_id"),
    ("machine_measurements.csv", "report_17", "report_18", "lacks the column report_17"),
    ("machine_measurements.csv", "report_3", "report_2", "lacks the column report_3"),
    ("machine_measurements.csv", "cart_id", "report_4", "has the column report_4 twice"),
    ("machine_measurements.csv", "Sinus rhythm", '"Sinus rhythm', "a quotation mark is never closed"),
    ("record_list.csv", "files/", 'a"b,c,d,files/', "not a readable CSV"),
])
def test_wrong_tables_are_refused_in_one_line(tmp_path: Path, table: str, old: str, new: str, message: str) -> None:
    write_tables(tmp_path, [record_row(*A)], [measurement_row(*A)])
    path = tmp_path / table
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(MedReportError, match=message) as caught:
        list(opened(tmp_path).listing())
    assert "\n" not in caught.value.message and table in caught.value.message and caught.value.hint


def test_a_quotation_mark_that_swallows_the_table_is_refused(tmp_path: Path) -> None:
    keys = [(1, i) for i in range(1, 1000)]
    rows = [measurement_row(*key) for key in keys]
    write_tables(tmp_path, [record_row(*key) for key in keys], rows)
    path = tmp_path / "machine_measurements.csv"
    path.write_text(path.read_text().replace("Sinus rhythm", '"Sinus rhythm', 1))
    with pytest.raises(MedReportError, match="row 2: longer than 65536 bytes"):
        opened(tmp_path)


def test_wrong_roots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no such folder"):
        opened(tmp_path / "none")
    with pytest.raises(MedReportError, match=r"no record_list\.csv"):
        opened(tmp_path)
    write_tables(tmp_path / "1.0", [record_row(*A)], [measurement_row(*A)])
    with pytest.raises(MedReportError) as caught:
        opened(tmp_path)
    assert caught.value.hint == f"did you mean --root {tmp_path / '1.0'}?"
    (tmp_path / "1.0" / "machine_measurements.csv").unlink()
    with pytest.raises(MedReportError, match=r"no machine_measurements\.csv"):
        opened(tmp_path / "1.0")


def test_mutated_tables_raise_nothing_but_one_line(tmp_path: Path) -> None:
    write_tables(tmp_path, [record_row(1, i) for i in range(5)], [measurement_row(1, i) for i in range(5)])
    originals = {name: (tmp_path / name).read_bytes() for name in ("record_list.csv", "machine_measurements.csv")}
    rng = random.Random(5)
    for turn in range(150):
        for name, content in originals.items():
            changed = bytearray(content)
            for _ in range(rng.randint(0, 4)):
                changed[rng.randrange(len(changed))] = rng.choice(b'\x00",\n\r\xff9x')
            (tmp_path / name).write_bytes(bytes(changed[:rng.randint(1, len(changed))] if turn % 3 == 0 else changed))
        try:
            source = opened(tmp_path)
            refs = [row for row in source.listing() if isinstance(row, RecordRef)]
            assert all(isinstance(row, QuarantineRow) for row in source.read(refs))
        except MedReportError as error:
            assert "\n" not in error.message


def test_read_can_be_sent_to_another_process(tmp_path: Path) -> None:
    build_mimic(tmp_path, [twelve_leads(1, 500, 1)])
    source = opened(tmp_path)
    sent = pickle.dumps((source.read, list(source.listing())))
    read, refs = pickle.loads(sent)
    assert isinstance(next(iter(read(refs))), Recording) and len(pickle.dumps(source.read)) < 1000


def test_the_listing_is_streamed(tmp_path: Path) -> None:
    peaks = []
    for n in (6000, 18_000):
        keys = [(10_000_000 + i, 40_000_000 + i) for i in range(n)]
        write_tables(tmp_path, [record_row(*key) for key in keys], [measurement_row(*key) for key in reversed(keys)])
        source = opened(tmp_path)
        tracemalloc.start()
        assert sum(isinstance(row, RecordRef) for row in source.listing()) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] and peaks[1] < 25e6, peaks
