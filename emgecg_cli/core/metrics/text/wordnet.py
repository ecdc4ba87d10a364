"""Synonyms from WordNet 3.0 (Fellbaum 1998; Princeton University), from a table inside the package.

Words are looked up as NLTK 3.10 does it: irregular forms first, else the suffix rules of morphy, applied once; the word
itself too, where it is a lemma.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

_SUFFIXES = {
    "n": (("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
          ("men", "man"), ("ies", "y")),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}


@dataclass(frozen=True)
class Lexicon:
    """The synsets of one part of speech: lemma -> its synsets' words, and irregular form -> lemmas."""

    synsets: dict[str, list[list[str]]] = field(default_factory=dict)
    irregular: dict[str, list[str]] = field(default_factory=dict)


@lru_cache(maxsize=1)
def load_lexicons() -> dict[str, Lexicon]:
    """Part of speech (n, v, a, r) -> its lexicon."""
    lexicons = {part: Lexicon() for part in _SUFFIXES}
    packed = files("emgecg_cli").joinpath("data", "wordnet_synonyms.txt.gz").read_bytes()
    for line in gzip.decompress(packed).decode("ascii").splitlines():
        tag, *words = line.split(" ")
        lexicon = lexicons[tag[0]]
        if tag.endswith("!"):
            lexicon.irregular[words[0]] = words[1:]
        else:
            single = [word for word in words if "_" not in word]
            for lemma in {word.lower() for word in words}:
                lexicon.synsets.setdefault(lemma, []).append(single)
    return lexicons


@lru_cache(maxsize=1 << 16)
def synonyms(word: str) -> frozenset[str]:
    """Single words that share a synset with a lower-case word, itself included, in WordNet's spelling."""
    found = {word}
    for part, lexicon in load_lexicons().items():
        forms = lexicon.irregular.get(word)
        if forms is None:
            forms = [word.removesuffix(old) + new for old, new in _SUFFIXES[part] if word.endswith(old)]
        for form in (word, *forms):
            for synset in lexicon.synsets.get(form, ()):
                found.update(synset)
    return frozenset(found)
