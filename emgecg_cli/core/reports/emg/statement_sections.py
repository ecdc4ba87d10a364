"""Cut findings into what is about nerves and what is about muscles, into sentences and clauses of known words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from emgecg_cli.core.reports.emg.statement_words import Token, scan

_HEADER = re.compile(
    r"(?P<emg>(?:针极|针电极)?(?:肌电图|(?<![A-Za-z])EMG)|needle(?: EMG| examination)?)\s*(?:检查|所见|findings)?\s*:|"
    r"(?P<ncv>神经(?:电图|传导)(?:检查|测定|速度)*|(?<![A-Za-z])(?:NCV|NCS)|"
    r"nerve conduction(?: stud(?:y|ies)| velocit\w+)?)\s*(?:检查|findings)?\s*:|"
    r"(?P<other>impression|conclusion|findings|印象|结论|诊断(?:意见)?|提示|(?:检查)?所见)\s*:", re.I)


def sections_of(text: str) -> tuple[list[list[Token]], list[list[Token]]]:
    """The sentences on nerve conduction and those on the needle, as tokens of their own scanners.

    Under a heading a sentence goes where the heading says; without one, a sentence with a muscle or a needle finding
    and no nerve or measure goes to the needle part, and a sentence that names neither ("normal study") to both.
    """
    conduction: list[list[Token]] = []
    needle: list[list[Token]] = []
    start, kind = 0, "other"
    for match in [*_HEADER.finditer(text), None]:
        body = text[start:match.start() if match else len(text)]
        if kind == "ncv":
            conduction += _sentences(scan(body, needle=False))
        elif kind == "emg":
            needle += _sentences(scan(body, needle=True))
        else:
            for piece in re.split(r"(?<=[;。\n!?])|(?<=\.)(?=\s|$)", body):
                _sort(piece, conduction, needle)
        if match:
            start, kind = match.end(), match.lastgroup or "other"
    return conduction, needle


def _sort(sentence: str, conduction: list[list[Token]], needle: list[list[Token]]) -> None:
    """Put a sentence under no heading where it belongs."""
    ours, theirs = [*scan(sentence, needle=False)], [*scan(sentence, needle=True)]
    kinds = {token.kind for token in ours}
    of_nerves = bool(kinds & {"nerve", "speed", "delay", "cond"}) or _about(ours, "神经|nerve")
    of_muscles = any(token.kind in ("muscle", "finding") for token in theirs) or _about(theirs, "肌|muscle")
    if of_nerves or (kinds & {"type", "measure", "resp"} and not of_muscles):
        conduction += _sentences(ours)
    elif of_muscles:
        needle += _sentences(theirs)
    else:
        conduction += _sentences(ours)
        needle += _sentences(token for token in theirs if token.kind != "unknown")


def _about(tokens: Sequence[Token], word: str) -> bool:
    return any(token.kind == "rest" and re.search(word, token.text, re.I) for token in tokens)


def _sentences(tokens: Iterable[Token]) -> list[list[Token]]:
    found: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind == "stop":
            found.append([])
        elif token.kind != "filler":
            found[-1].append(token)
    return [sentence for sentence in found if sentence]


def clauses_of(sentence: Sequence[Token]) -> Iterator[list[Token]]:
    """Split at commas, but not inside a list of nerves behind its predicate ("slowed in the median, ulnar and …")."""
    pieces: list[list[Token]] = [[]]
    for token in sentence:
        if token.kind == "comma":
            pieces.append([])
        else:
            pieces[-1].append(token)
    joined: list[list[Token]] = []
    for piece in pieces:
        kinds = {token.kind for token in piece}
        last = [token.kind for token in joined[-1]] if joined else []
        listed = kinds <= {"nerve", "side", "and"} and "nerve" in kinds
        if listed and "dir" in last and last[-1] == "nerve":
            joined[-1] += piece
        elif piece:
            joined.append(piece)
    return iter(joined)
