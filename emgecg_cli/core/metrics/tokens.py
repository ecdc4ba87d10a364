"""Text to tokens, one definition per convention, none of which needs data files.

Every tokenizer here is pure; callers tokenise each different text once.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

Tokenizer = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Tokens:
    """How a set is cut into tokens: the tokenizer, and its name in signatures.

    Every metric that compares tokens has its own for languages with blanks between words, and takes another in its
    place; `chinese.chinese_tokens` makes those for Chinese.
    """

    tokenize: Tokenizer
    name: str


CHINESE = frozenset({"zh", "zho", "chi", "cmn", "yue", "chinese"})
_ENGLISH = frozenset({"en", "eng", "english"})
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WIDE_MARK = re.compile(r"[\u3000-\u303f\uff01-\uff0f\uff1a-\uff20]")
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_UNICODE_WORD = re.compile(r"\w+")

# A last period with what may stand after it; what may stand before a first letter.
_SENTENCE_END = re.compile(r"[.?!][)\]}>\"'»”’]*(?=\s)")
_OPENERS = "([{<\"'«“‘„`"
# Longer than any abbreviation with what may stand before it.
_LONGEST_WORD = 16
# A period after one of these ends no sentence.
_ABBREVIATIONS = frozenset((
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "capt", "lt", "gov", "sen", "jan", "feb", "mar", "apr", "aug",
    "sept", "sep", "oct", "nov", "dec", "vs", "viz", "cf", "al", "etc", "approx", "fig", "nos", "vol", "dept", "univ",
    "inc", "ltd", "corp", "e.g", "i.e", "a.m", "p.m", "u.s", "u.k", "ph.d", "m.d"))


def primary_language(tag: str | None) -> str:
    """The primary subtag of a language tag in lower case (`de-AT` -> `de`); None is taken as English."""
    primary = re.split(r"[-_]", (tag or "en").strip().lower())[0]
    return "en" if primary in _ENGLISH or not primary else primary


def language_label(languages: Sequence[str]) -> str:
    """How signatures name the languages of a set: `en`, `de+en`."""
    return "+".join(sorted(set(languages)))


def is_mostly_han(text: str) -> bool:
    """Whether more than 30 % of the characters, blanks not counted, are Chinese ones."""
    n_han = len(_HAN.findall(text))
    return n_han > 0 and n_han > 0.3 * len("".join(text.split()))


def is_chinese(tag: str | None) -> bool:
    """Whether a language tag is one of Chinese (`zh`, `zh-Hans`, `cmn`)."""
    return tag is not None and primary_language(tag) in CHINESE


def count_words(text: str) -> int:
    """Words between blanks, of which a Chinese character is one by itself."""
    return len(text.split()) if text.isascii() else len(_HAN.sub(" x ", _WIDE_MARK.sub(" ", text)).split())


def normalise(text: str) -> str:
    """Unicode NFC, and U+FFFD for each half of a broken surrogate pair, which no tokenizer can encode."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


@lru_cache(maxsize=1)
def _mteval_13a() -> Callable[[str], str]:
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize="13a").tokenizer


def words_13a(text: str) -> list[str]:
    """Lower-cased tokens of mteval-v13a, as sacrebleu cuts them."""
    return _mteval_13a()(text.lower().rstrip()).split()


def ascii_words(text: str) -> list[str]:
    """Runs of a-z and 0-9 of the lower-cased text: the tokenizer of rouge-score without its stemmer."""
    return _ASCII_WORD.findall(text.lower())


def unicode_words(text: str) -> list[str]:
    """Runs of letters, digits and underscores of any script, case folded."""
    return _UNICODE_WORD.findall(text.casefold())


def split_sentences(text: str) -> list[str]:
    """Cut after a word-final period, `?` or `!`, closing quotes and brackets included; not after an abbreviation, an
    initial or an ellipsis. Stands in for NLTK's Punkt, which needs a data file; case decides nothing, as in Punkt.
    """
    sentences, start = [], 0
    for mark in _SENTENCE_END.finditer(text):
        at = mark.start()
        if text[at] == "." and _is_abbreviated(text[max(start, at - _LONGEST_WORD):at]):
            continue
        sentences.append(text[start:mark.end()].strip())
        start = mark.end()
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences


def _is_abbreviated(before: str) -> bool:
    """Whether a period after this text ends no sentence: it ends in another period, an initial or a known word."""
    if before.endswith("."):
        return True
    word = before[-1:].strip() and before.split()[-1].lstrip(_OPENERS).lower()
    return (len(word) == 1 and word.isalpha()) or word.rsplit("-", 1)[-1] in _ABBREVIATIONS


@lru_cache(maxsize=1 << 16)
def _treebank(sentence: str) -> tuple[str, ...]:
    return tuple(_treebank_tokenizer()(sentence))


@lru_cache(maxsize=1)
def _treebank_tokenizer() -> Callable[[str], list[str]]:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer().tokenize


def treebank_words(text: str) -> list[str]:
    """Lower-cased Treebank tokens of NLTK's `word_tokenize`, sentences cut by `split_sentences`.

    Reports repeat their sentences, and the Treebank expressions are slow: each different sentence is cut once.
    """
    return [token.lower() for sentence in split_sentences(text) for token in _treebank(sentence)]
