"""How long reports may be: as long as those of training unless told, and those that are cut are counted."""

from __future__ import annotations

import gc
import importlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from manifests import change_manifest

from emgecg_cli.commands import app
from emgecg_cli.core import generation
from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.claims import sums_path
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import generate_reports, job, reports, write_parts
from emgecg_cli.core.generation.task import open_task
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.report_model import ReportModel
from emgecg_cli.core.models.run_files import load_run, load_tokenizer
from emgecg_cli.core.store import open_store

FEW = GenerateConfig(batch_size=5, limit=4)


def longest_of(run: Path, store: Path) -> int:
    """Tokens of the longest train report, its EOS included."""
    records, tokenizer = open_store(store), load_tokenizer(run)
    return max(len(tokenizer(records.row(int(i)).report)["input_ids"]) + 1 for i in records.indices("train"))


def ends_early(monkeypatch: pytest.MonkeyPatch, eos: int) -> list[int]:
    """Every second report ends, one before and one at the limit; returns the limits that are asked for."""
    asked: list[int] = []

    def generate(self: object, signal: object, input_ids: torch.Tensor, *args: object, **settings: Any) -> torch.Tensor:
        limit = settings["generation_config"].max_new_tokens
        asked.append(limit)
        ids = torch.full((len(input_ids), limit), 7)
        ids[::4, -1] = eos
        ids[2::4, 1] = eos
        return ids

    monkeypatch.setattr(ReportModel, "generate", generate)
    monkeypatch.setattr(reports, "why_not_refilled", lambda backbone: "it is stood in for")
    monkeypatch.setattr(job, "BATCHES", 1)
    return asked


def test_reports_may_be_as_long_as_those_of_training_and_an_eighth_more(
        short_run: Path, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = longest_of(short_run, inputs[0])
    assert read_manifest(short_run, "run").counts["longest_report_tokens"] == longest
    allowed = longest + -(-longest // 8)
    asked = ends_early(monkeypatch, load_tokenizer(short_run).eos_token_id)
    result = generate_reports(short_run, tmp_path / "p.jsonl", FEW)
    assert set(asked) == {allowed} and result.max_new_tokens == allowed
    assert read_manifest(tmp_path / "p.jsonl", "predictions").arguments["max_new_tokens"] == allowed
    same = GenerateConfig(batch_size=5, limit=4, max_new_tokens=allowed)
    for config in (FEW, same):
        assert generate_reports(short_run, tmp_path / "p.jsonl", config).already_finished
    with pytest.raises(MedReportError, match=rf"max_new_tokens: {allowed} \(now 9\)"):
        generate_reports(short_run, tmp_path / "p.jsonl", GenerateConfig(batch_size=5, limit=4, max_new_tokens=9))
    assert generate_reports(short_run, tmp_path / "q.jsonl", GenerateConfig(max_new_tokens=9)).max_new_tokens == 9
    assert asked[-1] == 9


def test_writers_agree_on_what_was_not_said(short_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that was begun without the option is finished without it."""
    ends_early(monkeypatch, load_tokenizer(short_run).eos_token_id)
    few = GenerateConfig(batch_size=2, limit=4)
    for writer in ((1, 2), (2, 2)):
        part = generate_reports(short_run, tmp_path / "p.jsonl", few, writer=writer)
        assert part.truncated is None and part.max_new_tokens
    result = generate_reports(short_run, tmp_path / "p.jsonl", few)
    assert (result.written, result.records, result.truncated) == (0, 4, 2)


def test_a_part_of_an_older_version_leaves_the_count_open(
        short_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its rows do not say whether they were cut, and no hashes lie beside it."""
    ends_early(monkeypatch, load_tokenizer(short_run).eos_token_id)
    out, few = tmp_path / "p.jsonl", GenerateConfig(batch_size=2, limit=4)
    part = generate_reports(short_run, out, few, writer=(1, 2)).path
    assert part
    rows = [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines()]
    assert [row.pop("truncated") for row in rows] == [False, True]
    part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sums_path(part).unlink()
    line = ["generate", str(short_run), "--batch-size", "2", "--limit", "4", "--out", str(out)]
    assert app.run(line) == 0
    said = capsys.readouterr()
    assert "were cut" not in said.err and "at most" in said.out
    assert [row.truncated for row in read_rows(out, PredictionRow)] == [None, None, False, True]
    assert read_manifest(out, "predictions").counts == {"records": 4, "empty": 0, "truncated": None}
    again = generate_reports(short_run, out, few)
    assert again.already_finished and again.truncated is None


def test_what_was_not_said_gives_way_to_the_positions_of_the_backbone(
        short_run: Path, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = longest_of(short_run, inputs[0])
    allowed = trained + -(-trained // 8)
    model, tokenizer, _ = load_run(short_run, torch.device("cpu"))
    planned = open_task(short_run, None, FEW).job()
    prompt = max(len(ids) for ids in planned.prompts(planned.order, tokenizer, model.placeholders))
    asked = ends_early(monkeypatch, tokenizer.eos_token_id)
    most = 0

    def with_few_positions(*args: Any) -> Any:
        loaded = load_run(*args)
        loaded[0].backbone.config.get_text_config().max_position_embeddings = most
        return loaded

    monkeypatch.setattr("emgecg_cli.core.generation.task.load_run", with_few_positions)
    for number, (room, new) in enumerate(((trained, trained), (trained + 1, trained + 1), (allowed, allowed),
                                          (allowed + 1, allowed))):
        most, out = prompt + room, tmp_path / f"{number}.jsonl"
        result = generate_reports(short_run, out, FEW)
        assert (result.max_new_tokens, asked[-1]) == (new, new)
        assert read_manifest(out, "predictions").details.get("max_new_tokens", allowed) == new
        again = generate_reports(short_run, out, FEW)
        assert again.already_finished and again.max_new_tokens == new
    most = prompt + trained + 1
    assert generate_reports(short_run, tmp_path / "p.jsonl", FEW, writer=(1, 2)).max_new_tokens == trained + 1
    assert generate_reports(short_run, io.StringIO(), FEW).max_new_tokens == trained + 1
    with pytest.raises(MedReportError, match=f"{prompt + trained + 2} tokens, the backbone takes {most}") as told:
        generate_reports(short_run, tmp_path / "q.jsonl", replace(FEW, max_new_tokens=trained + 2))
    assert told.value.hint == "give a smaller --max-new-tokens"
    most = prompt + trained - 1
    with pytest.raises(MedReportError, match=f"{prompt + allowed} tokens, the backbone takes {most}") as told:
        generate_reports(short_run, tmp_path / "q.jsonl", FEW)
    assert f"than {allowed}, the default: the longest report of training, {trained}, and" in str(told.value.hint)


def test_a_run_that_does_not_say_how_long_asks_for_a_number(short_run: Path, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(short_run, run)

    def change(manifest: dict) -> None:
        del manifest["counts"]["longest_report_tokens"]
        for role in ("store", "instructions"):
            manifest["inputs"][role]["path"] = str((short_run / manifest["inputs"][role]["path"]).resolve())

    change_manifest(run, change)
    assert app.run(["generate", str(run), "--out", str(tmp_path / "p.jsonl")]) == 2
    said = capsys.readouterr().err
    assert f"{run}: written before" in said and "--max-new-tokens" in said and len(said.splitlines()) <= 2
    with pytest.raises(MedReportError, match="written before runs said"):
        write_parts(run, tmp_path / "p.jsonl", FEW, 2)
    assert not list(tmp_path.glob("p.jsonl*"))
    assert generate_reports(run, tmp_path / "p.jsonl", GenerateConfig(max_new_tokens=2, limit=2)).written == 2


def test_reports_that_were_cut_are_marked_counted_and_told(
        short_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ends_early(monkeypatch, load_tokenizer(short_run).eos_token_id)
    out = tmp_path / "p.jsonl"
    line = ["generate", str(short_run), "--max-new-tokens", "6", "--limit", "5"]
    assert app.run([*line, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "2 of 5 reports had not ended after 6 tokens and were cut" in said.err
    assert "at most" in said.out and "longest" not in said.out
    assert said.out.split()[-5:] == [str(out), "5", "5", "6", "2"]
    assert [row.truncated for row in read_rows(out, PredictionRow)] == [False, True, False, True, False]
    assert read_manifest(out, "predictions").counts == {"records": 5, "empty": 0, "truncated": 2}
    assert app.run([*line, "--out", str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["already_finished"] and (again["truncated"], again["max_new_tokens"]) == (2, 6)
    pipe = io.StringIO()
    assert generate_reports(short_run, pipe, GenerateConfig(max_new_tokens=6, limit=5)).truncated == 2
    assert app.run([*line, "--out", "-"]) == 0
    said = capsys.readouterr()
    assert "2 of 5 reports" in said.err and said.out == pipe.getvalue() == out.read_text(encoding="utf-8")


def test_a_report_that_ends_is_not_cut(short_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    eos = load_tokenizer(short_run).eos_token_id
    monkeypatch.setattr(reports, "why_not_refilled", lambda backbone: "it is stood in for")
    monkeypatch.setattr(ReportModel, "generate", lambda _, signal, ids, *rest, **more: torch.full((len(ids), 1), eos))
    assert app.run(["generate", str(short_run), "--out", str(tmp_path / "p.jsonl"), "--limit", "3"]) == 0
    assert read_manifest(tmp_path / "p.jsonl", "predictions").counts == {"records": 3, "empty": 3, "truncated": 0}
    assert "were cut" not in capsys.readouterr().err


def test_the_import_leaves_the_garbage_collector_as_it_was() -> None:
    for switch, on in ((gc.disable, False), (gc.enable, True)):
        switch()
        importlib.reload(generation)
        assert gc.isenabled() == on and gc.get_freeze_count() == 0
