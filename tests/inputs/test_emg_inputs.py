"""What a model is shown of tables: matrices, text, another's values, random limits; and what stage 1 is made of."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emg_store import short, shown

from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import item_of
from emgecg_cli.core.emg.cells import Cell
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.inputs.drawn import whole_tables as drawn_tables
from emgecg_cli.core.inputs.drawn.values import draw_value, drawn_records
from emgecg_cli.core.inputs.items import ItemWords, stack_items
from emgecg_cli.core.inputs.sources import ValueSource
from emgecg_cli.core.inputs.values import Values
from emgecg_cli.core.instructions.render import text_of, values_of
from emgecg_cli.core.references import CLASSES, abnormality, deviation, is_outside, matrix, read_references
from emgecg_cli.core.reports.emg.statements import judged
from emgecg_cli.core.reports.emg.statements_read import read_statements


# ------------------------------------------------------------------------------------------------------ what is shown
def test_each_value_is_shown_beside_its_own_references(tables: tuple[Path, Path]) -> None:
    inputs = shown(tables)
    parts, given = values_of(inputs.messages(1)), inputs.arrays(1)["values"]
    assert given.dtype == np.float32 and given.shape == (len(parts), 3, 7) and len(parts) > 3
    for part, one in zip(parts, given, strict=True):
        reference = inputs.values.references.of(part["item"])
        assert one.tolist() == np.float32([reference.upper, [part["value"]] * 7, reference.lower]).tolist()


def test_values_as_text_and_as_the_words_of_rules_leave_nothing_to_encode(tables: tuple[Path, Path]) -> None:
    real, text, rules, none = (shown(tables, **how) for how in (
        {}, {"mode": "text"}, {"mode": "rules"}, {"hidden": True}))
    part = values_of(real.messages(1))[0]
    reference = real.values.references.of(part["item"])
    for inputs, words in ((text, f"{part['value']:g}"), (rules, abnormality(reference, part["value"])), (none, "")):
        said = [one for one in inputs.messages(1)[0]["content"] if one["type"] == "value"]
        assert said[0]["text"] == words
        assert all(len(one) == 0 for one in inputs.arrays(1, {"values": None}).values())
        assert len(said) == len(values_of(real.messages(1)))
    assert text_of(text.messages(1)[0]["content"]) == text_of(real.messages(1)[0]["content"])
    assert "偏" in text_of(rules.messages(0)[0]["content"]) or "正常" in text_of(rules.messages(0)[0]["content"])


def test_anothers_values_stand_where_this_records_items_are_the_same(tables: tuple[Path, Path]) -> None:
    inputs = shown(tables)
    own, other = values_of(inputs.messages(1)), values_of(inputs.messages(4))
    mixed = values_of(inputs.messages(1, {"values": 4}))
    known = {(part["item"], part["side"]): part["value"] for part in other}
    for before, after in zip(own, mixed, strict=True):
        key = before["item"], before["side"]
        expected = known.get(key, inputs.values.references.of(before["item"]).median)
        assert (after["item"], after["side"], after["value"]) == (*key, expected)
    assert any((part["item"], part["side"]) in known for part in own)
    given = inputs.arrays(1, {"values": 4})["values"]
    assert given[:, 1, 0].tolist() == np.float32([part["value"] for part in mixed]).tolist()


def test_random_references_are_a_fixed_draw_that_leaves_the_values(tables: tuple[Path, Path]) -> None:
    real, one, again, other = (shown(tables, random_seed=seed).arrays(1)["values"] for seed in (None, 5, 5, 6))
    assert (one == again).all() and (one != other).any() and (one[:, 1] == real[:, 1]).all()
    assert (one[:, 0] != real[:, 0]).any(1).mean() > 0.7


def test_padding_is_nan_and_never_empty() -> None:
    stacked = ValueSource.stack([np.ones((2, 3, 7), np.float32), np.zeros((0, 3, 7), np.float32)])
    assert stacked.shape == (2, 2, 3, 7) and np.isnan(stacked[1]).all() and not np.isnan(stacked[0]).any()
    assert ValueSource.stack([np.zeros((0, 3, 7), np.float32)]).shape == (1, 1, 3, 7)


def test_the_matrices_of_the_form_for_language_models_are_shown_as_they_came(tables: tuple[Path, Path]) -> None:
    rows = [[6.5, 6.2, 6.0, 5.8, 5.6, 5.5, 5.4], [4.2] * 7, [2.9, 3.1, 3.2, 3.3, 3.4, 3.5, 3.6]]
    messages = [{"role": "user", "content": [{"type": "value", "item": "Lat", "matrix": rows}]}]
    assert Values(None).matrices(messages, "a").tolist() == np.float32([rows]).tolist()
    messages[0]["content"][0]["matrix"] = [rows[0], [float("nan")] * 7, rows[2]]
    with pytest.raises(MedReportError, match=r"record a: value 1 \(Lat\) has NaN"):
        Values(None).matrices(messages, "a")
    messages[0]["content"][0]["matrix"] = rows[:2]
    with pytest.raises(MedReportError, match="shape"):
        Values(None).matrices(messages, "a")


# ---------------------------------------------------------------------------------------------------- whose value it is
def letters(text: str, **_: Any) -> dict[str, list[int]]:
    """A tokenizer that a test can read back."""
    return {"input_ids": [ord(letter) for letter in text]}


def names_in(items: np.ndarray) -> list[list[str]]:
    return [["".join(chr(one) for one in name if one >= 0) for name in names] for names in items]


def test_items_are_named_value_by_value_in_the_language_of_the_record(tables: tuple[Path, Path]) -> None:
    plain = shown(tables)
    inputs = plain.naming_items(letters)
    assert "items" not in plain.arrays(1)
    for index, language, first in ((1, "en", ["right", "median", "motor", "Wrist", "APB", "latency"]),
                                   (0, "zh", ["左侧", "正中神经", "运动", "腕", "拇短展肌", "潜伏期"])):
        parts, given = values_of(inputs.messages(index)), inputs.arrays(index)
        named = names_in(given["items"])
        assert given["items"].dtype == np.int64 and len(given["items"]) == len(given["values"]) == len(parts)
        assert named[[part["item"] for part in parts].index("median|motor|wrist|apb|lat")][1:] == first[1:]
        for part, names in zip(parts, named, strict=True):
            item = item_of(part["item"])
            assert names[0] == {"en": part["side"], "zh": {"left": "左侧", "right": "右侧"}[part["side"]]}[language]
            assert names[3] == terms.display("place", item.stim, language)
        pairs = {(part["item"], part["side"]): tuple(names) for part, names in zip(parts, named, strict=True)}
        assert len(set(pairs.values())) == len(pairs)  # no two items share their names


def test_names_belong_to_the_places_of_the_prompt_whoever_the_values_are_of(tables: tuple[Path, Path]) -> None:
    inputs = shown(tables).naming_items(letters)
    own, mixed = inputs.arrays(1), inputs.arrays(1, {"values": 4})
    assert (own["items"] == mixed["items"]).all() and (own["values"] != mixed["values"]).any()
    assert len(inputs.arrays(1, {"values": None})["items"]) == 0
    text = shown(tables, mode="text").naming_items(letters)
    assert text.arrays(1) == {}


def test_an_item_without_a_place_has_its_own_name_and_stage_1_names_what_it_draws(tables: tuple[Path, Path]) -> None:
    part = {"type": "value", "item": "Lat of APB", "matrix": [[1.0] * 7] * 3}
    assert names_in(ItemWords(letters).ids([part], "en")) == [["Lat of APB"]]
    inputs = shown(tables).naming_items(letters)
    for task in ("class", "table"):
        records = drawn_records(inputs, short(stage1_steps=5, stage1_tasks=task))
        for index in range(records.count):
            given, parts = records.arrays(index), values_of(records.messages(index))
            sides = [names[0] for names in names_in(given["items"])]
            assert len(given["values"]) == len(sides) == len(parts)
            assert [side in ("right", "右侧") for side in sides] == [part["side"] == "right" for part in parts]


def test_items_of_a_batch_are_padded_as_its_values_are() -> None:
    stacked = stack_items([np.zeros((2, 6, 3), np.int64), np.zeros((0, 0, 0), np.int64), np.zeros((1, 1, 5), np.int64)])
    assert stacked.shape == (3, 2, 6, 5) and (stacked == -1).sum() == 3 * 60 - 36 - 5
    assert (stacked[1] == -1).all() and stack_items([np.zeros((0, 0, 0), np.int64)]).shape == (1, 1, 1, 1)


# ------------------------------------------------------------------------------------------------------------- stage 1
def test_drawn_values_are_of_the_class_that_was_asked_for(tables: tuple[Path, Path]) -> None:
    references, rng = read_references(tables[0] / "references.json"), np.random.default_rng(0)
    hit = []
    for entry in list(references.entries.values())[::3]:
        for name in CLASSES:
            value = draw_value(entry, name, references.percentiles, rng)
            hit.append(abnormality(entry, value) == name)
            assert np.isfinite(value) and value > 0 and matrix(entry, value).shape == (3, 7)
    assert np.mean(hit) > 0.7  # a line may leave a class no room, and values are rounded


def test_stage_1_asks_for_classes_and_phrases_in_the_languages_of_the_reports(tables: tuple[Path, Path]) -> None:
    inputs = shown(tables)
    records = drawn_records(inputs, short(stage1_steps=40, stage1_tasks="class,phrase"))
    assert records.count == 160 and records.arrays(3)["values"].shape == (1, 3, 7)
    talks = [records.messages(index) for index in range(160)]
    answers = [talk[1]["content"] for talk in talks]
    assert set(CLASSES) <= set(answers) and {"正常", "明显偏高"} <= set(answers)
    assert any(answer.endswith("延长") for answer in answers) and any("slowed" in answer for answer in answers)
    for talk, answer in zip(talks, answers, strict=True):
        part, language = values_of(talk)[0], "en" if answer.isascii() else "zh"
        reference = inputs.values.references.of(part["item"])
        name = abnormality(reference, part["value"])
        if language == "en" and answer in CLASSES:
            assert answer == name
        if language == "en" and "prolonged" in answer:
            assert item_of(part["item"]).measure == "lat" and name in ("high", "markedly high")


def test_drawn_tables_are_answered_with_what_is_abnormal_in_them_and_nothing_else(tables: tuple[Path, Path]) -> None:
    inputs = shown(tables)
    references = inputs.values.references
    records = drawn_records(inputs, short(stage1_steps=60, stage1_tasks="table"))
    talks = [records.messages(index) for index in range(records.count)]
    assert talks == [records.messages(index) for index in range(records.count)]  # drawn again, the same
    assert len({text_of(talk[0]["content"]).count("\n") for talk in talks}) > 2
    abnormal = healthy = 0
    for number, talk in enumerate(talks):
        parts = values_of(talk)
        assert records.arrays(number)["values"].shape == (len(parts), 3, 7)
        expected = {}
        for part in parts:
            item = item_of(part["item"])
            reference = references.of(item)
            if judged(item) and (part["value"] - reference.median) * terms.abnormal_direction(item.measure) > 0 \
                    and is_outside(reference, part["value"]):
                key = (item.nerve, part["side"], item.type, item.measure)
                expected[key] = max(expected.get(key, 0), abs(deviation(reference, part["value"])))
        read = read_statements(talk[1]["content"]).abnormal
        said = {each.key: each for each in read if each.called}
        assert {(each.nerve, each.side) for each in read} == {key[:2] for key in said}  # no borderline value alone
        absent = re.search("absent|未引出", text_of(talk[0]["content"]))
        assert expected.keys() <= said.keys() if absent else expected.keys() == said.keys(), talk
        for key, far in expected.items():
            if not absent:
                assert said[key].severity == ("severe" if far > 4.5 else "moderate" if far > 3 else "mild")
        abnormal, healthy = abnormal + len(expected), healthy + (not said)
    assert abnormal > 60 and healthy > 20


def test_drawn_responses_may_be_absent_in_a_whole_row(tables: tuple[Path, Path],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ABNORMAL", "ABSENT"):
        monkeypatch.setattr(drawn_tables, name, 1.0)
    records = drawn_records(shown(tables), short(stage1_steps=4, stage1_tasks="table"))
    for index in range(records.count):
        prompt, answer = records.messages(index)
        assert not values_of([prompt])
        assert {each.direction for each in read_statements(answer["content"]).abnormal} == {"absent"}


def test_words_of_stage_1_are_those_of_the_instructions_and_answers_those_of_the_reports(
        tables: tuple[Path, Path]) -> None:
    records = replace(drawn_records(shown(tables), short(stage1_steps=20, stage1_tasks="class,phrase,table")),
                      words="en")
    for task in records.tasks:
        alone = replace(records, tasks=(task,))
        talks = [alone.messages(index) for index in range(20)]
        assert all(text_of(talk[0]["content"]).isascii() for talk in talks)
        assert {talk[1]["content"].isascii() for talk in talks} == {True, False}


def test_a_store_without_tables_leaves_their_task_out_and_refuses_it_alone(
        tables: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = shown(tables)
    monkeypatch.setattr(type(inputs.store), "case", lambda *_: Examination("findings", "impression"))
    assert drawn_records(inputs, short(stage1_tasks="class,table")).tasks == ("class",)
    with pytest.raises(MedReportError, match="no tables for --stage1-tasks table"):
        drawn_records(inputs, short(stage1_tasks="table"))


def test_rows_of_which_no_findings_can_be_written_are_not_drawn(tables: tuple[Path, Path],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = shown(tables)
    store, original = type(inputs.store), type(inputs.store).case

    def with_odd_rows(self: Any, index: int) -> Examination:
        stored = original(self, index)
        odd = [replace(row, **{name: "混合"}) for row in stored.case.ncv for name in ("type", "nerve")]
        gone = [replace(row, cells=dict.fromkeys(row.cells, Cell("absent", None, ""))) for row in odd]
        return replace(stored, case=replace(stored.case, ncv=(*gone, *stored.case.ncv)))

    plain = drawn_records(inputs, short(stage1_tasks="table"))
    monkeypatch.setattr(store, "case", with_odd_rows)
    odd = drawn_records(inputs, short(stage1_tasks="table"))
    assert odd.tables == plain.tables and [odd.messages(i) for i in range(8)] == [plain.messages(i) for i in range(8)]
