"""The word tokens of NLTK's `NLTKWordTokenizer`, each different chunk of text cut once.

Its thirty regular expressions read a whole sentence. In a sentence without quotation marks none of them looks past the
blanks around a chunk, but for the final period, which may have closing brackets behind it: so the tokens of most
sentences are those of their chunks, and chunks repeat far more often than sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain

# Quotation marks, and the separators that are blanks for `str.split` and not for NLTK's expressions.
_CONTEXT = re.compile("['\"`«»“”‘’„\x1c-\x1f]")


def treebank_tokens(sentence: str) -> list[str]:
    """Tokens of one sentence, equal to `NLTKWordTokenizer().tokenize(sentence)`."""
    chunks = sentence.split()
    if not read_apart(sentence, chunks):
        return list(_whole(sentence))
    return [*chain.from_iterable(map(amid, chunks[:-1])), *at_the_end(chunks[-1])] if chunks else []


def read_apart(text: str, chunks: Sequence[str]) -> bool:
    """Whether the tokens of a text are those of its chunks."""
    return not _CONTEXT.search(text) and (not chunks or chunks[-1].strip("])}>") != "")


@lru_cache(maxsize=1 << 16)
def amid(chunk: str) -> tuple[str, ...]:
    """Tokens of a chunk that has others on both sides."""
    return tuple(_nltk()(f"x {chunk} x")[1:-1])


@lru_cache(maxsize=1 << 16)
def at_the_end(chunk: str) -> tuple[str, ...]:
    """Tokens of the last chunk of a sentence."""
    return tuple(_nltk()(f"x {chunk}")[1:])


@lru_cache(maxsize=1 << 16)
def _whole(sentence: str) -> tuple[str, ...]:
    return tuple(_nltk()(sentence))


@lru_cache(maxsize=1)
def _nltk() -> Callable[[str], list[str]]:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer().tokenize
