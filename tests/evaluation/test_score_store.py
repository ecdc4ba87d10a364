"""Predictions against the store they are scored with, and the head of scores: what was scored, and what limits it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from html import escape
from pathlib import Path

import pytest
from pipeline import make_store

from emgecg_cli import __version__
from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import PredictionRow, write_rows
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.about import day_of
from emgecg_cli.core.evaluation.files import score_file
from emgecg_cli.core.evaluation.score import Scores
from emgecg_cli.core.manifest import Manifest, file_hashes, input_of, write_manifest
from emgecg_cli.core.perturbations import perturb_store
from emgecg_cli.core.store import Store, open_store

FAST = {"metrics": ["rouge"], "resamples": 0}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(make_store(tmp_path_factory.mktemp("stores") / "cohort", 48))


def rows_of_split(store: Store, split: str = "test", signal: str = "real") -> list[PredictionRow]:
    rows = [store.row(int(i)) for i in store.indices(split)]
    return [PredictionRow(row.record_id, row.report, row.report, 0, row.subject_id, store.dataset, row.language,
                          row.codes, signal, row.record_id, False) for row in rows]


def write(path: Path, rows: Sequence[PredictionRow], made_from: Path | None = None) -> Path:
    """A predictions file; with `made_from`, finished as `generate` finishes it."""
    write_rows(path, rows)
    if made_from:
        write_manifest(path, Manifest("predictions", "generate", {"split": "test"}, 0, {"records": len(rows)},
                                      {"store": input_of(made_from, path)},
                                      {"run": "tiny", "files": file_hashes(path.parent, [path.name])}))
    return path


def score(tmp_path: Path, store: Store, rows: Sequence[PredictionRow], **given: object) -> Scores:
    return score_file(write(tmp_path / "preds.jsonl", rows), None, store_path=store.path, **(FAST | given))


def test_a_whole_split_has_no_caveat(tmp_path: Path, store: Store) -> None:
    scores = score(tmp_path, store, rows_of_split(store))
    assert scores.caveats == [] and scores.about is not None and scores.about.banner is None


def other_codes(row: PredictionRow) -> PredictionRow:
    return replace(row, codes=[*(row.codes or []), "X"])


CAVEATS: list[tuple[str, Callable[[list[PredictionRow], Store], list[PredictionRow]], str]] = [
    ("subset", lambda rows, store: rows[:3], r"3 of the \d+ records of the test split are scored"),
    ("train", lambda rows, store: [*rows, *rows_of_split(store, "train")[:4]],
     r"4 of \d+ records are of the train split"),
    ("splits", lambda rows, store: [*rows, *rows_of_split(store, "val")], r"splits are mixed \(test \d+, val \d+\)"),
    ("codes", lambda rows, store: [*map(other_codes, rows[:2]), *rows[2:]], r"2 of \d+ records have other codes"),
    ("patients", lambda rows, store: [replace(rows[0], subject_id="p"), *rows[1:]],
     r"1 of \d+ records have other patients"),
    ("signals", lambda rows, store: [replace(rows[0], signal="zeros"), *rows[1:]],
     r"signals are mixed \(real \d+, zeros 1\)"),
    ("truncated", lambda rows, store: [replace(row, truncated=True) for row in rows],
     r"(\d+) of \1 predictions are truncated: all"),
    ("script", lambda rows, store: [replace(rows[0], prediction="心房細動です"), *rows[1:]],
     r"1 of \d+ predictions are in Japanese characters"),
]


@pytest.mark.parametrize(("name", "change", "says"), CAVEATS, ids=[name for name, *_ in CAVEATS])
def test_what_limits_the_scores_is_counted_above_them(
        tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str],
        name: str, change: Callable[[list[PredictionRow], Store], list[PredictionRow]], says: str) -> None:
    predictions = write(tmp_path / "preds.jsonl", change(rows_of_split(store), store))
    line = ["score", str(predictions), "--store", str(store.path), "--metric", "rouge", "--resamples", "0", "--out",
            str(tmp_path / "s.json"), "--page", str(tmp_path / "p.html"), "--examples", "1"]
    assert run(line) == 0
    shown = capsys.readouterr().out
    assert (found := re.search(says, shown)) and found.start() < shown.index("ROUGE-1")
    values = json.loads((tmp_path / "s.json").read_text("utf-8"))
    assert any(re.search(says, caveat) for caveat in values["caveats"])
    assert list(values).index("caveats") < list(values).index("systems")
    page = (tmp_path / "p.html").read_text("utf-8")
    assert (found := re.search(says, page)) and found.start() < page.index("<h2>Scores")
    assert run([*line, "--json"]) == 0
    assert any(re.search(says, caveat) for caveat in json.loads(capsys.readouterr().out)["caveats"])


@pytest.mark.parametrize(("change", "says"), [
    (lambda rows: [*rows, replace(rows[0], record_id="nobody")], r"1 of \d+ predictions are of records that cohort"),
    (lambda rows: [*rows, replace(rows[0], record_id=f"{rows[0].record_id} ")], r"1 of them but for blanks"),
    (lambda rows: [replace(rows[0], reference="atrial flutter"), *rows[1:]],
     r"1 of \d+ references are not the reports of cohort"),
    (lambda rows: [replace(row, dataset="elsewhere") for row in rows], "holds synthetic, the predictions are of els"),
])
def test_files_of_others_are_refused_unless_they_are_said_to_be(
        tmp_path: Path, store: Store, change: Callable[[list[PredictionRow]], list[PredictionRow]], says: str) -> None:
    rows = change(rows_of_split(store))
    with pytest.raises(MedReportError, match=says) as caught:
        score(tmp_path, store, rows)
    assert "--foreign" in str(caught.value.hint)
    counted = says if "holds" not in says else "the predictions are of elsewhere, cohort holds synthetic"
    assert any(re.search(counted, caveat) for caveat in score(tmp_path, store, rows, foreign=True).caveats)


def test_blanks_and_codes_of_letters_make_no_other_reference(tmp_path: Path, store: Store) -> None:
    rows = rows_of_split(store)
    rows[0] = replace(rows[0], reference=f"  {rows[0].reference.replace(' ', '  ')}\n")
    assert score(tmp_path, store, rows).caveats == []


def test_doubled_ids_are_counted_without_a_store(tmp_path: Path, store: Store) -> None:
    rows = rows_of_split(store)
    doubled = [*rows, replace(rows[0], record_id=f"{rows[0].record_id} "),
               replace(rows[1], record_id=f"\u200b{rows[1].record_id}")]
    caveats = score_file(write(tmp_path / "preds.jsonl", doubled), None, **FAST).caveats
    assert any(re.match(rf"2 of {len(doubled)} record ids are there twice but for blanks", one) for one in caveats)


def test_foreign_needs_a_store(tmp_path: Path, store: Store) -> None:
    predictions = write(tmp_path / "preds.jsonl", rows_of_split(store))
    with pytest.raises(MedReportError, match="--foreign has no effect") as caught:
        score_file(predictions, None, foreign=True, **FAST)
    assert "--store" in str(caught.value.hint)


def test_a_store_that_was_guessed_is_not_used_for_other_records(tmp_path: Path, store: Store) -> None:
    rows = [*rows_of_split(store), replace(rows_of_split(store)[0], record_id="nobody")]
    with write(tmp_path / "preds.jsonl", rows).open(encoding="utf-8") as stream:
        scores = score_file(stream, None, likely_store=store.path, **FAST)
    assert any("the only store here was not used: 1 of" in caveat for caveat in scores.caveats)
    assert scores.n_train_reports == 0 and scores.about is not None and scores.about.store is None


def test_the_head_says_what_was_scored(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    predictions = write(tmp_path / "preds.jsonl", rows_of_split(store), store.path)
    os.utime(predictions, (1.6e9, 1.6e9))
    line = ["score", str(predictions), "--metric", "rouge", "--resamples", "0", "--out", str(tmp_path / "s.json"),
            "--page", str(tmp_path / "p.html"), "--examples", "1"]
    assert run(line) == 0
    shown, n = capsys.readouterr().out, len(rows_of_split(store))
    about = json.loads((tmp_path / "s.json").read_text("utf-8"))["about"]
    assert about == {"predictions": "preds.jsonl", "run": "tiny", "store": "cohort", "dataset": "synthetic",
                     "split": "test", "signal": "real", "perturbation": None, "n": n, "date": "2020-09-13",
                     "version": __version__, "banner": None}
    page = (tmp_path / "p.html").read_text("utf-8")
    for name in ("run", "store", "split", "signal", "n", "date", "version"):
        assert re.search(rf"^{name} +{re.escape(str(about[name]))}$", shown, re.M), name
        assert f"<th scope=row>{name}</th><td>{about[name]}</td>" in page
    assert str(tmp_path) not in page
    written = [(tmp_path / name).read_bytes() for name in ("s.json", "s.json.manifest.json", "p.html")]
    assert run(line) == 0
    assert written == [(tmp_path / name).read_bytes() for name in ("s.json", "s.json.manifest.json", "p.html")]


def test_the_date_is_of_the_predictions_or_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    (tmp_path / "p").touch()
    os.utime(tmp_path / "p", (86400 * 365, 86400 * 365))
    assert day_of(tmp_path / "p") == "1971-01-01" and day_of(None) is None
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86399")
    assert day_of(tmp_path / "p") == day_of(None) == "1970-01-01"


def test_another_signal_than_the_records_own_has_a_banner_and_is_drawn(
        tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of_split(store, signal="shuffled")
    ids = [row.record_id for row in rows]
    rows = [replace(row, signal_from=other) for row, other in zip(rows, [*ids[1:], ids[0]], strict=True)]
    predictions = write(tmp_path / "preds.jsonl", rows, store.path)
    page = tmp_path / "p.html"
    assert run(["score", str(predictions), "--metric", "rouge", "--resamples", "0", "--out", str(tmp_path / "s.json"),
                "--page", str(page), "--examples", "2"]) == 0
    banner = f"{len(rows)} of {len(rows)} reports were written from another record's signal"
    out, html = capsys.readouterr().out, page.read_text("utf-8")
    assert banner in out.splitlines()[1]
    assert html.index(escape(banner)) < html.index("<h2>Scores")
    assert html.count("25 mm/s") == 4 and f"model was shown the ECG of record {ids[1]}" in html
    for kind, says in (("zeros", "a flat line"), ("none", "no signal")):
        other = [replace(row, signal=kind, signal_from=None) for row in rows]
        scores = score_file(write(tmp_path / "o.jsonl", other), None, store_path=store.path, page=tmp_path / "o.html",
                            examples=1, **FAST)
        assert scores.about is not None and says in str(scores.about.banner)
        assert f"model was shown {says}" in (tmp_path / "o.html").read_text("utf-8")


def test_perturbed_stores_say_how_whichever_store_is_named(tmp_path: Path, store: Store) -> None:
    noisy = perturb_store(store.path, tmp_path / "noisy", kind="gaussian", levels={"snr_db": 5.0}, split="test").path
    predictions = write(tmp_path / "preds.jsonl", rows_of_split(store), noisy)
    n = len(rows_of_split(store))
    for given in (None, store.path):
        scores = score_file(predictions, None, store_path=given, page=tmp_path / "p.html", examples=1, **FAST)
        assert scores.about is not None
        assert str(scores.about.perturbation).startswith(f"gaussian, snr_db 5: {n} of these {n} records")
        assert "perturbed: gaussian, snr_db 5;" in (tmp_path / "p.html").read_text("utf-8")
        assert any("not made from cohort, but from noisy" in one for one in scores.caveats) == (given is not None)
    assert asdict(scores)["about"]["store"] == "cohort"
