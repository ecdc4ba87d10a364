"""What an answer says: whole labels and not parts of words, letters by where they stand, options as they are written.

An answer of which nothing can be read is None, which no guess replaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

_FINAL = re.compile(r"(?i)\b(?:final )?answers?\b\s*(?:is|are)?\s*[:=]")
_NOTHING = re.compile(r"(?i)^\W*(?:none|none of (?:the|these|them)[^.]*|no labels?)\W*$")
_DENIED = re.compile(r"(?i)\b(?:no|not|without|neither|nor|denies|absence of|rules? out|ruled out)\b[^.,;\n]{0,24}$")
_MARKED = (
    r"(?i:(?:correct |right |best |final )?(?:option|answer|choice)s?)\s*(?i:is|:|=|would be)+\s*"
    r"[\"'(\[*]*([A-H])(?![A-Za-z])",
    r"\\boxed\{\s*(?:\\text\{)?([A-H])\b")
_LEADING = re.compile(r"^\W*([A-H])(?:[\s).:,\]*]|$)")
_LONE = re.compile(r"(?<![A-Za-z0-9'])\(?([B-H]|A(?=[).:,\]]|\s*$))(?=[).:,\]\s]|$)")
_OPTION_LINE = re.compile(r"(?m)(?:^|(?<=\s))\(?([A-H])[.):]\s*(.+?)(?=\s*(?:\n|$|\s\(?[A-H][.):]\s))")
_CLOSING = re.compile(r"(?i)\s*(?:only )?(?:answer|please|choose|select|respond|reply)\b.*$", re.S)


def labels_in(answer: str, labels: Mapping[str, str]) -> frozenset[str] | None:
    """The labels an answer gives, by code or by meaning, each as whole words and not denied; an empty set where it says
    that there is none, None where nothing is read. What stands behind the last "Answer:" goes before the rest."""
    for text in _parts(answer):
        found = frozenset(code for code, meaning in labels.items() if _says(text, code, meaning))
        if found or _NOTHING.match(text):
            return found
    return None


def _parts(answer: str) -> list[str]:
    ends = [match.end() for match in _FINAL.finditer(answer)]
    return [answer[ends[-1]:], answer] if ends else [answer]


def _says(text: str, code: str, meaning: str) -> bool:
    return any(not _DENIED.search(text[max(0, match.start() - 40):match.start()])
               for pattern in _patterns(code, meaning) for match in pattern.finditer(text))


@lru_cache(maxsize=256)
def _patterns(code: str, meaning: str) -> tuple[re.Pattern[str], ...]:
    words = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]+", meaning)))
    return (re.compile(rf"(?<![A-Za-z0-9-]){re.escape(code)}(?![A-Za-z0-9]|-[A-Za-z0-9])"),
            re.compile(rf"(?i)(?<![A-Za-z]){words}(?![A-Za-z])"))


def letter_in(answer: str, letters: str, question: str | None = None) -> str | None:
    """The option an answer chooses: what it marks as its answer last, a letter it begins with, the only letter that
    stands alone in it, or the only option of the question whose words it repeats."""
    text = answer.strip()
    if text in letters and len(text) == 1:
        return text
    marked = [(match.start(), match[1]) for pattern in _MARKED for match in re.finditer(pattern, text)]
    if marked and max(marked)[1] in letters:
        return max(marked)[1]
    if (leading := _LEADING.match(text)) and leading[1] in letters and not re.match(r"\W*A\s+[a-z]", text):
        return leading[1]
    alone = {match[1] for match in _LONE.finditer(text)} & set(letters)
    if len(alone) == 1:
        return alone.pop()
    repeated = {letter for letter, option in options_by_letter(question or "").items()
                if letter in letters and _contains(text, option)}
    return repeated.pop() if len(repeated) == 1 else None


def options_by_letter(question: str) -> dict[str, str]:
    """The options of a question: letter -> its words."""
    return {match[1]: match[2].strip(" .;") for match in _OPTION_LINE.finditer(question)}


def options_of(question: str) -> tuple[str, ...]:
    """The options behind the last "Options:" of a question, without the instruction that closes it."""
    listed = question.rpartition("Options:")[2] if "Options:" in question else ""
    return tuple(option for part in _CLOSING.sub("", listed).split(",") if (option := part.strip(" .\n\t")))


def options_in(answer: str, options: Sequence[str]) -> frozenset[str] | None:
    """The options that an answer names as whole phrases, the longer before the shorter; None where it names none."""
    text, found = answer, set()
    for option in sorted(options, key=len, reverse=True):
        pattern = _phrase(option)
        if pattern.search(text):
            found.add(option.lower())
            text = pattern.sub(" \0 ", text)
    return frozenset(found) or None


def _contains(text: str, phrase: str) -> bool:
    return bool(phrase) and _phrase(phrase).search(text) is not None


@lru_cache(maxsize=4096)
def _phrase(words: str) -> re.Pattern[str]:
    return re.compile(r"(?i)(?<![a-z0-9])" + r"\s+".join(map(re.escape, words.split())) + r"(?![a-z0-9])")


def all_of(found: Iterable[frozenset[str] | None]) -> set[str]:
    """Everything that some answers say together."""
    return {one for said in found if said for one in said}
