"""CSV files of any spreadsheet, wherever one is read: separators, letters, headings, decimal commas."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from challenge_fixture import write_challenge
from code15_fixture import build_code15, exam_row, write_exams
from csv_dialects import DIALECTS, WINDOWS, Rows, write, written
from etm_fixture import cases, numbers
from ludb_fixture import write_root as write_ludb
from mimic_fixture import measurement_row, record_row, write_tables
from ptbxl_fixture import build_root, twelve_leads, write_record

from emgecg_cli.commands.app import run
from emgecg_cli.core.datasets import Source, open_dataset
from emgecg_cli.core.datasets.formats.csv_tables import iterate_rows
from emgecg_cli.core.datasets.formats.keyed_rows import index_rows, read_rows
from emgecg_cli.core.delimited import detect
from emgecg_cli.core.delimited.numerals import decide, replaced, weigh, with_point
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics.text.bert_model import read_baseline

TEXT = 'Sinusrhythmus, "normal"; Lagetyp:\nGrößer als 5 µV'
NCV = [["record_id", "nerve", "type", "stim", "rec", *(f"{one}_{side}" for one in ("lat", "amp", "cv")
                                                       for side in ("left", "right"))],
       ["h1", "median", "motor", "wrist", "APB", "5,6", "3,4", "3,2", "8,8", "", ""],
       ["h1", "median", "motor", "elbow", "APB", "9,9", "7,5", "3,0", "8,5", "52,1", "57,3"],
       ["h2", "ulnar", "motor", "wrist", "ADM", "2,6", "2,7", "9,0", "8,8", "", ""]]
CASES = [["record_id", "subject_id", "split", "age", "height_cm", "language", "findings", "impression"],
         ["h1", "p1", "train", "54,5", "1,62 m", "en", TEXT, "Left carpal tunnel syndrome."],
         ["h2", "p2", "test", "40", "178,5", "en", "All nerves are normal.", "Normal study."]]


def pointed(rows: Rows, *columns: str) -> Rows:
    """With decimal points in these columns."""
    places = [rows[0].index(column) for column in columns]
    return [rows[0], *([cell.replace(",", ".") if i in places else cell for i, cell in enumerate(row)]
                       for row in rows[1:])]


def hospital(root: Path, cases_: bytes, ncv: bytes) -> Path:
    write(root / "cases.csv", cases_)
    return write(root / "ncv.csv", ncv)


@pytest.fixture
def plain(tmp_path: Path) -> Any:
    """What the comma form of the hospital's tables gives."""
    return cases(hospital(tmp_path / "plain", written(pointed(CASES, "age", "height_cm")),
                          written(pointed(NCV, *NCV[0][5:]))))


@pytest.mark.parametrize("dialect", [*DIALECTS, "Windows-1252"])
def test_tables_of_a_hospital_are_read_like_the_comma_form(tmp_path: Path, plain: Any, dialect: str) -> None:
    make = DIALECTS.get(dialect, WINDOWS)
    read = cases(hospital(tmp_path, make(CASES), make(NCV)))
    assert read == plain and len(numbers(read[0].case)) == 10 and not read[0].flags
    assert read[0].case is not None and (read[0].case.age, read[0].case.height) == (54.5, 162.0)


def test_the_case_is_right(shared_data: Path) -> None:
    folder = shared_data.parent / "cases" / "10-emg-excel"
    if not folder.is_dir():
        pytest.skip("no folder of cases")
    first, second = cases(folder)
    assert numbers(first.case)[:4] == [("median|motor|wrist|apb|lat", "left", 5.6),
                                       ("median|motor|wrist|apb|lat", "right", 3.4),
                                       ("median|motor|wrist|apb|amp", "left", 3.2),
                                       ("median|motor|wrist|apb|amp", "right", 8.8)]
    assert len(numbers(first.case)) == 10 and not first.flags and not second.flags


# Every source that has a CSV

def _wfdb(root: Path) -> tuple[list[Path], Callable[[], Source]]:
    for name in ("a", "b", "c"):
        write_record(root / "set" / name, twelve_leads(1, 250, 2), 250)
    rows = [["record", "report", "age", "sex", "codes"], ["a", TEXT, "61.5", "F", "SR"], ["b", "x", "7", "M", ""]]
    reports = write(root / "reports.csv", written(rows)) / "reports.csv"
    return [reports], lambda: open_dataset("wfdb", seed=0, root=root / "set", reports=reports)


def _ptb_xl(root: Path) -> tuple[list[Path], Callable[[], Source]]:
    build_root(root / "set", 3, (100,), {2: {"report": TEXT}})
    texts = write(root / "texts.csv", written([["ecg_id", "report_en"], ["1", TEXT], ["2.0", "x"]])) / "texts.csv"
    return [root / "set" / "ptbxl_database.csv", texts], lambda: open_dataset(
        "ptb-xl", seed=0, root=root / "set", reports=texts)


def _mimic(root: Path) -> tuple[list[Path], Callable[[], Source]]:
    keys = [(1, 11), (1, 12), (2, 13)]
    write_tables(root, [record_row(*key) for key in keys],
                 [measurement_row(*key, statements=("Sinus; rhythm, ß", "Normal")) for key in keys[::-1]])
    return [root / "record_list.csv", root / "machine_measurements.csv"], lambda: open_dataset(
        "mimic-iv-ecg", seed=0, root=root)


def _codes(root: Path) -> tuple[list[Path], Callable[[], Source]]:
    write_challenge(root / "set", "E00001", twelve_leads(1, 500, 2))
    codes = write(root / "codes.csv", written([["code", "statement"], ["426783006", "Größe, normal"]])) / "codes.csv"
    return [codes], lambda: open_dataset("georgia", seed=0, root=root / "set", codes=codes)


def _cpsc(root: Path) -> tuple[list[Path], Callable[[], Source]]:
    (root / "set").mkdir(parents=True)
    (root / "set" / "A0001.mat").write_bytes(b"")
    table = root / "set" / "REFERENCE.csv"
    write(table, written([["Recording", "First_label", "Second_label", "Third_label"], ["A0001", "1", "5", ""]]))
    return [table], lambda: open_dataset("cpsc2018", seed=0, root=root / "set")


def _ludb(root: Path) -> tuple[list[Path], Callable[[], Source]]:
    write_ludb(root / "set", {"ID": "1", "Sex": "F\n", "Age": "51", "Rhythms": "Sinus rhythm\nOther, x"})
    return [root / "set" / "ludb.csv"], lambda: open_dataset("ludb", seed=0, root=root / "set")


def _code15(root: Path) -> tuple[list[Path], Callable[[], Source]]:
    build_code15(root, {7: np.ones((12, 4096)), 8: np.ones((12, 4096))})
    write_exams(root, [exam_row(7, "normal_ecg", age="38.0"), exam_row(8, "AF", "LBBB")])
    return [root / "exams.csv"], lambda: open_dataset("code15", seed=0, root=root)


SOURCES = {"wfdb": _wfdb, "ptb-xl": _ptb_xl, "mimic-iv-ecg": _mimic, "codes": _codes, "cpsc2018": _cpsc,
           "ludb": _ludb, "code15": _code15}
NUMBERS = {"age", "Age", "ecg_id", "patient_id", "exam_id"}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_reads_its_tables_in_any_dialect(tmp_path: Path, name: str) -> None:
    paths, opened = SOURCES[name](tmp_path)
    source = opened()
    expected, statements = list(source.listing()), source.details.get("codes", {})
    assert expected and "tables" not in source.details
    tables = {path: list(csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True))) for path in paths}
    for dialect, make in {**DIALECTS, "Windows-1252": WINDOWS}.items():
        for path, (header, *rows) in tables.items():
            decimal = [i for i, column in enumerate(header) if column in NUMBERS]
            path.write_bytes(make([header, *([cell.replace(".", ",") if i in decimal else cell
                                              for i, cell in enumerate(row)] for row in rows)]))
        source = opened()
        found = list(source.listing())
        for row, same in zip(found, expected, strict=True):  # a line "sep=;" moves the numbers of rows
            assert row == same or "row" in getattr(same, "detail", ""), (dialect, row)
        assert source.details.get("codes", {}).get("statements") == statements.get("statements")
        told = source.details.get("tables", {})
        assert set(told) == {path.name for path in paths} or dialect.endswith("commas"), dialect
        assert all("Windows-1252" in one.get("note", "Windows-1252") for one in told.values())


def test_rows_by_key_are_found_in_any_dialect(tmp_path: Path) -> None:
    rows = [["Key ", "text"], ["3", "a; b"], ["x", "ü"], ["1", 'c\n"d"']]
    for number, make in enumerate(DIALECTS.values()):
        path = write(tmp_path / f"{number}.csv", make(rows)) / f"{number}.csv"
        index = index_rows(path, "key", ("text",))
        assert index.keys.tolist() == [-1, 1, 3]
        assert read_rows(index, [0, 1, 2])[2] == {"key": "1", "text": 'c\n"d"'}


def test_a_baseline_of_bertscore_with_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    rows = [["LAYER", "P", "R", "F"], ["0", "0,1", "0,2", "0,3"], ["2", "0,512", "0,25", "0,125"]]
    for make in DIALECTS.values():
        path.write_bytes(make(rows))
        assert read_baseline(path, 2).tolist() == [0.512, 0.25, 0.125]


# Numbers

@pytest.mark.parametrize(("text", "mark", "number"), [
    ("5,6", None, "5.6"), ("5,61", ".", "5.61"), ("0,345", None, "0.345"), ("1234,5", None, "1234.5"),
    (",5", None, ".5"),
    ("1,234", None, None), ("1,234", ",", "1.234"), ("1,234", ".", "1234"), ("1.234", None, "1.234"),
    ("1.234", ".", "1.234"), ("1.234", ",", None), ("1.234,5", None, "1234.5"), ("1,234.5", ",", "1234.5"),
    ("1,234,567", None, "1234567"), ("1.234.567", None, "1234567"), ("1,2,3", None, None), ("12,34,5", ",", None),
    ("7", ",", "7"), ("5.", None, "5."), ("-3,5", None, "-3.5"), ("5,", None, None), ("1,23.4", None, None)])
def test_a_number_has_one_decimal_mark_or_is_not_read(text: str, mark: str | None, number: str | None) -> None:
    assert with_point(text, mark) == number


def test_the_column_decides_then_the_file_then_the_separator() -> None:
    columns = {"a": weigh(["3,456", "5,6"]), "b": weigh(["1,234"]), "c": weigh(["5,6", "7.1"]), "d": weigh(["8", "x"])}
    assert decide(columns) == {"a": ",", "b": None, "c": None, "d": None}  # the file has both
    del columns["c"]
    assert decide(columns) == {"a": ",", "b": ",", "d": ","}
    assert decide({"b": weigh(["1,234"])}, ",") == {"b": ","} and decide({"b": weigh(["1,234"])}) == {"b": None}
    assert decide({"b": weigh(["1.234"])}, ",") == {"b": None}
    assert replaced("3,4 ms", ",") == "3.4 ms" and replaced("5,6; 7,8", ",") == "5,6; 7,8" and replaced("", ",") == ""


def test_an_ambiguous_number_is_flagged_and_no_number(tmp_path: Path) -> None:
    def read(separator: str, *cells: str) -> tuple[list[float], list[str]]:
        rows = [["h1", "median", "sensory", "wrist", "digit II", "", "", cell, "", "", ""] for cell in cells]
        root = hospital(tmp_path, written(CASES[:2]), written([NCV[0], *rows], separator))
        case, *rest = cases(root)
        assert not rest
        return [value for _, _, value in numbers(case.case)], [reason for reason, _ in case.flags
                                                              if reason != "duplicated row"]
    assert read(",", "3,456") == ([], ["ambiguous number"])
    assert read("\t", "3,456") == ([], ["ambiguous number"])
    assert read(";", "3,456") == ([3.456], [])  # nothing else is written with semicolons
    assert read(",", "3,456", "5,6") == ([3.456, 5.6], [])
    assert read(",", "3,456", "5.6") == ([5.6], ["implausible value"]) or read(",", "3,456", "5.6") == (
        [5.6], ["unit slip"])  # thousands where others have a point
    assert read(";", "1.234", "5,6") == ([5.6], ["ambiguous number"])
    assert read(";", "1.234", "5.6") == ([1.234, 5.6], [])


def test_lists_and_reports_keep_their_commas(tmp_path: Path) -> None:
    paths, opened = SOURCES["wfdb"](tmp_path)
    rows = [["record", "report", "age", "codes"], ["a", "QT 0,40 s, normal", "61,5", "1,5"], ["b", "5,6", "7", "3,456"]]
    paths[0].write_bytes(written(rows, ";"))
    a, b = opened().listing()
    assert (a.details["report"], a.details["age"]) == ("QT 0,40 s, normal", 61.5)  # type: ignore[union-attr]
    assert a.details["codes"] == ["1,5"] and b.details["codes"] == ["3,456"]  # type: ignore[union-attr]


# Letters

@pytest.mark.parametrize(("text", "encoding"), [
    ("Größe µV, Müller für 5 °C ±3 – “x”", "cp1252"), ("créée, naïve", "cp1252"),
    ("正中神经运动传导潜伏期正常上限", "gb18030"),
    ("左APB, 正常", "gb18030"), ("Größe", "utf-8"), ("正中神经", "utf-8")])
def test_letters_are_recognised_and_a_guess_is_said(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"record,report\na,{text}\n".encode(encoding))
    dialect = detect(path)
    assert (dialect.encoding, dialect.guessed) == (encoding, encoding != "utf-8")
    (_, row), = iterate_rows(path, ("record",))
    assert row == {"record": "a"}


def test_damaged_utf8_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("record,report\na,Größe für Müller\nb,gr".encode() + b"\xf6\xdfer\n")
    assert detect(path).encoding == "utf-8"
    with pytest.raises(MedReportError, match="not a readable CSV"):
        list(iterate_rows(path, ("record", "report")))


@pytest.mark.parametrize("content", [b"\x00\x01\x02\xff\xfe\x80" * 50, b"\xff\xfe\x00\x00a\x00\x00\x00",
                                     b"\xff\xfe\x00\xd8"])
def test_bytes_that_are_no_text_are_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(MedReportError, match="neither UTF-8, UTF-16, GB 18030 nor Windows-1252 text"):
        list(iterate_rows(path, ("record",)))


def test_headings_that_are_not_there_or_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(written([["Record", "RECORD ", "x"], ["a", "b", "c"]], ";"))
    with pytest.raises(MedReportError, match="has the column record twice"):
        list(iterate_rows(path, ("record",)))
    with pytest.raises(MedReportError, match="lacks the column report") as caught:
        list(iterate_rows(path, ("report",)))
    assert str(caught.value.hint).endswith("found are Record, RECORD , x".replace(" , ", ", "))


def test_what_was_read_otherwise_reaches_user_manifest_and_card(tmp_path: Path, capsys: Any) -> None:
    root = hospital(tmp_path / "in", WINDOWS(CASES), written(NCV, ";"))
    assert run(["prepare", "etm", "--root", str(root), "--out", str(tmp_path / "store")]) == 0
    said = capsys.readouterr().err
    assert "warning: cases.csv: cells parted by ;; no UTF-8; read as Windows-1252, which is a guess" in said
    assert "ncv.csv: cells parted by ;; decimal commas in lat_left, lat_right" in said
    details = json.loads((tmp_path / "store" / "manifest.json").read_text())["details"]
    assert details["tables"]["cases.csv"]["encoding"] == "Windows-1252"
    assert details["tables"]["ncv.csv"]["decimal_comma"].startswith("lat_left, lat_right")
    card = (tmp_path / "store" / "card.md").read_text(encoding="utf-8")
    assert "| tables: cases.csv: note | no UTF-8; read as Windows-1252" in card
