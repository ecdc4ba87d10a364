"""A side told elsewhere than in the column's name: in a column, in the name of a nerve, a site or a muscle, in a
heading; and what is flagged where two are told, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars
import pytest
from etm_fixture import as_groups, as_text, cases, numbers, record, set_aside, write_csv, write_json, write_jsonl

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets.emg_tables import read_etm
from emgecg_cli.core.emg.rows import read_tables
from emgecg_cli.core.emg.sides import find_side
from emgecg_cli.core.errors import MedReportError

LONG = ["side", "nerve", "type", "stim", "rec", "lat", "amp", "cv"]
LONG_ROWS = [["L", "median", "motor", "wrist", "APB", "5.6", "3.2", ""],
             ["R", "median", "motor", "wrist", "APB", "3.4", "8.8", ""],
             ["右", "ulnar", "motor", "wrist", "ADM", "2.6", "9.0", ""]]
MEDIAN, ULNAR = "median|motor|wrist|apb|", "ulnar|motor|wrist|adm|"
VALUES = [(MEDIAN + "lat", "left", 5.6), (MEDIAN + "lat", "right", 3.4), (MEDIAN + "amp", "left", 3.2),
          (MEDIAN + "amp", "right", 8.8), (ULNAR + "lat", "right", 2.6), (ULNAR + "amp", "right", 9.0)]
RIGHT = [(MEDIAN + "lat", "right", 3.4), (MEDIAN + "amp", "right", 8.8)]
WIDE = ["nerve", "type", "stim", "rec", "lat_left", "lat_right", "amp_left", "amp_right", "cv_left", "cv_right"]


def hospital(root: Path, header: Sequence[str], *rows: Sequence[Any], table: str = "ncv", **more: str) -> Path:
    """The CSV form with one case and these rows of one table; `more` are further columns of the case."""
    write_csv(root / "cases.csv", [{"record_id": "h1", "findings": "Left median motor latency is prolonged.",
                                    "impression": "Left carpal tunnel syndrome."} | more])
    return write_csv(root / f"{table}.csv", [{"record_id": "h1"} | one for one in as_groups(header, rows)])


def read(tmp_path: Path, header: Sequence[str], *rows: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """The numbers of one case with these rows, and the reasons of its flags."""
    case, = cases(hospital(tmp_path, header, *rows))
    return numbers(case.case), [reason for reason, _ in case.flags]


FORMS: dict[str, Callable[[Path], Path]] = {
    "hospital CSV": lambda root: hospital(root, LONG, *LONG_ROWS),
    "JSON": lambda root: write_json(root / "train.json", [record(NCV=[LONG, *LONG_ROWS])]),
    "JSON lines, groups": lambda root: write_jsonl(root / "a.jsonl", [record(NCV=as_groups(LONG, LONG_ROWS))]),
    "CSV with tables in cells": lambda root: write_csv(root / "a.csv", [
        record(EMG="", NCV=as_text(LONG, LONG_ROWS))]),
    "sheets of sides": lambda root: write_json(root / "a.json", [record(NCV={
        "Left": [LONG[1:], LONG_ROWS[0][1:]], "右侧": [LONG[1:], *(row[1:] for row in LONG_ROWS[1:])]})]),
    "Chinese headings": lambda root: hospital(
        root, ["侧别", "神经", "项目", "刺激点", "记录点", "潜伏期", "波幅", "传导速度"], *LONG_ROWS)}


@pytest.mark.parametrize("form", FORMS)
def test_one_side_a_row_gives_one_row_an_item_in_every_form(tmp_path: Path, form: str) -> None:
    read_, = cases(FORMS[form](tmp_path))
    assert numbers(read_.case) == VALUES and not read_.flags and not read_.unused
    assert [row.nerve for row in read_.case.ncv] == ["median", "ulnar"]  # type: ignore[union-attr]


def test_one_side_a_row_in_parquet(tmp_path: Path) -> None:
    frame = polars.DataFrame([record(EMG=None, NCV=as_groups(LONG, LONG_ROWS))])
    frame.write_parquet(tmp_path / "train.parquet")
    assert numbers(cases(tmp_path)[0].case) == VALUES


@pytest.mark.parametrize("nerve", ["R median", "median R", "Rt. median", "median nerve (R)", "right median nerve",
                                   "Median, right", "R-Median", "RMedian", "median_R", "右 正中神经", "右正中神经",
                                   "正中神经(右)", "正中神经（右侧）", "右 正中神经 R Median", "N. medianus rechts"])
def test_a_side_anywhere_in_the_name_of_the_nerve_is_the_side_of_the_row(tmp_path: Path, nerve: str) -> None:
    long = [nerve, "motor", "wrist", "APB", "3.4", "8.8", ""]
    assert read(tmp_path / "a", LONG[1:], long) == (RIGHT, [])
    wide = [nerve, "motor", "wrist", "APB", "3.4", "", "8.8", "", "", ""]
    assert read(tmp_path / "b", WIDE, wide) == (RIGHT, ["two sides"])  # its columns say left
    wide = [nerve, "motor", "wrist", "APB", "", "3.4", "", "8.8", "", ""]
    assert read(tmp_path / "c", WIDE, wide) == (RIGHT, [])


@pytest.mark.parametrize(("column", "cell"), [("stim", "R wrist"), ("stim", "腕(右)"), ("rec", "right APB"),
                                              ("rec", "APB R"), ("type", "motor (R)"), ("sheet", "NCV right arm"),
                                              ("limb", "右上肢")])
def test_a_side_told_with_the_site_the_type_or_the_sheet(tmp_path: Path, column: str, cell: str) -> None:
    row = dict(zip(LONG[1:], ["median", "motor", "wrist", "APB", "3.4", "8.8", ""], strict=True)) | {column: cell}
    assert read(tmp_path, list(row), list(row.values())) == (RIGHT, [])


def test_a_heading_row_tells_the_side_of_the_rows_below_it(tmp_path: Path) -> None:
    rows = [["Left", *6 * [""]], LONG_ROWS[0][1:], ["右侧", *6 * [""]], LONG_ROWS[1][1:], LONG_ROWS[2][1:]]
    assert read(tmp_path, LONG[1:], *rows) == (VALUES, [])


def test_an_empty_nerve_takes_nerve_and_side_of_the_row_above(tmp_path: Path) -> None:
    found, reasons = read(tmp_path, LONG, LONG_ROWS[1], ["", "", "motor", "elbow", "APB", "7.5", "8.5", "57.3"])
    assert found[2:] == [("median|motor|elbow|apb|lat", "right", 7.5), ("median|motor|elbow|apb|amp", "right", 8.5),
                         ("median|motor|elbow|apb|cv", "right", 57.3)] and reasons == ["no nerve"]


def test_two_sides_are_flagged_and_the_column_is_taken(tmp_path: Path) -> None:
    case, = cases(hospital(tmp_path, LONG, ["R", "left median", *LONG_ROWS[1][2:]]))
    assert numbers(case.case) == RIGHT and case.flags == (
        ("two sides", "ncv.csv, row 2, column 'side': 'right' here, 'left' with the nerve; 'right' taken"),)
    both = ["R median", "motor", "wrist", "APB", "5.6", "3.4", "3.2", "8.8", "", ""]
    assert read(tmp_path / "b", WIDE, both) == (VALUES[:4], ["two sides"])  # numbers of both sides stay as they stand
    torn = ["左 正中神经 R Median", *LONG_ROWS[1][2:]]
    assert read(tmp_path / "c", LONG, ["R", *torn]) == (RIGHT, ["two sides"])


@pytest.mark.parametrize("side", ["bilateral", "双侧", "L/R", "left and right"])
def test_one_number_of_both_sides_is_flagged_and_taken_for_both(tmp_path: Path, side: str) -> None:
    assert read(tmp_path, LONG, [side, *LONG_ROWS[1][1:]]) == (
        [(item, one, value) for item, _, value in RIGHT for one in ("left", "right")], ["two sides"])


def test_where_no_side_is_told_nothing_becomes_left(tmp_path: Path) -> None:
    case, = cases(hospital(tmp_path / "a", LONG, LONG_ROWS[1], ["", "ulnar", *LONG_ROWS[2][2:]],
                           ["?", "tibial", "motor", "ankle", "AH", "4.1", "7", ""]))
    assert numbers(case.case) == RIGHT
    assert [reason for reason, _ in case.flags] == ["no side", "unknown side", "no side"]
    write_json(tmp_path / "b" / "a.json", [record(), record(NCV=[LONG[1:], *(row[1:] for row in LONG_ROWS)])])
    row, = set_aside(tmp_path / "b")
    seite = hospital(tmp_path / "c", ["von welcher", *LONG[1:]], LONG_ROWS[1])
    refused, = read_etm(seite)
    assert isinstance(refused, QuarantineRow) and refused.reason == "no side"
    assert refused.detail.endswith("the row is left out; columns not used: von welcher")
    assert row.reason == "no side" and "record 2, ncv row 1" in row.detail and "left out" in row.detail


def test_two_rows_of_one_side_are_a_repeat(tmp_path: Path) -> None:
    other = ["L", "median", "motor", "wrist", "APB", "5.9", "3.0", ""]
    found, reasons = read(tmp_path / "a", LONG, LONG_ROWS[0], other, LONG_ROWS[1], LONG_ROWS[1])
    assert found == [*VALUES[:4], (MEDIAN + "lat", "left", 5.9), (MEDIAN + "amp", "left", 3.0)]
    assert reasons == ["duplicated row", "duplicated row"]
    parts = [["L", *LONG_ROWS[0][1:5], "5.6", "", ""], ["L", *LONG_ROWS[0][1:5], "", "3.2", ""]]
    assert read(tmp_path / "b", LONG, *parts) == ([VALUES[0], VALUES[2]], [])


def test_flags_of_a_joined_row_name_the_row_of_their_side(tmp_path: Path) -> None:
    case, = cases(hospital(tmp_path, LONG, LONG_ROWS[0], ["R", "median", "motor", "wrist", "APB", "60.5", "", "6.2"],
                           ["R", "ulnar", "motor", "wrist", "ADM", "x", "9000", ""]))
    assert [line.partition(": ")[0] for _, line in case.flags] == [
        "ncv.csv, row 4, column 'lat'", "ncv.csv, row 4, column 'amp'", "ncv.csv, row 3, column 'lat'"]
    assert [reason for reason, _ in case.flags] == ["text in a number", "unit slip", "swapped columns"]


def test_sides_of_muscles_anywhere_in_the_name(tmp_path: Path) -> None:
    rows = [{"muscle": text, "psw": "1+"}
            for text in ("APB right", "FDI (R)", "右小指展肌", "R ADM", "RTibialis anterior")]
    tables = read_tables([*rows, {"muscle": "deltoid", "sheet": "needle, right"}, {"muscle": "Left side"},
                          {"muscle": "biceps"}, {"muscle": "bilateral EDB"}, {"side": "L", "muscle": "R soleus"}], [])
    found = [(row.muscle, row.side) for row in tables.emg]
    assert found == [("apb", "right"), ("fdi", "right"), ("adm", "right"), ("tibialis_anterior", "right"),
                     ("deltoid", "right"), ("biceps_brachii", "left"), ("edb", "left"), ("edb", "right"),
                     ("soleus", "left")]
    assert [flag.reason for flag in tables.flags] == ["two sides", "two sides", "two sides", "duplicated row"]


@pytest.mark.parametrize("text", ["L5 paraspinal", "L 5 paraspinal", "L4/5 PSP", "Ext.Dig.L", "Lat.Dorsi", "radial",
                                  "lateral plantar", "Erb", "Dig III", "cleft", "右旋" [1:]])
def test_names_that_tell_no_side(text: str) -> None:
    assert find_side(text)[0] is None


def test_an_abbreviated_amplitude_is_not_the_left_one(tmp_path: Path) -> None:
    header = [*LONG[:6], "Ampl", "CV"]
    assert read(tmp_path / "a", header, LONG_ROWS[1]) == (RIGHT, [])
    pair = ["nerve", "type", "stim", "rec", "LatL", "LatR", "AmpL", "AmpR", "CVL", "CVR"]
    row = ["median", "motor", "wrist", "APB", 5.6, 3.4, 3.2, 8.8, "", ""]
    assert read(tmp_path / "b", pair, row) == (VALUES[:4], [])


# A mapping that names one side for the columns, and hints

def test_a_mapping_onto_the_left_columns_leaves_right_right(tmp_path: Path) -> None:
    root = hospital(tmp_path / "in", LONG, *LONG_ROWS)
    mapping = tmp_path / "mapping.json"
    given: dict[str, list[str]] = {f"{measure}_left": [measure] for measure in ("lat", "amp", "cv")}
    given |= {f"{measure}_right": [] for measure in ("lat", "amp", "cv")}
    mapping.write_text(json.dumps({"ncv_columns": given}))
    case, = cases(root, mapping)
    assert numbers(case.case) == VALUES and [reason for reason, _ in case.flags] == ["two sides", "two sides"]


@pytest.mark.parametrize("header", [
    [*LONG[:5], "Latenz", "Amplitude", "NLG"], ["Seite", *LONG[1:5], "t", "u", "v"], [*WIDE[:4], "Latenz L", *WIDE[5:]],
    ["nerve", "side", "cvx", "lat"], [*LONG[:4], "where", *LONG[5:]], [*WIDE, "muscle"], [*WIDE[:9], "side", "fibs"],
    ["nervus", *WIDE[1:]], ["a", "b", "c"], ["side", "muscle", "cv"], [*WIDE[:4], "lat_left", "age", "sural"]])
def test_a_hint_is_taken_by_the_tool_and_proposes_no_known_word(tmp_path: Path, header: list[str]) -> None:
    root = hospital(tmp_path / "in", header, ["R"] * len(header))
    try:
        list(read_etm(root))
        return
    except MedReportError as caught:
        hint = str(caught.hint)
    if "--mapping" not in hint:
        assert hint.startswith("a column is needed that is called one of nerve, Examined Nerve")
        return
    proposed = json.loads(hint[hint.index("{"):hint.rindex("}") + 1])
    names = {name for group in proposed.values() for listed in group.values() for name in listed}
    assert not names & {"side", "Seite", "lat", "amp", "cv", "muscle", "fibs", "age", "sural", "nerve", "Amplitude"}
    (tmp_path / "mapping.json").write_text(json.dumps(proposed), encoding="utf-8")
    assert list(read_etm(root, tmp_path / "mapping.json"))


def test_a_record_without_tables_is_not_told_to_leave_them_out(tmp_path: Path) -> None:
    root = write_json(tmp_path / "a.json", [{"Age": 3, "Findings": "x", "blood": 1, "urine": 2}])
    with pytest.raises(MedReportError, match="do not map") as caught:
        list(read_etm(root))
    assert str(caught.value.hint).startswith("a column is needed that is called one of emg, EMG")


def test_columns_that_were_not_used_are_named(tmp_path: Path) -> None:
    case, = cases(hospital(tmp_path / "a", [*WIDE, "temp"], ["median", "motor", "wrist", "APB", 5, *5 * [""], 31],
                           age="54", sex="F", height_cm="160", ward="7"))
    assert case.unused == ("cases.csv: ward", "ncv.csv: temp")
    wide = [[*WIDE, "temp"], ["median", "motor", "wrist", "APB", 5, *5 * [None], 31]]
    one, = cases(write_json(tmp_path / "b" / "a.json", [record(NCV=wide, ward=7)]))
    assert one.unused == ("ward", "ncv: temp")


def test_the_two_examples_of_the_page_are_read_as_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "emg-tables.md").read_text(encoding="utf-8")
    write_csv(tmp_path / "cases.csv", [{"record_id": "h1", "findings": "x", "impression": ""}])
    (tmp_path / "ncv.csv").write_text(page.split("```csv\n")[2].split("```")[0], encoding="utf-8")
    case, = cases(tmp_path)
    assert numbers(case.case) == VALUES and not case.flags


@pytest.mark.parametrize("name", ["11-emg-long", "15-emg-side-in-nerve"])
def test_the_case_is_right(shared_data: Path, name: str) -> None:
    folder = shared_data.parent / "cases" / name
    if not folder.is_dir():
        pytest.skip("no folder of cases")
    given = (None, folder.parent / f"{name}-mapping.json") if name == "11-emg-long" else (None,)
    for mapping in given:
        first, second = cases(folder, mapping)
        assert numbers(first.case) == (VALUES[:4] if name == "11-emg-long" else RIGHT)
        assert numbers(second.case) == VALUES[4:]
