"""Rows of instructions are read one at a time, through an index."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from toy_store import make_store

from emgecg_cli.core.artifacts import to_json
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import build_instructions, open_instructions

IDS = ["a", 'with "quotes"', "back\\slash", "ünïcode\u2028", "last"]


@pytest.fixture
def instructions(tmp_path: Path) -> Path:
    return build_instructions(make_store(tmp_path / "store", IDS), tmp_path / "i", pool_size=33).path


def test_rows_are_found_by_any_id_and_come_in_order(instructions: Path) -> None:
    lines = [json.loads(line) for line in (instructions / "instructions.jsonl").read_text().split("\n") if line]
    opened = open_instructions(instructions)
    for rows in (opened.rows, pickle.loads(pickle.dumps(opened)).rows):
        assert list(rows) == IDS and len(rows) == len(IDS) and "nobody" not in rows
        assert [json.loads(to_json(rows[record_id])) for record_id in reversed(IDS)] == lines[::-1]
    with pytest.raises(MedReportError, match="no instruction for record nobody and 0 more"):
        opened.of(["a", "nobody"])


def test_opening_parses_no_row(instructions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr("emgecg_cli.core.instructions.rows.parse_rows", lambda lines, *_: parsed.append(lines))
    monkeypatch.setattr("emgecg_cli.core.instructions.build.read_rows", lambda *_: parsed.append(_))
    assert len(open_instructions(instructions).rows) == len(IDS) and not parsed


def test_a_row_that_changes_after_opening_is_refused_when_it_is_read(instructions: Path) -> None:
    opened = open_instructions(instructions)
    path = instructions / "instructions.jsonl"
    with path.open("r+b") as stream:
        stream.write(path.read_bytes().replace(b'"ecg"', b'"ECG"', 1))
    with pytest.raises(MedReportError, match="record 'a': not its prompt"):
        opened.of(["a"])
    assert opened.of(["last"])
