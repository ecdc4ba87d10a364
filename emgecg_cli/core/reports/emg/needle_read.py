"""Read needle findings from sentences on muscles, Chinese or English.

Chinese names the muscles first, English often last: findings without a muscle before them wait for the muscles that
follow in the same sentence, and take the muscles of the sentence before where none follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from emgecg_cli.core.emg import terms
from emgecg_cli.core.reports.emg.statement_words import Token
from emgecg_cli.core.reports.emg.statements import NeedleFinding, ReadStatements

Muscle = tuple[str, str | None]  # muscle, side


@dataclass
class _Walk:
    """The state of a walk: the muscles spoken of, whether findings closed their list, and findings that wait."""

    muscles: list[Muscle] = field(default_factory=list)
    closed: bool = True
    sides: tuple[str | None, ...] = (None,)
    waiting: list[tuple[str, bool]] = field(default_factory=list)
    negated: bool = False
    rest: bool = False
    named: bool = False
    found: set[NeedleFinding] = field(default_factory=set)
    normal: set[Muscle] = field(default_factory=set)
    others_normal: bool = False
    unresolved: list[str] = field(default_factory=list)


def read_needle(sentences: Iterable[list[Token]]) -> ReadStatements:
    """The needle findings, normal muscles and counts of these sentences; its other fields are empty."""
    walk, n_unknown = _Walk(), 0
    for sentence in sentences:
        n_unknown += sum(token.kind == "unknown" for token in sentence)
        words = [token for token in sentence if token.kind not in ("unknown", "filler", "fine")]
        walk.negated = walk.rest = walk.named = False
        walk.closed = True
        for i, token in enumerate(words):
            _step(token, words[i + 1:], walk)
        for name, negated in walk.waiting:
            _find(name, negated, walk)
        walk.waiting = []
    return ReadStatements(needle=frozenset(walk.found), normal_muscles=frozenset(walk.normal),
                          needle_others_normal=walk.others_normal, n_unknown=n_unknown,
                          unresolved=tuple(walk.unresolved))


def _step(token: Token, behind: list[Token], walk: _Walk) -> None:
    if token.kind == "comma":
        walk.negated = (walk.negated and bool(behind) and behind[0].kind in ("finding", "and")
                        and not behind[0].chinese)
    elif token.kind == "neg":
        walk.negated = True
    elif token.kind == "rest":
        walk.rest = True
    elif token.kind == "side":
        walk.sides = terms.SIDES if token.value == "both" else (token.value,)
    elif token.kind == "muscle":
        _muscle(token.value, behind, walk)
    elif token.kind == "finding":
        if walk.named or (walk.muscles and not _muscle_ahead(behind)):
            _find(token.value, walk.negated, walk)
            walk.closed = True
        else:
            walk.waiting.append((token.value, walk.negated))
    elif token.kind == "normal":
        _normal(behind, walk)


def _muscle_ahead(tokens: list[Token]) -> bool:
    return any(token.kind == "muscle" for token in tokens)


def _muscle(name: str, behind: list[Token], walk: _Walk) -> None:
    if walk.closed:
        walk.muscles, walk.closed = [], False
    walk.muscles += [(name, side) for side in walk.sides]
    goes_on = next((token.kind for token in behind if token.kind not in ("side", "and", "comma")), None) == "muscle"
    if walk.waiting and not goes_on:
        for finding, negated in walk.waiting:
            _find(finding, negated, walk)
        walk.waiting, walk.closed, walk.negated = [], True, False
    elif not walk.waiting:
        walk.named = True


def _normal(behind: list[Token], walk: _Walk) -> None:
    if walk.named and not walk.closed:
        walk.normal |= set(walk.muscles)
        walk.closed = True
    elif not _muscle_ahead(behind):
        walk.others_normal = True
    walk.rest = False


def _find(name: str, negated: bool, walk: _Walk) -> None:
    if negated or walk.rest:
        walk.others_normal |= negated and (walk.rest or not walk.muscles)
        return
    walk.found |= {NeedleFinding(muscle, side, name) for muscle, side in walk.muscles}
    if not walk.muscles:
        walk.unresolved.append(name)
