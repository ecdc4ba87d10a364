"""The text of a report as the rules read it: one case, one spelling of letters, words written out, sentences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator

from emgecg_cli.core.reports.scripts import same_letters

# Words that stand for a question mark: one that follows its finding (LVH?), and one that goes before (? LVH).
ASKED_AFTER, ASKED_BEFORE = "askedafter", "askedbefore"

_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "a", "ß": "ss", "æ": "ae", "ø": "oe",
                          "\u2019": "'", "\u2264": "<", "\u2265": ">"})
_HYPHENS = re.compile(r"[-\u2010-\u2015\u2212_]+")
_IN_WORD = re.compile(r"(?<=\w)\((\w{1,3})\)")
_ASKED = re.compile(r"(?P<after>(?<=[\w)])(?: ?\(\?\)|\?)|\?(?=\s*(?:[.,;)]|$)))|\(\?\)|\?")
_DEGREE = re.compile(r"(?<=[\dIiVv])\s*[°º](?:ig\w*)?")
_ORDINAL = re.compile(r"\b([123]|i{1,3})\s*\.\s*(?=grad|degree|(?:oder|und|bis|or|and|/) ?(?:[123]|i{1,3})\b)")
# Codes that a reviewer left below the report of a PTB-XL record are not words of the report.
_REVIEW = re.compile(r"(?s)\bedit:.*")
# A line that goes on in the next one is one sentence with it; a new one starts with a capital, a number or a bullet.
_LINE = re.compile(r"\s*\n\s*(?=[A-ZÄÖÜÅ(]|\d+[.)]\s|[-*\u2022]\s)|\n\s*\n")
_MARK = re.compile(r"\s*([,;:/+&|])\s*")
_END = re.compile(r"(?:[.!;|](?=\s|$)|:(?=\s*$))+")
# A full stop behind a plain word; a shorter one may be a number (AV block I. grade).
_STOP = re.compile(r"(?<![^\s,;:/-])([A-Za-z]{4,})\. +")
_FAR = re.compile(r"[^\x00-\x09\x0b-\xac\xae-\xff]")   # lines, and what `same_letters` joins, reach beyond a sentence
_LONGEST = 150   # words; the longest report of PTB-XL has fewer
_NOT_CONTENT = re.compile(r"[^\w\s,;:./+&|!<>=%']+")


def passages(text: str, shortened: Collection[str]) -> list[str]:
    """A text cut behind full stops, where its sentences are the same as those of the passages, each folded by itself:
    so that each is read once, as reports are made of few. Words of `shortened` (folded) are abbreviations."""
    if ". " not in text or _FAR.search(text) or "edit:" in text.lower():
        return [text]
    found, start = [], 0
    for stop in _STOP.finditer(text):
        if stop[1].lower() not in shortened:
            found.append(text[start:stop.end()])
            start = stop.end()
    found.append(text[start:])
    return [text] if "(" in text and any(map(_only_closes, found)) else found


def _only_closes(passage: str) -> bool:
    """Whether a bracket closes in a passage and none opens; a question mark in brackets is none."""
    plain = passage.replace("(?)", "")
    return ")" in plain and "(" not in plain


def fold(text: str) -> str:
    """A text in lower case, umlauts as two letters, without hyphens; one blank between words and around , : / + &."""
    text = same_letters(text)
    if "\n" in text:
        text = _LINE.sub(" . ", text)
    text = _plain_letters(text.casefold())
    if "edit:" in text:
        text = _REVIEW.sub("", text)
    text = _HYPHENS.sub(" ", _ORDINAL.sub(r"\1 ", text))
    if "?" in text:
        text = _ASKED.sub(lambda mark: f" {ASKED_AFTER} . " if mark["after"] else f" {ASKED_BEFORE} ", text)
    if "(" in text:
        text = _IN_WORD.sub(r"\1", text).replace("(", " , ").replace(")", " , ")
    return " ".join(_MARK.sub(r" \1 ", _NOT_CONTENT.sub(" ", text)).split())


def _plain_letters(text: str) -> str:
    """The text in letters of ASCII, as far as it is Latin; a degree sign is the word grad."""
    if text.isascii():
        return text
    text = _DEGREE.sub(" grad ", unicodedata.normalize("NFC", text).translate(_LETTERS))
    if text.isascii():
        return text
    return "".join(character for character in unicodedata.normalize("NFKD", text)
                   if not unicodedata.combining(character))


def sentences(folded: str) -> Iterator[str]:
    """The sentences of a folded text whose abbreviations are written out, without their full stops; one that never
    ends comes in pieces."""
    for part in _END.split(folded):
        words = part.strip(" ,.:").split(" ")
        for start in range(0, len(words), _LONGEST):
            piece = " ".join(words[start:start + _LONGEST])
            if any(map(str.isalpha, piece)):
                yield piece
