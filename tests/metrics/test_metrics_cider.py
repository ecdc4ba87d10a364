"""CIDEr-D against a second implementation in plain Python, and against published values of two pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_corpora import DEGENERATE, columns, random_pairs, rows_of
from plain_cider import plain_cider
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import write_rows
from emgecg_cli.core.metrics.text.cider import CiderD
from emgecg_cli.core.metrics.text.idf import read_idf, write_idf
from emgecg_cli.core.metrics.text.tokens import Tokens, words_13a

FIXTURE = [("sinus rhythm. normal ecg", "sinus bradycardia. otherwise normal ecg"),
           ("atrial fibrillation. abnormal ecg", "atrial fibrillation with rapid ventricular response. abnormal ecg")]
# strings left in both texts -> CIDEr-D with the idf of the two references
PUBLISHED = {"": 2.3919, "<|assistant|>\n": 2.7678}


def tokens_13a(text: str) -> list[str]:
    return Tokenizer13a()(text.lower().rstrip()).split()


def period_split(text: str) -> list[str]:
    return text.replace(".", " .").split()


@pytest.mark.parametrize("leftover", PUBLISHED)
def test_published_values_of_two_pairs(leftover: str) -> None:
    pairs = [(leftover + hypothesis, leftover + reference) for hypothesis, reference in FIXTURE]
    metric = CiderD(tokens=Tokens(period_split, "period-split"))
    statistics = metric.segment_statistics(*columns(pairs), rows_of(pairs))
    assert float(metric.aggregate(statistics.sum(axis=0))["CIDEr-D"]) == pytest.approx(PUBLISHED[leftover], abs=5e-5)


@pytest.mark.parametrize("seed", range(6))
def test_idf_of_the_references_equals_the_plain_one(seed: int) -> None:
    pairs = random_pairs([3, 60][seed % 2], seed) + DEGENERATE * (seed % 2) + random_pairs(3, seed)
    statistics = CiderD().segment_statistics(*columns(pairs), rows_of(pairs))
    expected = plain_cider(pairs, [reference for _, reference in pairs], tokens_13a)
    np.testing.assert_allclose(statistics[:, 0], expected, atol=1e-10, rtol=0)


def test_idf_of_train_reports_equals_the_plain_one_and_counts_repeats() -> None:
    pairs = DEGENERATE + random_pairs(40, 9)
    train = [reference for _, reference in random_pairs(30, 8)] * 2 + [pairs[3][1]] * 5
    metric = CiderD(reports=train)
    statistics = metric.segment_statistics(*columns(pairs), rows_of(pairs))
    np.testing.assert_allclose(statistics[:, 0], plain_cider(pairs, train, tokens_13a), atol=1e-10, rtol=0)
    assert "|df:train|docs:65" in metric.signature()
    metric = CiderD()
    metric.segment_statistics(*columns(pairs), rows_of(pairs))
    assert f"|df:refs|docs:{len(pairs)}" in metric.signature()


def test_identical_texts_score_ten_and_empty_ones_zero() -> None:
    pairs = [("atrial flutter with block", "atrial flutter with block"), ("", "left axis deviation noted"),
             ("normal", "normal")]
    scores = CiderD().segment_statistics(*columns(pairs), rows_of(pairs))[:, 0]
    assert scores.tolist() == [pytest.approx(10), 0, pytest.approx(2.5)]


def test_without_two_different_reports_there_is_no_idf() -> None:
    rows = rows_of([("a", "sinus rhythm"), ("b", "sinus rhythm")])
    assert "two different references" in str(CiderD().applicable(rows))
    assert "two different train reports" in str(CiderD(reports=["a", "a"]).applicable(rows))
    assert CiderD(reports=["a", "b"]).applicable(rows) is None


def test_saved_frequencies_give_the_same_values_and_say_whose_they_are(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [pair for pair in DEGENERATE if "\u7aa6" not in pair[1]] + random_pairs(40, 9)
    write_rows(tmp_path / "p.jsonl", rows_of(pairs))
    line = ["score", str(tmp_path / "p.jsonl"), "--metric", "cider", "--resamples", "0", "--json", "--out",
            str(tmp_path / "s.json")]
    idf = str(tmp_path / "idf.json")

    def scored(*words: str) -> dict[str, Any]:
        assert run([*line, *words]) == 0
        value: dict[str, Any] = json.loads(capsys.readouterr().out)["systems"][0]["values"][0]
        return value

    own = scored("--write-idf", idf)
    written = Path(idf).read_bytes()
    assert scored("--idf", "refs", "--write-idf", idf) == own and Path(idf).read_bytes() == written
    saved = scored("--idf", idf)
    assert saved["value"] == pytest.approx(own["value"], abs=1e-12)
    assert "|df:refs|docs:" in own["signature"] and "|df:idf.json@" in saved["signature"]
    assert f"|docs:{len(pairs)}|" in saved["signature"]
    # of other documents: as the plain one says, also for n-grams that no document has
    train = [reference for _, reference in random_pairs(30, 8)] * 2
    write_idf(tmp_path / "train.json", train, Tokens(words_13a, "13a-lc"), "train")
    metric = CiderD(idf=read_idf(tmp_path / "train.json"))
    statistics = metric.segment_statistics(*columns(pairs), rows_of(pairs))
    np.testing.assert_allclose(statistics[:, 0], plain_cider(pairs, train, tokens_13a), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("content", "says"), [
    ("{", "not JSON"), ("[]", "holds no document frequencies"), ('{"kind": "document-frequencies", "version": 1}',
                                                                 "are damaged"),
    ('{"kind": "document-frequencies", "version": 1, "tokenizer": "13a-lc", "documents": 2, "frequencies": '
     '[{"a": 3}, {}, {}, {}]}', "are damaged"),
    ('{"kind": "document-frequencies", "version": 1, "tokenizer": "char", "documents": 2, "frequencies": '
     '[{"a": 1}, {}, {}, {}]}', "is of the tokenizer char, these texts are cut by 13a-lc")])
def test_other_files_hold_no_frequencies(tmp_path: Path, content: str, says: str,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "p.jsonl", rows_of(random_pairs(4, 1)))
    (tmp_path / "idf.json").write_text(content)
    assert run(["score", str(tmp_path / "p.jsonl"), "--metric", "cider", "--idf", str(tmp_path / "idf.json"), "--out",
                str(tmp_path / "s.json")]) == 2
    assert says in capsys.readouterr().err
    assert run(["score", str(tmp_path / "p.jsonl"), "--metric", "cider", "--idf", "train", "--out",
                str(tmp_path / "s.json")]) == 2
    assert "there are no train reports" in capsys.readouterr().err
    assert run(["score", str(tmp_path / "p.jsonl"), "--metric", "bleu", "--idf", "refs"]) == 2
    assert "--idf has no effect without the metric cider" in capsys.readouterr().err
