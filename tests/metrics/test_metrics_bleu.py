"""BLEU against sacrebleu's own corpus score."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from metric_corpora import DEGENERATE, columns, random_pairs, rows_of
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from emgecg_cli.core.evaluation.score import score_predictions
from emgecg_cli.core.metrics.text.bleu import Bleu
from emgecg_cli.core.metrics.text.mteval import mteval_tokens

# Two pairs and their BLEU-1..4 by the formula of the original script, which splits the period off as 13a does.
FIXTURE = [("sinus rhythm. normal ecg", "sinus bradycardia. otherwise normal ecg"),
           ("atrial fibrillation. abnormal ecg", "atrial fibrillation with rapid ventricular response. abnormal ecg")]


def corpus(pairs: list[tuple[str, str]]) -> list[float]:
    hypotheses, references = columns(pairs)
    metric = Bleu()
    values = metric.aggregate(metric.segment_statistics(hypotheses, references, rows_of(pairs)).sum(axis=0))
    return [float(values[f"BLEU-{n}"]) for n in (1, 2, 3, 4)]


def library(pairs: list[tuple[str, str]]) -> list[float]:
    hypotheses, references = columns(pairs)
    return [BLEU(lowercase=True, max_ngram_order=n, force=True).corpus_score(hypotheses, [references]).score / 100
            for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("pair", DEGENERATE)
def test_degenerate_pairs_equal_sacrebleu(pair: tuple[str, str]) -> None:
    assert corpus([pair]) == pytest.approx(library([pair]), abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_corpora_equal_sacrebleu(seed: int) -> None:
    pairs = random_pairs([2, 5, 40, 300][seed % 4], seed, longest=[3, 20][seed % 2])
    assert corpus(pairs) == pytest.approx(library(pairs), abs=1e-9)


def test_all_degenerate_pairs_together_equal_sacrebleu() -> None:
    assert corpus(DEGENERATE) == pytest.approx(library(DEGENERATE), abs=1e-9)


def test_published_values_of_two_pairs() -> None:
    assert corpus(FIXTURE)[:3] == pytest.approx([0.5459, 0.4069, 0.2558], abs=5e-5)


def test_an_order_without_a_match_is_smoothed_and_nothing_at_all_is_zero() -> None:
    assert corpus(FIXTURE)[3] == pytest.approx(library(FIXTURE)[3], abs=1e-9)
    assert corpus(FIXTURE)[3] > 0
    assert corpus([("", "a b"), ("", "c")]) == [0, 0, 0, 0]
    assert corpus([("x y", "a b")]) == [0, 0, 0, 0]


def test_repeated_pairs_count_as_often_as_they_occur() -> None:
    pairs = [*FIXTURE, FIXTURE[0], FIXTURE[0], ("", FIXTURE[0][1])]
    assert corpus(pairs) == pytest.approx(library(pairs), abs=1e-9)


def test_aggregate_takes_leading_dimensions() -> None:
    pairs = random_pairs(6, 3)
    metric = Bleu()
    hypotheses, references = columns(pairs)
    statistics = metric.segment_statistics(hypotheses, references, rows_of(pairs))
    together = metric.aggregate(np.stack([statistics.sum(axis=0), statistics[:3].sum(axis=0)])[None])
    assert together["BLEU-2"].shape == (1, 2)
    assert together["BLEU-2"][0, 1] == metric.aggregate(statistics[:3].sum(axis=0))["BLEU-2"]


def test_the_signature_is_sacrebleus() -> None:
    scorer = BLEU(lowercase=True)
    scorer.corpus_score(["a"], [["a"]])
    assert Bleu(["de", "en"]).signature() == f"{scorer.get_signature()}|lang:de+en"


def test_chunks_cut_by_themselves_are_what_sacrebleu_cuts_of_the_whole() -> None:
    """Marks and digits beside each other and beside blanks of every kind, and what joins or replaces chunks."""
    rng = random.Random(4)
    signs = "aé1²½2.,-- /'\"()[]~!&;:_<>%中٣\t\x1c\x85\xa0\u2003\u200b\n"
    for alphabet in (signs, "ab12  .,--/", "a1.,- \n&amp;quot;"):
        for _ in range(4000):
            text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(14))).rstrip()
            assert mteval_tokens(text) == Tokenizer13a()(text).split(), repr(text)
    assert mteval_tokens("a <skipped>b &lt; c-\nd") == ["a", "b", "<", "cd"]


def test_several_references_are_those_of_the_libraries() -> None:
    pairs, others = random_pairs(40, 31), [reference for _, reference in random_pairs(40, 32)]
    rows = [replace(row, more_references=[other]) for row, other in zip(rows_of(pairs), others, strict=True)]
    scores = score_predictions(rows, metrics=["bleu", "rouge", "meteor", "cider"], resamples=0)
    hypotheses, references = [row.prediction for row in rows], [row.reference for row in rows]
    for n in range(1, 5):
        theirs = BLEU(lowercase=True, max_ngram_order=n).corpus_score(hypotheses, [references, others]).score / 100
        assert scores.value(f"BLEU-{n}").value == pytest.approx(theirs, abs=1e-9)
    scorer = RougeScorer(["rougeL"])
    best = [scorer.score_multi([row.reference, *row.more_references], row.prediction)["rougeL"].fmeasure
            for row in rows]
    assert scores.value("ROUGE-L").value == pytest.approx(np.mean(best), abs=1e-9)
    # CIDEr-D is the mean, METEOR the best: of a second reference that is the same, as with one
    twice = [replace(row, more_references=[row.reference]) for row in rows_of(pairs)]
    alone = score_predictions(rows_of(pairs), metrics=["meteor", "cider"], resamples=0)
    again = score_predictions(twice, metrics=["meteor", "cider"], resamples=0)
    for name in ("METEOR", "CIDEr-D"):
        assert again.value(name).value == alone.value(name).value
    assert (scores.value("METEOR").value or 0) > (alone.value("METEOR").value or 0)
    assert any("40 of 40 records have several references (bleu: all at once; meteor, rouge: the best of them; cider: "
               "their mean)" in note for note in scores.notes)
