"""Any folder of WFDB records with a CSV of reports."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from ptbxl_fixture import HEADER_LEADS, twelve_leads, write_record
from sources import listed

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording, RecordRef, Source, open_dataset
from emgecg_cli.core.datasets.formats.wfdb_headers import read_header
from emgecg_cli.core.datasets.formats.wfdb_records import read_leads
from emgecg_cli.core.errors import MedReportError


def opened(root: Path, text: str) -> Source:
    reports = root.parent / "reports.csv"
    reports.write_text(text, encoding="utf-8")
    return open_dataset("wfdb", seed=0, root=root, reports=reports)


def folder(tmp_path: Path, *records: str) -> Path:
    for seed, record in enumerate(records):
        write_record(tmp_path / "set" / record, twelve_leads(seed, 250, 2), 250)
    return tmp_path / "set"


def read_all(source: Source) -> list[Recording | QuarantineRow]:
    return list(source.read([row for row in source.listing() if isinstance(row, RecordRef)]))


def test_real_records_of_two_sets_in_one_folder(shared_data: Path, tmp_path: Path) -> None:
    names = [path.relative_to(shared_data).as_posix()[:-4]
             for path in [*sorted((shared_data / "cinc2021" / "georgia").rglob("*.hea")),
                          *sorted((shared_data / "ptb-xl" / "records100").rglob("*.hea"))[:10]]]
    (tmp_path / "reports.csv").write_text("record,report\n" + "".join(f"{name},Report of {name}\n" for name in names))
    source = open_dataset("wfdb", seed=0, root=shared_data, reports=tmp_path / "reports.csv")
    found = read_all(source)
    assert len(found) == 25 and source.details["records_without_report"] == source.details["headers"] - 25 > 0
    for name, recording in zip(names, found, strict=True):
        header = read_header(shared_data, name)
        assert isinstance(recording, Recording) and recording.report == f"Report of {name}"
        assert np.array_equal(recording.signal, read_leads(header).signal) and recording.fs == header.fs


def test_a_row_says_all_of_a_record(tmp_path: Path) -> None:
    root = folder(tmp_path, "a", "deep/er/b", "c", "deep/unlisted")
    source = opened(root, 'record,report,subject_id,split,language,codes,age,sex\n'
                          'deep/er/b,"Sinusrhythmus, normal.\nLagetyp.",p1,test,de,SR; NORM ;;SR,61.5,female\n'
                          'a,Normal ECG.,,,,,,\nc,Paced.,p1,test,en,,0,M\n')
    b, a, c = read_all(source)
    assert isinstance(b, Recording) and isinstance(a, Recording) and isinstance(c, Recording)
    assert (b.ref.record_id, b.ref.subject_id, b.ref.split, b.ref.source) == ("deep/er/b", "p1", "test", "deep/er/b")
    assert (b.report, b.language, b.codes) == ("Sinusrhythmus, normal.\nLagetyp.", "de", ["SR", "NORM"])
    assert (b.age, b.sex, b.report_kind, b.fs) == (61.5, "F", "physician", 250)
    assert (a.ref.subject_id, a.ref.split, a.language, a.codes, a.age, a.sex) == ("a", None, None, [], None, None)
    assert c.age == 0 and c.sex == "M" and np.array_equal(b.signal, twelve_leads(1, 250, 2))
    assert source.arguments == {"root": "set", "reports": "reports.csv"} and str(tmp_path) not in str(source.details)
    assert source.details["headers"] == 4 and source.details["records_without_report"] == 1


def test_the_order_of_the_leads_in_the_header_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "set"
    signal = twelve_leads(1, 250, 2)
    order = random.Random(1).sample(range(12), 12)
    write_record(root / "a", signal[order], 250, [HEADER_LEADS[i] for i in order])
    (found,) = read_all(opened(root, "record,report\na,x\n"))
    assert isinstance(found, Recording) and np.array_equal(found.signal, signal)


@pytest.mark.parametrize("row, reason, detail", [
    (",Normal,,,,,,", "bad record", "no record is named"), ("a, ,,,,,,", "no report", "the report is empty"),
    ("a,x,,dev,,,,", "bad split", "'dev' is none of train, val, test"), ("a,x,,,English,,,", "bad language", "English"),
    ("a,x,,,,,old,", "bad age", "'old' is no age"), ("a,x,,,,,999,", "bad age", "'999'"),
    ("a,x,,,,,nan,", "bad age", "'nan'"), ("a,x,,,,,,x", "bad sex", "'x' is neither M nor F"),
    (r"D:\ecg\p1\a.hea,x,,,,,,", "path of another machine", "a whole path of a Windows machine; write it from"),
])
def test_rows_that_cannot_be_used_are_set_aside(tmp_path: Path, row: str, reason: str, detail: str) -> None:
    source = opened(folder(tmp_path, "a"), f"record,report,subject_id,split,language,codes,age,sex\na,x,,,,,,\n{row}\n")
    good, bad = source.listing()
    assert isinstance(good, RecordRef) and isinstance(bad, QuarantineRow)
    assert bad.reason == reason and bad.detail.startswith("reports.csv, row 3: ") and detail in bad.detail


@pytest.mark.parametrize("record, reason", [
    ("b", "missing file"), ("../reports", "path outside root"), ("/a", "path outside root"),
    ("~/a", "path outside root"), ("c", "unreadable header"), ("d", "unreadable header"), ("e", "wrong length"),
])
def test_records_that_cannot_be_read_are_set_aside(tmp_path: Path, record: str, reason: str) -> None:
    root = folder(tmp_path, "a", "c", "d", "e")
    (root / "c.hea").write_text("c 12 250\n")
    (root / "d.hea").write_text((root / "d.hea").read_text().replace("d 12 250", "d 12 0.0"))
    (root / "e.dat").write_bytes((root / "e.dat").read_bytes()[:-1])
    bad, good = read_all(opened(root, f"record,report\n{record},x\na,x\n"))
    assert isinstance(bad, QuarantineRow) and bad.reason == reason and isinstance(good, Recording)


@pytest.mark.parametrize("text, message", [
    ("record,text\na,x\n", "lacks the column report"), ("id\na\n", "lacks the column record, report"),
    ("", "not a readable CSV"), ("record,report\na,b,c\n", "not a readable CSV"),
])
def test_wrong_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(MedReportError, match=message) as caught:
        list(opened(folder(tmp_path, "a"), text).listing())
    assert "\n" not in caught.value.message and "reports.csv" in caught.value.message and caught.value.hint
    if "lacks" in message:
        assert f"found are {text.partition(chr(10))[0].replace(',', ', ')}" in caught.value.hint


def test_wrong_roots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no such folder"):
        opened(tmp_path / "none", "record,report\n")
    (tmp_path / "set").mkdir()
    for reports in ({}, {"reports": tmp_path / "reports.csv"}):
        with pytest.raises(MedReportError, match="no WFDB record"):
            open_dataset("wfdb", seed=0, root=tmp_path / "set", no_reports=True, **reports)
    with pytest.raises(MedReportError, match="needs --reports"):
        open_dataset("wfdb", seed=0, root=tmp_path / "set")


@pytest.mark.parametrize("record", ["deep/er/b", "b", "er/b", "b.hea", "deep\\er\\b.hea", " ./deep/er/b ", "b.HEA",
                                    "deep/er/b.dat"])
def test_a_record_is_found_however_it_is_written(tmp_path: Path, record: str) -> None:
    root = folder(tmp_path, "a", "deep/er/b", "bb")
    source = opened(root, f"record,report\n{record},x\na,y\n")
    found, other = read_all(source)
    assert isinstance(found, Recording) and found.ref.record_id == "deep/er/b" and isinstance(other, Recording)
    assert np.array_equal(found.signal, twelve_leads(1, 250, 2)) and source.details["records_without_report"] == 1


def test_a_name_that_several_have_is_set_aside_and_one_at_the_root_goes_first(tmp_path: Path) -> None:
    source = opened(folder(tmp_path, "x/a", "y/a", "x/b", "b"), "record,report\na,x\nb,x\nx/b,y\n")
    bad, first, second = source.listing()
    assert isinstance(bad, QuarantineRow) and bad.reason == "ambiguous record"
    assert bad.detail == "reports.csv, row 2: 'a' may be x/a, y/a; write the path from the root"
    assert (first.record_id, second.record_id) == ("b", "x/b") and source.details["records_without_report"] == 2


def test_the_same_recording_under_two_spellings_is_one_record(tmp_path: Path) -> None:
    _, refused = listed(opened(folder(tmp_path, "deep/a", "b"), "record,report,split\na,x,train\ndeep/a.hea,x,test\n"))
    assert [(row.record_id, row.reason) for row in refused] == [("deep/a", "duplicate id")]


def test_exchanged_columns_say_so(tmp_path: Path) -> None:
    root = folder(tmp_path, "a", "deep/b")
    for text, column in (("report,record\na,Sinus rhythm.\nb.hea,Normal.\n", "report"),
                         ("record,report,subject_id\np1,x,a\np2,y,b\n", "subject_id"),
                         ("record,report,file\n1,x,a\n2,y,b\n", "file")):
        with pytest.raises(MedReportError, match=f"names a header below .*, and 2 of 2 of '{column}' do") as caught:
            opened(root, text)
        assert "exchanged" in caught.value.hint
    with pytest.raises(MedReportError, match=r"the first is 'A01', a header there is 'a.hea'"):
        opened(root, "record,report\nA01,x\n")
    source = opened(root, "record,report,age,sex,split,language\na,x,F,61,,\nb,x,,,en,train\na,x,old,F,,\n")
    details = [row.detail for row in source.listing() if isinstance(row, QuarantineRow)]
    assert "are the headings 'age' and 'sex' exchanged?" in details[0] and len(details) == 3
    assert "are the headings 'split' and 'language' exchanged?" in details[1] and "exchanged" not in details[2]


@pytest.mark.parametrize("comments, expected", [
    ("# Age: 78\n# Sex: Female\n# Dx: 426783006,164889003", (78, "F", ["164889003", "426783006"])),
    ("#age: 41\n#sex: m\n#dx: Unknown", (41, "M", [])), ("#<age>: 51\n#<sex>: F", (51, "F", [])),
    ("# AGE : 054Y\n#sex:W\n# dx :Unknown", (54, None, [])), ("#age: 61 years\n# SEX: female", (61, "F", [])),
    ("# Age: NaN\n# Sex: Unknown\n# note: 12", (None, None, [])), ("", (None, None, [])),
])
def test_the_comments_of_a_header_tell_what_the_csv_does_not(tmp_path: Path, comments: str, expected: tuple) -> None:
    root = folder(tmp_path, "a", "b")
    for name in "ab":
        (root / f"{name}.hea").write_text((root / f"{name}.hea").read_text() + comments + "\n")
    told, own = read_all(opened(root, "record,report,age,sex,codes\na,x,,,\nb,x,30,M,SR\n"))
    assert isinstance(told, Recording) and isinstance(own, Recording)
    assert (told.age, told.sex, told.codes) == expected and (own.age, own.sex, own.codes) == (30, "M", ["SR"])


def test_records_without_a_report_are_counted_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emgecg_cli.core.datasets.record_names._NAMES_PER_BATCH", 3)
    root = tmp_path / "set"
    for i in range(20):
        (root / f"d{i % 3}").mkdir(parents=True, exist_ok=True)
        (root / f"d{i % 3}" / f"{i}.hea").touch()
    text = "record,report\n" + "".join(f"d{i % 3}/{i},x\n" for i in range(0, 20, 4)) + "d0/0,y\nd9/9,y\n"
    assert opened(root, text).details["records_without_report"] == 15


def test_read_can_be_sent_to_another_process(tmp_path: Path) -> None:
    source = opened(folder(tmp_path, "a"), "record,report\na,x\n")
    read, refs = pickle.loads(pickle.dumps((source.read, list(source.listing()))))
    assert isinstance(next(iter(read(refs))), Recording) and len(pickle.dumps(source.read)) < 1000
