"""The PTB-XL reader on a small root of our own making, on broken roots, and on the real sample."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ptbxl_fixture import COLUMNS, build_root, table_row, twelve_leads, write_record, write_table
from sources import listed, read_all, reasons
from store_helpers import prepare

from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import MISSING
from emgecg_cli.core.signals.resampling import resample
from emgecg_cli.core.store import open_store


@pytest.mark.parametrize("fs", [100, 500])
def test_native_rates_are_read_as_they_are(tmp_path: Path, fs: int) -> None:
    source = open_dataset("ptb-xl", seed=0, root=build_root(tmp_path / "ptb", 20), fs=fs)
    recordings, quarantine = read_all(source)
    assert len(recordings) == 20 and not quarantine
    for i, recording in enumerate(recordings, 1):
        assert np.array_equal(recording.signal, twelve_leads(i, fs)) and recording.fs == fs
        assert recording.ref.record_id == str(i) and recording.ref.subject_id == str(100 + (i + 1) // 2)
        assert recording.report == f"sinusrhythmus lagetyp nr {i}" and recording.language == "de"
        assert recording.codes == ["NORM", "SR"]
    assert Counter(recording.ref.split for recording in recordings) == {"train": 16, "val": 2, "test": 2}
    assert source.arguments == {"root": "ptb", "reports": None}


def test_other_rates_are_resampled_from_500(tmp_path: Path) -> None:
    source = open_dataset("ptb-xl", seed=0, root=build_root(tmp_path / "root", 2), fs=250)
    prepare(source, tmp_path / "store", fs=250)
    store = open_store(tmp_path / "store")
    assert store.signal(0).shape == (12, 2500) and store.row(0).resampled_from == 500
    assert np.array_equal(store.signal(0), resample(twelve_leads(1, 500), 500, 250)[0])


def test_100_hz_without_its_folder_is_resampled(tmp_path: Path) -> None:
    source = open_dataset("ptb-xl", seed=0, root=build_root(tmp_path / "root", 2, rates=(500,)))
    prepare(source, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.row(0).resampled_from == 500 and source.details["native_fs"] == 500
    # The fixture's waves are slow, so that they are the same at both rates.
    assert np.abs(store.signal(0).astype(int) - twelve_leads(1, 100))[:, 20:-20].max() < 10
    assert store.row(0).lead_check == "ok"


@pytest.mark.parametrize("fs, message", [(500, "--fs 500 needs records500/"), (250, "--fs 250 needs records500/")])
def test_rates_that_cannot_be_had_are_refused(tmp_path: Path, fs: int, message: str) -> None:
    with pytest.raises(MedReportError, match=message):
        open_dataset("ptb-xl", seed=0, root=build_root(tmp_path, 1, rates=(100,)), fs=fs)


def test_a_root_that_is_none_names_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no such folder"):
        open_dataset("ptb-xl", seed=0, root=tmp_path / "nowhere")
    with pytest.raises(MedReportError, match=r"ptbxl_database\.csv beside records100/ or records500/"):
        open_dataset("ptb-xl", seed=0, root=tmp_path)
    nested = build_root(tmp_path / "ptb-xl-1.0.3", 1)
    with pytest.raises(MedReportError) as caught:
        open_dataset("ptb-xl", seed=0, root=tmp_path)
    assert caught.value.hint == f"did you mean --root {nested}?"
    write_table(tmp_path / "bare", [table_row(1)])
    with pytest.raises(MedReportError, match="neither records100/ nor records500/"):
        open_dataset("ptb-xl", seed=0, root=tmp_path / "bare")
    with pytest.raises(MedReportError, match="prepare ptb-xl takes no --speed"):
        open_dataset("ptb-xl", seed=0, root=nested, speed=2)


def test_broken_rows_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    root = build_root(tmp_path, 14, changed={
        2: {"strat_fold": "11"}, 3: {"scp_codes": "{'NORM': 100.0"}, 4: {"scp_codes": "__import__('os')"},
        5: {"patient_id": "x"}, 6: {"ecg_id": "six"}, 7: {"ecg_id": 8}, 9: {"filename_lr": "../00009_lr"},
        10: {"filename_lr": ""}, 11: {"filename_lr": "records100/00000/99999_lr"}, 12: {"scp_codes": "['NORM']"},
        13: {"scp_codes": "{'NORM': 0.0, 'AFIB': 100.0}"}})
    recordings, quarantine = read_all(open_dataset("ptb-xl", seed=0, root=root))
    assert reasons(quarantine) == {"2": "bad fold", "3": "unreadable scp_codes", "4": "unreadable scp_codes",
                                   "5": "bad patient_id", "six": "bad ecg_id", "8": "duplicate id",
                                   "9": "path outside root", "10": "missing file", "11": "missing file",
                                   "12": "unreadable scp_codes"}
    assert [recording.ref.record_id for recording in recordings] == ["1", "8", "13", "14"]
    assert recordings[2].codes == ["AFIB", "NORM"]
    fold = next(row for row in quarantine if row.record_id == "2")
    assert fold.detail == "ptbxl_database.csv, row 3: strat_fold '11' is none of 1 to 10"


def test_broken_recordings_are_set_aside_with_a_reason(tmp_path: Path) -> None:
    root = build_root(tmp_path, 8, rates=(100,))
    folder = root / "records100" / "00000"
    signal = twelve_leads(1, 100)
    (folder / "00001_lr.dat").unlink()
    write_record(folder / "00002_lr", signal[:, :900], 100)
    (folder / "00003_lr.dat").write_bytes(signal.T[:-1].astype("<i2").tobytes())
    (folder / "00004_lr.dat").write_bytes((signal.T + np.int16(1)).astype("<i2").tobytes())
    (folder / "00005_lr.hea").write_text("nonsense\n")
    empty = signal.copy()
    empty[9] = MISSING
    write_record(folder / "00006_lr", empty, 100)
    write_record(folder / "00007_lr", signal, 125)
    recordings, quarantine = read_all(open_dataset("ptb-xl", seed=0, root=root))
    assert reasons(quarantine) == {"1": "missing file", "2": "wrong length", "3": "wrong length", "4": "bad checksum",
                                   "5": "unreadable header", "6": "nan lead", "7": "wrong rate"}
    assert [recording.ref.record_id for recording in recordings] == ["8"]
    assert not any(str(tmp_path) in row.detail for row in quarantine)


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in ("age", "filename_hr")])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    root = build_root(tmp_path, 1)
    write_table(root, [table_row(1)], [name for name in COLUMNS if name != column])
    with pytest.raises(MedReportError, match=f"ptbxl_database.csv: lacks the column {column}"):
        open_dataset("ptb-xl", seed=0, root=root)


def write_reports(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_reports_are_joined_by_id(tmp_path: Path) -> None:
    root = build_root(tmp_path / "ptb", 5)
    reports = write_reports(tmp_path / "en.csv", 'ecg_id,report_en,source\n4,"sinus rhythm, normal",a\n1,first,b\n'
                                                 "99,x,a\n2,There is Something wrong with the data,a\n5,,a\n")
    source = open_dataset("ptb-xl", seed=0, root=root, reports=reports)
    recordings, quarantine = read_all(source)
    assert {r.ref.record_id: r.report for r in recordings} == {"1": "first", "4": "sinus rhythm, normal", "5": ""}
    assert {r.language for r in recordings} == {"en"}
    assert reasons(quarantine) == {"2": "refused translation", "3": "no report"}
    assert source.details["reports"]["unknown_ids"] == 1 and source.details["reports"]["sources"] == {"a": 4, "b": 1}
    assert source.arguments["reports"] == "en.csv"
    # Without --reports the same words are a report like any other.
    root = build_root(tmp_path / "b", 1, changed={1: {"report": "something wrong with the data"}})
    assert len(read_all(open_dataset("ptb-xl", seed=0, root=root))[0]) == 1


@pytest.mark.parametrize("text, message", [
    ("ecg_id,text\n1,a\n", "lacks the column report_en"),
    ("ecg_id,report_en\n1,a\n1,b\n", "en.csv, row 3: ecg_id 1 a second time"),
    ("ecg_id,report_en\none,a\n", "en.csv, row 2: ecg_id 'one' is no whole number"),
    ("ecg_id,report_en\n1,a,b,c\n", "not a readable CSV"),
    ("", "not a readable CSV"),
])
def test_wrong_files_of_reports_are_refused(tmp_path: Path, text: str, message: str) -> None:
    root = build_root(tmp_path / "ptb", 1)
    with pytest.raises(MedReportError, match=message) as caught:
        open_dataset("ptb-xl", seed=0, root=root, reports=write_reports(tmp_path / "en.csv", text))
    assert "\n" not in caught.value.message
    with pytest.raises(MedReportError, match="no such file"):
        open_dataset("ptb-xl", seed=0, root=root, reports=tmp_path / "none.csv")


def test_the_real_sample(shared_data: Path) -> None:
    root = shared_data / "ptb-xl"
    source = open_dataset("ptb-xl", seed=0, root=root, reports=root / "reports_en.csv")
    refs, refused = listed(source)
    assert len(refs) == 337 and Counter(reasons(refused).values()) == {"no report": 63}
    source = open_dataset("ptb-xl", seed=0, root=root)
    recordings, quarantine = read_all(source)
    assert len(recordings) == 400 and not quarantine
    languages = Counter(recording.language for recording in recordings)
    assert languages["de"] > 200 and languages["und"] < 10
