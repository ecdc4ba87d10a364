"""The benchmark: its file is read strictly, its grid is what was asked for, killed twice it ends with equal tables."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from api_server import KEY, ApiServer
from judge_server import good
from pipeline import kill_when, medreport

from emgecg_cli.commands.app import run
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.compute import Interval
from emgecg_cli.core.instructions.build import build_instructions, open_instructions
from emgecg_cli.core.names import BENCHMARK_TASKS
from emgecg_cli.core.studies.benchmark.cells import cells_of
from emgecg_cli.core.studies.benchmark.config import Benchmark, read_benchmark
from emgecg_cli.core.studies.benchmark.costs import FILE, costs_of, counted
from emgecg_cli.core.studies.benchmark.published import published
from emgecg_cli.core.studies.benchmark.tables import Row, Table, as_csv, as_latex, as_markdown

TINY = """
sources:
  here: {dataset: synthetic, records: 40}
  there: {dataset: synthetic, records: 12, seed: 7}
train_on: here
written_on: there
backbones: [tiny]
encoders: [resnet18-tiny]
instruction_tuning: [with, without]
prompts: [128]
train: {steps: 2, batch_size: 8}
generate: {max_new_tokens: 6, batch_size: 32}
score: {profile: text, resamples: 20}
proportions: [0.1, 0.2]
judged: 3
"""
FIRST = "here-tiny-resnet18-tiny-128-prompts"


def written(folder: Path, text: str) -> Path:
    (folder / "b.yaml").write_text(text)
    return folder / "b.yaml"


def read(folder: Path, text: str) -> Benchmark:
    return read_benchmark(written(folder, text))


@pytest.mark.parametrize(("old", "new", "says"), [
    ("backbones:", "backbone:", r"no setting 'backbone'; did you mean 'backbones'"),
    ("records: 40", "recrods: 40", r"sources, here: no setting 'recrods'; did you mean 'records'"),
    ("records: 40", "records: many", r'sources, here: records is "many"'),
    ("dataset: synthetic, records: 40", "store: s, fs: 100", "fs has no effect beside store"),
    ("steps: 2", "stesp: 2", r"train: no setting 'stesp'; did you mean 'steps'"),
    ("max_new_tokens: 6", "split: all", r"generate: no setting 'split'"),
    ("profile: text", "profile: txt", r"no profile 'txt'; did you mean 'text'"),
    ("written_on: there", "written_on: ther", r"written_on: no source 'ther'; did you mean 'there'"),
    ("[with, without]", "[with, witout]", r"no choice 'witout'; did you mean 'without'"),
    ("[resnet18-tiny]", "[resnet18-tony]", "no encoder 'resnet18-tony'; did you mean"),
    ("prompts: [128]", "prompts: [0]", "prompts has 0"),
    ("proportions: [0.1, 0.2]", "proportions: [0.1, 0.1]", "one is there twice"),
    ("proportions: [0.1, 0.2]", "proportions: [0.1, 1.5]", "proportions has 1.5"),
    ("resamples: 20", "resamples: -1", "resamples is -1"),
    ("  here:", "  ../here:", "not a name that a folder can have"),
])
def test_a_wrong_file_is_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in TINY
    with pytest.raises(MedReportError, match=says):
        read(tmp_path, TINY.replace(old, new))


def test_what_is_left_empty_is_as_if_not_given(tmp_path: Path) -> None:
    given = TINY.replace("train_on: here", "train_on: []").replace("prompts: [128]", "prompts:") \
        .replace("proportions: [0.1, 0.2]", "proportions:")
    made = read(tmp_path, given)
    assert (made.train_on, made.prompts, made.proportions) == (["here"], [256], [0.05, 0.1, 0.15, 0.2])


def test_the_grid_is_the_product_or_one_axis_at_a_time(tmp_path: Path) -> None:
    text = TINY.replace("[tiny]", "[tiny, {backbone: tiny, name: longer, steps: 3}]") \
        .replace("[resnet18-tiny]", "[resnet18-tiny, vit1d-tiny]").replace("[128]", "[128, 256]") \
        .replace("[with, without]", "[with, without, untuned]")
    asked = read(tmp_path, text)
    cells = cells_of("quality", asked)
    assert len(cells) == 2 * 2 * (2 + 1 + 1) == len({cell.name for cell in cells})
    steps = {cell.run.config(asked).steps for cell in cells if cell.run.backbone.label == "longer"}
    assert steps == {3, 1}  # an untuned one takes the one step that moves nothing
    star = cells_of("quality", read(tmp_path, text + "grid: one-at-a-time\n"))
    assert [(c.run.backbone.label, c.run.encoder, c.run.tuned, c.run.prompts) for c in star] == [
        ("tiny", "resnet18-tiny", "with", 128), ("longer", "resnet18-tiny", "with", 128),
        ("tiny", "vit1d-tiny", "with", 128), ("tiny", "resnet18-tiny", "with", 256),
        ("tiny", "resnet18-tiny", "without", 0), ("tiny", "resnet18-tiny", "untuned", 128)]


def test_transfers_are_written_on_all_of_the_other_source(tmp_path: Path) -> None:
    cells = cells_of("zero-shot", read(tmp_path, TINY.replace("train_on: here", "train_on: [here, there]")))
    assert [(cell.run.source, cell.target, cell.split, cell.run.tuned) for cell in cells] == [
        ("there", "there", "test", "with"), ("there", "there", "test", "without"),
        ("here", "there", "all", "with"), ("here", "there", "all", "without")]
    with pytest.raises(MedReportError, match="no source is written on"):
        cells_of("zero-shot", read(tmp_path, TINY.replace("written_on: there", "written_on: here")))


def test_published_numbers_are_marked_in_every_format() -> None:
    rows = published("quality")
    best = next(row for row in rows if row.labels == {"written on": "ptb-xl", "backbone": "LLaMA-3-Instruct 8B"})
    assert (best.values["BLEU-4"].value, best.values["BERTScore-F1"].value) == (0.467, 0.712)
    assert {task: len(published(task)) for task in (*BENCHMARK_TASKS, "cost")} == {
        "quality": 24 + 4 + 4 + 3 + 1 + 4, "zero-shot": 12, "robustness": 20, "alignment": 6, "cost": 4}
    ours = Row({"backbone": "a_b", "written on": "here"}, "this benchmark", {"BLEU-4": Interval(0.5, 0.25, 0.75)})
    table = Table("Quality", ["BLEU-4"], [ours, best], ["a note"], unfinished=2)
    markdown, latex, lines = as_markdown(table), as_latex(table), list(csv.DictReader(as_csv(table).splitlines()))
    assert "| a_b | here | this benchmark | 0.500 [0.250, 0.750] |" in markdown
    assert "| LLaMA-3-Instruct 8B | ptb-xl | published † | 0.467 |" in markdown
    assert "2 cells are not finished" in markdown and "arXiv 2403.04945, Tables 1 and 3" in markdown
    assert r"LLaMA-3-Instruct 8B & ptb-xl & published \textdagger{} & 0.467 \\" in latex and r"a\_b & here" in latex
    assert [(line["published"], line["BLEU-4"], line["BLEU-4 low"]) for line in lines] == [
        ("false", "0.5", "0.25"), ("true", "0.467", "")]


def test_costs_are_summed_over_sessions_and_a_cut_one_is_counted(tmp_path: Path) -> None:
    for _ in range(2):
        with counted(tmp_path, "runs/a"):
            held = bytearray(30_000_000)
    with pytest.raises(KeyboardInterrupt), counted(tmp_path, "runs/a"):
        del held
        raise KeyboardInterrupt
    with (tmp_path / FILE).open("a") as stream:
        stream.write('{"artefact": "runs/a", "sec')
    cost = costs_of(tmp_path)["runs/a"]
    assert cost.cut == 1 and cost.seconds > 0 and cost.peak_bytes > 30_000_000


def test_a_prompt_without_words_is_the_recording_alone(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    build_instructions(inputs[0], tmp_path / "i", pool_size=0)
    made = open_instructions(tmp_path / "i")
    row = next(iter(made.of(list(made.rows)[:1])))
    assert made.prompts == [""] and row.messages[0]["content"] == [{"type": "ecg"}, {"type": "text", "text": ""}]
    assert row.messages[1]["content"]


@pytest.mark.long
def test_killed_twice_and_resumed_the_four_tables_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    config = written(tmp_path, TINY.replace("[0.1, 0.2]", "[0.2]")).as_posix()
    with ApiServer(otherwise=good) as server:
        judge = ["--judge", "m", "--base-url", server.base_url]

        def line(task: str, out: str) -> list[str]:
            return ["benchmark", task, "--config", config, "--out", (tmp_path / out).as_posix(),
                    *(judge if task == "alignment" else [])]

        for moment in (f"runs/{FIRST}/metrics.jsonl", f"predictions/{FIRST}-on-here.jsonl"):
            kill_when(medreport(line("quality", "cut"), tmp_path), (tmp_path / "cut" / moment).exists)
        assert run([*line("quality", "cut"), "--tables-only"]) == 0
        assert "cells are not finished" in (tmp_path / "cut/tables/quality.md").read_text()
        trained = tmp_path / f"cut/runs/{FIRST}/manifest.json"
        before = trained.stat().st_mtime_ns
        for task in BENCHMARK_TASKS:
            assert run(line(task, "cut")) == 0 and run(line(task, "whole")) == 0
        assert trained.stat().st_mtime_ns == before
    for task in BENCHMARK_TASKS:
        for suffix in ("md", "csv", "tex", "html"):
            one, other = (tmp_path / out / f"tables/{task}.{suffix}" for out in ("whole", "cut"))
            assert one.read_bytes() == other.read_bytes(), one
            assert (tmp_path / f"cut/tables/{task}-cost.{suffix}").is_file()
    judged = list(csv.DictReader((tmp_path / "cut/tables/alignment.csv").read_text().splitlines()))
    assert [row["judge-diagnosis"] for row in judged if row["from"] == "this benchmark"].count("") == 0
    zero_shot = (tmp_path / "cut/tables/zero-shot.md").read_text()
    assert "| here | there | this benchmark |" in zero_shot
    noisy = [row for row in csv.DictReader((tmp_path / "cut/tables/robustness.csv").read_text().splitlines())
             if row["published"] == "false"]
    assert {row["proportion"] for row in noisy} == {"0", "0.2", "the text alone", "another patient's"}
