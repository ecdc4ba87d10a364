"""Reading JSON lines that somebody else wrote."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from emgecg_cli.core.artifacts import InstructionRow, PredictionRow, parse_rows, read_rows, write_rows
from emgecg_cli.core.errors import MedReportError

GOOD = '{"record_id": "1", "prediction": "sinus rhythm", "reference": "sinus rhythm"}'


@pytest.mark.parametrize(("line", "says"), [
    ("{", "not JSON"),
    ("nothing", "not JSON"),
    ("\ufeff" + GOOD, "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[1, 2]", "not a JSON object"),
    ("null", "not a JSON object"),
    ('{"record_id": "1", "prediction": "a"}', "lacks reference"),
    ('{"record_id": "1", "prediction": null, "reference": "b"}', "prediction is null, where text is needed"),
    ('{"record_id": "1", "prediction": 3.5, "reference": "b"}', "prediction is a number, where text is needed"),
    ('{"record_id": "1", "prediction": true, "reference": "b"}', "prediction is true or false, where text is needed"),
    ('{"record_id": 1, "prediction": "a", "reference": "b"}', "record_id is a number, where text is needed"),
    ('{"record_id": "1", "prediction": ["a"], "reference": "b"}', "prediction is a list, where text is needed"),
    ('{"record_id": "1", "prediction": {}, "reference": "b"}', "prediction is an object, where text is needed"),
    ('{"record_id": "1", "prediction": "a", "reference": NaN}', "reference is a number, where text is needed"),
    ('{"record_id": "1", "prediction": "a", "reference": "b", "codes": "SR"}', "codes is text, where a list of texts"),
    ('{"record_id": "1", "prediction": "a", "reference": "b", "codes": [1]}', "codes is a list, where a list of texts"),
    ('{"record_id": "1", "prediction": "a", "reference": "b", "prompt_id": "0"}', "prompt_id is text, where a whole"),
    ('{"record_id": "1", "prediction": "a", "reference": "b", "prompt_id": true}', "prompt_id is true or false"),
])
def test_a_bad_line_is_named(line: str, says: str) -> None:
    with pytest.raises(MedReportError) as caught:
        list(parse_rows(io.StringIO(f"{GOOD}\n\n{line}\n"), PredictionRow, "preds.jsonl"))
    assert caught.value.message.startswith("preds.jsonl, line 3: ")
    assert says in caught.value.message
    assert caught.value.hint


def test_bytes_that_are_not_utf8_name_the_place(tmp_path: Path) -> None:
    path = tmp_path / "preds.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + GOOD.replace("sinus", "\xe4").encode("latin-1") + b"\n")
    with pytest.raises(MedReportError, match="not UTF-8"):
        read_rows(path, PredictionRow)
    stream = io.TextIOWrapper(io.BytesIO(path.read_bytes()), encoding="utf-8")
    with pytest.raises(MedReportError, match=r"^-, after line"):
        list(parse_rows(stream, PredictionRow, "-"))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no such file"):
        read_rows(tmp_path / "preds.jsonl", PredictionRow)
    with pytest.raises(MedReportError, match="cannot be read"):
        read_rows(tmp_path, PredictionRow)


def test_nulls_are_taken_where_a_field_may_be_absent_and_other_keys_are_left_alone() -> None:
    line = '{"record_id": "1", "prediction": "", "reference": "b", "subject_id": null, "codes": null, "mine": {"a": 1}}'
    assert list(parse_rows([line], PredictionRow, "-")) == [PredictionRow("1", "", "b")]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows: list[object] = [PredictionRow("1", "verlängerung\n\u2028 \"x\"", "b", 3, "p", "d", "de", ["SR"], "real")]
    write_rows(tmp_path / "a.jsonl", rows)
    assert read_rows(tmp_path / "a.jsonl", PredictionRow) == rows
    chats: list[object] = [InstructionRow("1", 0, [{"role": "user", "content": "x"}])]
    write_rows(tmp_path / "b.jsonl", chats)
    assert read_rows(tmp_path / "b.jsonl", InstructionRow) == chats
