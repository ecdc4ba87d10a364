"""`prepare files`: a folder of recordings in any format, with and without a table of reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hospital_files import PATIENT, WRITERS, write_muse
from ptbxl_fixture import twelve_leads, write_record
from sources import listed, read_all, reasons
from store_helpers import hashes, prepare

from emgecg_cli.commands.app import run
from emgecg_cli.core.datasets import open_dataset
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.store import open_store

FS = 500


def folder(root: Path) -> Path:
    """Each format once, of one recording, a WFDB record of annotations, and a file that is none."""
    (root / "a").mkdir(parents=True)
    signal = twelve_leads(3, FS)
    for name in ("edf", "dicom", "scp-ecg", "muse-xml", "npz"):
        WRITERS[name](root / "a", signal, FS)
    write_record(root / "b/1", signal, FS, LEADS)
    (root / "b/1.atr").write_bytes(b"\1\2")
    (root / "README").write_text("Read me.\n")
    (root / ".DS_Store").write_bytes(b"\0")
    return root


def test_every_file_of_a_folder_is_read_or_set_aside_with_a_reason(tmp_path: Path) -> None:
    source = open_dataset("files", 0, root=folder(tmp_path / "root"), no_reports=True)
    recordings, refused = read_all(source)
    assert [one.ref.record_id for one in recordings] == ["a/dicom.dcm", "a/edf.edf", "a/muse.xml", "a/npz.npz",
                                                        "a/scp.scp", "b/1.hea"]
    assert reasons(refused) == {"README": "unknown format"}
    subjects = {one.ref.record_id: one.ref.subject_id for one in recordings}
    assert len({subjects[f"a/{name}"] for name in ("dicom.dcm", "edf.edf", "muse.xml", "scp.scp")}) == 1
    assert subjects["a/npz.npz"] == "a/npz.npz" and not any(PATIENT in one for one in subjects.values())
    assert {one.ref.unreported for one in recordings} == {True} and recordings[0].age == 51


def test_a_store_of_files_is_that_of_the_wfdb_original(tmp_path: Path) -> None:
    prepare(open_dataset("files", 0, root=folder(tmp_path / "root"), no_reports=True), tmp_path / "store", fs=FS,
            measure=True, no_reports=True)
    store = open_store(tmp_path / "store")
    rows = {store.row(i).record_id: i for i in range(len(store))}
    original = store.row(rows["b/1.hea"])
    for record_id, i in rows.items():
        assert np.abs(store.signal(i).astype(int) - store.signal(rows["b/1.hea"])).max() <= 1, record_id
        assert store.row(i).absent_leads == []
        if record_id != "a/muse.xml":  # whose derived leads are rounded anew
            assert store.row(i).measurements == original.measurements, record_id
    muse = store.row(rows["a/muse.xml"])
    assert muse.reading is not None and muse.reading.derived_leads == ["III", "aVR", "aVL", "aVF"]
    assert muse.measurements is not None and original.measurements is not None
    for name in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qrs_axis_deg"):
        assert getattr(muse.measurements, name) == pytest.approx(getattr(original.measurements, name), abs=1.0), name


def test_a_table_names_files_by_any_end_of_their_path(tmp_path: Path) -> None:
    root = folder(tmp_path / "root")
    (root / "other").mkdir()
    write_muse(root / "other", twelve_leads(4, FS), FS)
    table = root / "reports.csv"
    table.write_text("record_id;report;subject_id;split;age\na/edf;Sinus rhythm.;P1;train;40\nscp;Normal ECG.;;;\n"
                     "muse.xml;Twice.;;;\n1.hea;Sinus.;P2;test;x\nnowhere;Sinus.;;;\ndicom.dcm;;;;\n")
    refs, refused = listed(open_dataset("files", 0, root=root, reports=table))
    assert {ref.record_id: (ref.split, ref.details["report"]) for ref in refs} == {
        "a/edf.edf": ("train", "Sinus rhythm."), "a/scp.scp": (refs[1].split, "Normal ECG.")}
    assert refs[0].subject_id == "P1" and refs[1].subject_id.startswith("patient-")
    assert reasons(refused) == {"muse.xml": "ambiguous record", "1.hea": "bad age", "nowhere": "missing file",
                                "dicom.dcm": "no report"}
    assert all("reports.csv, row " in row.detail for row in refused)
    more, _ = listed(open_dataset("files", 0, root=root, reports=table, no_reports=True))
    assert {"a/npz.npz", "a/dicom.dcm", "other/muse.xml"} <= {ref.record_id for ref in more if ref.unreported}
    assert "reports.csv" not in {ref.record_id for ref in more}


def test_what_files_do_not_say_is_stated_and_decides_the_store(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    path = WRITERS["npy"](tmp_path / "root", twelve_leads(3, FS), FS)
    _, refused = read_all(open_dataset("files", 0, root=path.parent, no_reports=True))
    assert reasons(refused) == {"npy.npy": "no standard leads"}
    stated = {"file_fs": 500.0, "file_units": "uV", "file_leads": "standard"}
    for name in ("one", "again"):
        prepare(open_dataset("files", 0, root=path.parent, no_reports=True, **stated), tmp_path / name, no_reports=True)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "again")
    with pytest.raises(MedReportError):
        prepare(open_dataset("files", 0, root=path.parent, no_reports=True, **stated | {"file_units": "mV"}),
                tmp_path / "one", no_reports=True)
    for wrong in ({"file_fs": -1.0}, {"file_units": "kg"}, {"file_leads": "a,b"}):
        with pytest.raises(MedReportError):
            open_dataset("files", 0, root=path.parent, no_reports=True, **wrong)
    with pytest.raises(MedReportError, match="--reports"):
        open_dataset("files", 0, root=path.parent)


def test_a_newcomer_is_told_what_is_missing_and_what_is_not_used(tmp_path: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    root, table = tmp_path / "root", tmp_path / "mine.csv"
    root.mkdir()
    WRITERS["npy"](root, twelve_leads(3, FS), FS)
    table.write_text("File;report;Patient;age\nnpy.npy;Sinus.;P1;40\n")
    words = ["prepare", "files", "--root", str(root), "--reports", str(table), "--split", "100/0/0", "--workers", "1"]
    assert run([*words, "--out", str(tmp_path / "store")]) == 2
    assert "no record could be read (no standard leads: 1); the first: npy.npy (" in capsys.readouterr().err
    assert run([*words, "--file-fs", "500", "--file-units", "uV", "--file-leads", "standard",
                "--out", str(tmp_path / "store")]) == 0
    assert "mine.csv: columns not used: Patient (known are file, report, subject_id," in capsys.readouterr().err
    assert run(["prepare", str(root)]) == 2
    assert f"prepare files --root {root} --reports CSV" in capsys.readouterr().err
