"""Chinese beside other languages, and findings beside impression: what is scored apart, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from metric_corpora import random_pairs, rows_of
from score_rows import MOST_FREQUENT, RANDOM, ROWS, TEXT, TRAIN, VALUES, has_note

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import write_rows
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.score import MODEL, Scores, score_predictions
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.reports.sections import join_sections

ZH = [("左侧正中神经运动传导速度轻度减慢。", "左侧正中神经运动传导速度减慢。"),
      ("双侧尺神经未见异常", "右侧尺神经波幅降低"), ("窦性心律", "窦性心律，正常心电图")]


def same_values(one: Scores, other: Scores, names: dict[str, str], system: str = MODEL) -> None:
    """Values of `one` equal those that `other` has under other names."""
    for name, its in names.items():
        assert one.value(name, system).value == pytest.approx(other.value(its, system).value, abs=1e-9), name


def test_chinese_needs_a_segmentation_where_tokens_are_compared() -> None:
    rows = rows_of(ZH, "zh")
    with pytest.raises(MedReportError, match="report is Chinese") as caught:
        score_predictions(rows, metrics=["statements", "rouge"])
    assert "--segmentation char" in caught.value.hint
    assert score_predictions(rows, metrics=["statements"], resamples=5).value("statements-recall").value == 0.5
    scores = score_predictions(rows, metrics=TEXT, segmentation="char", resamples=20)
    assert [value.name for value in scores.systems[0].values] == VALUES
    assert all("tok:char-2(sacrebleu-zh,nfkc)" in value.signature for value in scores.systems[0].values)
    assert scores.systems[0].texts.mean_words_reference == pytest.approx((14 + 9 + 9) / 3, abs=1e-4)
    with pytest.raises(MedReportError, match="no segmentation 'word'"):
        score_predictions(rows, segmentation="word")


def test_meteor_goes_by_character_whatever_the_segmentation() -> None:
    pytest.importorskip("jieba")
    scores = score_predictions(rows_of(ZH, "zh"), metrics=TEXT, segmentation="jieba", resamples=5)
    assert "tok:char" in scores.value("METEOR").signature and "match:exact-only" in scores.value("METEOR").signature
    for name in ("BLEU-1", "ROUGE-L", "CIDEr-D"):
        assert "tok:jieba-0.42.1@" in scores.value(name).signature


def test_untagged_chinese_is_found_and_english_is_left_alone() -> None:
    scores = score_predictions(rows_of(ZH, None), metrics=["rouge"], segmentation="char", resamples=5)
    assert scores.languages == ["zh"] and has_note(scores, "3 of 3 records name no language", "taken as Chinese")
    english = score_predictions(ROWS, metrics=["rouge"], segmentation="char", resamples=5)
    assert has_note(english, "--segmentation char changed nothing")
    same_values(english, score_predictions(ROWS, metrics=["rouge"], resamples=5), {"ROUGE-L": "ROUGE-L"})


def test_chinese_and_other_languages_are_scored_apart() -> None:
    chinese = [replace(row, record_id=f"zh{row.record_id}") for row in rows_of(ZH, "zh")]
    train = [*TRAIN, *(reference for _, reference in ZH)]
    mixed = score_predictions([chinese[0], *ROWS, *chinese[1:]], metrics=TEXT, train_reports=train, segmentation="char")
    assert [value.name for value in mixed.systems[0].values] == [
        f"{name} ({language})" for language in ("en", "zh") for name in VALUES]
    assert has_note(mixed, "languages are mixed (en 4, zh 3) and Chinese is scored apart")
    assert [mixed.value("ROUGE-1 (zh)").n, mixed.value("ROUGE-1 (en)").n] == [3, 4]
    for own, language in ((ROWS, "en"), (chinese, "zh")):
        alone = score_predictions(own, metrics=TEXT, train_reports=train, segmentation="char")
        for system in (MODEL, MOST_FREQUENT, RANDOM):
            same_values(alone, mixed, {name: f"{name} ({language})" for name in VALUES}, system)
    assert "lang:zh|df:train|docs:3" in mixed.value("CIDEr-D (zh)").signature
    assert (mixed.value("ROUGE-1 (zh)", MOST_FREQUENT).value or 0) > 0  # a Chinese report, though an English one leads
    with pytest.raises(MedReportError, match="record zh0: its reference is in Chinese"):
        score_predictions([*ROWS, *chinese], metrics=TEXT, language="en")


def test_a_part_of_a_set_is_resampled_with_the_whole() -> None:
    chinese = rows_of([("左侧正中神经运动传导速度"[:i + 1], ZH[0][1]) for i in range(12)], "zh")
    rows = [replace(row, record_id=f"{row.language}{row.record_id}")
            for pair in zip(rows_of(random_pairs(12, 4)), chinese, strict=True) for row in pair]
    scores = score_predictions(rows, metrics=["rouge"], segmentation="char", resamples=50, seed=2)
    alone = [score_predictions([row], metrics=["rouge"], segmentation="char").value("ROUGE-1").value for row in rows]
    draws = np.random.default_rng(2).integers(0, 24, size=(50, 24))
    means = [np.mean([alone[i] for i in draw if i % 2]) for draw in draws if any(draw % 2)]
    found = scores.value("ROUGE-1 (zh)")
    assert found.value == pytest.approx(np.mean(alone[1::2]))
    assert [found.ci_low, found.ci_high] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=1e-9)


def test_findings_and_impression_are_scored_apart_and_together() -> None:
    def report(findings: str, impression: str) -> str:
        return f"Findings:\n{findings}\nImpression:\n{impression}"

    pairs = random_pairs(12, 8)
    written = [(report(*pairs[i]), report(*pairs[i + 1])) for i in range(0, 12, 2)]
    rows = [*rows_of(written), *(replace(row, record_id="plain") for row in rows_of([("sinus", "sinus rhythm")]))]
    scores = score_predictions(rows, metrics=TEXT, train_reports=[rows[0].reference, rows[1].reference], resamples=50)
    assert [value.name for value in scores.systems[0].values] == [
        f"{name}{part}" for part in ("", " (findings)", " (impression)") for name in VALUES]
    assert [scores.value(f"METEOR{part}").n for part in ("", " (findings)", " (impression)")] == [7, 6, 6]
    assert scores.value("ROUGE-L (findings)").signature.endswith("|section:findings")
    assert has_note(scores, "6 of 7 references have findings and impression", "scored whole only")
    for at, part in enumerate(("findings", "impression")):
        cut = rows_of([(pairs[i][at].strip(), pairs[i + 1][at].strip()) for i in range(0, 12, 2)])
        train = [cut[0].reference, cut[1].reference]
        same_values(score_predictions(cut, metrics=TEXT, train_reports=train, resamples=0), scores,
                    {name: f"{name} ({part})" for name in VALUES})
        alone = score_predictions(rows, metrics=TEXT, section=part, resamples=0,
                                  train_reports=[rows[0].reference, rows[1].reference])
        assert [value.name for value in alone.systems[0].values] == [f"{name} ({part})" for name in VALUES]
        same_values(alone, scores, {f"{name} ({part})": f"{name} ({part})" for name in VALUES}, RANDOM)


def test_the_command_shows_sections_and_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [(join_sections(one, "正常。", "zh"), join_sections(other, "异常。", "zh")) for one, other in ZH]
    rows = rows_of(texts, "zh")
    predictions = tmp_path / "etm.jsonl"
    write_rows(predictions, rows)
    line = f"score {predictions} --metric rouge --metric statements --resamples 20 --out {tmp_path}/etm.json"
    assert run(line.split()) == 2
    assert "hint: add --segmentation char" in capsys.readouterr().err
    assert run([*line.split(), "--segmentation", "char"]) == 0
    out, err = capsys.readouterr()
    for name in ("ROUGE-L", "ROUGE-L (findings)", "ROUGE-L (impression)", "statements-F1"):
        assert name in out
    assert "ROUGE-1, ROUGE-2, ROUGE-L: f1:mean|stem:no|tok:char-2(sacrebleu-zh,nfkc)|lang:zh" in err.replace("\n", "")
    assert read_manifest(tmp_path / "etm.json", "scores").arguments["segmentation"] == "char"
    assert run([*line.split(), "--segmentation", "char", "--section", "impression"]) == 0
    assert "ROUGE-L (findings)" not in capsys.readouterr().out


def test_a_prediction_without_an_impression_counts_as_zero_there() -> None:
    reference = "Findings:\nnormal velocities\nImpression:\nnormal study"
    rows = rows_of([(reference, reference), ("normal velocities", reference)])
    scores = score_predictions(rows, metrics=["rouge"], resamples=5)
    assert scores.value("ROUGE-1 (findings)").value == 1
    assert scores.value("ROUGE-1 (impression)").value == 0.5
    assert has_note(scores, "1 of 2 predictions have no impression")
    with pytest.raises(MedReportError, match="no reference has both sections"):
        score_predictions(ROWS, section="impression")
    with pytest.raises(MedReportError, match="no section 'summary'"):
        score_predictions(ROWS, section="summary")
