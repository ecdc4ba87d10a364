"""Files of conversations as GEM and ECGBench have them: read, joined to a store, written, read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toy_store import make_store

from emgecg_cli.core.artifacts import PredictionRow, QuarantineRow, read_rows
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.instructions.conversations import records_asked
from emgecg_cli.core.instructions.files import entries
from emgecg_cli.core.instructions.files.build import NOT_HELD, REFUSAL, build_from_file, marked, parts_of, write_file
from emgecg_cli.core.instructions.files.entries import (
    BadEntry,
    Entry,
    parse_rules,
    read_entries,
    remapped,
    write_entries,
)
from emgecg_cli.core.store import open_store


def entry(name: Any, question: str = "<image>\nWhat is it?", reply: str = "Sinus rhythm.", **more: Any) -> dict:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": reply}]
    return {"id": name, **more, "conversations": turns}


GEM = [
    entry("1", ecg="old/root/r001", image="gen/r001-0.png", report="Sinus rhythm",
          machine_measurements={"II": {"QRS_durations": "92, 104", "ST_form": "upslope, upslope"}}),
    entry(2, "What is it?\n<image>\nBe brief.", ecg="old/root/r002"),
    {"id": "arena", "image": "x/r003_hr-0.png", "conversations": [
        {"question": "Rhythm?", "answer": "Sinus."}, {"question": "Rate?", "answer": "72 bpm."}]},
    entry("two-a", image="y/r004-0.png"), entry("two-b", "Is it [a]? Ä", "[no]", image="y/r004-0.png"),
    {"id": "ptb-report-r005_hr-0", "image": "z/none.png", "conversation": [
        {"from": "user", "value": "Report."}, {"from": "assistant", "value": "Normal."}]},
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", [f"r{i:03d}" for i in range(1, 8)])


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_read_write_read(suffix: str, store: Path, tmp_path: Path) -> None:
    source = tmp_path / "gem.json"
    source.write_text(json.dumps(GEM, indent=1, ensure_ascii=False))
    first = list(read_entries(source))
    assert all(isinstance(one, Entry) for one in first) and [one.id for one in first if isinstance(one, Entry)] == [
        "1", "2", "arena", "two-a", "two-b", "ptb-report-r005_hr-0"]
    assert write_entries(tmp_path / f"copy{suffix}", first) == 6  # type: ignore[arg-type]
    assert list(read_entries(tmp_path / f"copy{suffix}")) == first
    # through instructions, whose words and recordings are the same again
    built = build_from_file(source, store, tmp_path / "i").path
    assert write_file(open_instructions(built), open_store(store), tmp_path / f"back{suffix}") == 6
    build_from_file(tmp_path / f"back{suffix}", store, tmp_path / "again")
    rows, again = (list(open_instructions(path).rows.values()) for path in (built, tmp_path / "again"))
    assert rows == again
    write_file(open_instructions(tmp_path / "again"), open_store(store), tmp_path / f"third{suffix}")
    assert (tmp_path / f"third{suffix}").read_bytes() == (tmp_path / f"back{suffix}").read_bytes()


def test_entries_are_joined_to_the_records_of_the_store(store: Path, tmp_path: Path) -> None:
    source = tmp_path / "gem.json"
    source.write_text(json.dumps([*GEM, entry("9", ecg="old/root/r999"), entry("ptb-report-r006_hr-0", reply=(
        "Sure, please provide the ECG report.")), entry("1"), {"id": "x"}, 7]))
    built = build_from_file(source, store, tmp_path / "i", remap=[("old/root", "")], shown="ecg,image")
    instructions = open_instructions(built.path)
    rows = {row.record_id: row for row in instructions.rows.values()}
    assert list(rows) == ["r001", "r002", "r003", "r004#1", "r004#2", "r005"]
    assert rows["r004#2"].recording == "r004" and rows["r001"].entry is not None
    assert rows["r001"].entry["ecg"] == "r001" and rows["r001"].entry["machine_measurements"]["II"]
    assert [part["type"] for part in rows["r002"].messages[0]["content"]] == ["text", "ecg", "image", "text"]
    assert [message["role"] for message in rows["r003"].messages] == ["user", "assistant"] * 2
    aside = {row.record_id: row.reason for row in read_rows(built.path / "quarantine.jsonl", QuarantineRow)}
    assert aside == {"9": NOT_HELD, "ptb-report-r006_hr-0": REFUSAL, "1": "id is there twice",
                     "x": "no conversation", "entry 11": "no entry"}
    assert built.manifest.counts["entries"] == 11 and sum(built.manifest.details["set_aside"].values()) == 5
    asked = records_asked(open_store(store), instructions)
    assert asked.column("record_id").to_list() == list(rows) and asked.row(4).report == "[no]"
    assert asked.row(3).subject_id == asked.row(4).subject_id and (asked.signal(3) == asked.signal(4)).all()


@pytest.mark.parametrize("bad", [
    {"id": "", "conversations": []}, {"id": None}, {"id": True}, entry("a", ecg=7), {"id": "a", "conversations": "x"},
    {"id": "a", "conversations": [{"from": "gpt", "value": "x"}]},
    {"id": "a", "conversations": [{"from": "human", "value": 7}]},
    {"id": "a", "conversations": [{"from": "system", "value": "x"}]}, [], "x", None,
])
def test_entries_that_are_none(bad: Any, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(json.dumps([bad, entry("good")]))
    first, second = read_entries(path)
    assert isinstance(first, BadEntry) and isinstance(second, Entry)


@pytest.mark.parametrize("data", [b"[1, ", b"{]", b"[{}}", b"\xff\xfe", b"nonsense", b"[" * 100_000])
def test_files_that_are_none(data: bytes, tmp_path: Path) -> None:
    for name in ("f.json", "f.parquet"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MedReportError) as caught:
            list(read_entries(tmp_path / name))
        assert name in caught.value.message
    with pytest.raises(MedReportError, match="not one of"):
        list(read_entries(tmp_path / "f.csv"))


def test_entries_that_lie_across_what_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [entry(str(n), f"<image>\nÄ {n} [{{\\\"}}]", "ä" * n) for n in range(40)]
    (tmp_path / "f.json").write_text(json.dumps(values, ensure_ascii=False))
    (tmp_path / "f.jsonl").write_text("".join(f"{json.dumps(one)}\n\n" for one in values))
    whole = list(read_entries(tmp_path / "f.json"))
    for chunk in (1, 7, 100, 5000):
        monkeypatch.setattr(entries, "_CHUNK", chunk)
        assert list(read_entries(tmp_path / "f.json")) == list(read_entries(tmp_path / "f.jsonl")) == whole
    assert [one.turns[1][1] for one in whole if isinstance(one, Entry)] == ["ä" * n for n in range(40)]


def test_a_file_that_says_nothing_of_the_store(store: Path, tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps([entry("9", ecg="a/b")]))
    with pytest.raises(MedReportError, match="no entry of 1 is about a record"):
        build_from_file(tmp_path / "f.json", store, tmp_path / "i")


def test_beginnings_of_paths() -> None:
    rules = parse_rules(["a/b=x", "a=y/z", "c="])
    assert [remapped(path, rules) for path in ("a/b/1", "a/bc/1", "a", "c/d", "d/a/b")] == [
        "x/1", "y/z/bc/1", "y/z", "d", "d/a/b"]
    for word in ("a", "=b"):
        with pytest.raises(MedReportError, match="not OLD=NEW"):
            parse_rules([word])


@pytest.mark.parametrize(("text", "kinds", "back"), [
    ("<image>\nQ", ["ecg", "text"], "<image>\nQ"), ("Q\n<image>", ["text", "ecg"], "Q\n<image>"),
    ("Q", ["ecg", "text"], "<image>\nQ"), ("<image>", ["ecg"], "<image>"),
    ("A <image> B <image> C", ["text", "ecg", "text"], "A\n<image>\nB  C"),
])
def test_the_placeholder_as_parts(text: str, kinds: list[str], back: str) -> None:
    parts = parts_of(text, "ecg")
    assert [part["type"] for part in parts] == kinds and marked(parts) == back
    assert parts_of(back, "ecg,image") == parts_of(text, "ecg,image") and marked(parts_of(text, "ecg,image")) == back


def test_questions_about_one_record_are_answered_and_scored_each(inputs: tuple[Path, Path], short_run: Path,
                                                                 tmp_path: Path) -> None:
    from emgecg_cli.core.evaluation.files import score_file
    from emgecg_cli.core.generation import Places, generate_reports

    store = open_store(inputs[0])
    names = [str(store.column("record_id")[int(i)]) for i in store.indices("test")[:3]]
    (tmp_path / "f.json").write_text(json.dumps(
        [entry(f"q{i}", f"<image>\nQuestion {i}?", f"Sinus rhythm, {60 + i} bpm.", image=f"a/{names[i // 2]}-0.png")
         for i in range(5)]))
    built = build_from_file(tmp_path / "f.json", inputs[0], tmp_path / "i").path
    generate_reports(short_run, tmp_path / "p.jsonl", GenerateConfig(max_new_tokens=8, batch_size=2),
                     places=Places(instructions=built))
    rows = {row.record_id: row for row in read_rows(tmp_path / "p.jsonl", PredictionRow)}
    assert sorted(rows) == sorted([f"{names[0]}#1", f"{names[0]}#2", f"{names[1]}#1", f"{names[1]}#2", names[2]])
    assert rows[f"{names[1]}#2"].question == "Question 3?" and rows[f"{names[1]}#2"].entry_id == "q3"
    assert rows[f"{names[1]}#2"].reference == "Sinus rhythm, 63 bpm."
    scored = score_file(tmp_path / "p.jsonl", None, metrics=["facts"])
    assert any("answers of the instructions" in note for note in scored.caveats)
    evidence = Evidence(store)
    one, two = (evidence.of(name) for name in (f"{names[0]}#2", names[0]))
    assert one is not None and two is not None and one.index == two.index and evidence.of("x#1") is None


def test_questions_of_ecgbench(shared_data: Path, tmp_path: Path) -> None:
    found = list(read_entries(shared_data / "ecgbench/ptb_report_generation_test.json"))
    assert len(found) == 250 and all(isinstance(one, Entry) for one in found)
