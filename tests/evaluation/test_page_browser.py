"""The browser of reports on the score page: what it holds of each record, and how it behaves in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import BROWSER, Page, open_browser
from emg_store import make_tables
from pipeline import make_store

from emgecg_cli.core.artifacts import Measurements, PredictionRow, write_rows
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.evaluation.page.browser import record_data
from emgecg_cli.core.evaluation.page.examples import DRAWN, WORST, page_examples
from emgecg_cli.core.evaluation.page.reading import read_ecg, read_emg, read_sentences
from emgecg_cli.core.evidence.checked import check_report
from emgecg_cli.core.pages.training import training_charts, training_lines, training_page
from emgecg_cli.core.store import Store, open_store

WRONG = "Sinus rhythm. Heart rate 222/min. First degree AV block."
HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(make_store(tmp_path_factory.mktemp("stores") / "cohort", 12))


def rows_of(store: Store) -> list[PredictionRow]:
    """Every report as it is, but for two: one that is wrong, and one of another that tries to steer the page."""
    rows = [PredictionRow(row.record_id, row.report, row.report, 0, row.subject_id, store.dataset, row.language,
                          row.codes, "real", row.record_id, False) for row in map(store.row, range(len(store)))]
    return [rows[0], replace(rows[1], prediction=WRONG), replace(rows[2], prediction=f"{HOSTILE} atrial flutter."),
            *rows[3:]]


@pytest.fixture(scope="module")
def page(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    write_rows(folder / "p.jsonl", rows_of(store))
    score_file(folder / "p.jsonl", None, store_path=store.path, page=folder / "p.html", metrics=["rouge", "labels"],
               resamples=20)
    return folder / "p.html"


@pytest.mark.parametrize("text", ["", "sinus rhythm", " a.  b; c?\n\nd 1.5 mV. e!",
                                  "正常。异常；", "a\n", "...", "\n\n"])
def test_sentences_joined_are_the_text(text: str) -> None:
    for read in (read_ecg, read_emg, read_sentences):
        assert "".join(piece for piece, _ in read(text, None).pieces) == text


def test_statements_differ_and_not_words() -> None:
    reference = read_ecg("Sinus rhythm. Left bundle branch block. Possible inferior infarction.", "en")
    same = read_ecg("There is LBBB; the rhythm is sinus. No atrial fibrillation. Inferior infarct.", "en")
    assert not reference.without(same) and not same.without(reference)
    assert (reference.stated["IMI"], same.stated["IMI"]) == ("possible", "present")
    flutter = read_ecg("Atrial flutter. Left bundle branch block.", "en")
    assert flutter.without(reference) == ["AFLT"]
    assert [piece.strip() for piece, keys in flutter.pieces if "AFLT" in keys] == ["Atrial flutter."]


def test_claims_stand_beside_what_was_measured() -> None:
    found = Measurements(heart_rate_bpm=72, heart_rate_quality="good", pr_ms=160, pr_quality="good", qrs_ms=150,
                         qrs_quality="good", n_beats=12)
    told = check_report("First degree AV block. Heart rate 75/min. QTc 500 ms.", "en", found, "M")
    assert [(one.verdict, one.claim, one.measured) for one in told] == [
        ("contradicted", "PR ≥ 200 ms", "PR 160 ms"), ("supported", "rate 75 /min", "rate 72 /min"),
        ("not measurable", "QTc 500 ms", ""), ("not mentioned", "QRS 150 ms", "")]


def test_half_of_the_records_are_the_worst_and_the_rest_are_drawn(store: Store) -> None:
    rows = {"model": rows_of(store)}
    score = np.arange(len(store), dtype=float)[::-1]
    found = page_examples(store, rows, 6, scores={"model": {"ROUGE-L": score}}, seed=1)
    assert [one.why for one in found.shown] == [WORST] * 3 + [DRAWN] * 3 and found.n == len(store)
    ids = [row.record_id for row in rows["model"]]
    assert [one.record_id for one in found.shown[:3]] == ids[:-4:-1]
    assert found.shown[0].scores["model"] == {"ROUGE-L": 0.0}
    again, other = (page_examples(store, rows, 6, scores={"model": {"ROUGE-L": score}}, seed=seed) for seed in (1, 2))
    drawn = [[one.record_id for one in each.shown] for each in (found, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(page_examples(store, rows, 99).shown) == len(store)


def embedded(html: str) -> dict[str, Any]:
    return {one["id"]: one["systems"]["model"] for one in
            (json.loads(unescape(found)) for found in re.findall(r'<article data-record="([^"]*)"', html))}


def test_what_is_embedded_of_each_record(page: Path, store: Store) -> None:
    html = page.read_text("utf-8")
    found = embedded(html)
    same, wrong, hostile, *_ = (found[row.record_id] for row in rows_of(store))
    assert len(found) == len(store) and not same["missing"] + same["extra"] and same["scores"]["labels-F1"] == 1
    assert "1AVB" in wrong["extra"] and wrong["contradicted"] >= 1 and wrong["scores"]["ROUGE-L"] < 1
    assert "AFLT" in hostile["extra"] and HOSTILE not in html
    assert html.count("<figure") == len(store) and html.count(">QRS</text>") + html.count(">QRS?</text>") > 5
    assert len(html) < 60_000 * len(store)
    assert "model − baseline: random train report" in html and "statements: F1" in html


def test_examinations_stand_beside_their_tables(tmp_path: Path) -> None:
    store = open_store(make_tables(tmp_path, 6, "en")[0])
    rows = [PredictionRow(row.record_id, row.report, row.report) for row in map(store.row, range(len(store)))]
    rows[0] = replace(rows[0], prediction="Nerve conduction is normal in all nerves.")
    found = page_examples(store, {"model": rows}, 6)
    assert found.reading.by == "statements" and all(one.tables and one.signal is None for one in found.shown)
    assert [one.record_id for one in found.shown if record_data(one)["systems"]["model"]["differs"]] in (  # type: ignore[index]
        [], [rows[0].record_id])
    outside = 0
    for one in (found.tables for found in found.shown if found.tables):
        (body,) = (rows for title, _, rows in one.tables if title == "NCV")
        cells = [pair for row, ranges in zip(body, one.ranges["NCV"], strict=True)
                 for pair in zip(row, ranges, strict=True) if pair[0].endswith((" H", " L"))]
        assert len(cells) == one.n_outside
        for value, limits in cells:
            low, high = map(float, limits.split(" – "))
            assert float(value[:-2]) > high if value[-1] == "H" else float(value[:-2]) < low
        outside += len(cells)
    assert outside > 5


def test_a_finding_nobody_has_is_seen_beside_a_normal_reference() -> None:
    normal, wrong = (read_emg(text) for text in ("Nerve conduction and needle EMG are normal in all nerves.",
                                                 "NCV: Right median nerve: markedly decreased motor amplitude."))
    assert normal.understood and wrong.without(normal) == ["R Median Motor amp low"]
    assert not read_emg("Lorem ipsum.").understood and not read_ecg("Lorem ipsum.", "en").understood


def test_curves_of_a_run_and_none_of_a_log_that_is_cut(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "total": 5 / step, "report": 5 / step}) for step in range(1, 1001)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 1001, "to')
    (tmp_path / "validation.jsonl").write_text('{"step": 500, "report": 2.5}\n{"step": 1000, "report": 2.25}\n')
    drawn = " ".join(training_charts(tmp_path))
    assert ">loss of the reports<" in drawn and "validation" in drawn and "mean of 5 steps" in drawn
    assert len(drawn) < 20_000 and str(training_page(tmp_path, "Training of <a>")).count("<figure>") == 2
    assert training_lines(tmp_path) == [f"loss, training: 0.7632 █▂▂{'▁' * 37} 0.005061 (to step 1,000)",
                                        "loss, validation: 2.5 █▁ 2.25 (to step 1,000)"]
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "validation.jsonl").unlink()
    assert training_charts(tmp_path) == [] == training_lines(tmp_path) and training_page(tmp_path, "a") is None


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Page]:
    if BROWSER is None:
        pytest.skip("needs Chromium, which is not installed here")
    with open_browser(tmp_path / "profile") as opened:
        yield opened


SELECTED = "document.querySelector('.list [aria-selected=true]').firstChild.textContent"
VISIBLE = "[...document.querySelectorAll('article')].filter(one => one.offsetParent).length"
LISTED = "[...document.querySelectorAll('.list li')].map(one => one.firstChild.textContent)"


def chosen(name: str, value: str) -> str:
    return (f"(() => {{ const field = document.querySelector('[name={name}]'); field.value = {json.dumps(value)};"
            "field.dispatchEvent(new Event('input', {bubbles: true})); return field.value; })()")


def test_search_filters_and_keys_in_a_browser(browser: Page, page: Path, store: Store) -> None:
    ids = [row.record_id for row in rows_of(store)]
    browser.look(390, 844, dark=True)
    browser.open(page.as_uri())
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "wider than a telephone"
    assert browser.run(LISTED) == ids and browser.run(SELECTED) == ids[0] and browser.run(VISIBLE) == 1
    browser.press("j", "j")
    assert browser.run(SELECTED) == ids[2]
    browser.press("k")
    assert browser.run(SELECTED) == ids[1] and browser.run(VISIBLE) == 1
    browser.run("document.querySelector('[role=listbox]').focus()")
    browser.press("ArrowDown", "ArrowDown", "ArrowUp")
    assert browser.run(SELECTED) == ids[2]
    browser.press("/", *"flutter")
    assert browser.run(LISTED) == [ids[2]] and browser.run("document.querySelector('[name=q]').value") == "flutter"
    browser.press("Escape", "j")
    assert browser.run(SELECTED) == ids[2] and "q=flutter" in browser.run("location.hash")
    assert browser.run(chosen("q", "")) == "" and browser.run(LISTED) == ids
    assert browser.run(chosen("statement", "1AVB")) == "1AVB" and ids[1] in browser.run(LISTED)
    assert browser.run(chosen("where", "extra")) == "extra" and browser.run(LISTED) == [ids[1]]
    browser.run(chosen("statement", ""))
    browser.run(chosen("only", "contradicted"))
    assert ids[1] in browser.run(LISTED) and ids[2] not in browser.run(LISTED)
    browser.run(chosen("only", ""))
    browser.run(chosen("sort", "score:ROUGE-L"))
    assert set(browser.run(LISTED)[:2]) == {ids[1], ids[2]}
    browser.open("about:blank")
    browser.open(f"{page.as_uri()}#only=differs&record={ids[2]}")
    assert set(browser.run(LISTED)) == {ids[1], ids[2]} and browser.run(SELECTED) == ids[2]
    browser.run("[...document.querySelectorAll('nav a')].at(-1).click()")  # to another section: the view stays
    assert browser.run("location.hash").startswith("#part-") and browser.run(SELECTED) == ids[2]
    assert browser.run("Math.abs(document.querySelector(location.hash).getBoundingClientRect().top) < innerHeight")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert browser.complaints == [] and browser.asked == []
