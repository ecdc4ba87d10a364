"""LUDB: the real recordings, and a small root of our own with rows of every kind."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from ludb_fixture import write_root
from ptbxl_fixture import twelve_leads, write_record

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.datasets.ludb import COLUMNS
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.signals.leads import LEADS


def read_all(source: Source) -> tuple[list[Recording], list[QuarantineRow]]:
    listed = list(source.listing())
    found = list(pickle.loads(pickle.dumps(source.read))([item for item in listed if isinstance(item, RecordRef)]))
    return ([item for item in found if isinstance(item, Recording)],
            [item for item in (*listed, *found) if isinstance(item, QuarantineRow)])


def test_real_recordings(shared_data: Path) -> None:
    root = shared_data / "ludb"
    source = open_dataset("ludb", seed=0, root=root)
    recordings, quarantine = read_all(source)
    there = sum(1 for _ in (root / "data").glob("*.hea"))
    assert len(recordings) == there and len(recordings) + len(quarantine) == 200
    assert {row.reason for row in quarantine} <= {"missing file"}
    for recording in recordings:
        name = recording.ref.record_id
        assert recording.fs == 500 and recording.report_kind == "template" and recording.language == "en"
        # The same statements stand in the header, "#Rhythm: Sinus bradycardia." and so on, but for one on pacemakers.
        said = _letters((root / "data" / f"{name}.hea").read_text().replace("ntravintri", "ntraventri"))
        missing = [text for text in recording.report.removesuffix(".").split(". ") if _letters(text) not in said]
        assert missing in ([], ["Pacemaker presence, undefined"]), name
    assert recordings[0].report == (
        "Sinus bradycardia. Electric axis of the heart: left axis deviation. Left ventricular overload. Left "
        "ventricular hypertrophy. Non-specific repolarization abnormalities: posterior wall.")
    assert recordings[0].codes[-1] == "sinus-bradycardia" and (recordings[0].age, recordings[0].sex) == (51, "F")
    assert recordings[33].age is None  # ">89"


def test_real_amplitudes_are_those_before_each_lead_was_scaled(shared_data: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    root = shared_data / "ludb"
    for recording in read_all(open_dataset("ludb", seed=0, root=root))[0][::9]:
        record = wfdb.rdrecord(str(root / "data" / recording.ref.record_id), physical=False)
        assert np.array_equal(recording.signal, record.d_signal.T) and recording.n_clipped == 0
        assert np.ptp(recording.signal, axis=1).tolist() == record.adc_gain
        i, ii, iii, avr, avl, avf = recording.signal[:6].astype(float)
        assert np.array_equal(i + iii, ii)
        for found, expected in ((avr, -(i + ii) / 2), (avl, (i - iii) / 2), (avf, (ii + iii) / 2)):
            assert np.abs(found - expected).max() <= 1


def test_a_gain_that_is_not_the_range_is_kept(tmp_path: Path) -> None:
    signal = twelve_leads(1, 500)
    root = write_root(tmp_path / "ludb", *({"ID": str(i), "Rhythms": "Sinus rhythm"} for i in (1, 2, 3)))
    write_record(root / "data" / "1", signal * 2, 500, gain="2000(0)/mV")
    write_record(root / "data" / "2", signal, 500, gain="1000(0)/uV")
    write_record(root / "data" / "3", signal, 500)
    header = root / "data" / "3.hea"
    ranges = iter(np.ptp(signal.astype(int), axis=1))
    header.write_text(re.sub(r"1000\.0\(0\)", lambda _: f"{next(ranges)}(7)", header.read_text()))
    recordings, quarantine = read_all(open_dataset("ludb", seed=0, root=root))
    assert not quarantine and np.array_equal(recordings[0].signal, signal)
    assert np.array_equal(recordings[1].signal, np.rint(signal / 1000)) and np.array_equal(recordings[2].signal, signal)


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text.lower())


def test_cells_of_several_lines_short_forms_and_lead_names(tmp_path: Path) -> None:
    signal = twelve_leads(1, 500)
    root = write_root(
        tmp_path / "ludb",
        {"ID": "1", "Sex": "F\n", "Age": "51\n", "Rhythms": "Sinus rhythm", "Other states": "Early repolarization",
         "Conduction abnormalities": "Iii degree av-block\nNon-specific intravintricular conduction delay",
         "Extrasystolies": "Ventricular extrasystole, localisation: rvot, anterior wall",
         "Ischemia": "Stemi: septal\n\nUndefined ischemia/scar/supp.nstemi: apical\nStemi: septal"},
        {"ID": "2", "Sex": "M", "Age": ">89", "Rhythms": "Sinus rhythm"})
    order = [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 10, 11]
    write_record(root / "data" / "1", signal, 500, [name.lower() for name in LEADS])
    write_record(root / "data" / "2", signal[order], 500, [LEADS[i].lower() for i in order])
    source = open_dataset("ludb", seed=0, root=root)
    recordings, quarantine = read_all(source)
    assert not quarantine and all(np.array_equal(recording.signal, signal) for recording in recordings)
    assert recordings[0].report == (
        "Sinus rhythm. III degree AV-block. Non-specific intraventricular conduction delay. Ventricular extrasystole, "
        "localisation: RVOT, anterior wall. STEMI: septal. Undefined ischemia/scar/supp.NSTEMI: apical. "
        "Early repolarization.")
    assert "stemi-septal" in recordings[0].codes and "iii-degree-av-block" in recordings[0].codes
    assert [(recording.age, recording.sex) for recording in recordings] == [(51, "F"), (None, "M")]
    assert source.arguments == {"root": "ludb"} and len(source.details["table_sha256"]) == 64


def test_bad_rows_are_set_aside(tmp_path: Path) -> None:
    good = {"Rhythms": "Sinus rhythm"}
    ids = ("1", "../1", "", "٣", "2", "3", "4", "9" * 50, "1")
    root = write_root(tmp_path / "ludb", *({"ID": text, "Age": "x", "Sex": "?"} | (good if text != "2" else {})
                                           for text in ids))
    write_record(root / "data" / "1", twelve_leads(1, 500), 500)
    write_record(root / "data" / "3", twelve_leads(1, 250), 250)
    write_record(root / "data" / "4", twelve_leads(1, 500), 500)
    with (root / "data" / "4.dat").open("r+b") as stream:
        stream.truncate(5001)
    recordings, quarantine = read_all(open_dataset("ludb", seed=0, root=root))
    # That an id is there twice is found in the store's index, the same for all sources.
    assert [recording.ref.record_id for recording in recordings] == ["1", "1"]
    assert [(row.record_id, row.reason) for row in quarantine] == [
        ("../1", "bad ID"), ("", "bad ID"), ("٣", "bad ID"), ("2", "no label"), ("9" * 50, "bad ID"),
        ("3", "wrong rate"), ("4", "wrong length")]


def test_roots_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no such folder"):
        open_dataset("ludb", seed=0, root=tmp_path / "none")
    with pytest.raises(MedReportError, match=r"no ludb\.csv beside data/"):
        open_dataset("ludb", seed=0, root=tmp_path)
    root = write_root(tmp_path / "ludb", {"ID": "1"}, columns=COLUMNS[:-1])
    with pytest.raises(MedReportError, match="lacks the column Other states"):
        open_dataset("ludb", seed=0, root=root)
