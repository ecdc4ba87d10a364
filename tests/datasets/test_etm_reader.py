"""Reading folders of EMG tables: both published forms in every kind of file, the CSV form, and files that are not
what they say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from etm_fixture import (
    EMG_HEADER,
    EMG_ROWS,
    FINDINGS,
    IMPRESSION,
    NCV_HEADER,
    NCV_ROWS,
    WRITERS,
    as_groups,
    as_text,
    cases,
    llm_record,
    matrix,
    numbers,
    record,
    set_aside,
    with_ncv,
    write_csv,
    write_hospital,
    write_json,
    write_jsonl,
    write_parquet,
)

from emgecg_cli.core.datasets.emg_tables import read_etm
from emgecg_cli.core.datasets.emg_tables.files import split_of
from emgecg_cli.core.datasets.emg_tables.llm_form import split_answer
from emgecg_cli.core.emg.case import values
from emgecg_cli.core.errors import MedReportError

SHAPES: dict[str, Callable[[list[str], list[Any]], Any]] = {
    "lists": lambda header, rows: [header, *rows],
    "lists in the published order": lambda header, rows: rows,
    "groups": as_groups,
    "groups without empty cells": lambda header, rows: [
        {key: cell for key, cell in one.items() if cell is not None} for one in as_groups(header, rows)],
    "columns": lambda header, rows: {name: [row[i] for row in rows] for i, name in enumerate(header)},
    "columns and data": lambda header, rows: {"columns": header, "data": rows},
    "JSON text": lambda header, rows: json.dumps(as_groups(header, rows)),
    "pipes": as_text,
    "pipes in a frame": lambda header, rows: "\n".join(
        ["### Test:", f"| {' | '.join(header)} |", "|" + "---|" * len(header),
         *(f"| {' | '.join(line.split('|'))} |" for line in as_text(header, rows).splitlines()[1:])]),
    "tabs": lambda header, rows: as_text(header, rows, "\t")}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_in_any_shape_gives_the_same_case(tmp_path: Path, shape: str) -> None:
    shaped = record(EMG=SHAPES[shape](EMG_HEADER, EMG_ROWS), NCV=SHAPES[shape](NCV_HEADER, NCV_ROWS))
    plain, other = cases(write_json(tmp_path / "train.json", [record(), shaped]))
    assert other.case is not None and plain.case is not None and not other.flags
    assert other.case.emg == plain.case.emg and numbers(other.case) == numbers(plain.case)
    assert len(numbers(plain.case)) == 15 and (plain.case.age, plain.case.sex, plain.case.height) == (32.0, "M", 178.0)
    assert numbers(plain.case)[0] == ("median|motor|wrist|apb|lat", "left", 4.2)
    assert numbers(plain.case)[-1] == ("peroneal|f_wave|ankle|edb|lat", "left", 50.5)
    assert (plain.findings, plain.impression, plain.language) == (FINDINGS, IMPRESSION, "zh")


def test_empty_cells_at_the_edges_of_a_framed_table_keep_their_place(tmp_path: Path) -> None:
    framed = "\n".join(f"|{line}|" for line in (*as_text(NCV_HEADER, NCV_ROWS[:1]).splitlines(),
                                                "|运动|肘|拇短展肌|8.4||6.6||55.1|"))
    read, = cases(write_json(tmp_path / "train.json", [record(NCV=framed)]))
    assert [reason for reason, _ in read.flags] == ["no nerve"]
    assert numbers(read.case)[2:] == [("median|motor|elbow|apb|lat", "left", 8.4), (
        "median|motor|elbow|apb|amp", "left", 6.6), ("median|motor|elbow|apb|cv", "left", 55.1)]


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    expected = cases(write_json(tmp_path / "a" / "train.json", [record()]))[0]
    read = cases(WRITERS[kind](tmp_path / "b"))
    assert len(read) == 2 and len({one.record_id for one in read}) == 2
    for one in read:
        assert one.split == "train" and one.subject_id == one.record_id and not one.flags
        assert (one.findings, one.impression, one.case.age) == (FINDINGS, IMPRESSION, 32.0)  # type: ignore[union-attr]
        assert numbers(one.case) == numbers(expected.case)


@pytest.mark.parametrize(("name", "split"), [
    ("train.json", "train"), ("validation-00000-of-00001.parquet", "val"), ("etm_val.jsonl", "val"), ("dev.csv", "val"),
    ("data/test/part1.json", "test"), ("test/train.json", "train"), ("trainer.json", None), ("latest.json", None),
    ("ETM-17k-test.json", "test"), ("train_test.json", None), ("all.json", None)])
def test_official_splits_come_from_the_names(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_splits_and_ids_of_the_records_themselves(tmp_path: Path) -> None:
    first, second = cases(write_json(tmp_path / "train.json", [
        record(id="a 1", patient_id=7, split="validation"), record(id=12, patient_id=7.0, split="")]))
    assert (first.record_id, first.subject_id, first.split) == ("a 1", "7", "val")
    assert (second.record_id, second.subject_id, second.split) == ("12", "7", "train")


def test_the_form_for_language_models(tmp_path: Path) -> None:
    records = [llm_record(), llm_record(tensor=[], instruction="nothing to encode")]
    write_jsonl(tmp_path / "train.jsonl", records)
    write_parquet(tmp_path / "test.parquet", records)
    write_csv(tmp_path / "validation.csv", [one | {"tensor": json.dumps(one["tensor"])} for one in records])
    read = cases(tmp_path)
    assert [one.split for one in read] == ["test", "test", "train", "train", "val", "val"]
    for one in read[::2]:
        assert one.case is None and one.instruction is not None and one.instruction.count("<unk>") == 2
        assert [tensor.item for tensor in one.tensors] == ["正中神经运动潜伏期", "波幅"]
        assert [list(map(list, tensor.rows)) for tensor in one.tensors] == [matrix(), matrix(4.9)]
        assert (one.findings, one.impression) == (FINDINGS, IMPRESSION) and one.output == records[0]["output"]
    assert all(one.tensors == () for one in read[1::2])


def test_an_answer_of_line_ends_is_split_in_linear_time() -> None:
    text = "a" + "\n" * 60_000 + "b"
    start = time.perf_counter()
    assert split_answer(text) == (text, "")
    assert time.perf_counter() - start < 1


def test_answers_without_headings_are_all_findings() -> None:
    assert split_answer("正常。") == ("正常。", "")
    assert split_answer("检查所见：未见异常。\n印象：正常。") == ("未见异常。", "正常。")
    assert split_answer("### Findings:\nEMG: a.\n### Impression: b") == ("EMG: a.", "b")


def test_the_csv_form_of_any_hospital(tmp_path: Path) -> None:
    first, second = cases(write_hospital(tmp_path))
    assert (first.record_id, first.subject_id, first.split, first.language) == ("h1", "p1", "train", "zh")
    assert (second.record_id, second.split, second.language) == ("h2", None, "en")
    assert first.case is not None and (first.case.age, first.case.sex, first.case.height) == (54.0, "F", 162.0)
    emg = first.case.emg[0]
    assert (emg.side, emg.muscle, emg.psw, emg.form, emg.recruitment) == ("left", "apb", "2+", "large", "reduced")
    assert numbers(first.case) == [("median|motor|wrist|apb|lat", "left", 5.6),
                                   ("median|motor|wrist|apb|amp", "left", 3.2)]
    assert [cell.state for _, side, cell in values(first.case) if side == "left"][3:5] == ["absent", "absent"]
    assert numbers(second.case)[0] == ("ulnar|motor|wrist|adm|lat", "left", 2.6)


def test_the_example_of_the_page_is_read_as_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "emg-tables.md").read_text(encoding="utf-8")
    (tmp_path / "ncv.csv").write_text(page.split("```csv\n")[1].split("```")[0], encoding="utf-8")
    write_csv(tmp_path / "cases.csv", [{"record_id": "h1", "findings": "x", "impression": ""}])
    mapping = tmp_path / "mapping.json"
    mapping.write_text(page.split("```json\n")[1].split("```")[0], encoding="utf-8")
    for given in (None, mapping):
        read, = cases(tmp_path, given)
        assert not read.flags and [state for key, side, state in (
            (item.key, side, cell.state) for item, side, cell in values(read.case)  # type: ignore[arg-type]
            ) if key == "median|sensory|digit_3|wrist|lat"] == ["absent", "value"]


# What does not map

def test_unknown_columns_are_one_error_that_shows_both_sides(tmp_path: Path) -> None:
    odd = {"年纪" if key == "Age" else key: value for key, value in record().items()}
    root = write_json(tmp_path / "in" / "train.json", [odd] * 3)
    with pytest.raises(MedReportError) as caught:
        list(read_etm(root))
    message = caught.value.message
    assert "unknown: 年纪" in message and "wanted age (Age / 年龄)" in message and "train.json, record 1" in message
    assert "\n" not in message and '{"age": ["年纪"]}' in str(caught.value.hint)
    mapping = tmp_path / "mapping.json"
    mapping.write_text('{"record": {"age": ["年纪"]}}', encoding="utf-8")
    assert cases(root, mapping)[0].case.age == 32.0  # type: ignore[union-attr]
    mapping.write_text('{"record": {"age": []}}', encoding="utf-8")
    assert cases(root, mapping)[0].case.age is None  # type: ignore[union-attr]


@pytest.mark.parametrize(("table", "unknown"), [
    ([[*NCV_HEADER[:4], "Latenz L", *NCV_HEADER[5:]], *NCV_ROWS], "Latenz L"),
    ([{"nerve of interest": "median", "Type": "motor", "Lat (L)": 4.2}], "nerve of interest"),
    ("a|b|c\n1|2|3", "a, b, c"),
    ([[*NCV_HEADER[:4], "潜伏期(左) Lat (R)", *NCV_HEADER[5:]], *NCV_ROWS], "潜伏期(左) Lat (R)")])
def test_unknown_headings_of_a_table_are_the_same_error(tmp_path: Path, table: Any, unknown: str) -> None:
    with pytest.raises(MedReportError, match="do not map") as caught:
        list(read_etm(write_json(tmp_path / "train.json", [record(NCV=table)] * 30)))
    assert f"unknown: {unknown})" in caught.value.message and "record 1, ncv table" in caught.value.message
    later = write_json(tmp_path / "b" / "train.json", [record(), *[record(NCV=table)] * 30, record()])
    rows = set_aside(later)
    assert [(row.reason, row.record_id) for row in rows] == [("unmapped columns", f"train-{i}") for i in range(2, 32)]


def test_the_form_for_language_models_under_other_names(tmp_path: Path) -> None:
    odd = {"tensors" if key == "tensor" else key: value for key, value in llm_record().items()}
    root = write_json(tmp_path / "in" / "a.json", [odd])
    with pytest.raises(MedReportError, match=r"unknown: tensors.*wanted tensor"):
        list(read_etm(root))
    mapping = tmp_path / "m.json"
    mapping.write_text('{"llm": {"tensor": "tensors"}, "terms": {"nerve": {"正中N": "median"}}}', encoding="utf-8")
    assert len(cases(root, mapping)[0].tensors) == 2


def test_spellings_of_the_mapping_file(tmp_path: Path) -> None:
    root = write_json(tmp_path / "in" / "a.json", [with_ncv(["正中支", "运动", "腕", "鱼际", 4.2, *[None] * 5])])
    assert [reason for reason, _ in cases(root)[0].flags] == ["unknown nerve", "unknown site"]
    mapping = tmp_path / "m.json"
    mapping.write_text('{"terms": {"nerve": {"正中支": "median"}, "muscle": {"鱼际": "apb"}}}', encoding="utf-8")
    read = cases(root, mapping)[0]
    assert not read.flags and numbers(read.case)[0][0] == "median|motor|wrist|apb|lat"


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"record": 3}', '{"records": {}}', '{"record": {"agee": []}}',
                                  '{"record": {"age": [3]}}', '{"terms": {"nerve": {"x": "y"}}}', '{"version": 9}',
                                  '{"terms": {"nerves": {}}}', '{"terms": {"nerve": []}}', "[" * 100_000])
def test_a_wrong_mapping_file_is_one_error(tmp_path: Path, text: str) -> None:
    root = write_json(tmp_path / "in" / "a.json", [record()])
    (tmp_path / "m.json").write_text(text, encoding="utf-8")
    with pytest.raises(MedReportError) as caught:
        list(read_etm(root, tmp_path / "m.json"))
    assert "\n" not in caught.value.message
    with pytest.raises(MedReportError, match="cannot be read"):
        list(read_etm(root, tmp_path / "none.json"))
