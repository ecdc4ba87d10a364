"""Chinese tokens, and the metrics on them, against sacrebleu, rouge-score, NLTK and plain Python."""

from __future__ import annotations

import importlib.util
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from metric_corpora import columns, rows_of
from nltk.translate.meteor_score import meteor_score
from plain_cider import plain_cider
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics.text import segmentation
from emgecg_cli.core.metrics.text.bertscore import BertScore
from emgecg_cli.core.metrics.text.bleu import Bleu
from emgecg_cli.core.metrics.text.cider import CiderD
from emgecg_cli.core.metrics.text.meteor import Meteor
from emgecg_cli.core.metrics.text.rouge import Rouge
from emgecg_cli.core.metrics.text.segmentation import characters, jieba_words, plain, segmented_tokens
from emgecg_cli.core.metrics.text.tokens import is_chinese
from emgecg_cli.core.reports.scripts import count_words

TEXT = """左侧 右侧 双侧 正中神经 尺神经 腓总神经 运动传导 感觉传导 远端潜伏期 波幅 速度 轻度 中度 重度 延长 降低 减慢
未引出 ， 、 。 ； 4.2ms ＡＰＢ F-wave F波 50% （CMAP） ４．２ V4 窦性心律 窦性心动过缓 1.5，2.0 ≥ “ ” … EMG："""
PIECES = TEXT.split()
WAYS = ["char", pytest.param("jieba", marks=pytest.mark.skipif(
    importlib.util.find_spec("jieba") is None, reason="jieba is not installed"))]


def chinese_pairs(n: int, seed: int) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    pairs = [("", "窦性心律"), ("窦", "窦"), ("，", "。"), ("normal ECG", "窦性心律，正常"), ("正中" * 9, "正中神经")]
    for _ in range(n):
        reference = [rng.choice(PIECES) for _ in range(rng.randrange(1, 15))]
        hypothesis = [piece for piece in reference if rng.random() < 0.8] + rng.choices(PIECES, k=rng.randrange(3))
        pairs.append((rng.choice(["", " "]).join(hypothesis), "".join(reference)))
    return pairs


PAIRS = chinese_pairs(60, 1)
ROWS = rows_of(PAIRS, "zh")


def cut(way: str) -> Callable[[str], list[str]]:
    return characters if way == "char" else jieba_words


@pytest.mark.parametrize(("text", "tokens"), [
    ("左侧正中神经F波未引出。", "左 侧 正 中 神 经 f 波 未 引 出 。"),
    ("波幅4.2mV，速度50.1m/s", "波 幅 4.2mv , 速 度 50.1m / s"),
    ("潜伏期4.2，5.1", "潜 伏 期 4.2 , 5.1"), ("ＡＰＢ（４．２）", "apb ( 4.2 )"), ("F-wave: -3.0", "f-wave : -3.0"),
    ("㎜ ≥２", "mm ≥ 2"), ("", ""), (" \n", ""),
])
def test_characters(text: str, tokens: str) -> None:
    assert characters(text) == tokens.split()


def test_characters_are_those_of_sacrebleu() -> None:
    zh = TokenizerZh()
    odd = [".5 秒", "5.", "第5.", "V4.，", "a\u2028b", "\u3000a.b\u3000", "4.2-5.1", "x\x1cy", "\u2003.", "…", "é.5波",
           "1,2,", ",1"]
    rng = random.Random(0)
    odd += ["".join(rng.choices("a5.,-/ 神。“\u2028;)é\u0410", k=rng.randrange(12))) for _ in range(3000)]
    for text in [*odd, *(side for pair in PAIRS for side in pair)]:
        assert characters(text) == zh(plain(text).lower()).split()
    everything = [chr(code) for code in range(0x80, 0xFFFF, 3) if not 0xD800 <= code < 0xE000]
    apart = [one for one in everything if re.match(segmentation._APART, one)]
    assert apart == [*filter(zh._is_chinese_char, everything)]


@pytest.mark.parametrize("way", WAYS)
def test_bleu_equals_sacrebleu(way: str) -> None:
    metric = Bleu(["zh"], segmented_tokens(way))
    values = metric.aggregate(metric.segment_statistics(*columns(PAIRS), ROWS).sum(axis=0))
    given = [[" ".join(cut(way)(text)) for text in side] for side in columns(PAIRS)]
    for n in (1, 2, 3, 4):
        library = BLEU(tokenize="none", lowercase=True, max_ngram_order=n, force=True)
        assert float(values[f"BLEU-{n}"]) == pytest.approx(library.corpus_score(given[0], given[1:]).score / 100)
    if way == "char":
        library = BLEU(tokenize="zh", lowercase=True)
        hypotheses, references = ([plain(text) for text in side] for side in columns(PAIRS))
        assert float(values["BLEU-4"]) == pytest.approx(library.corpus_score(hypotheses, [references]).score / 100)


@pytest.mark.parametrize("way", WAYS)
def test_rouge_equals_rouge_score_and_plain_counting(way: str) -> None:
    class Own(Tokenizer):
        def tokenize(self, text: str) -> list[str]:
            return cut(way)(text)

    got = Rouge(["zh"], segmented_tokens(way)).segment_statistics(*columns(PAIRS), ROWS)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Own())
    for (hypothesis, reference), row in zip(PAIRS, got, strict=True):
        expected = [score.fmeasure for score in scorer.score(reference, hypothesis).values()]
        np.testing.assert_allclose(row[:3], expected, atol=1e-12)
        left, right = Counter(cut(way)(hypothesis)), Counter(cut(way)(reference))
        both = left.total() + right.total()
        assert row[0] == pytest.approx(2 * (left & right).total() / both if both else 0)


@pytest.mark.parametrize("way", WAYS)
def test_cider_equals_plain_python(way: str) -> None:
    metric = CiderD(["zh"], tokens=segmented_tokens(way))
    got = metric.segment_statistics(*columns(PAIRS), ROWS)[:, 0]
    np.testing.assert_allclose(got, plain_cider(PAIRS, [reference for _, reference in PAIRS], cut(way)), atol=1e-9)
    assert f"tok:{segmented_tokens(way).name}|lang:zh" in metric.signature()


def test_meteor_equals_nltk_on_characters() -> None:
    class Nothing:
        def stem(self, word: str) -> str:
            return word

        def synsets(self, word: str) -> list[str]:
            return []

    metric = Meteor(["zh"], segmented_tokens("char"))
    got = metric.segment_statistics(*columns(PAIRS), ROWS)[:, 0]
    expected = [meteor_score([characters(reference)], characters(hypothesis), stemmer=Nothing(), wordnet=Nothing())
                for hypothesis, reference in PAIRS]
    assert got.tolist() == pytest.approx(expected)
    assert "match:exact-only|tok:char-2(" in metric.signature()


def test_words_of_jieba_are_named_with_their_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jieba")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    segmentation._jieba.cache_clear()
    assert segmented_tokens("jieba").name == "jieba-0.42.1@7197c3211ddd(hmm,nfkc)"
    assert jieba_words("左侧正中神经 运动传导，ＡＰＢ 4.2ms") == [
        "左侧", "正中", "神经", "运动", "传导", ",", "apb", "4.2", "ms"]
    assert not list(tmp_path.iterdir())  # no cache, which anyone could have written


def test_without_jieba_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    segmentation._jieba.cache_clear()
    with pytest.raises(MedReportError, match="needs jieba") as caught:
        segmented_tokens("jieba")
    assert caught.value.hint == "pip install 'medreport[zh]'"
    assert segmented_tokens("char").tokenize("窦性") == ["窦", "性"]
    with pytest.raises(MedReportError, match="no segmentation 'word'"):
        segmented_tokens("word")


def test_which_languages_are_chinese_and_what_counts_as_a_word() -> None:
    assert [tag for tag in ("zh", "zh-CN", "cmn", "Chinese", "en", "ja", None, "") if is_chinese(tag)] == [
        "zh", "zh-CN", "cmn", "Chinese"]
    texts = ("sinus rhythm. t-wave", "窦性心律，正常。", "verlängert é", "F波 未引出")
    assert [count_words(text) for text in texts] == [3, 6, 2, 5]


def test_bertscore_names_a_model_for_chinese() -> None:
    assert "bert-base-chinese, layer 8" in str(BertScore(["zh"]).applicable([]))
    assert BertScore(["en"]).applicable([]) == "needs model weights: --bertscore-model PATH"
