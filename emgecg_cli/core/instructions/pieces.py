"""Token ids of texts that follow each other: each tokenised on its own, as it would be in its place."""

from __future__ import annotations

from typing import Any


def tokenise(pieces: list[str], inline: list[bool], tokenizer: Any) -> list[list[int]]:
    """Token ids of the pieces of a prompt; `inline`: the piece continues the line before it."""
    if len(pieces) == 1:
        return [tokenizer(pieces[0], add_special_tokens=False)["input_ids"]]
    ids = list(tokenizer(pieces, add_special_tokens=False)["input_ids"])
    if any(inline) and _opens_with_a_blank(tokenizer):
        newline, *led = tokenizer(["\n", *("\n" + piece for piece in pieces)], add_special_tokens=False)["input_ids"]
        ids = [long[len(newline):] if glued and long[:len(newline)] == newline else own
               for own, long, glued in zip(ids, led, inline, strict=True)]
    return ids


def added_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens a tokenizer puts before and behind a text of its own accord (BOS; EOS for T5 and BART)."""
    bare = tokenizer("ecg", add_special_tokens=False)["input_ids"]
    dressed = tokenizer("ecg")["input_ids"]
    start = next(i for i in range(len(dressed)) if dressed[i:i + len(bare)] == bare)
    return dressed[:start], dressed[start + len(bare):]


def _opens_with_a_blank(tokenizer: Any) -> bool:
    """Whether a tokenizer puts a blank of its own before every text, as SentencePiece does: amid a line it is wrong."""
    newline, bar, both = tokenizer(["\n", "|", "\n|"], add_special_tokens=False)["input_ids"]
    return bool(both[:len(newline)] == newline and both[len(newline):] != bar)
