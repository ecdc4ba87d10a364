"""Predictions files as others write them: read as they are told to be, or refused with the line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PredictionRow, read_rows, to_json, write_rows
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.predictions import parse_fields, read_predictions

ROW = {"id": 7, "output": "sinus rhythm", "gold": ["normal ecg", "sinus rhythm, normal", "normal ecg"], "note": "x"}
TOLD = parse_fields(["prediction=output, reference=gold", "record_id=id"])
READ = PredictionRow("7", "sinus rhythm", "normal ecg", more_references=["sinus rhythm, normal"])


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "preds.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("text", [
    json.dumps(ROW) + "\n", json.dumps([ROW]), json.dumps([ROW], indent=2), "\ufeff\n " + json.dumps([ROW]) + "\r\n\n",
    "\ufeff" + json.dumps(ROW).replace("7", "7.0"), "\r\n\r\n" + json.dumps(ROW) + "\r\n"])
def test_lines_arrays_marks_numbers_and_several_references_are_read(tmp_path: Path, text: str) -> None:
    assert read_predictions(written(tmp_path, text), TOLD).rows == [READ]
    assert read_predictions(io.StringIO(text), TOLD).rows == [READ]


def test_several_references_are_written_where_there_are_any_and_read_again(tmp_path: Path) -> None:
    assert "more_references" not in to_json(PredictionRow("1", "a", "b"))
    write_rows(tmp_path / "p.jsonl", [READ])
    assert read_rows(tmp_path / "p.jsonl", PredictionRow) == [READ] == read_predictions(tmp_path / "p.jsonl").rows


GOOD = '{"record_id": "1", "prediction": "a", "reference": "b"}'


@pytest.mark.parametrize(("text", "says"), [
    (GOOD + "\n\n" + json.dumps(ROW), "line 3: lacks record_id, prediction, reference; it has id, output, gold, note"),
    (GOOD + "\n" + GOOD[:-4], "line 2: not JSON"),
    (GOOD + "\nnull", "line 2: not a JSON object"),
    (GOOD.replace('"a"', "null"), "line 1: prediction is null, where text is needed"),
    (GOOD.replace('"1"', "true"), "line 1: record_id is true or false"),
    (GOOD.replace('"1"', "1.5"), "line 1: record_id is a number, where text is needed"),
    (GOOD.replace('"b"', "[]"), "line 1: reference is a list that is empty"),
    (GOOD.replace('"b"', '["b", null]'), "line 1: reference is a list that is empty or holds more than texts"),
    (GOOD.replace('"b"', '["b", " "]'), "line 1: one of its 2 references is empty"),
    (GOOD.encode() + b"\n" + GOOD.encode("utf-8") * 40 + b"\n" + b"\xe4", "line 2: not JSON"),
    ((GOOD + "\n").encode() * 9 + b'{"record_id": "\xe4"}', "line 10: not UTF-8 text"),
    (GOOD.encode("utf-16"), "line 1: not UTF-8 text"),
    (f"[\n{GOOD},\n\n{GOOD[:-1]}\n]", "line 4, row 2: not JSON (Expecting ',' delimiter in line 5)"),
    (f"[\n{GOOD},\n3]", "line 3, row 2: not a JSON object"),
    (f"[\n{GOOD}\n{GOOD}]", "line 2, row 1: neither a comma nor a ] behind it"),
    (f"[{GOOD},]", "line 1, row 2: not JSON"),
    (f"[{GOOD}", "line 1, row 1: neither a comma nor a ] behind it"),
    (f"[{GOOD}]\n{GOOD}", "line 2: there is more behind the end of the array"),
    ("[" * 100_000, "line 1, row 1: not JSON"),
    ("[ ]", "holds no predictions"), ("\n \n", "holds no predictions"), ("", "holds no predictions"),
])
def test_a_bad_file_is_one_line_with_its_number(tmp_path: Path, text: str | bytes, says: str,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(MedReportError) as caught:
        read_predictions(path)
    assert says in caught.value.message and caught.value.message.startswith(str(path)) and caught.value.hint
    assert run(["score", str(path), "--out", str(tmp_path / "s.json")]) == 2
    first, hint = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ") and hint.startswith("hint: ") and not (tmp_path / "s.json").exists()


def test_names_are_taken_when_told_and_the_hint_says_how(tmp_path: Path) -> None:
    with pytest.raises(MedReportError) as caught:
        read_predictions(written(tmp_path, json.dumps({"ecg_id": 1, "response": "a", "why": "b"})))
    assert caught.value.hint == "say which is which: --field record_id=ecg_id,prediction=response,reference=FIELD"
    both = {"record_id": "1", "prediction": "chain of thought", "text": "sinus", "reference": None, "lang": "de"}
    path = written(tmp_path, json.dumps(both))
    assert read_predictions(path, parse_fields(["prediction=text,language=lang"])).rows == [
        PredictionRow("1", "sinus", None, language="de")]
    for told, says in ((["prediction=output"], "lacks output (--field prediction=output); it has record_id"),
                       (["language=tongue"], "no row has a field tongue (--field language=tongue)")):
        with pytest.raises(MedReportError) as caught:
            read_predictions(path, parse_fields(told))
        assert says in caught.value.message


@pytest.mark.parametrize(("given", "says"), [
    ("output", "not NAME=FIELD"), ("prediction=", "not NAME=FIELD"), ("prediction=a,,", "not NAME=FIELD"),
    ("output=prediction", "no field 'output'"), ("prediction=a,prediction=b", "as a and as b")])
def test_wrong_words_for_fields_are_refused(given: str, says: str) -> None:
    with pytest.raises(MedReportError) as caught:
        parse_fields([given])
    assert says in caught.value.message and caught.value.hint
