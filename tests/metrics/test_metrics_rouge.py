"""ROUGE against rouge-score, pair by pair."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from metric_corpora import DEGENERATE, columns, random_pairs, rows_of
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from emgecg_cli.core.metrics.text.rouge import Rouge, common_subsequence

TYPES = ["rouge1", "rouge2", "rougeL"]


class LetterTokenizer(Tokenizer):
    """Words of any script, for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"\w+", text.casefold())


def library(pairs: list[tuple[str, str]], tokenizer: Tokenizer | None) -> np.ndarray:
    scorer = RougeScorer(TYPES, use_stemmer=False, tokenizer=tokenizer)
    return np.array([[scorer.score(reference, hypothesis)[kind].fmeasure for kind in TYPES]
                     for hypothesis, reference in pairs])


@pytest.mark.parametrize(("languages", "tokenizer"), [(["en"], None), (["de"], LetterTokenizer()),
                                                      (["de", "en"], LetterTokenizer())])
def test_every_pair_equals_rouge_score(languages: list[str], tokenizer: Tokenizer | None) -> None:
    pairs = DEGENERATE + random_pairs(250, 5)
    metric = Rouge(languages)
    statistics = metric.segment_statistics(*columns(pairs), rows_of(pairs))
    expected = library(pairs, tokenizer)
    np.testing.assert_allclose(statistics[:, :3], expected, atol=1e-12, rtol=0)
    values = metric.aggregate(statistics.sum(axis=0))
    assert [float(values[name]) for name in ("ROUGE-1", "ROUGE-2", "ROUGE-L")] == pytest.approx(expected.mean(axis=0))


def test_umlauts_are_letters_in_german_only() -> None:
    pairs = [("t-negativität", "t-negativ tät"), ("VERLÄNGERUNG", "verlängerung")]
    german = Rouge(["de"]).segment_statistics(*columns(pairs), rows_of(pairs, "de"))
    english = Rouge(["en"]).segment_statistics(*columns(pairs), rows_of(pairs))
    assert german[:, 0].tolist() == [pytest.approx(0.4), 1.0]
    assert english[0, 0] > german[0, 0]
    assert "tok:unicode-words-2|lang:de" in Rouge(["de"]).signature()
    assert "tok:rouge-score|lang:en" in Rouge(["en"]).signature()


def test_common_subsequence_equals_the_table() -> None:
    rng = random.Random(1)
    for _ in range(300):
        left, right = ([rng.choice("abcd") for _ in range(rng.randrange(12))] for _ in range(2))
        table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
        for i, a in enumerate(left):
            for j, b in enumerate(right):
                table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
        assert common_subsequence(left, right) == table[-1][-1]
