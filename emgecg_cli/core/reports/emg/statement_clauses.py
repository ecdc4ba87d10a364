"""Walk one clause of a sentence on nerve conduction: what is named, and the predicates with what belongs to them.

Chinese puts a predicate behind what it is about, but for 未引出; English has it on either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from emgecg_cli.core.emg import terms
from emgecg_cli.core.reports.emg.statement_words import Token

# What a word implies where no measure is named: measure and direction.
DEFAULT = {"slow": ("cv", "low"), "delayed": ("lat", "high")}
_NAMING = ("nerve", "type", "measure", "speed", "delay", "resp", "cond", "distal")
_PREDICATES = ("dir", "normal", "limit")


Subject = tuple[tuple[str, ...] | None, str]  # sides, nerve


@dataclass
class Scope:
    """What has been named since the last predicate: subjects, types, and (type, measure) pairs."""

    subjects: list[Subject] = field(default_factory=list)
    sides: tuple[str, ...] | None = None
    sides_taken: bool = False
    types: list[str] = field(default_factory=list)
    pairs: list[tuple[str | None, str]] = field(default_factory=list)
    response: bool = False
    conduction: bool = False
    distal: bool = False
    rest: bool = False
    excepted: bool = False
    limb: str | None = None

    @property
    def empty(self) -> bool:
        return not (self.subjects or self.sides or self.types or self.pairs or self.limb)


@dataclass
class Predicate:
    """An abnormal or normal word, what it is about, and what it may still take from the words behind it."""

    token: Token
    scope: Scope
    severity: str | None
    negated: bool
    takes_subject: bool
    takes_measure: bool
    takes_type: bool


def read_clause(clause: list[Token], scope: Scope, negated: bool) -> tuple[list[Predicate], Scope, bool]:
    """Walk one clause, with what was named before it and whether a negation is open.

    Gives the predicates, what was named behind the last of them, and whether a negation is open at the end.
    """
    predicates: list[Predicate] = []
    severity: str | None = None
    unused_negation = False
    for i, token in enumerate(clause):
        last = predicates[-1] if predicates else None
        if token.kind == "neg":
            negated = unused_negation = True
        elif token.kind == "sev" and token.value == "borderline" and _is_last(clause, i) and _measures(clause):
            predicates.append(_predicate(Token("dir", "bad", token.text), scope, "borderline", negated, clause[i + 1:]))
            scope = Scope()
        elif token.kind == "sev":
            if last is not None and last.severity is None and not scope.pairs and _is_last(clause, i):
                last.severity = token.value
            else:
                severity = token.value
        elif token.kind in _PREDICATES:
            predicates.append(_predicate(token, scope, severity, negated, clause[i + 1:]))
            scope, severity, unused_negation = Scope(), None, False
        elif token.kind == "and":
            _close(last)
        elif last is not None and _take(token, last, clause[i + 1:i + 2]):
            pass
        else:
            _name(token, scope)
    if unused_negation and (scope.response or "f_wave" in scope.types or "h_reflex" in scope.types):
        predicates.append(_predicate(Token("dir", "absent", "no"), scope, None, False, []))
        scope = Scope()
    return predicates, scope, negated


def _close(predicate: Predicate | None) -> None:
    """An "and" straight behind a predicate that is complete without more words begins something new."""
    if predicate is None:
        return
    scope = predicate.scope
    if predicate.token.value in DEFAULT and scope.subjects and not scope.pairs:
        predicate.takes_measure = False
    if scope.pairs and not predicate.takes_measure and not scope.subjects:
        predicate.takes_subject = False


def _until_predicate(tokens: Sequence[Token]) -> int | None:
    return next((i for i, token in enumerate(tokens) if token.kind in _PREDICATES), None)


def _is_last(clause: Sequence[Token], i: int) -> bool:
    return _until_predicate(clause[i + 1:]) is None


def _measures(tokens: Sequence[Token]) -> bool:
    return any(token.kind in ("measure", "speed", "delay", "resp", "cond", "ignored") for token in tokens)


def _predicate(token: Token, scope: Scope, severity: str | None, negated: bool, behind: Sequence[Token]) -> Predicate:
    """Open a predicate: Chinese ones stand last, but for 未引出; English ones may take what stands behind them."""
    end = _until_predicate(behind)
    near = behind if end is None else behind[:end]
    may_take = not token.chinese or token.value == "absent"
    named = bool(scope.subjects) or scope.rest
    return Predicate(token, scope, severity, negated,
                      takes_subject=may_take and not named,
                      takes_measure=(may_take and token.value != "absent" and not scope.pairs and not scope.response
                                     and _measures(near)),
                      takes_type=may_take and not scope.types and (not named or not scope.pairs))


def _take(token: Token, predicate: Predicate, behind: Sequence[Token]) -> bool:
    """Give a word to the predicate before it, where it may take it."""
    scope = predicate.scope
    if token.kind == "side" and scope.subjects and not scope.sides:  # "is slowed on the right"
        allowed = not token.chinese and not (behind and behind[0].kind in _NAMING)
    elif token.kind in ("nerve", "side", "limb", "rest", "except"):
        allowed = predicate.takes_subject
    elif token.kind in ("speed", "delay"):
        allowed = predicate.takes_measure and predicate.takes_type
    elif token.kind in ("measure", "cond", "distal", "ignored"):
        allowed = predicate.takes_measure
    elif token.kind == "resp":
        absent = predicate.token.value == "absent"
        allowed = predicate.takes_measure or (absent and (predicate.takes_type or not token.value))
    else:
        allowed = token.kind == "type" and predicate.takes_type
    if allowed:
        _name(token, predicate.scope)
    return allowed


def _name(token: Token, scope: Scope) -> None:
    """Add a word to what has been named."""
    if token.kind == "side":
        sides = terms.SIDES if token.value == "both" else (token.value,)
        again = scope.sides is not None and not scope.sides_taken
        scope.sides = tuple(side for side in terms.SIDES if side in sides or (again and side in (scope.sides or ())))
        scope.sides_taken = False
    elif token.kind == "nerve":
        scope.subjects.append((scope.sides, token.value))
        scope.sides_taken = True
    elif token.kind in ("type", "resp", "speed", "delay"):
        if token.value and token.value not in scope.types:
            scope.types = [token.value] if scope.pairs else [*scope.types, token.value]
        scope.response |= token.kind == "resp"
        if token.kind == "speed":  # "motor and sensory conduction velocity" is of both
            scope.pairs += [(type, "cv") for type in scope.types]
        elif token.kind == "delay":
            scope.pairs.append((token.value, "lat"))
    elif token.kind == "measure":
        named: list[str | None] = [*scope.types]
        scope.pairs += [(type, token.value) for type in named or [None]]
    elif token.kind == "ignored":
        scope.pairs.append((None, ""))
    elif token.kind == "limb":
        scope.limb = token.value
    else:
        scope.conduction |= token.kind == "cond"
        scope.distal |= token.kind == "distal"
        scope.rest |= token.kind == "rest"
        scope.excepted |= token.kind == "except"
