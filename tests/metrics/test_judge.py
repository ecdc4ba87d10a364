"""Judges behind an endpoint: controls first, failures counted, nothing paid twice, two held against each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from api_server import KEY, ApiServer, Reply, answer, failure
from judge_server import always, completion, good, harsher, texts_in, verdict

from emgecg_cli.commands.app import run
from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow, write_rows
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.score import Scores, score_rows, write_scores
from emgecg_cli.core.evaluation.statistics import read_statistics, recompute
from emgecg_cli.core.metrics.judged.agreement import spearman, weighted_kappa
from emgecg_cli.core.metrics.judged.controls import NEGATED, SHUFFLED, controls_of
from emgecg_cli.core.metrics.judged.meit import CRITERIA
from emgecg_cli.core.metrics.judged.panel import Panel, panel_of

FINDINGS = ("atrial fibrillation", "left bundle branch block", "sinus bradycardia", "inferior infarction",
            "ventricular ectopics", "low voltage", "prolonged qt interval", "st depression", "first degree av block")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def made_rows(n: int = 24) -> list[PredictionRow]:
    """Every third report is right, one of three half right, one of three of another patient."""
    def text(i: int) -> str:
        return f"{FINDINGS[i % 9]}, rate {50 + i}. {FINDINGS[(i + 4) % 9]}."

    written: list[Callable[[int], str]] = [text, lambda i: f"{FINDINGS[i % 9]}, rate {50 + i}.", lambda i: text(i + 2)]
    return [PredictionRow(f"r{i}", written[i % 3](i), text(i), subject_id=f"p{i}", language="en") for i in range(n)]


def judged(server: ApiServer, folder: Path, rows: list[PredictionRow] | None = None, judges: tuple[str, ...] = ("m",),
           base_url: str | None = None, **settings: object) -> tuple[Scores, Panel]:
    panel = panel_of(judges, base_url or server.base_url, folder / "answers.jsonl", requests_at_once=4)
    for one in panel.judges:
        one.client.sleep = None
        one.client.backoff = 0.01
    with panel:
        scored = score_rows(rows or made_rows(), metrics=["judge"], judge=panel, resamples=50,
                            settings={"judge": {"systems": "models"} | settings})
    write_scores(folder / "s.json", scored.scores, inputs={}, arguments={}, statistics=scored.statistics)
    return scored.scores, panel


def test_a_good_judge_is_believed_and_its_scores_are_the_means_of_what_it_said(tmp_path: Path) -> None:
    rows = made_rows()
    with ApiServer(otherwise=good) as server:
        scores, _ = judged(server, tmp_path, rows)
        asked = [texts_in(one["messages"][0]["content"]) for one in server.requests]
        assert len(asked) == len({*asked}) and all(one["temperature"] == 0 for one in server.requests)
        assert server.requests[0]["response_format"]["json_schema"]["strict"] is True
        n_controls = sum(pair not in {(row.reference, row.prediction) for row in rows} for pair in asked)
        assert 6 <= n_controls <= 18 and all(one == two for one, two in asked[:2])
    expected = [verdict(row.reference or "", row.prediction) for row in rows]
    for key in CRITERIA.keys:
        value = scores.value(f"judge-{key}")
        assert value.value == pytest.approx(np.mean([one[key] for one in expected])) and value.n == len(rows)
        assert value.ci_low < value.value < value.ci_high  # type: ignore[operator]
    assert scores.value("judge-failed").value == 0 and "itself 5.00" in scores.value("judge-mean").signature
    again = recompute(read_statistics(tmp_path / "s.parquet"), 50, 0).values["model"]
    assert {one.name: (one.value, one.ci_low) for one in again} == \
        {one.name: (one.value, one.ci_low) for one in scores.systems[0].values}


@pytest.mark.parametrize(("bad", "says"), [
    (always(5), "a shuffled reference scores 5.00, and must score 3 or less"),
    (always(1), "a reference against itself scores 1.00, and must score 4.5 or more"),
    (lambda prompt: answer("I would rather not say."), "answers could not be read"),
    (lambda prompt: completion(json.dumps(dict.fromkeys(CRITERIA.keys, 5 if len(set(texts_in(prompt)[0].split()) & set(
        texts_in(prompt)[1].split())) > 1 else 1))), "a negated finding scores"),
])
def test_results_of_a_bad_judge_are_withheld_with_one_line(bad: Callable[[str], Reply], says: str, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "p.jsonl", made_rows())
    with ApiServer(otherwise=bad) as server:
        line = ["score", str(tmp_path / "p.jsonl"), "--metric", "judge", "--metric", "rouge", "--judge", "m",
                "--base-url", server.base_url, "--out", str(tmp_path / "s.json")]
        assert run(line) == 0
        sent = [texts_in(one["messages"][0]["content"]) for one in server.requests]
    told = capsys.readouterr()
    assert [one for one in told.err.splitlines() if says in one and "does not pass its controls" in one]
    values = {one["name"]: one for one in json.loads((tmp_path / "s.json").read_text())["systems"][0]["values"]}
    assert values["judge"]["value"] is None and says in values["judge"]["reason"] and "ROUGE-L" in values
    assert not [name for name in values if name.startswith("judge-")]
    assert not {(row.reference, row.prediction) for row in made_rows()[1::3]} & {*sent}  # controls alone were paid


def test_bad_weather_loses_nothing_and_pays_nothing_twice(tmp_path: Path) -> None:
    """429, 500, cut connections and nonsense, then a new start without the endpoint."""
    weather = [failure(429, retry_after="0"), failure(500), Reply(good_body(), cut=True), Reply(b"<html>"), answer(" ")]
    with ApiServer(otherwise=good) as server:
        clear, _ = judged(server, tmp_path / "clear")
    seen = [0]

    def rough(prompt: str) -> Reply:
        seen[0] += 1
        return weather[seen[0] % 7] if seen[0] % 7 < 5 and seen[0] % 2 else good(prompt)

    with ApiServer(otherwise=rough) as server:
        scores, panel = judged(server, tmp_path / "rough")
        assert {one.name: one.value for one in scores.systems[0].values} == \
            {one.name: one.value for one in clear.systems[0].values}
        told = panel.took()
        requests = len(server.requests)
        url = server.base_url
        again, panel = judged(server, tmp_path / "rough")
        assert len(server.requests) == requests and panel.took() == told and again == scores
    answers = [json.loads(line)["key"] for line in (tmp_path / "rough/answers.jsonl").open()]
    assert len(answers) == len({*answers}) == panel.judges[0].client.used.answers
    offline, _ = judged(server, tmp_path / "rough", base_url=url)
    assert offline == scores


def good_body() -> bytes:
    return good(CRITERIA.messages("a", "b")[0]["content"]).body


def test_a_verdict_that_cannot_be_had_is_counted_and_in_no_mean(tmp_path: Path) -> None:
    rows = made_rows()
    bad, filtered = rows[1], rows[2]

    def reply(prompt: str) -> Reply:
        if "That cannot be read" in prompt:
            return answer("still no")
        if texts_in(prompt) == (bad.reference, bad.prediction):
            return answer("Hm.")
        return failure(400, "content filter") if texts_in(prompt)[1] == filtered.prediction else good(prompt)

    with ApiServer(otherwise=reply) as server:
        scores, _ = judged(server, tmp_path, rows)
        again = [one["messages"] for one in server.requests if len(one["messages"]) == 3]
        assert len(again) == 1 and again[0][1]["content"] == "Hm."
    assert scores.value("judge-failed").value == pytest.approx(2 / 24)
    assert scores.value("judge-failed").lower_is_better
    kept = [verdict(row.reference or "", row.prediction) for row in rows if row not in (bad, filtered)]
    assert scores.value("judge-diagnosis").value == pytest.approx(np.mean([one["diagnosis"] for one in kept]))
    assert any("no verdict on 2 of 24" in note for note in scores.notes)


def test_an_endpoint_without_schemas_is_asked_without(tmp_path: Path) -> None:
    with ApiServer() as server:
        server.otherwise = lambda prompt: failure(400, "response_format is not supported") \
            if "response_format" in server.requests[-1] else good(prompt)
        panel = panel_of(["m"], server.base_url, None)
        scores = score_rows(made_rows(), metrics=["judge"], judge=panel, resamples=0).scores
        assert sum("response_format" in one for one in server.requests) == 1
    assert scores.value("judge-mean").value and "m (text;" in scores.value("judge-mean").signature


def test_two_judges_and_their_agreement(tmp_path: Path) -> None:
    rows = made_rows(40)
    with ApiServer(otherwise=good) as one, ApiServer(otherwise=harsher) as two:
        scores, _ = judged(one, tmp_path, rows, ("a", f"b@{two.base_url}"))
    first = [verdict(row.reference or "", row.prediction)["diagnosis"] for row in rows]
    second = [score if score == 5 else max(1, score - 1) for score in first]
    assert scores.value("judge-diagnosis a").value == pytest.approx(np.mean(first))
    assert scores.value("judge-diagnosis b").value == pytest.approx(np.mean(second))
    (table,) = scores.tables
    row = next(row for row in table.rows if row.item == "diagnosis")
    assert row.counts == {"judged by both": 40} and row.meaning == "a and b"
    found = row.values["weighted kappa"]
    assert found.value == pytest.approx(plain_kappa(first, second)) and found.ci_low < found.value < found.ci_high  # type: ignore[operator]
    assert row.values["Spearman"].value == pytest.approx(scipy.stats.spearmanr(first, second)[0])
    again = recompute(read_statistics(tmp_path / "s.parquet"), 50, 0)
    assert next(row for row in again.tables[0].rows if row.item == "diagnosis") == row
    with ApiServer(otherwise=good) as one, ApiServer(otherwise=always(5)) as two:
        scores, _ = judged(one, tmp_path / "other", rows, ("a", f"b@{two.base_url}"))
    assert scores.value("judge-diagnosis").value and not scores.tables
    assert any("the judge b does not pass its controls" in note for note in scores.notes)


def plain_kappa(first: list[int], second: list[int]) -> float:
    """Cohen 1968, written down once more."""
    n = len(first)
    observed = sum((one - two) ** 2 for one, two in zip(first, second, strict=True)) / n
    expected = sum((one - two) ** 2 for one in first for two in second) / n**2
    return 1 - observed / expected


def test_agreement_against_plain_formulas() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        first = rng.integers(0, 5, 60)
        second = np.clip(first + rng.integers(-2, 3, 60), 0, 4)
        counts = np.zeros((5, 5))
        np.add.at(counts, (first, second), 1)
        assert weighted_kappa(counts) == pytest.approx(plain_kappa(first.tolist(), second.tolist()))
        assert spearman(counts) == pytest.approx(scipy.stats.spearmanr(first, second)[0])
        np.testing.assert_allclose(spearman(np.stack([counts, counts.T])), spearman(counts))
    assert np.isnan(weighted_kappa(np.diag([0, 0, 9]))) and np.isnan(spearman(np.diag([0, 0, 9])))


def test_controls_come_from_the_references_in_their_language() -> None:
    references = [("Sinusrhythmus. Linkstyp.", "de"), ("Vorhofflimmern. Kein Infarkt.", "de"),
                  ("Kein Infarkt.", "de"), ("ritmo sinusal", "es")]
    found = controls_of(CRITERIA, references)
    assert ("Sinusrhythmus. Linkstyp.", "kein Hinweis auf Sinusrhythmus. Linkstyp.") in found[NEGATED]
    assert ("Vorhofflimmern. Kein Infarkt.", "kein Hinweis auf Vorhofflimmern. Kein Infarkt.") in found[NEGATED]
    assert not [one for one, _ in found[NEGATED] if one in ("Kein Infarkt.", "ritmo sinusal")]
    assert found == controls_of(CRITERIA, references[::-1])
    alike = controls_of(CRITERIA, [("normal ecg", "en"), ("normal ecg today", "en")])
    assert len(alike[SHUFFLED]) == len(CRITERIA.samples)


def test_the_models_alone(tmp_path: Path) -> None:
    def ask(**settings: object) -> Scores:
        panel = panel_of(["m"], server.base_url, None)
        return score_rows(made_rows(), metrics=["judge", "rouge"], judge=panel, resamples=0,
                          settings={"judge": settings}, train_reports=["sinus rhythm."]).scores

    with ApiServer(otherwise=good) as server:
        scores = ask(systems="models")
        few = len(server.requests)
        everybody = ask()
        assert len(server.requests) - few > few
    by_name = {one.name: {value.name for value in one.values} for one in scores.systems}
    assert "judge-mean" in by_name.pop("model") and len(by_name) >= 2
    assert not [name for values in by_name.values() for name in values if name.startswith("judge")]
    assert sum("judge-mean" in {value.name for value in one.values} for one in everybody.systems) > 1


def test_some_records_alone(tmp_path: Path) -> None:
    with ApiServer(otherwise=good) as server:
        scores, _ = judged(server, tmp_path, made_rows(), records=5)
        some = len(server.requests)
        judged(server, tmp_path, made_rows()[::-1], records=5)
        assert len(server.requests) == some < 24
    assert any("judged are 5 of 24 records" in note for note in scores.notes)


def test_answers_belong_to_their_address(tmp_path: Path) -> None:
    """One model at two addresses may be two models: neither is answered from what the other said, alone or together."""
    def mean(scores: Scores) -> float:
        return float(scores.value("judge-mean").value or 0)

    with ApiServer(otherwise=good) as one, ApiServer(otherwise=harsher) as other:
        first, second = (judged(server, tmp_path)[0] for server in (one, other))
        asked = [len(one.requests), len(other.requests)]
        assert asked[0] == asked[1] > 0 and mean(first) > mean(second)
        both, _ = judged(one, tmp_path, judges=("m", f"m@{other.base_url}/"))   # the stroke is of no weight
        assert [len(one.requests), len(other.requests)] == asked
    assert [both.value(f"judge-mean m#{number}").value for number in (1, 2)] == [mean(first), mean(second)]


def test_answers_kept_without_an_address_still_count(tmp_path: Path) -> None:
    with ApiServer(otherwise=good) as server:
        with panel_of(["m"], server.base_url, tmp_path / "answers.jsonl") as panel:
            panel.judges[0].client.by_address = False   # as earlier versions kept them
            older = score_rows(made_rows(), metrics=["judge"], judge=panel, resamples=0,
                               settings={"judge": {"systems": "models"}}).scores
        asked = len(server.requests)
        scores, _ = judged(server, tmp_path)
        assert len(server.requests) == asked > 0
        assert scores.value("judge-mean").value == older.value("judge-mean").value
        judged(server, tmp_path, judges=("m", f"m@{server.base_url.replace('127.0.0.1', 'localhost')}"))
        assert len(server.requests) > asked   # of two by one name, nobody knows whose they were


def test_a_killed_run_goes_on_and_pays_nothing_twice(tmp_path: Path) -> None:
    """SIGKILL in the midst of the judging; the second run asks for what is missing, and says what all of it cost."""
    write_rows(tmp_path / "p.jsonl", made_rows())
    hold = [True]

    def reply(prompt: str) -> Reply:
        while hold[0] and len(server.requests) > 25:
            time.sleep(0.01)
        return good(prompt)

    with ApiServer(otherwise=reply) as server:
        line = ["score", "p.jsonl", "--judge", "m", "--base-url", server.base_url, "--metric", "judge", "--price-in",
                "2", "--price-out", "10", "--out", "s.json", "--requests-at-once", "3"]
        environment = os.environ | {"PYTHONPATH": str(Path(names.__file__).parents[2])}
        with subprocess.Popen([sys.executable, "-m", "emgecg_cli", *line], cwd=tmp_path, env=environment) as process:
            while len(server.requests) <= 25 and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        hold[0] = False
        kept = {json.loads(row)["key"] for row in (tmp_path / ".judge.jsonl").read_text().splitlines()}
        assert 20 <= len(kept) < 30 and not (tmp_path / "s.json").exists()
        before, where = len(server.requests), os.getcwd()
        os.chdir(tmp_path)
        try:
            assert run(line) == 0
        finally:
            os.chdir(where)
        rows = [json.loads(row)["key"] for row in (tmp_path / ".judge.jsonl").read_text().splitlines()]
    assert len(rows) == len({*rows}) == len(kept) + len(server.requests) - before
    manifest = json.loads(next(tmp_path.glob("s*manifest.json")).read_text())
    assert manifest["details"]["endpoint"]["m"]["cost"] == pytest.approx(len(rows) * (100 * 2 + 20 * 10) / 1e6)
    assert manifest["arguments"]["judges"] == [{"model": "m", "base_url": server.base_url}]
    assert KEY not in "".join(path.read_text(errors="replace") for path in tmp_path.iterdir())


@pytest.mark.parametrize(("given", "says"), [
    (["--judge", "m"], "has no endpoint"), (["--base-url", "http://127.0.0.1:9/v1"], "--base-url has no effect"),
    (["--price-in", "1"], "--price-in has no effect"), (["--judge-records", "5"], "--judge-records has no effect"),
    (["--judge", "@http://127.0.0.1:9/v1"], "names no model"), (["--judge", "m@http://"], "not an http"),
    (["--judge", "m", "--base-url", "http://127.0.0.1:9/v1", "--metric", "rouge"], "no effect on the metrics"),
    (["--judge", "m@http://127.0.0.1:9/v1", "--judge", "m@http://127.0.0.1:9/v1"], "given twice"),
    (["--judge", "m@http://127.0.0.1:9/v1", "--price-in", "1", "--price-in", "2"], "given 2 times for 1 judges"),
    (["--judge", "m@http://127.0.0.1:9/v1", "--judge-criteria", "nine"], "no judge criteria 'nine'"),
    (["--judge", "m@http://127.0.0.1:9/v1", "--judge-records", "0"], "--judge-records 0"),
    (["--judge", "m@http://127.0.0.1:9/v1", "--judge-systems", "some"], "--judge-systems some"),
])
def test_options_without_effect_are_refused(given: list[str], says: str, tmp_path: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "p.jsonl", made_rows(3))
    assert run(["score", str(tmp_path / "p.jsonl"), *given, "--out", str(tmp_path / "s.json")]) == 2
    assert says in capsys.readouterr().err


def test_another_suite_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_criteria.py").write_text(
        "from dataclasses import replace\nfrom emgecg_cli.core.metrics.judged.criteria import Criterion\n"
        "from emgecg_cli.core.metrics.judged.meit import CRITERIA as MEIT\n"
        "CRITERIA = replace(MEIT, name='toy', lowest=0, highest=10, criteria=[Criterion('rhythm', 'Rhythm', 'is the "
        "rhythm right?', telling=True)])\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(names.JUDGE_CRITERIA, "toy", "toy_criteria:CRITERIA")
    toy = lambda prompt: completion(json.dumps({"rhythm": 2 * verdict(*texts_in(prompt))["diagnosis"]}))  # noqa: E731
    with ApiServer(otherwise=toy) as server:
        scores, _ = judged(server, tmp_path, criteria="toy")
    expected = np.mean([2 * verdict(row.reference or "", row.prediction)["diagnosis"] for row in made_rows()])
    assert scores.value("judge-rhythm").value == pytest.approx(expected) and "scale:0-10" in \
        scores.value("judge-rhythm").signature


def test_without_a_judge_nothing_of_it_is_there() -> None:
    scores = score_rows(made_rows(3), resamples=0).scores
    assert not [one for one in scores.systems[0].values if one.name.startswith("judge")]
    with pytest.raises(MedReportError, match="needs a judge: --judge MODEL"):
        score_rows(made_rows(3), metrics=["judge"], resamples=0)
