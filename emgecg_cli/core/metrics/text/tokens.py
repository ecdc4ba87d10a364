"""Text to tokens, one definition per convention, none of which needs data files.

Every tokenizer here is pure; callers tokenise each different text once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from emgecg_cli.core.metrics.text.mteval import mteval_tokens
from emgecg_cli.core.metrics.text.treebank import amid, at_the_end, read_apart, treebank_tokens
from emgecg_cli.core.reports.scripts import LANGUAGE_OF, SPACELESS, same_letters, script_of, word

Tokenizer = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Tokens:
    """How a set is cut into tokens: the tokenizer, and its name in signatures.

    Every metric that compares tokens has its own for languages with blanks between words, and takes another in its
    place; `segmentation.segmented_tokens` makes those for Chinese, Japanese, Thai and the like.
    """

    tokenize: Tokenizer
    name: str


# What texts have gone through before they are cut, as signatures say it.
TEXT_FORM = "same-letters-1"
CHINESE = frozenset({"zh", "zho", "chi", "cmn", "yue", "chinese"})
_ENGLISH = frozenset({"en", "eng", "english"})
# Other names of languages that are written without blanks between words.
_ALIASES = {"jpn": "ja", "japanese": "ja", "tha": "th", "thai": "th", "lao": "lo", "khm": "km", "khmer": "km",
            "mya": "my", "bur": "my", "burmese": "my", "bod": "bo", "tib": "bo", "tibetan": "bo"}
_WITHOUT_BLANKS = frozenset(("zh", "ja", "th", "lo", "km", "my", "bo"))
_NAMES = {"en": "English", "zh": "Chinese", "ja": "Japanese", "th": "Thai", "lo": "Lao", "km": "Khmer",
          "my": "Burmese", "bo": "Tibetan", "ko": "Korean", "el": "Greek", "he": "Hebrew", "de": "German",
          "sv": "Swedish", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "nl": "Dutch"}
_ASCII_WORD = re.compile(r"[a-z0-9]+")

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


@lru_cache(maxsize=1 << 10)
def primary_language(tag: str | None) -> str:
    """The primary subtag of a language tag in lower case (`de-AT` -> `de`); None is taken as English."""
    primary = re.split(r"[-_]", (tag or "en").strip().lower())[0]
    return "en" if primary in _ENGLISH or not primary else _ALIASES.get(primary, primary)


def language_name(language: str) -> str:
    """The English name of a primary language, where there is one here."""
    return _NAMES.get(language, f"in the language '{language}'")


def language_label(languages: Sequence[str]) -> str:
    """How signatures name the languages of a set: `en`, `de+en`."""
    return "+".join(sorted(set(languages)))


def is_chinese(tag: str | None) -> bool:
    """Whether a language tag is one of Chinese (`zh`, `zh-Hans`, `cmn`)."""
    return tag is not None and primary_language(tag) in CHINESE


def lacks_blanks(language: str | None, text: str) -> bool:
    """Whether words are not set apart by blanks, by the language a text is said to be in, or by its script."""
    return language in _WITHOUT_BLANKS or is_chinese(language) or script_of(text) in SPACELESS


def fits_group(text: str, group: str) -> bool:
    """Whether a text may stand for those of a language without blanks (`group`), or, of "", for all others. Japanese
    may be written with Chinese characters alone."""
    script = script_of(text)
    if script not in SPACELESS:
        return not group
    return LANGUAGE_OF[script] == group or (group == "ja" and script == "Han")


def normalise(text: str) -> str:
    """One code for each letter and digit (`scripts.same_letters`), and U+FFFD for each half of a broken surrogate pair,
    which no tokenizer can encode."""
    if text.isascii():
        return text
    return same_letters(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def words_13a(text: str) -> list[str]:
    """Lower-cased tokens of mteval-v13a, as sacrebleu cuts them."""
    return mteval_tokens(text.lower().rstrip())


def ascii_words(text: str) -> list[str]:
    """Runs of a-z and 0-9 of the lower-cased text: the tokenizer of rouge-score without its stemmer."""
    return _ASCII_WORD.findall(text.lower())


def unicode_words(text: str) -> list[str]:
    """Runs of letters and digits with their marks, of any script, case folded."""
    return word().findall(text.casefold())


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


def treebank_words(text: str) -> list[str]:
    """Lower-cased Treebank tokens of NLTK's `word_tokenize`, sentences cut by `split_sentences`."""
    chunks = text.split()
    if chunks and read_apart(text, chunks):
        return [*chain.from_iterable(map(_chunk_within, chunks[:-1])), *_lowered(at_the_end(chunks[-1]))]
    tokens = [token for sentence in split_sentences(text) for token in treebank_tokens(sentence)]
    return [*_lowered(tokens)]


@lru_cache(maxsize=1 << 16)
def _chunk_within(chunk: str) -> tuple[str, ...]:
    """The lower-cased tokens of a chunk that has others behind it; a sentence may end with it."""
    return _lowered(at_the_end(chunk) if len(split_sentences(f"{chunk} x")) > 1 else amid(chunk))


def _lowered(tokens: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(str.lower, tokens))
