"""Several systems in one table: paired tests against an oracle in plain numpy, alignment, formats, what is bold."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from metric_corpora import random_pairs, rows_of

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PredictionRow, write_rows
from emgecg_cli.core.evaluation.bootstrap import cluster_sums
from emgecg_cli.core.evaluation.comparison import best_of, compare, holm
from emgecg_cli.core.evaluation.compute import Block, evaluate
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.evaluation.page import write_page
from emgecg_cli.core.evaluation.score import Scores, score_rows
from emgecg_cli.core.evaluation.slices import Slice
from emgecg_cli.core.evaluation.tables import as_csv, as_latex, as_markdown
from emgecg_cli.core.metrics.text.bleu import Bleu
from emgecg_cli.core.metrics.text.rouge import Rouge

FAST = {"metrics": ["rouge"], "resamples": 50, "randomisations": 200}


def systems(n: int = 60, patients: int = 3) -> dict[str, list[PredictionRow]]:
    """A poor system, one that is right in half of its reports, and one that is right in all."""
    rows = [replace(row, subject_id=str(i // patients)) for i, row in enumerate(rows_of(random_pairs(n, 5)))]
    half = [replace(row, prediction=row.reference or "") if i % 2 else row for i, row in enumerate(rows)]
    return {"a": rows, "b": half, "c": [replace(row, prediction=row.reference or "") for row in rows]}


def oracle(first: np.ndarray, own: np.ndarray, clusters: list[str], value: str, draws: int) -> tuple[float, float]:
    """Two p values of the difference in BLEU: of swapped reports, and of drawn ones; each draw has all reports."""
    rng, names = np.random.default_rng(99), sorted(set(clusters))
    owner = np.array([names.index(one) for one in clusters])
    swapped, drawn = [], []
    for _ in range(draws):
        hit = (rng.random(len(names)) < 0.5)[owner][:, None]
        swapped.append((np.where(hit, own, first).sum(axis=0), np.where(hit, first, own).sum(axis=0)))
        picked = np.concatenate([np.flatnonzero(owner == k) for k in rng.integers(len(names), size=len(names))])
        drawn.append((first[picked].sum(axis=0), own[picked].sum(axis=0)))

    def differences(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        left, right = (Bleu().aggregate(np.stack(side))[value] for side in zip(*pairs, strict=True))
        return right - left

    observed = differences([(first.sum(axis=0), own.sum(axis=0))])[0]
    as_large = [np.abs(differences(swapped)) >= abs(observed) - 1e-12,
                np.abs(differences(drawn) - observed) >= abs(observed) - 1e-12]
    return (as_large[0].sum() + 1) / (draws + 1), (as_large[1].sum() + 1) / (draws + 1)


def test_both_tests_are_those_of_a_plain_implementation() -> None:
    given = systems(80, 4)
    rng = np.random.default_rng(0)
    near = [replace(row, prediction=" ".join(word for word in row.prediction.split() if rng.random() > 0.1)
                    if i % 7 else row.reference or "") for i, row in enumerate(given["a"])]
    found = score_rows({"a": given["a"], "near": near}, metrics=["bleu"], resamples=4000, randomisations=4000).scores
    assert found.comparison is not None
    for name in ("BLEU-1", "BLEU-4"):
        test = next(one for one in found.comparison.tests if one.name == name)
        statistics = [Bleu().segment_statistics([row.prediction for row in rows], [row.reference or "" for row in rows],
                                                rows) for rows in (given["a"], near)]
        clusters = [str(row.subject_id) for row in given["a"]]
        randomised, drawn = oracle(*statistics, clusters, name, 2500)
        assert 0.005 < randomised < 0.2
        assert test.p == pytest.approx(randomised, abs=0.02) and test.p_bootstrap == pytest.approx(drawn, abs=0.02)
        low, high = test.ci_low, test.ci_high
        assert low is not None and high is not None and low < test.difference < high


def test_under_the_null_the_test_is_wrong_as_often_as_it_says() -> None:
    # Two systems that are as good: scores of patients with several reports each, drawn alike, differ by chance.
    rng, rejected, corrected, n = np.random.default_rng(3), 0, 0, 300
    clusters = [f"p{i // 4}" for i in range(80)]
    for trial in range(n):
        patients = rng.normal(size=20).repeat(4)
        blocks = []
        for system in ("a", "b"):
            scores = patients + rng.normal(size=20).repeat(4) + rng.normal(size=(3, 80))
            blocks.append(Block(Slice("", np.arange(80), "all", ""), Rouge(), system,
                                np.column_stack([*scores, np.ones(80)])))
        tests = compare(evaluate(blocks, clusters, 0, 0), ["a", "b"], clusters, 300, trial).tests
        rejected += tests[0].p < 0.05
        corrected += any(one.better is not None for one in tests)
    assert 0.02 < rejected / n < 0.09 and corrected / n < 0.09


def test_patients_are_swapped_whole() -> None:
    given = systems(120, 40)  # three patients: no difference can be sure
    found = score_rows(given, **FAST).scores.comparison
    assert found is not None and min(one.p for one in found.tests) > 0.2
    alone = {name: [replace(row, subject_id=None) for row in rows] for name, rows in given.items()}
    sure = score_rows(alone, **FAST).scores.comparison
    assert sure is not None and max(one.p for one in sure.tests) < 0.01


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_same_seed_gives_the_same_bytes_and_an_equal_system_is_not_better(tmp_path: Path) -> None:
    given = systems()
    files = {name: tmp_path / f"{name}.jsonl" for name in given}
    for name, rows in given.items():
        write_rows(files[name], rows)
    write_rows(tmp_path / "copy.jsonl", given["a"])
    written = []
    for out in ("1", "2"):
        scores = score_file({**files, "copy": tmp_path / "copy.jsonl"}, tmp_path / out / "s.json", **FAST)
        written.append([path.read_bytes() for path in sorted((tmp_path / out).iterdir())])
    assert written[0] == written[1] and len(written[0]) == 3
    comparison = scores.comparison
    assert comparison is not None and {one.system for one in comparison.tests} == {"b", "c", "copy"}
    assert all((one.difference, one.p, one.better) == (0, 1, None) for one in comparison.tests if one.system == "copy")
    assert best_of(asdict(scores)) == {name: {"b", "c"} for name in ("ROUGE-1", "ROUGE-2", "ROUGE-L")}
    best_first = score_rows({"c": given["c"], "a": given["a"]}, **FAST).scores
    assert best_of(asdict(best_first)) == {name: {"c"} for name in ("ROUGE-1", "ROUGE-2", "ROUGE-L")}


def test_references_and_descriptions_are_neither_tested_nor_bold(tmp_path: Path) -> None:
    given = {name: [replace(row, prediction=text, reference="sinus rhythm. left bundle branch block.", dataset="ptb-xl",
                            codes=["SR", "CLBBB"]) for row in rows_of([("", "x")] * 40)]
             for name, text in (("a", "normal ecg"), ("b", "sinus rhythm. left bundle branch block."))}
    scores = score_rows(given, metrics=["labels"], resamples=20, randomisations=2000).scores
    names = {value.name for value in scores.systems[0].values}
    tested = {one.name for one in scores.comparison.tests} if scores.comparison else set()
    assert {"codes-ceiling-F1", "labels-unread-references"} <= names - tested and "labels-F1" in tested
    write_page(tmp_path / "p.html", examples=[], scores=asdict(scores))
    rows = dict(re.findall(r"<tr><th scope=row>([^<]*)</th>(.*?)</tr>", (tmp_path / "p.html").read_text("utf-8")))
    assert rows["labels-F1"].count("<b>") == 1 and "<b>" not in rows["codes-ceiling-F1"]
    write_page(tmp_path / "p.html", examples=[], scores=asdict(score_rows(given["b"], metrics=["labels"]).scores))
    assert "<b>" not in (tmp_path / "p.html").read_text("utf-8").partition("<h2>Scores")[2]


def line(tmp_path: Path, *words: str) -> list[str]:
    return ["score", *words, "--metric", "rouge", "--resamples", "20", "--randomisations", "200", "--out",
            str(tmp_path / "s.json")]


def test_differing_records_are_refused_or_cut_to_the_common_ones(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = systems(20)
    write_rows(tmp_path / "a.jsonl", given["a"][:-2])
    write_rows(tmp_path / "b.jsonl", given["b"][:2:-1])
    both = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert run(line(tmp_path, *both)) == 2
    said = capsys.readouterr().err
    assert "3 only in a (0, 1, 2); 2 only in b (19, 18); 15 in all" in said and "--common" in said
    assert run(line(tmp_path, *both, "--common", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert "15 records that all systems have are scored; left out: 3 of a, 2 of b" in found["caveats"]
    whole = score_rows({name: given[name][3:-2] for name in ("a", "b")}, **(FAST | {"resamples": 20})).scores
    assert whole.comparison is not None
    assert [one["p"] for one in found["comparison"]["tests"]] == [one.p for one in whole.comparison.tests]
    write_rows(tmp_path / "b.jsonl", [replace(row, reference="other") for row in given["b"][:-2]])
    assert run(line(tmp_path, *both)) == 2
    assert "18 of 18 references of b are not those of a, first that of record 0" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "says"), [
    (["--name", "x"], "--name is given 1 times for 2"), (["--name", "x", "--name", "x"], "two systems are called 'x'"),
    (["--name", "x", "--name", "baseline: y"], "no name of a system"), (["--format", "xml"], "no format 'xml'"),
    (["--format", "csv", "--json"], "are both given")])
def test_wrong_words_are_refused(tmp_path: Path, words: list[str], says: str,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        write_rows(tmp_path / f"{name}.jsonl", systems(4)["a"])
    assert run(line(tmp_path, str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), *words)) == 2
    assert says in capsys.readouterr().err


def test_the_formats_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in systems().items():
        write_rows(tmp_path / f"{name}.jsonl", rows)
    words = line(tmp_path, *(str(tmp_path / f"{name}.jsonl") for name in "abc"))
    words += ["--name", "A_1", "--name", "B|2", "--name", "C"]
    printed = {}
    for form in ("table", "csv", "markdown", "latex", "json"):
        assert run([*words, "--format", form]) == 0
        printed[form] = capsys.readouterr().out
    found = json.loads(printed["json"])
    values = {(system["name"], one["name"]): one for system in found["systems"] for one in system["values"]}
    tests = {(one["system"], one["name"]): one for one in found["comparison"]["tests"]}
    for row in csv.DictReader(io.StringIO(printed["csv"])):
        key = row["system"], row["score"]
        assert float(row["value"]) == values[key]["value"] and row["signature"] == values[key]["signature"]
        tested = key[0] in ("B|2", "C")
        assert (row["p_holm"] != "") == tested and (key not in tests or float(row["p"]) == tests[key]["p"])
    cell = f"{values['C', 'ROUGE-L']['value']:.3f}"
    assert re.search(rf"^\| ROUGE-L \|.*\| \*\*{cell} \[", printed["markdown"], re.M) and "B\\|2" in printed["markdown"]
    assert re.search(rf"^ROUGE-L & .* & \\textbf\{{{cell} \[", printed["latex"], re.M)
    assert r"A\_1" in printed["latex"] and r"B\textbar{}2" in printed["latex"]
    assert re.search(rf"^ROUGE-L .*{cell} \[.*\] \*", printed["table"], re.M)
    scores: Scores = score_rows(systems(), **FAST).scores
    assert [as_csv(scores), as_markdown(scores), as_latex(scores)] == [as_csv(scores), as_markdown(scores),
                                                                       as_latex(scores)]


def test_sums_of_patients_decide() -> None:
    sums = cluster_sums(np.array([[1.0], [2.0], [4.0]]), ["a", "b", "a"])
    assert sums.tolist() == [[5.0], [2.0]]
