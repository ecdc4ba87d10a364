"""What holds for every metric in the table, and a new one that needs evidence: one file, one line."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judge_server import LocalClient
from metric_corpora import random_pairs, rows_of
from pipeline import make_store
from tiny_bert import make_bert

from emgecg_cli.commands.app import run
from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow, write_rows
from emgecg_cli.core.datasets.synthetic_emg import draw_case
from emgecg_cli.core.evaluation.score import score_rows, write_scores
from emgecg_cli.core.evaluation.statistics import read_statistics, recompute
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.metrics import Declared, Given, Metric
from emgecg_cli.core.metrics.judged.panel import Judge, Panel
from emgecg_cli.core.reports.sections import join_sections
from emgecg_cli.core.store import Store, open_store
from emgecg_cli.core.verify import verify_artefact

TOY = '''
"""How far the first number of a report is from the heart rate of its record."""
import re
import numpy as np
from emgecg_cli.core.metrics import Declared

class ToyRate:
    name = "toy-rate"
    declared = Declared(frozenset({"evidence"}), lower_is_better=frozenset({"toy-error"}))

    def __init__(self, evidence=None):
        self.evidence = evidence

    @classmethod
    def of(cls, given):
        return cls(given.evidence)

    def applicable(self, rows):
        return None

    def columns(self):
        return "error", "reports"

    def segment_statistics(self, hypotheses, references, rows):
        def error(text, row):
            said, true = re.search("[0-9]+", text), self.evidence.of(row.record_id).measurements.heart_rate_bpm
            return (0, 0) if said is None or true is None else (abs(int(said[0]) - true), 1)
        return np.array([error(*pair) for pair in zip(hypotheses, rows, strict=True)], float)

    def aggregate(self, sums):
        return {"toy-error": sums[..., 0] / sums[..., 1]}

    def signature(self):
        return "truth:measured"
'''


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(make_store(tmp_path_factory.mktemp("stores") / "cohort", 40))


def of_store(store: Store) -> list[PredictionRow]:
    """Each record with the report of the next one."""
    rows = [store.row(i) for i in range(len(store))]
    return [PredictionRow(row.record_id, other.report or "", row.report, 0, row.subject_id, store.dataset, row.language,
                          row.codes, reference_loss=i / 8, reference_loss_shuffled=i % 3)
            for i, (row, other) in enumerate(zip(rows, [*rows[1:], rows[0]], strict=True))]


def of_tables() -> list[PredictionRow]:
    texts = [join_sections(case.findings, case.impression, case.language)
             for case in (draw_case(3, number, "en") for number in range(30))]
    return [PredictionRow(f"emg-{i}", texts[i - 1], text, subject_id=f"p{i // 2}", language="en")
            for i, text in enumerate(texts)]


def of_task(store: Store, task: str) -> list[PredictionRow]:
    """The same of a task of ECGBench; of one with labels the answers are such."""
    rows = [replace(row, task=task) for row in of_store(store)]
    labels = ("NORM", "MI; CD", "STTC", "no idea")
    return [replace(row, prediction=labels[i % 4], reference=labels[i % 3]) for i, row in enumerate(rows)] \
        if task == "ptb-test" else rows


@pytest.fixture
def computable(store: Store, tmp_path: Path) -> Any:
    """name -> rows on which that metric can be computed, and the metric for them."""
    def find(name: str) -> tuple[list[PredictionRow], Metric]:
        for rows in (of_store(store), of_tables(), rows_of(random_pairs(30, 4)),
                     *(of_task(store, task) for task in ("ptb-test", "ptb-test-report", "arena"))):
            kind = names.resolve("metric", name)
            weights = {}
            if "weights" in kind.declared.needs:
                weights = {"model": make_bert(tmp_path / "bert", [row.prediction for row in rows]), "layers": 1}
            given = Given(rows, evidence=Evidence(store), settings=weights,
                          judge=Panel([Judge(label, LocalClient()) for label in ("a", "b")]))  # type: ignore[arg-type]
            metric = kind.of(given)
            if metric.applicable(rows) is None and given.lacks(metric.declared) is None:
                return rows, metric
        raise AssertionError(f"{name} can be computed on none of the sets")

    return find


@pytest.mark.parametrize("name", names.choices("metric"))
def test_every_metric_keeps_the_contract(name: str, computable: Any) -> None:
    rows, metric = computable(name)
    texts, references = [row.prediction for row in rows], [row.reference or "" for row in rows]
    found = metric.segment_statistics(texts, references, rows)
    assert metric.name == name and found.shape == (len(rows), len(metric.columns()))
    assert len(set(metric.columns())) == len(metric.columns()) and np.isfinite(found).all()
    assert np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.unsignedinteger)
    order = np.random.default_rng(0).permutation(len(rows))
    again = metric.segment_statistics([texts[i] for i in order], [references[i] for i in order],
                                      [rows[i] for i in order])
    if metric.declared.resampled:
        np.testing.assert_allclose(again, found[order], atol=1e-6)  # a report's row is its own
    values = metric.aggregate(found.sum(axis=0))
    drawn = metric.aggregate(np.stack([[found.sum(axis=0)] * 3] * 2))
    assert metric.declared.lower_is_better <= values.keys() | {"contradictions", "contradictions-per-report",
                                                               "contradictions-per-reference"}
    for value_name, value in values.items():
        assert drawn[value_name].shape == (2, 3)
        np.testing.assert_allclose(drawn[value_name], value)
    assert metric.signature() and "\n" not in metric.signature()
    kind = type(metric)
    kept = kind.restored(metric.columns(), found.sum(axis=0)) if hasattr(kind, "restored") else kind()
    np.testing.assert_equal({name: float(value) for name, value in kept.aggregate(found.sum(axis=0)).items()},
                            {name: float(value) for name, value in values.items()})


def test_no_metric_is_known_by_name_outside_its_file() -> None:
    package = Path(names.__file__).parents[1]
    words = {"findings", "evidence"}  # a section of a report, and what a leak is known by
    known = {*names.METRICS} - words
    for path in (path for room in ("commands", "core/evaluation", "core/studies")
                 for path in (package / room).rglob("*.py")
                 if path.parent.name != "benchmark"):  # a paper's tasks ask for the metrics of that paper
        said = {node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not said & known and not [text for text in said for name in names.METRICS
                                         if text.lower().startswith(f"{name}-")], path


def test_a_need_that_is_not_met_is_a_reason() -> None:
    rows = [PredictionRow("1", "a", "b")]
    for need in ("codes", "evidence", "weights", "judge"):
        assert Given(rows).lacks(Declared(frozenset({need})))  # type: ignore[arg-type]
    assert Given([replace(rows[0], reference=None)]).lacks(Declared(frozenset({"text"})))
    assert Given(rows).lacks(Declared(frozenset({"text"}))) is None


def test_values_intervals_and_tables_come_from_the_kept_statistics_alone(tmp_path: Path, store: Store) -> None:
    rows = of_store(store)
    scored = score_rows(rows, train_reports=["sinus rhythm. normal ecg.", "atrial fibrillation."],
                        evidence=Evidence(store), resamples=60, seed=3)
    write_scores(tmp_path / "s.json", scored.scores, inputs={}, arguments={}, statistics=scored.statistics)
    kept = read_statistics(tmp_path / "s.parquet")
    assert kept.columns[:4] == ["record_id", "dataset", "subject_id", "system"] and \
        len(kept) == len(scored.scores.systems) * len(rows)
    again = recompute(kept, 60, 3)
    for system in scored.scores.systems:
        assert {one.name: (one.value, one.ci_low, one.ci_high) for one in again.values[system.name]} == \
            {one.name: (one.value, one.ci_low, one.ci_high) for one in system.values if one.signature}
    assert [table.rows for table in again.tables if table.system == "model"] == \
        [table.rows for table in scored.scores.tables] and scored.scores.tables
    other = recompute(kept, 60, 4)
    assert other.values["model"][0].ci_low != again.values["model"][0].ci_low


def test_sections_and_languages_are_kept_apart_in_the_statistics() -> None:
    rows = of_tables()
    scored = score_rows(rows, metrics=["statements", "bleu"], resamples=20)
    assert {"bleu: length", "bleu (findings): length", "statements: tp"} <= {*scored.statistics.columns}
    again = recompute(scored.statistics, 20, 0).values["model"]
    assert {one.name: one.value for one in again} == {one.name: one.value for one in scored.scores.systems[0].values
                                                      if one.signature}


def test_verify_reads_the_statistics_and_strangers_are_not_written_over(
        tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "p.jsonl", of_store(store))
    line = ["score", str(tmp_path / "p.jsonl"), "--store", str(store.path), "--metric", "rouge", "--resamples", "0",
            "--out", str(tmp_path / "s.json")]
    assert run(line) == 0 == run(line)
    assert verify_artefact(tmp_path / "s.json").files == 3 and not verify_artefact(tmp_path / "s.json").damaged
    (tmp_path / "s.parquet").write_bytes(b"other")
    assert [Path(one.file).name for one in verify_artefact(tmp_path / "s.json").damaged] == ["s.parquet"]
    (tmp_path / "t.parquet").write_bytes(b"mine")
    assert run([*line[:-1], str(tmp_path / "t.json")]) == 2
    assert (tmp_path / "t.parquet").read_bytes() == b"mine" and "t.parquet: exists" in capsys.readouterr().err


def test_a_new_metric_that_needs_evidence_is_one_file_and_one_line(
        tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "toy_rate.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(names.METRICS, "toy-rate", "toy_rate:ToyRate")
    rows = [replace(row, prediction=f"rate of {70 + 3 * (i % 5)}") for i, row in enumerate(of_store(store))]
    write_rows(tmp_path / "p.jsonl", rows)
    line = ["score", str(tmp_path / "p.jsonl"), "--metric", "toy-rate", "--resamples", "30", "--out",
            str(tmp_path / "s.json"), "--page", str(tmp_path / "s.html"), "--examples", "0"]
    assert run([*line, "--store", str(store.path)]) == 0
    assert "toy-error" in capsys.readouterr().out and "toy-error" in (tmp_path / "s.html").read_text()
    rates = [Evidence(store).of(row.record_id).measurements.heart_rate_bpm for row in rows]  # type: ignore[union-attr]
    expected = np.mean([abs(70 + 3 * (i % 5) - rate) for i, rate in enumerate(rates) if rate is not None])
    (value,) = json.loads((tmp_path / "s.json").read_text())["systems"][0]["values"]
    assert value["value"] == pytest.approx(expected) and value["ci_low"] < expected < value["ci_high"]
    assert value["lower_is_better"] is True
    assert recompute(read_statistics(tmp_path / "s.parquet"), 30, 0).values["model"][0].value == value["value"]
    assert run([*line[:-4], "--metric", "rouge"]) == 0
    assert "toy-rate not computed: needs the recordings: --store STORE" in capsys.readouterr().err
