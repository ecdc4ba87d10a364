"""The word tokens of mteval-v13a as sacrebleu cuts them, each different chunk of text cut once.

Each of its four expressions looks at one character and one beside it, takes no digit or mark from behind a blank, and
cuts at every blank in the end: so the tokens of a text are those of its chunks, one after the other. What is replaced
before (a line's end behind a dash, `&quot;`, `<skipped>`) may join chunks; texts that have it are cut whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import chain


def mteval_tokens(text: str) -> list[str]:
    """Tokens of a text without blanks behind it, equal to `BLEU(tokenize="13a").tokenizer(text).split()`."""
    if "\n" in text or "&" in text or "<skipped>" in text:
        return _sacrebleu()(text).split()
    return [*chain.from_iterable(map(_chunk, text.split()))]


@lru_cache(maxsize=1 << 18)
def _chunk(chunk: str) -> tuple[str, ...]:
    return (chunk,) if chunk.isalnum() else tuple(_sacrebleu()(chunk).split())


@lru_cache(maxsize=1)
def _sacrebleu() -> Callable[[str], str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    cutter = Tokenizer13a()
    return lambda line: str(type(cutter).__call__.__wrapped__(cutter, line))
