"""Bad EMG tables: one line each with file, row and column, and the rest of the set is kept; and files that are not what
they say."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
from etm_fixture import (
    NCV_HEADER,
    NCV_ROWS,
    WRITERS,
    cases,
    dump,
    llm_record,
    matrix,
    numbers,
    record,
    set_aside,
    with_ncv,
    write_hospital,
    write_json,
    write_jsonl,
)

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets.emg_tables import RawExamination, read_etm, survey_etm
from emgecg_cli.core.datasets.emg_tables import files as etm_files
from emgecg_cli.core.errors import MedReportError


@pytest.mark.parametrize(("row", "reason", "column"), [
    (["正中神精", "运动", "腕", "拇短展肌", 4.2, None, 7.0, None, None, None], "unknown nerve",
     "被检神经 Examined Nerve"),
    (["胫神经", "运动", "踝", "踇展肌", 4.2, None, 7000, None, None, None], "unit slip", "波幅(左) Amp (L)"),
    (["胫神经", "运动", "腘窝", "踇展肌", 60.5, None, 7.0, None, 6.2, None], "swapped columns", "潜伏期(左) Lat (L)"),
    (["胫神经", "运动", "踝", "踇展肌", "4.2左", None, 7.0, None, None, None], "text in a number",
     "潜伏期(左) Lat (L)"),
    (NCV_ROWS[0], "duplicated row", "被检神经 Examined Nerve")])
def test_a_fault_of_a_row_is_one_flag_of_a_record_that_is_kept(tmp_path: Path, row: list[Any], reason: str,
                                                              column: str) -> None:
    good, bad = cases(write_jsonl(tmp_path / "train.jsonl", [record(), with_ncv(*NCV_ROWS, row)]))
    assert not good.flags
    (told, line), = bad.flags
    assert told == reason and line.startswith(f"train.jsonl, line 2, ncv row 5, column '{column}': ")
    assert "\n" not in line and numbers(bad.case)[:15] == numbers(good.case)


def test_columns_exchanged_throughout_set_the_record_aside(tmp_path: Path) -> None:
    swapped = [["正中神经", "运动", stim, "拇短展肌", 57.0, 58.0, 7.0, 7.0, lat, lat]
               for stim, lat in (("肘", 8.0), ("腋", 11))]
    row, = set_aside(write_json(tmp_path / "train.json", [record(), with_ncv(*swapped)]))
    assert (row.reason, row.record_id) == ("swapped columns", "train-2")
    assert row.detail.startswith("train.json, record 2, ncv row 1, column '潜伏期(左) Lat (L)': lat and cv look exch")


def broken(i: int, j: int, value: Any) -> list[dict[str, Any]]:
    rows = matrix()
    rows[i][j] = value
    return [{"item": "a", "tensor": matrix()}, {"item": "b", "tensor": rows}]


@pytest.mark.parametrize(("given", "reason", "where"), [
    ({"tensor": llm_record()["tensor"][:1]}, "placeholders and tensors differ", "column 'instruction': 2 <unk>, and 1"),
    ({"instruction": "<unk>"}, "placeholders and tensors differ", "1 <unk>, and 2 tensors"),
    ({"tensor": broken(2, 3, math.nan)}, "nan tensor", "tensor 2 ('b'), row lower, column 4: nan"),
    ({"tensor": broken(0, 0, math.inf)}, "nan tensor", "row upper, column 1: inf"),
    ({"tensor": broken(1, 6, 10 ** 400)}, "nan tensor", "row value, column 7: inf"),
    ({"tensor": broken(1, 6, "4.2")}, "bad tensor", "row value, column 7: '4.2' is no number"),
    ({"tensor": broken(1, 6, None)}, "bad tensor", "'None' is no number"),
    ({"tensor": broken(1, 6, True)}, "bad tensor", "'True' is no number"),
    ({"tensor": [{"item": "a", "tensor": matrix()}, {"item": "b", "tensor": matrix()[:2]}]}, "bad tensor", "2 x 7"),
    ({"tensor": [{"item": "a", "tensor": matrix()}, {"item": "b", "tensor": [[1.0] * 6] * 3}]}, "bad tensor", "3 x 6"),
    ({"tensor": [3, 4]}, "bad tensor", "tensor 1: not a group"),
    ({"tensor": 3}, "bad tensor", "column 'tensor': a int, no list"),
    ({"tensor": "[[["}, "bad tensor", "column 'tensor': not JSON"),
    ({"output": " "}, "no report", "column 'output': empty")])
def test_a_fault_of_a_tensor_sets_the_record_aside(tmp_path: Path, given: Any, reason: str, where: str) -> None:
    row, = set_aside(write_jsonl(tmp_path / "train.jsonl", [llm_record(), llm_record(**given), llm_record()]))
    assert row.reason == reason and row.detail.startswith("train.jsonl, line 2") and where in row.detail
    assert "\n" not in row.detail and row.source == "train.jsonl"


def test_matrices_that_are_odd_but_usable_are_flagged(tmp_path: Path) -> None:
    tensor = [{"item": "a", "tensor": [matrix()[2], matrix()[1], matrix()[0]]}, *broken(1, 2, 9.0)[1:]]
    read, = cases(write_json(tmp_path / "train.json", [llm_record(tensor=tensor)]))
    assert [reason for reason, _ in read.flags] == ["references upside down", "value row not constant"]


@pytest.mark.parametrize(("given", "reason", "where"), [
    ({"Findings": "", "Impression": None}, "no report", "train.json, record 2: findings"),
    ({"EMG": [], "NCV": ""}, "no table", "train.json, record 2: no row"),
    ({"NCV": "just words"}, "unreadable table", "record 2, ncv table: text without pipes"),
    ({"NCV": "[[1,"}, "unreadable table", "record 2, ncv table: text that is not JSON"),
    ({"EMG": 7}, "unreadable table", "record 2, emg table: a int"),
    ({"NCV": {"Nerve": ["median"], "Type": []}}, "unreadable table", "columns of different lengths"),
    ({"NCV": [NCV_HEADER, [*NCV_ROWS[0], 7]]}, "row of another width", "ncv table, row 1: 11 cells under 10"),
    ({"NCV": [NCV_HEADER] + 3000 * [NCV_ROWS[0]]}, "too large", "ncv table"),
    ({"NCV": [[*NCV_HEADER[:9], NCV_HEADER[8]], *NCV_ROWS]}, "unreadable table",
     "column '速度(左) CV (L)' is there twice"),
    ({"split": "somewhere"}, "unknown split", "'somewhere'"), ({"Findings": "x" * 100_000}, "too large", "100000")])
def test_a_record_that_cannot_be_read_is_set_aside_alone(tmp_path: Path, given: Any, reason: str, where: str) -> None:
    rows = set_aside(write_json(tmp_path / "train.json", [record(), record(**given), record()]))
    assert [row.reason for row in rows] == [reason] and where in rows[0].detail and "\n" not in rows[0].detail


def test_unreadable_persons_are_flagged_and_left_out(tmp_path: Path) -> None:
    read, = cases(write_json(tmp_path / "train.json", [record(Age=999, Gender=1, Height="1.78")]))
    assert read.case is not None and (read.case.age, read.case.sex, read.case.height) == (None, None, None)
    assert [reason for reason, _ in read.flags] == ["unreadable age", "unreadable sex", "unreadable height"]


def test_faults_of_the_csv_form_name_the_row_of_the_file(tmp_path: Path) -> None:
    write_hospital(tmp_path)
    with (tmp_path / "ncv.csv").open("a", encoding="utf-8") as stream:
        stream.write("h1,median,motor,elbow,APB,8.8x,3.1,55,,,\nh9,median,motor,elbow,APB,8.8,3.1,55,,,\nh1,too,short\n")
    rows = list(read_etm(tmp_path))
    kept = {row.record_id: row for row in rows if isinstance(row, RawExamination)}
    assert set(kept) == {"h1", "h2"}
    (reason, line), = kept["h1"].flags
    assert (reason, line) == ("text in a number",
                              "ncv.csv, row 5, column 'lat_left': '8.8x' is no number; kept as text")
    refused = [row for row in rows if isinstance(row, QuarantineRow)]
    assert {(row.record_id, row.reason, row.detail.partition(":")[0]) for row in refused} == {
        ("h9", "no such case", "ncv.csv, row 6, column 'record_id'"), ("h1", "row of another width", "ncv.csv, row 7")}
    (tmp_path / "ncv.csv").write_text("record_id,nervus,type\nh1,median,motor\n", encoding="utf-8")
    with pytest.raises(MedReportError, match=r"ncv\.csv: columns that do not map; found record_id, nervus.*wanted n"):
        list(read_etm(tmp_path))


# Files that are not what they say

def test_broken_files_leave_the_others(tmp_path: Path) -> None:
    write_json(tmp_path / "train.json", [record()])
    text = json.dumps([record(), record(), record()], ensure_ascii=False)
    (tmp_path / "cut.json").write_text(text[:-len(text) // 3 - 20], encoding="utf-8")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\n" + json.dumps(record()).encode() + b"\n[1]\nnot json\n")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 nothing of the kind")
    (tmp_path / "quote.csv").write_text('Age,EMG,NCV,Findings,Impression\n1,"never closed,' + "x" * (1 << 21))
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    (tmp_path / "random.csv").write_bytes(random.Random(3).randbytes(500))
    rows = list(read_etm(tmp_path))
    reasons = [(row.source, row.reason) for row in rows if isinstance(row, QuarantineRow)]
    assert ("cut.json", "unreadable file") in reasons and ("no.parquet", "unreadable file") in reasons
    assert [reason for source, reason in reasons if source == "bytes.jsonl"] == ["not UTF-8", "not JSON", "not JSON"]
    assert {source for source, _ in reasons} == {"cut.json", "bytes.jsonl", "no.parquet", "quote.csv", "empty.json",
                                                 "deep.json", "random.csv"}
    assert sum(isinstance(row, RawExamination) for row in rows) >= 3
    assert all("\n" not in row.detail for row in rows if isinstance(row, QuarantineRow))


def test_a_list_longer_than_the_buffer_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = dump(tmp_path / "train.json", [12345678901234, *(record(id=str(i)) for i in range(40))])
    whole = list(read_etm(root))
    assert [row.record_id for row in whole] == ["train-1", *map(str, range(40))]
    for chunk in (7, 100, 5000):
        monkeypatch.setattr(etm_files, "CHUNK", chunk)
        assert list(read_etm(root)) == whole


def test_links_out_of_the_root_are_not_followed(tmp_path: Path) -> None:
    outside = write_json(tmp_path / "out" / "train.json", [record()]) / "train.json"
    root = tmp_path / "in"
    root.mkdir()
    os.symlink(outside, root / "train.json")
    with pytest.raises(MedReportError, match="1 links lead out of it"):
        list(read_etm(root))
    with pytest.raises(MedReportError, match="no such folder"):
        list(read_etm(tmp_path / "nowhere"))


def test_any_mutation_of_a_file_gives_cases_reasons_or_one_error(tmp_path: Path) -> None:
    rng = random.Random(11)
    sources = [(name, writer(tmp_path / f"s{i}")) for i, (name, writer) in enumerate(WRITERS.items())]
    sources.append(("llm", write_jsonl(tmp_path / "llm" / "train.jsonl", [llm_record()] * 2)))
    for turn in range(150):
        _, folder = sources[turn % len(sources)]
        path = next(path for path in sorted(folder.rglob("*")) if path.is_file())
        data = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(data))
            data[place:place + rng.randint(0, 3)] = rng.choice(
                [b"", b'"', b"NaN", b"{", b"\x00", b"|", b",", b"\xff", b"9" * 30])
        root = tmp_path / "mutant"
        root.mkdir(exist_ok=True)
        target = root / f"train{path.suffix}"
        target.write_bytes(data)
        try:
            for row in read_etm(root):
                assert isinstance(row, RawExamination | QuarantineRow)
                assert not isinstance(row, QuarantineRow) or (row.reason and "\n" not in row.detail)
        except MedReportError as error:
            assert "\n" not in error.message
        target.unlink()


def test_a_survey_names_the_files_and_their_hashes(tmp_path: Path) -> None:
    root = write_json(tmp_path / "a" / "train.json", [record()])
    found = survey_etm(root)
    assert found["form"] == "records" and list(found["files"]) == ["train.json"] and found["mapping_sha256"] is None
    assert list(survey_etm(write_hospital(tmp_path / "b"))["files"]) == ["cases.csv", "emg.csv", "ncv.csv"]
