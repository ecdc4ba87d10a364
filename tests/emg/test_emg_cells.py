"""Cells, rows and cases of nerve-conduction tables: what is a number, what is not, and slips across rows."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from emgecg_cli.core.emg.case import Case, Item, case_from_dict, case_to_dict, item_of, values
from emgecg_cli.core.emg.cells import LONGEST_TEXT, STATES, Cell, CellError, read_cell, unit
from emgecg_cli.core.emg.rows import Tables, read_tables
from emgecg_cli.core.emg.terms import MEASURES, TYPES
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.person import read_age, read_height, read_sex


def state(text: Any, measure: str = "lat", type: str = "motor") -> str:
    return read_cell(text, measure, type).state


@pytest.mark.parametrize(("text", "measure", "type", "value"), [
    ("4.2", "lat", "motor", 4.2), (4.2, "lat", "motor", 4.2), (" ４．２ ", "lat", "motor", 4.2),
    ("4,2", "lat", "motor", 4.2),
    (".9", "lat", "sensory", 0.9), ("7.", "amp", "motor", 7.0), ("4.2↑", "lat", "motor", 4.2),
    ("↓ 38.5", "cv", "motor", 38.5),
    ("6.1*", "amp", "motor", 6.1), ("4.2ms", "lat", "motor", 4.2), ("25 μV", "amp", "sensory", 25.0),
    ("7000 uV", "amp", "motor", 7.0), ("0.025mV", "amp", "sensory", 25.0), ("0.0042 s", "lat", "motor", 4.2),
    ("50.5", "lat", "f_wave", 50.5), (61, "cv", "sensory", 61.0), ("1e1", "amp", "motor", 10.0)])
def test_numbers(text: Any, measure: str, type: str, value: float) -> None:
    cell = read_cell(text, measure, type)
    assert cell.state == "value" and cell.value == pytest.approx(value) and float(cell.text) == pytest.approx(value)


@pytest.mark.parametrize("text", [None, "", "  ", "NaN", math.nan, "null", "-", "—", "/", "／", "N/A", "未查",
                                  "ＮａＮ"])
def test_missing(text: Any) -> None:
    assert read_cell(text, "lat", "motor") == Cell("missing", None, "")


@pytest.mark.parametrize("text", ["未引出", "NR", "N.R.", "No response", "absent", "消失", "无反应", "ＮＲ"])
def test_absent(text: str) -> None:
    assert read_cell(text, "amp", "motor") == Cell("absent", None, text)


@pytest.mark.parametrize("text", ["<0.1", "＜0.1", "> 20", "≥5", "<=0.5 mV"])
def test_censored_stays_text(text: str) -> None:
    assert read_cell(text, "amp", "motor") == Cell("censored", None, text)


@pytest.mark.parametrize(("text", "measure", "type", "why"), [
    ("0", "lat", "motor", "cannot be"), ("-3", "amp", "motor", "cannot be"), ("150", "lat", "motor", "above 100"),
    ("130", "cv", "motor", "above 120"), ("inf", "cv", "motor", "finite"), (math.inf, "lat", "motor", "finite"),
    ("1e400", "lat", "motor", "finite"), (10 ** 400, "lat", "motor", "finite"),
    ("7000", "amp", "motor", "looks like uV"), ("0.007", "amp", "motor", "looks like V"),
    ("0.025", "amp", "sensory", "looks like mV"), ("25000", "amp", "sensory", "looks like nV"),
    ("0.0042", "lat", "motor", "looks like s"), ("4200", "lat", "motor", "looks like us"),
    ("5510", "cv", "motor", "looks like cm/s"), ("55", "cv", "f_wave", "no cv"), ("5", "amp", "blink", "no amp")])
def test_what_cannot_be_is_said_and_never_a_number(text: Any, measure: str, type: str, why: str) -> None:
    cell = read_cell(text, measure, type)
    assert cell.state == "implausible" and cell.value is None and why in cell.reason


def test_a_whole_number_too_long_to_write_out() -> None:
    assert state(10 ** 5000) == "implausible"


@pytest.mark.parametrize("text", ["abc", "4.2 kg", "4.2.1", "4.2-4.8", "1,234", "4.2/4.4", "7 m/s", "٤", "4.2; 4.4",
                                  "延长", "4 2", "未引出 4", True, [4.2], {"a": 1}, "x" * 500, "<", "--4", "0x10",
                                  "1_000"])
def test_text_in_a_number_is_an_error(text: Any) -> None:
    with pytest.raises(CellError) as caught:
        read_cell(text, "lat", "motor")
    assert caught.value.reason and len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_any_text_is_a_cell_or_an_error() -> None:
    rng = random.Random(7)
    seeds = ["4.2", "未引出", "<0.1", "7000 uV", "NaN", "1e3", "4,2", "↓38.5*", "No response", "-", "１２．５",
             "0.0042 s"]
    alphabet = "0123456789.,eE+-<>≤≥ mµuVs/↑↓*()未引出\t\n\x00\ud800\u0660\U0001f600②½"
    for _ in range(2000):
        text = list(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(text) + 1)
            text[place:place + rng.randint(0, 2)] = rng.choices(alphabet, k=rng.randint(0, 3))
        measure, type = rng.choice(MEASURES), rng.choice([*TYPES, "", "?"])
        try:
            cell = read_cell("".join(text), measure, type)
        except CellError:
            continue
        assert cell.state in STATES and len(cell.text) <= LONGEST_TEXT
        assert (cell.state == "value") == (cell.value is not None)
        if cell.value is not None:
            assert math.isfinite(cell.value) and cell.value > 0 and unit(measure, type)


# Rows

def row(*texts: Any, nerve: str = "median", type: str = "motor", stim: str = "wrist",
        rec: str = "apb") -> dict[str, Any]:
    """A raw row with Lat L, Amp L, CV L, and Lat R, Amp R, CV R where given."""
    keys = ("lat_left", "amp_left", "cv_left", "lat_right", "amp_right", "cv_right")
    return {"nerve": nerve, "type": type, "stim": stim, "rec": rec, **dict(zip(keys, texts, strict=False))}


def found(tables: Tables) -> list[tuple[int, str, str]]:
    return [(flag.row, flag.column, flag.reason) for flag in tables.flags]


def test_a_good_table_has_no_flag_and_is_read_row_by_row_from_left_to_right() -> None:
    tables = read_tables([{"muscle": "左 指总伸肌 L Ext.Dig.Com", "fibs": "+", "recruitment": "干扰相",
                           "form": "> 5mv MUP"}],
                         [row(4.2, 7.0, None, 4.0, 6.9), row(8.1, 6.5, 56, 8, 6.4, 57, stim="elbow")])
    assert not tables.flags and tables.refused is None
    emg = tables.emg[0]
    assert (emg.side, emg.muscle, emg.fibs, emg.recruitment, emg.form, emg.psw) == (
        "left", "edc", "1+", "interference", "> 5mv MUP", "")
    case = Case(32.0, "M", 178.0, tables.emg, tables.ncv)
    read = [(item.key, side, cell.value) for item, side, cell in values(case)]
    assert read[:6] == [("median|motor|wrist|apb|lat", "left", 4.2), ("median|motor|wrist|apb|lat", "right", 4.0),
                        ("median|motor|wrist|apb|amp", "left", 7.0), ("median|motor|wrist|apb|amp", "right", 6.9),
                        ("median|motor|wrist|apb|cv", "left", None), ("median|motor|wrist|apb|cv", "right", None)]
    assert len(read) == 12 and read[6][0].startswith("median|motor|elbow")
    assert case_from_dict(json.loads(json.dumps(case_to_dict(case)))) == case
    assert hash(case) == hash(case_from_dict(case_to_dict(case)))


def test_zeros_are_an_absent_response_only_where_nothing_else_was_measured() -> None:
    cells = read_tables([], [row(None, "0", "0"), row(3.9, 0, 0, stim="elbow")])
    first, second = (dict(one.cells) for one in cells.ncv)
    assert [first[key, "left"].state for key in ("lat", "amp", "cv")] == ["missing", "absent", "absent"]
    assert [second[key, "left"].state for key in ("lat", "amp", "cv")] == ["value", "implausible", "implausible"]
    assert found(cells) == [(2, "amp_left", "implausible value"), (2, "cv_left", "implausible value")]


@pytest.mark.parametrize(("rows", "flag"), [
    ([row(4.2, 7.0, nerve="Mediam")], (1, "nerve", "unknown nerve")),
    ([row(4.2, 7000)], (1, "amp_left", "unit slip")),
    ([row("4.2 abc", 7.0)], (1, "lat_left", "text in a number")),
    ([row(400, 7.0)], (1, "lat_left", "unit slip")),
    ([row(4.2, 7.0), row(4.2, "7.00")], (2, "nerve", "duplicated row")),
    ([row(4.2, 7.0), row(4.4, 7.0)], (2, "nerve", "duplicated row")),
    ([row(4.2, 7.0), row(60.5, 6.0, 7.9, stim="elbow")], (2, "lat_left", "swapped columns")),
    ([row(4.2, 7.0), row(8.1, 58.0, 6.6, stim="elbow")], (2, "amp_left", "swapped columns")),
    ([row(4.2, 7.0, stim="moon")], (1, "stim", "unknown site")),
    ([row(4.2, 7.0, type="magic")], (1, "type", "unknown type")),
    ([row(4.2, 7.0), row(8.0, 6.1, 55, nerve="", stim="elbow")], (2, "nerve", "no nerve")),
    ([row(4.2, 7.0, nerve="")], (1, "nerve", "no nerve"))])
def test_each_fault_has_one_flag(rows: list[dict[str, Any]], flag: tuple[int, str, str]) -> None:
    tables = read_tables([], rows)
    assert found(tables) == [flag] and tables.refused is None
    assert all("\n" not in one.detail for one in tables.flags)


def test_what_is_kept_of_a_faulty_row() -> None:
    unknown = read_tables([], [row(4.2, 7.0, nerve="Foo | bar")])
    assert unknown.ncv[0].nerve == "Foo / bar" and unknown.ncv[0].cells["lat", "left"].value == 4.2
    assert item_of(next(values(Case(None, None, None, (), unknown.ncv)))[0].key).nerve == "Foo / bar"
    text = read_tables([], [row("4.2 abc", 7.0)]).ncv[0].cells
    assert text["lat", "left"] == Cell("implausible", None, "4.2 abc", "text in a number")
    assert text["amp", "left"].value == 7.0
    swapped = read_tables([], [row(4.2, 7.0), row(60.5, 6.0, 7.9, stim="elbow")]).ncv[1].cells
    assert [swapped[key, "left"].state for key in ("lat", "amp", "cv")] == ["implausible", "value", "implausible"]
    assert len(read_tables([], [row(4.2, 7.0), row(4.2, 7.0)]).ncv) == 1
    assert len(read_tables([], [row(4.2, 7.0), row(4.4, 7.0)]).ncv) == 2
    assert read_tables([], [row(4.2, 7.0), row(None, None, None, 4.4, 7.0)]).flags == ()
    extra = {"nerve": {"mediam": "median"}}
    assert read_tables([], [row(4.2, 7.0, nerve="Mediam")], extra).ncv[0].nerve == "median"


def test_columns_exchanged_throughout_refuse_the_record_and_slow_nerves_do_not() -> None:
    exchanged = [row(None, 7.0, 4.2), row(56.0, 6.6, 8.1, stim="elbow"), row(58, 6.1, 7.2, nerve="ulnar", stim="elbow")]
    refused = read_tables([], exchanged).refused
    assert refused is not None and refused.reason == "swapped columns"
    assert (refused.row, refused.column) == (2, "lat_left")
    # Demyelination throughout: the same numbers by size, but the distal rows have a latency and no velocity.
    slow = [row(18.0, 0.9), row(45.0, 0.7, 9.0, stim="elbow"), row(38.0, 0.6, 10.0, nerve="ulnar", stim="elbow")]
    tables = read_tables([], slow)
    assert tables.refused is None and not tables.flags
    assert all(one.cells["lat", "left"].state == "value" for one in tables.ncv)


def test_repeated_muscles() -> None:
    same = {"muscle": "L APB", "fibs": "-"}
    assert [len(read_tables([same, other], []).emg) for other in (dict(same), same | {"fibs": "2+"},
                                                                 same | {"muscle": "R APB"})] == [1, 2, 2]
    assert found(read_tables([same, same], [])) == [(2, "muscle", "duplicated row")]
    assert found(read_tables([same | {"side": "右"}], [])) == [(1, "side", "two sides")]


def test_items_and_cases_from_elsewhere() -> None:
    assert item_of("ulnar|sensory|digit_5||amp") == Item("ulnar", "sensory", "digit_5", "", "amp")
    for text in ("", "median|motor|wrist|apb", "median|motor|wrist|apb|speed", "||||lat", "a|b|c|d|e|lat"):
        with pytest.raises(MedReportError):
            item_of(text)
    good = case_to_dict(Case(None, None, None, (), read_tables([], [row(4.2, 7.0)]).ncv))
    for broken in ({}, good | {"ncv": [{}]}, good | {"emg": 3}, json.loads(json.dumps(good).replace("4.2,", "null,")),
                   json.loads(json.dumps(good).replace('"value"', '"wonder"'))):
        with pytest.raises(MedReportError, match="not a case"):
            case_from_dict(broken)


@pytest.mark.parametrize(("read", "value", "expected"), [
    (read_age, "32", 32.0), (read_age, 32, 32.0), (read_age, "32岁", 32.0), (read_age, "6个月", 0.5),
    (read_age, "３２", 32.0),
    (read_age, "-1", None), (read_age, 400, None), (read_age, "abc", None), (read_age, True, None),
    (read_age, None, None),
    (read_sex, "男", "M"), (read_sex, "Female", "F"), (read_sex, "m", "M"), (read_sex, 1, None), (read_sex, None, None),
    (read_height, "178 cm", 178.0), (read_height, "1.78m", 178.0), (read_height, 1.78, None), (read_height, "x", None)])
def test_persons(read: Any, value: Any, expected: Any) -> None:
    assert read(value) == expected
