"""BERTScore with tiny random encoders, against bert-score itself and against its definition."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metric_corpora import random_pairs, rows_of
from tiny_bert import SIZES, make_bert

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics.text import bertscore
from emgecg_cli.core.metrics.text.bert_model import known_layers, load_encoder
from emgecg_cli.core.metrics.text.bertscore import BertScore

torch = pytest.importorskip("torch")
CORPUS = [reference for _, reference in random_pairs(200, 11)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path that holds "t5"."""
    return make_bert(tmp_path_factory.mktemp("t5") / "tiny-bert", CORPUS)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three random layers and a byte-level BPE vocabulary."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-roberta"
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(CORPUS, vocab_size=400, show_progress=False,
                                special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    trained.save_model(str(folder.parent))
    torch.manual_seed(0)
    RobertaModel(RobertaConfig(vocab_size=trained.get_vocab_size(), max_position_embeddings=66, pad_token_id=1,
                               **SIZES)).save_pretrained(folder)
    RobertaTokenizer(vocab=str(folder.parent / "vocab.json"), merges=str(folder.parent / "merges.txt")
                     ).save_pretrained(folder)
    return folder


def scores(folder: Path, pairs: list[tuple[str, str]], **settings: Any) -> np.ndarray:
    metric = BertScore(model=folder, **{"layers": 2, **settings})
    return metric.segment_statistics([h for h, _ in pairs], [r for _, r in pairs], rows_of(pairs))


def library(folder: Path, pairs: list[tuple[str, str]], limit: int) -> np.ndarray:
    """bert-score with the two things it needs under transformers 5: the prefix blank and a length limit."""
    from bert_score import BERTScorer
    from transformers import AutoTokenizer

    (link := folder.parent.parent / f"plain-{folder.name}").exists() or link.symlink_to(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scorer = BERTScorer(model_type=str(link), num_layers=2, device="cpu")
    scorer._tokenizer = AutoTokenizer.from_pretrained(folder, add_prefix_space=True, model_max_length=limit)
    return torch.stack(scorer.score([h for h, _ in pairs], [r for _, r in pairs]), dim=1).numpy()


def test_roberta_equals_bert_score(roberta: Path) -> None:
    pairs = [pair for pair in random_pairs(60, 7, longest=12) if pair[0].strip()]
    np.testing.assert_allclose(scores(roberta, pairs)[:, :3], library(roberta, pairs, 64), atol=1e-6, rtol=0)


def test_the_first_word_keeps_its_prefix_blank(roberta: Path) -> None:
    encoder = load_encoder(roberta, 2)
    first = encoder.tokenizer.convert_ids_to_tokens(encoder.tokenizer.encode("sinus rhythm"))[1]
    assert first.startswith("Ġ")
    moved = scores(roberta, [("rhythm sinus", "sinus rhythm")])[0, 2]
    assert scores(roberta, [("sinus rhythm", "sinus rhythm")])[0, 2] == pytest.approx(1, abs=1e-6) != moved


def test_bert_equals_the_definition(bert: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert).eval()
    pairs = [pair for pair in random_pairs(25, 8, longest=8) if pair[0].strip()]
    found = scores(bert, pairs)
    for (hypothesis, reference), row in zip(pairs, found, strict=True):
        sides = []
        for text in (hypothesis, reference):
            with torch.inference_mode():
                states = model(**tokenizer(text.strip(), return_tensors="pt"), output_hidden_states=True)
            sides.append(torch.nn.functional.normalize(states.hidden_states[2][0], dim=-1))
        similarity = sides[0] @ sides[1].T
        precision, recall = (float(similarity.max(dim=axis).values[1:-1].mean()) for axis in (1, 0))
        expected = [precision, recall, 2 * precision * recall / (precision + recall)]
        assert row[:3].tolist() == pytest.approx(expected, abs=1e-5)


def test_empty_texts_are_zero_and_count(bert: Path) -> None:
    found = scores(bert, [("", "sinus rhythm"), (" \n", "sinus"), ("sinus", "sinus")])
    assert found[:, 2].tolist() == [0, 0, pytest.approx(1, abs=1e-6)]
    assert found[:, -1].tolist() == [1, 1, 1]
    assert scores(bert, [("", "sinus")])[0].tolist() == [0, 0, 0, 1]


def test_texts_beyond_the_positions_are_cut(bert: Path, roberta: Path) -> None:
    long = " ".join(["sinus", "rhythm", "block"] * 400)
    for folder in (bert, roberta):
        assert scores(folder, [(long, "sinus rhythm"), (long, long)])[1, 2] == pytest.approx(1, abs=1e-5)
        assert load_encoder(folder, 2).max_tokens == 64


def test_chunks_order_and_repeats_do_not_matter(roberta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = random_pairs(40, 12) + random_pairs(5, 12)
    whole = scores(roberta, pairs)
    monkeypatch.setattr(bertscore, "_CHUNK", 7)
    np.testing.assert_allclose(scores(roberta, pairs), whole, atol=2e-6, rtol=0)
    np.testing.assert_allclose(scores(roberta, pairs[::-1])[::-1], whole, atol=2e-6, rtol=0)
    swapped = scores(roberta, [(reference, hypothesis) for hypothesis, reference in pairs])
    np.testing.assert_allclose(swapped[:, :3], whole[:, [1, 0, 2]], atol=2e-6, rtol=0)


@pytest.fixture(scope="module")
def negative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """States of four numbers, so that a token may be like none of the other side: best similarities are negative. Its
    words are those of the corpus, in alphabetical order, since a trained vocabulary is not the same every time."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("models") / "negative"
    words = sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(CORPUS).lower())))
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    torch.manual_seed(3)
    sizes = SIZES | {"hidden_size": 4, "num_attention_heads": 1, "initializer_range": 0.5}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return folder


def test_a_pair_has_one_value_whatever_stands_beside_it(negative: Path) -> None:
    pairs, shared = [pair for pair in random_pairs(48, 5, longest=3) if pair[0].strip()], {}
    long = random_pairs(1, 6, longest=25)[0]
    alone = np.concatenate([scores(negative, [pair], encoders=shared)[:, :3] for pair in pairs])
    beside = np.concatenate([scores(negative, [pair, (long[1], long[1])], encoders=shared)[:1, :3] for pair in pairs])
    np.testing.assert_allclose(beside, alone, atol=1e-5, rtol=0)
    theirs = np.concatenate([library(negative, [pair], 64) for pair in pairs])
    np.testing.assert_allclose(alone, theirs, atol=1e-5, rtol=0)
    padded = np.concatenate([library(negative, [pair, (long[1], long[1])], 64)[:1] for pair in pairs])
    moved = np.abs(padded - theirs).max(axis=1)
    assert min((moved > 1e-3).sum(), (moved < 5e-6).sum()) >= 3  # some of the library's values depend on the batch
    np.testing.assert_allclose(beside[moved < 5e-6], padded[moved < 5e-6], atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk", [7, 512])
def test_a_set_has_the_same_numbers_in_any_order(roberta: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(bertscore, "_CHUNK", chunk)
    pairs = random_pairs(60, 9)
    whole, rng = scores(roberta, pairs), np.random.default_rng(0)
    for _ in range(3):
        order = rng.permutation(len(pairs))
        assert np.array_equal(scores(roberta, [pairs[i] for i in order]), whole[order])


def test_a_baseline_rescales(bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.tsv"
    path.write_text("LAYER,P,R,F\n0,0.1,0.1,0.1\n2,0.5,0.4,0.2\n")
    metric = BertScore(model=bert, layers=2, baseline=path)
    pairs = [("sinus block", "sinus rhythm"), ("", "sinus")]
    found = metric.segment_statistics([h for h, _ in pairs], [r for _, r in pairs], rows_of(pairs))
    assert found[0, 3:6].tolist() == pytest.approx(((found[0, :3] - [.5, .4, .2]) / [.5, .6, .8]).tolist())
    assert found[1].tolist() == [0] * 6 + [1]
    assert list(metric.aggregate(found.sum(axis=0)))[3:] == [
        "BERTScore-P rescaled", "BERTScore-R rescaled", "BERTScore-F1 rescaled"]
    assert "baseline:tiny.tsv@" in metric.signature()
    assert "model:tiny-bert@" in metric.signature() and "|layers:2|" in metric.signature()


def test_without_a_model_the_reason_says_what_to_give() -> None:
    assert BertScore().applicable([]) == "needs model weights: --bertscore-model PATH"


def test_bad_models_and_baselines_are_refused(bert: Path, tmp_path: Path) -> None:
    import shutil

    with pytest.raises(MedReportError, match="no such folder"):
        BertScore(model=tmp_path / "none")
    with pytest.raises(MedReportError, match="no such folder"):
        BertScore(model=tmp_path / "none", layers=3)
    with pytest.raises(MedReportError, match="names no layer"):
        BertScore(model=bert)
    with pytest.raises(MedReportError, match="has 3 layers, not 17"):
        scores(bert, [("a", "b")], layers=17)
    unweighted = tmp_path / "unweighted"
    shutil.copytree(bert, unweighted)
    (unweighted / "model.safetensors").rename(unweighted / "pytorch_model.bin")
    with pytest.raises(MedReportError, match="no weights in safetensors"):
        scores(unweighted, [("a", "b")])
    (unweighted / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(MedReportError, match="cannot be loaded"):
        scores(unweighted, [("a", "b")])
    for text in ("", "LAYER,P,R,F\n2,a,b,c\n", "LAYER,P\n2,0.1\n"):
        (tmp_path / "bad.tsv").write_text(text)
        with pytest.raises(MedReportError, match=r"bad\.tsv"):
            BertScore(model=bert, layers=2, baseline=tmp_path / "bad.tsv")
    with pytest.raises(MedReportError, match="cannot be read"):
        BertScore(model=bert, layers=2, baseline=tmp_path / "absent.tsv")


def test_known_models_have_their_tuned_layer(tmp_path: Path) -> None:
    (tmp_path / "roberta-large").mkdir()
    assert known_layers(tmp_path / "roberta-large") == 17
