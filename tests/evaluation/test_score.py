"""Scoring a whole set: systems, intervals, notes, refusals, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from metric_corpora import DEGENERATE, columns, random_pairs, rows_of
from score_rows import MOST_FREQUENT, RANDOM, ROWS, TEXT, TRAIN, VALUES, has_note

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.score import MODEL, score_predictions, write_scores
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.metrics.text.bleu import Bleu

EMPTY, TEMPLATE = "baseline: empty report", "upper reference: true labels by template"
SYSTEMS = [MODEL, MOST_FREQUENT, RANDOM, EMPTY, TEMPLATE]


def test_every_system_has_the_same_values_in_order() -> None:
    scores = score_predictions(ROWS, metrics=TEXT, train_reports=TRAIN, resamples=50)
    assert [system.name for system in scores.systems] == SYSTEMS
    for system in scores.systems:
        assert [value.name for value in system.values] == VALUES
        assert all(value.n == 4 and value.signature and value.reason is None for value in system.values)
        assert all(value.ci_low is not None and value.ci_low <= value.value <= value.ci_high for value in system.values
                   if value.value is not None and value.ci_high is not None)
    assert scores.value("ROUGE-1", MOST_FREQUENT).value == pytest.approx((1 + 0 + 0 + 1) / 4)
    assert scores.n_train_reports == 3


def test_a_value_and_its_interval_can_be_recomputed() -> None:
    rows = rows_of(random_pairs(30, 1))
    scores = score_predictions(rows, metrics=["bleu"], seed=5, resamples=300)
    statistics = Bleu().segment_statistics(*columns([(row.prediction, row.reference) for row in rows]), rows)
    rng = np.random.default_rng(5)
    values = []
    for start in range(0, 300, 50):
        for picks in rng.integers(0, 30, size=(50, 30)):
            values.append(float(Bleu().aggregate(statistics[picks].sum(axis=0))["BLEU-4"]))
        assert len(values) == start + 50
    found = scores.value("BLEU-4")
    assert found.value == pytest.approx(float(Bleu().aggregate(statistics.sum(axis=0))["BLEU-4"]), abs=1e-9)
    assert [found.ci_low, found.ci_high] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist(), abs=1e-9)


@pytest.mark.parametrize("pair", DEGENERATE)
def test_degenerate_pairs_give_numbers_in_range(pair: tuple[str, str]) -> None:
    chinese = "窦" in pair[1]
    other = ("窦性心律", "窦性心律，正常") if chinese else ("normal ecg", "normal ecg, no change")
    scores = score_predictions(rows_of([pair, other], "zh" if chinese else "en"), metrics=TEXT, resamples=20,
                               segmentation="char" if chinese else None)
    for value in scores.systems[0].values:
        assert value.value is not None and 0 <= value.value <= (10 if value.name == "CIDEr-D" else 1)


def test_perfect_and_wholly_empty_predictions() -> None:
    references = ["sinus rhythm with first degree block", "atrial fibrillation with block", "left axis deviation"]
    perfect = score_predictions(rows_of([(text, text) for text in references]), metrics=TEXT, resamples=20)
    for name in ("BLEU-1", "BLEU-4", "ROUGE-1", "ROUGE-L"):
        assert perfect.value(name).value == pytest.approx(1)
    empty = score_predictions(rows_of([("", text) for text in references]), metrics=TEXT, resamples=20)
    assert all(value.value == 0 == value.ci_high for value in empty.systems[0].values)
    assert has_note(empty, "3 of 3 predictions are empty and count as zero")
    assert has_note(empty, "the same prediction")


def test_very_long_texts_are_scored() -> None:
    long = " ".join(["sinus", "rhythm.", "normal", "ecg"] * 4500)
    assert len(long) > 100_000
    rows = rows_of([(long, long[:50_000]), ("x" * 100_000, "sinus"), ("." * 100_000, "sinus rhythm.")])
    scores = score_predictions(rows, metrics=TEXT, resamples=10)
    assert 0 < (scores.value("ROUGE-L").value or 0) < 1


def test_patients_are_drawn_where_they_are_known() -> None:
    pairs = random_pairs(40, 2)
    alone = score_predictions(rows_of(pairs), metrics=["rouge"])
    assert (alone.clustered_by, alone.n_clusters) == ("record_id", 40)
    rows = [replace(row, record_id=f"{row.record_id}-{copy}", subject_id=row.record_id)
            for row in rows_of(pairs) for copy in range(4)]
    copied = score_predictions(rows, metrics=["rouge"])
    assert (copied.clustered_by, copied.n_clusters) == ("subject_id", 40)
    for bound in ("value", "ci_low", "ci_high"):
        assert getattr(copied.value("ROUGE-L"), bound) == pytest.approx(getattr(alone.value("ROUGE-L"), bound))
    other = [replace(row, dataset="b") if number % 4 == 3 else replace(row, dataset="a")
             for number, row in enumerate(rows)]
    assert score_predictions(other, metrics=["rouge"], resamples=5).n_clusters == 80
    some = [replace(rows[0], subject_id=None), *rows[1:]]
    assert has_note(score_predictions(some, metrics=["rouge"], resamples=5), "1 of 160 records have no subject_id")


def test_one_record_has_no_interval() -> None:
    scores = score_predictions(ROWS[:1], metrics=["bleu", "cider"])
    assert (scores.value("BLEU-4").ci_low, scores.value("BLEU-4").ci_high) == (None, None)
    assert has_note(scores, "no confidence intervals", "one record_id")
    assert "two different references" in str(scores.value("cider").reason)
    assert has_note(score_predictions(ROWS, metrics=["bleu"], resamples=0), "no resamples were asked for")


def test_without_train_reports_a_note_says_how_to_get_baselines() -> None:
    for train in (None, [], ["  "]):
        scores = score_predictions(ROWS, metrics=["bleu", "cider"], train_reports=train, resamples=5)
        assert [system.name for system in scores.systems] == [MODEL, EMPTY, TEMPLATE]
        assert has_note(scores, "no baselines", "--store")
        assert "df:refs" in scores.value("CIDEr-D").signature
    with_train = score_predictions(ROWS, metrics=["cider"], train_reports=TRAIN, resamples=5)
    assert "df:train|docs:3" in with_train.value("CIDEr-D").signature


def test_a_metric_that_cannot_be_computed_says_why() -> None:
    scores = score_predictions(ROWS, metrics=["bertscore", "bleu"], resamples=5)
    missing = scores.value("bertscore")
    assert missing.value is None and missing.reason == "needs model weights: --bertscore-model PATH"
    assert has_note(scores, "bertscore not computed", "--bertscore-model PATH")
    with pytest.raises(MedReportError, match="none of the metrics"):
        score_predictions(ROWS, metrics=["bertscore"])
    with pytest.raises(MedReportError, match="did you mean 'bleu'"):
        score_predictions(ROWS, metrics=["blue"])


def test_every_metric_of_the_table_is_scored_by_default() -> None:
    scores = score_predictions(ROWS, resamples=5)
    names = {value.name for value in scores.systems[0].values}
    assert names >= {*VALUES, "bertscore"}
    assert any(name.startswith("findings") for name in names)


@pytest.mark.parametrize(("rows", "says"), [
    ([], "no predictions"),
    ([ROWS[0], ROWS[1], replace(ROWS[2], record_id="0")], "record 0: predicted twice (predictions 1 and 3)"),
    ([ROWS[0], replace(ROWS[1], reference=" \n")], "record 1: its reference is empty"),
    ([replace(ROWS[0], language="zh-CN")], "record 0: its report is Chinese"),
    ([replace(ROWS[0], reference="窦性心律")], "record 0: its reference is in Chinese, its language is given as 'en'"),
])
def test_sets_that_cannot_be_scored_are_refused(rows: list[PredictionRow], says: str) -> None:
    with pytest.raises(MedReportError) as caught:
        score_predictions(rows, metrics=TEXT)
    assert says in caught.value.message
    assert caught.value.hint


def test_languages_are_resolved_and_named() -> None:
    def signature(languages: list[str | None], override: str | None = None) -> str:
        rows = [replace(ROWS[0], record_id=str(number), language=tag) for number, tag in enumerate(languages)]
        return score_predictions(rows, metrics=["rouge"], language=override, resamples=5).value("ROUGE-1").signature

    assert "tok:rouge-score|lang:en" in signature(["en", "en-US"])
    assert "tok:unicode-words-2|lang:de" in signature(["de", "de_AT"])
    assert "tok:unicode-words-2|lang:de+en" in signature(["de", "en"])
    assert "lang:de" in signature([None, "en"], override="de")
    with pytest.raises(MedReportError, match="Chinese"):
        signature(["en"], override="zh")
    mixed = score_predictions([replace(ROWS[0], language="de"), ROWS[1]], metrics=["rouge"], resamples=5)
    assert mixed.languages == ["de", "en"]
    assert has_note(mixed, "languages are mixed (de 1, en 1)")
    unknown = score_predictions([replace(ROWS[0], language=None), ROWS[1]], metrics=["rouge"], resamples=5)
    assert has_note(unknown, "1 of 2 records name no language", "--language")


def test_leaked_tags_repeats_and_unreadable_texts_are_noted() -> None:
    rows = rows_of([("<|assistant|>\nsinus rhythm</s>", "sinus rhythm"), ("<|assistant|> a <|assistant|>", "flutter"),
                    ("<|eot_id|>", "<|user|> block"), ("窦性心律", "sinus rhythm"), ("sinus \ud800", "sinus")])
    scores = score_predictions(rows, metrics=TEXT, resamples=5)
    assert scores.systems[0].texts.chat_tags == {"</s>": 1, "<|assistant|>": 2, "<|eot_id|>": 1}
    assert has_note(scores, "2 predictions hold the chat tag <|assistant|>")
    assert has_note(scores, "1 references hold a chat tag")
    assert has_note(scores, "1 of 5 predictions are in Chinese characters, their references in Latin script")
    assert has_note(scores, "1 of 5 pairs hold undecodable characters")
    repeated = score_predictions(rows_of([("a b", "c"), ("a b", "d e"), ("", "f")]), metrics=["bleu"], resamples=5)
    assert (repeated.systems[0].texts.different, repeated.systems[0].texts.mean_words) == (2, 1.3333)
    assert has_note(repeated, "2 of 3 predictions are different texts", "1.3 words", "references 1.3")


def test_composed_and_decomposed_letters_are_the_same() -> None:
    rows = rows_of([("verla\u0308ngerung", "verlängerung"), ("x", "y")], "de")
    assert score_predictions(rows, metrics=["rouge"], resamples=5).value("ROUGE-1").value == 0.5


def test_what_is_written_is_the_same_every_time_and_can_be_read(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        scores = score_predictions(ROWS, metrics=[*TEXT, "bertscore"], train_reports=TRAIN, resamples=50)
        inputs = {"predictions": {"path": "preds.jsonl", "hash": "0" * 64}}
        write_scores(tmp_path / name / "scores.json", scores, inputs=inputs, arguments={"metrics": TEXT})
        written.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert len(written[0]) == 2 and written[0] == written[1]
    values = json.loads((tmp_path / "a" / "scores.json").read_text(encoding="utf-8"))
    assert [system["name"] for system in values["systems"]] == SYSTEMS
    assert set(values["systems"][0]["values"][0]) == {"name", "value", "ci_low", "ci_high", "signature", "n", "reason",
                                                         "lower_is_better"}
    manifest = read_manifest(tmp_path / "a" / "scores.json", "scores")
    assert manifest.counts == {"records": 4, "train_reports": 3, "systems": 5, "empty_predictions": 1}
    assert manifest.inputs == inputs
    with pytest.raises(MedReportError, match=r"\.json"):
        write_scores(tmp_path / "scores.txt", scores, inputs={}, arguments={})


def test_the_order_of_the_records_changes_no_value() -> None:
    rows = rows_of(random_pairs(60, 3))
    forward = score_predictions(rows, metrics=TEXT, train_reports=TRAIN, resamples=0)
    backward = score_predictions(rows[::-1], metrics=TEXT, train_reports=TRAIN, resamples=0)
    for one, other in zip(forward.systems, backward.systems, strict=True):
        assert [value.value for value in one.values] == pytest.approx([value.value for value in other.values], abs=1e-9)
