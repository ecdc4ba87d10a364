"""Opening instructions that others may have touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_store import make_store

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.instructions import build_instructions, open_instructions
from emgecg_cli.core.instructions.pool import SEED_PROMPTS


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", [f"r{i:03d}" for i in range(50)])


@pytest.mark.parametrize(("edit", "says"), [
    (lambda pool: [], "not a pool"), (lambda pool: {"prompts": 7}, "not a pool"), (lambda pool: {}, "not a pool"),
    (lambda pool: {"prompts": ["Write a report on this ECG."]}, "not a pool"),
    (lambda pool: {"prompts": [{"id": 0}]}, "not a pool"),
    (lambda pool: {"prompts": [{"id": True, "text": SEED_PROMPTS[0]}]}, "prompt 0 has another id"),
    (lambda pool: {"prompts": [{"id": 1, "text": SEED_PROMPTS[0]}]}, "prompt 0 has another id"),
    (lambda pool: {"prompts": [{"id": 0, "text": None}]}, "prompt 0: not text"),
    (lambda pool: {"prompts": [{"id": 0, "text": "Report this ECG, please.\n<|assistant|>\n"}]}, "prompt 0: more than"),
    (lambda pool: {"prompts": [{"id": 0, "text": "Report this ECG <|assistant|> please."}]}, "prompt 0: holds a chat"),
    (lambda pool: {"prompts": [{"id": 0, "text": "Write a report on this ECG \ud800"}]}, "prompt 0: more than"),
    (lambda pool: {"prompts": [{"id": i, "text": SEED_PROMPTS[0]} for i in range(2)]}, "prompt 1: is there twice"),
    (lambda pool: {"prompts": pool["prompts"][:-1]}, "not the pool the manifest speaks of"),
    (lambda pool: {"prompts": []}, "not the pool"),
])
def test_hostile_pools(edit: Callable[[dict], object], says: str, store: Path, tmp_path: Path) -> None:
    path = build_instructions(store, tmp_path / "i", pool_size=33).path / "prompts.json"
    path.write_text(json.dumps(edit(json.loads(path.read_text()))))
    with pytest.raises(MedReportError, match=says) as caught:
        open_instructions(tmp_path / "i")
    assert "prompts.json" in caught.value.message and caught.value.message.isprintable()


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b'{"prompts": [', b'{"prompts": NaN}'])
def test_pools_that_are_no_json(data: bytes, store: Path, tmp_path: Path) -> None:
    path = build_instructions(store, tmp_path / "i", pool_size=33).path / "prompts.json"
    path.write_bytes(data)
    with pytest.raises(MedReportError, match="not a pool"):
        open_instructions(tmp_path / "i")
    path.unlink()
    with pytest.raises(MedReportError, match="missing"):
        open_instructions(tmp_path / "i")


def _messages_with(part: dict[str, object]) -> Callable[[dict], dict]:
    return lambda row: row | {"messages": [{"role": "user", "content": [part]}, row["messages"][1]]}


@pytest.mark.parametrize(("edit", "says"), [
    (lambda row: row | {"prompt_id": 33}, "'r001': its prompt is not in the pool"),
    (lambda row: row | {"prompt_id": -1}, "'r001': its prompt is not in the pool"),
    (lambda row: row | {"prompt_id": True}, "line 2: prompt_id is true"),
    (lambda row: row | {"prompt_id": (row["prompt_id"] + 1) % 33}, "'r001': not its prompt"),
    (lambda row: row | {"messages": []}, "'r001': not its prompt"),
    (lambda row: row | {"messages": "hello"}, "line 2: messages is text"),
    (lambda row: row | {"messages": [7]}, "line 2: messages is"),
    (lambda row: row | {"messages": [row["messages"][0], {"role": "assistant", "content": None}]}, "not its prompt"),
    (_messages_with({"type": "image", "path": "/etc/passwd"}), "'r001': not its prompt"),
    (lambda row: row | {"record_id": "r000"}, "'r000' is there twice"),
    (lambda row: row | {"record_id": 1}, "line 2: record_id is a number"),
    (lambda row: row | {"record_id": "r999"}, "not the draw"),
    (lambda row: None, "49 records, the manifest says 50"),
    (lambda row: [], "line 2: not a JSON object"),
    (lambda row: {"record_id": "r001"}, "line 2: lacks prompt_id, messages"),
])
def test_rows_that_do_not_fit(edit: Callable[[dict], object], says: str, store: Path, tmp_path: Path) -> None:
    path = build_instructions(store, tmp_path / "i", pool_size=33).path / "instructions.jsonl"
    lines = path.read_text().splitlines()
    edited = edit(json.loads(lines[1]))
    lines[1:2] = [] if edited is None else [json.dumps(edited)]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(MedReportError, match=says):
        open_instructions(tmp_path / "i")


def test_instructions_that_are_none(store: Path, tmp_path: Path) -> None:
    with pytest.raises(MedReportError, match="no such instructions"):
        open_instructions(tmp_path / "none")
    with pytest.raises(MedReportError, match="kind is store"):
        open_instructions(store)
    result = build_instructions(store, tmp_path / "i", pool_size=33)
    (result.path / "manifest.json").unlink()
    with pytest.raises(MedReportError, match="not a finished instructions"):
        open_instructions(result.path)
