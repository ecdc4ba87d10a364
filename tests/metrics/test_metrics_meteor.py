"""METEOR against NLTK's, with NLTK's own morphology over the packaged WordNet table."""

from __future__ import annotations

import gzip
import hashlib
import random
from importlib.resources import files

import pytest
from metric_corpora import DEGENERATE, columns, random_pairs, rows_of
from nltk.corpus.reader.wordnet import WordNetCorpusReader
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.translate.meteor_score import meteor_score

from emgecg_cli.core.metrics.text import meteor as meteor_module
from emgecg_cli.core.metrics.text.meteor import Meteor
from emgecg_cli.core.metrics.text.tokens import Tokens, split_sentences, treebank_words
from emgecg_cli.core.metrics.text.treebank import treebank_tokens
from emgecg_cli.core.metrics.text.wordnet import synonyms

TABLE = files("emgecg_cli").joinpath("data", "wordnet_synonyms.txt.gz")


class Named:
    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name


class StubSynset:
    def __init__(self, words: list[str]) -> None:
        self._words = words

    def lemmas(self) -> list[Named]:
        return [Named(word) for word in self._words]


class StubWordNet:
    """What NLTK's METEOR asks of WordNet, answered from the table by NLTK's own `_morphy`."""

    MORPHOLOGICAL_SUBSTITUTIONS = WordNetCorpusReader.MORPHOLOGICAL_SUBSTITUTIONS

    def __init__(self) -> None:
        self._exception_map: dict[str, dict[str, list[str]]] = {part: {} for part in "nvar"}
        self._lemma_pos_offset_map: dict[str, dict[str, list[StubSynset]]] = {}
        for line in gzip.decompress(TABLE.read_bytes()).decode().splitlines():
            tag, *words = line.split()
            if tag.endswith("!"):
                self._exception_map[tag[0]][words[0]] = words[1:]
                continue
            synset = StubSynset(words)
            for word in words:
                self._lemma_pos_offset_map.setdefault(word.lower(), {}).setdefault(tag, []).append(synset)

    def synsets(self, word: str) -> list[StubSynset]:
        return [synset for part in "nvar" for form in WordNetCorpusReader._morphy(self, word.lower(), part)
                for synset in self._lemma_pos_offset_map[form][part]]


def meteors(pairs: list[tuple[list[str], list[str]]], english: bool) -> list[float]:
    """METEOR of many pairs of words at once."""
    metric = Meteor(tokens=Tokens(str.split, "blanks"))
    texts = [(" ".join(left), " ".join(right)) for left, right in pairs]
    return metric.segment_statistics(*columns(texts), rows_of(texts, "en" if english else "de"))[:, 0].tolist()


def meteor(left: list[str], right: list[str], english: bool) -> float:
    """METEOR of one pair."""
    return meteors([(left, right)], english)[0]


@pytest.fixture(scope="module")
def wordnet() -> StubWordNet:
    return StubWordNet()


def test_the_table_is_the_one_that_was_checked_against_nltk() -> None:
    text = gzip.decompress(TABLE.read_bytes())
    assert text.count(b"\n") == 83005
    assert hashlib.sha256(text).hexdigest() == "860800df4f03c1e56967f6f16b0d3bf32b1d61065bac8d6ce8ac434b5b83b017"
    licence = files("emgecg_cli").joinpath("data", "WORDNET_LICENSE.txt").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence


def test_synonyms_equal_nltks(wordnet: StubWordNet) -> None:
    rng = random.Random(0)
    lemmas = rng.sample(sorted(wordnet._lemma_pos_offset_map), 3000)
    forms = [lemma + rng.choice(["", "s", "es", "ed", "ing", "er", "est", "ies", "men"]) for lemma in lemmas]
    for form in forms + [form for part in "nvar" for form in list(wordnet._exception_map[part])[::9]]:
        found = {lemma.name() for synset in wordnet.synsets(form) for lemma in synset.lemmas()}
        assert synonyms(form) == {word for word in found if "_" not in word} | {form}, form


@pytest.mark.parametrize(("word", "among"), [("heart", "bosom"), ("oxen", "ox"), ("fast", "flying"),
                                             ("comics", "funnies")])
def test_known_synonyms(word: str, among: str) -> None:
    assert among in synonyms(word)


def test_a_proper_name_is_no_synonym_of_its_lower_case_word() -> None:
    assert "Himalaya" in synonyms("himalaya")
    assert synonyms("qrs") == {"qrs"}


def test_reports_equal_nltk(wordnet: StubWordNet) -> None:
    pairs = [(treebank_words(hypothesis), treebank_words(reference))
             for hypothesis, reference in DEGENERATE + random_pairs(300, 2)]
    expected = [meteor_score([right], left, wordnet=wordnet) for left, right in pairs]
    assert meteors(pairs, True) == pytest.approx(expected, abs=1e-12)


def test_word_salads_with_stems_and_synonyms_equal_nltk(wordnet: StubWordNet,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    lemmas = sorted(wordnet._lemma_pos_offset_map)
    pairs = []
    for _ in range(600):
        words = [rng.choice(lemmas) for _ in range(5)]
        words += [rng.choice(sorted(synonyms(word))).lower() for word in words] + [word + "s" for word in words]
        left, right = ([rng.choice(words) for _ in range(rng.randrange(15))] for _ in range(2))
        pairs.append((left, right))
    monkeypatch.setattr(meteor_module, "PAIRS_AT_ONCE", 100)
    expected = [meteor_score([right], left, wordnet=wordnet) for left, right in pairs]
    assert meteors(pairs, True) == pytest.approx(expected, abs=1e-12)


def test_of_several_synonyms_the_last_is_taken(wordnet: StubWordNet) -> None:
    for text, chunks in (("bosom a ticker", 1), ("ticker b a bosom", 1), ("ticker b a", 2)):
        reference = text.split()
        left = ["a", "heart"]
        precision, recall = 1, 2 / len(reference)
        mean = precision * recall / (0.9 * precision + 0.1 * recall)
        assert meteor(left, reference, True) == pytest.approx(mean * (1 - 0.5 * (chunks / 2) ** 3))
        assert meteor(left, reference, True) == meteor_score([reference], left, wordnet=wordnet)


def test_published_values_without_synonyms() -> None:
    class NoWordNet:
        def synsets(self, word: str) -> list[StubSynset]:
            return []

    left, right = treebank_words("sinus rhythm. normal ecg"), treebank_words("sinus bradycardia. otherwise normal ecg")
    assert meteor_score([right], left, wordnet=NoWordNet()) == pytest.approx(0.5350, abs=5e-5)
    assert meteor(left, right, False) == pytest.approx(0.5350, abs=5e-5)
    assert meteor(["a"] * 3, ["a"] * 3, True) == pytest.approx(1 - 0.5 / 27)


def test_other_languages_match_exactly_only_and_say_so() -> None:
    pairs = [("hearts", "heart"), ("hearts", "heart"), ("herz", "herz")]
    rows = [*rows_of(pairs[:1], "en"), *rows_of(pairs[1:2], "de"), *rows_of(pairs[2:], "de")]
    scores = Meteor(["de", "en"]).segment_statistics(*columns(pairs), rows)[:, 0]
    assert scores.tolist() == [0.5, 0.0, 0.5]
    assert "match:exact-only|" in Meteor(["de"]).signature()
    assert "match:exact+porter+wordnet-3.0(en),exact-only(de)|" in Meteor(["de", "en"]).signature()
    assert "match:exact+porter+wordnet-3.0|" in Meteor(["en"]).signature()


@pytest.mark.parametrize(("text", "sentences"), [
    ("sinus rhythm. normal ecg.", ["sinus rhythm.", "normal ecg."]),
    ("t inversion in v1. rest normal", ["t inversion in v1.", "rest normal"]),
    ("infarct (old.) axis left", ["infarct (old.)", "axis left"]),
    ("e.g. this approx. 3 mm. ok", ["e.g. this approx. 3 mm.", "ok"]),
    ("J. Smith read it... twice", ["J. Smith read it... twice"]),
    ("pr 0.12 s", ["pr 0.12 s"]), ("normal?  no!\nyes", ["normal?", "no!", "yes"]), ("  ", []), (".", ["."]),
])
def test_sentences(text: str, sentences: list[str]) -> None:
    assert [sentence.strip() for sentence in split_sentences(text)] == sentences


def test_words_are_the_treebank_words_of_each_sentence() -> None:
    assert treebank_words("Sinus rhythm. Can't exclude MI (old).") == [
        "sinus", "rhythm", ".", "ca", "n't", "exclude", "mi", "(", "old", ")", "."]
    for text, _ in random_pairs(50, 4):
        expected = [word.lower() for sentence in split_sentences(text) for word in NLTKWordTokenizer().tokenize(
            sentence.strip())]
        assert treebank_words(text) == expected


PIECES = ["cannot", "gonna", "wanna", "lemme", "CANNOT", "st-t", "0.12", "1,000", "a.m", "e.g", "--", "...", ".", ","]
PIECES += [":", "%", "(", ")", "]", "}", ">", "?", "!", "-", "–", "—", "µ", "ä", "心", "\u00a0", "\u2003", "\t", "\n"]
PIECES += ["'", '"', "``", "don't", "it's", "’", "«", "»", "\x1c", "\x85", "\u2028", "\ufeff", "٣", "²"]


@pytest.mark.parametrize("quotes", [True, False])
def test_cutting_chunk_by_chunk_gives_the_tokens_of_nltk(quotes):
    rng = random.Random(7)
    cut = NLTKWordTokenizer().tokenize
    pieces = PIECES if quotes else [piece for piece in PIECES if not set(piece) & set("'\"`’«»\x1c")]
    for _ in range(5000):
        sentence = "".join(rng.choice(pieces) + rng.choice(["", "", " ", "  "]) for _ in range(rng.randrange(9)))
        assert treebank_tokens(sentence) == cut(sentence), repr(sentence)
