"""Read statements from findings in Chinese or English, in the words of any clinic.

A sentence is walked word by word. An abnormal (or normal) word is a predicate: it takes the nerves, types and measures
named before it ("left median distal latency prolonged"), or behind it where English says it the other way round
("prolonged distal latency of the left median nerve"). What a predicate lacks is carried over from the one before: the
nerve, the side, and within a sentence the type. A comma ends a negation unless only further predicates follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from emgecg_cli.core.reports.emg.needle_read import read_needle
from emgecg_cli.core.reports.emg.statement_clauses import DEFAULT, Predicate, Scope, Subject, read_clause
from emgecg_cli.core.reports.emg.statement_sections import clauses_of, sections_of
from emgecg_cli.core.reports.emg.statement_words import Token, normal_form
from emgecg_cli.core.reports.emg.statements import Normal, ReadStatements, Statement, absent_measure

LONGEST_TEXT = 20_000
# The type of a nerve that has only one: a report need not name it.
_ONLY = dict.fromkeys((
    "sural", "superficial_peroneal", "superficial_radial", "saphenous", "lateral_femoral_cutaneous",
    "dorsal_ulnar_cutaneous", "median_palmar", "medial_antebrachial_cutaneous", "lateral_antebrachial_cutaneous",
    "posterior_antebrachial_cutaneous", "greater_auricular"), "sensory") | dict.fromkeys(
    ("facial", "accessory", "axillary", "suprascapular"), "motor")
_ABNORMAL = {"lat": "high", "amp": "low", "cv": "low"}


Subjects = list[tuple[Sequence[str | None], str | None]]  # sides, nerve


@dataclass
class _Reading:
    """The state of a walk over a text: what is carried from predicate to predicate, and what was read."""

    subjects: list[Subject] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    abnormal: set[Statement] = field(default_factory=set)
    normal: set[Normal] = field(default_factory=set)
    others_normal: bool = False
    n_unknown: int = 0
    unresolved: list[str] = field(default_factory=list)


def read_statements(text: str, language: str | None = None) -> ReadStatements:
    """Read the findings of a report; headings such as "EMG:" and "NCV:" are used where there are any.

    `language` is "en", "zh" or None for both, which Chinese reports mix. With "en", Chinese characters are unknown
    words; with "zh" English words are read too. Words nobody knows are skipped and counted. Of a text longer than
    LONGEST_TEXT characters the rest counts as one unknown word.
    """
    reading = _Reading(n_unknown=int(len(text) > LONGEST_TEXT))
    plain = normal_form(text[:LONGEST_TEXT])
    if language == "en":
        plain, foreign = re.subn("[\u2e80-\u3000\u3005-\u9fff\uf900-\ufaff]+", " ", plain)
        reading.n_unknown += foreign
    conduction, needle = sections_of(plain)
    for sentence in conduction:
        _read_sentence(sentence, reading)
    by_needle = read_needle(needle)
    return ReadStatements(
        frozenset(reading.abnormal), by_needle.needle, frozenset(reading.normal), by_needle.normal_muscles,
        reading.others_normal, by_needle.needle_others_normal, reading.n_unknown + by_needle.n_unknown,
        (*reading.unresolved, *by_needle.unresolved))


def _read_sentence(sentence: list[Token], reading: _Reading) -> None:
    reading.n_unknown += sum(token.kind == "unknown" for token in sentence)
    words = [token for token in sentence if token.kind not in ("unknown", "muscle")]
    scope, negated, reading.types = Scope(), False, []
    for clause in clauses_of(words):
        kinds = [token.kind for token in clause]
        only_predicates = set(kinds) <= {"dir", "sev", "and", "neg"} and not any(token.chinese for token in clause)
        predicates, scope, negated = read_clause(clause, scope, negated and only_predicates)
        _resolve_all(predicates, reading)
    if scope.subjects:
        reading.subjects = scope.subjects


def _resolve_all(predicates: list[Predicate], reading: _Reading) -> None:
    """Resolve the predicates of a clause; one without a subject takes the next one's where it could have taken it."""
    for i, predicate in enumerate(predicates):
        scope = predicate.scope
        if predicate.takes_subject and not scope.subjects and not scope.rest:
            donor = next((later.scope for later in predicates[i + 1:] if later.scope.subjects), None)
            if donor is not None and all(later.takes_subject for later in predicates[i + 1:]):
                scope.subjects, scope.types = donor.subjects, scope.types or donor.types
        _resolve(predicate, reading)


def _resolve(predicate: Predicate, reading: _Reading) -> None:
    scope = predicate.scope
    if scope.subjects and scope.sides and not scope.sides_taken:  # "the median nerve on the left"
        scope.subjects = [(sides or scope.sides, nerve) for sides, nerve in scope.subjects]
    normal = predicate.negated or predicate.token.kind == "normal"
    if scope.rest and (not scope.subjects or scope.excepted):
        if not normal:
            reading.unresolved.append(predicate.token.text)
        elif scope.types or scope.pairs or scope.limb:
            reading.normal |= _normals([(scope.sides or (None,), None)], predicate, [*scope.types])
        else:
            reading.others_normal = True
        return
    nothing_named = scope.empty
    subjects = _subjects(scope, reading)
    if normal and (nothing_named and (predicate.token.kind == "normal" or not subjects)):
        reading.others_normal = True
        return
    if normal:
        whom = subjects or [(scope.sides or (None,), None)]
        types = scope.types or (reading.types if scope.pairs else [])
        reading.normal |= _normals(whom, predicate, types)
    elif subjects:
        _state(predicate, subjects, reading)
    else:
        reading.unresolved.append(predicate.token.text)
    _carry(subjects, scope, reading)


def _subjects(scope: Scope, reading: _Reading) -> Subjects:
    """The nerves of a predicate with their sides: those named, or those carried over; a limb stands for itself."""
    before = next((sides for sides, _ in reversed(reading.subjects) if sides), None)
    if scope.subjects:
        return [(sides or before or (None,), nerve) for sides, nerve in scope.subjects]
    if scope.limb:
        return []
    return [(scope.sides or sides or (None,), nerve) for sides, nerve in reading.subjects]


def _carry(subjects: Subjects, scope: Scope, reading: _Reading) -> None:
    if subjects:
        reading.subjects = [(tuple(side for side in sides if side) or None, nerve)
                            for sides, nerve in subjects if nerve]
    only = {_ONLY.get(nerve) for _, nerve in scope.subjects}
    if not scope.types and len(only) == 1:
        reading.types = [type for type in only if type] or reading.types
    paired = [type for type, _ in scope.pairs if type]
    reading.types = list(dict.fromkeys([*scope.types, *paired])) or reading.types
    reading.measures = list(dict.fromkeys(measure for _, measure in scope.pairs)) or reading.measures


def _normals(
    subjects: Iterable[tuple[Sequence[str | None], str | None]], predicate: Predicate, types: Sequence[str]
) -> set[Normal]:
    scope = predicate.scope
    given: list[str | None] = [*types] or [None]
    pairs: list[tuple[str | None, str | None]] = [
        (own, measure) for type, measure in scope.pairs if measure for own in ([type] if type else given)]
    if pairs:  # "motor velocity and F waves are normal"
        pairs += [(type, None) for type in scope.types if all(type != own for own, _ in pairs)]
    else:
        default = DEFAULT.get(predicate.token.value, (None, ""))[0]
        pairs = [(type, default) for type in given]
    return {Normal(nerve, side, type, measure, scope.limb)
            for sides, nerve in subjects for side in sides for type, measure in pairs}


def _state(predicate: Predicate, subjects: Subjects, reading: _Reading) -> None:
    found = {Statement(nerve, side, type, measure, direction, severity)
             for sides, nerve in subjects if nerve for side in sides
             for type, measure, direction, severity in _facts(predicate, nerve, reading)}
    reading.abnormal |= found
    if not found and all(measure for _, measure in predicate.scope.pairs):
        reading.unresolved.append(predicate.token.text)


def _facts(predicate: Predicate, nerve: str, reading: _Reading) -> Iterator[tuple[str | None, str, str, str | None]]:
    """Type, measure, direction and severity of what a predicate says of a nerve."""
    scope, word = predicate.scope, predicate.token.value
    named = _ONLY.get(nerve) if scope.subjects or not reading.types else None
    own: list[str | None] = [*scope.types] or ([named] if named else []) or [*reading.types]
    own = own or ["motor" if scope.distal else None]
    if word == "absent":
        yield from ((type, absent_measure(type), "absent", None) for type in own)
        return
    severity = "borderline" if predicate.token.kind == "limit" else predicate.severity
    pairs = [(each, measure) for type, measure in scope.pairs if measure for each in ([type] if type else own)]
    if not scope.pairs:
        pairs = [(type, measure) for type in own for measure in _implied(word, type, scope, reading)]
    for type, measure in pairs:
        direction = {"bad": _ABNORMAL[measure], "slow": "low", "delayed": "high"}.get(word, word)
        if word == "slow" and measure == "lat":
            direction = "high"
        yield type, measure, direction, severity


def _implied(word: str, type: str | None, scope: Scope, reading: _Reading) -> list[str]:
    """The measures a word means where none is named: slowing is of velocity, a reduced response is of amplitude."""
    if type in ("f_wave", "h_reflex"):
        return ["lat"] if word in ("slow", "delayed", "high", "bad") else []
    if word in DEFAULT:
        return [DEFAULT[word][0]]
    if scope.response and word != "bad":
        return ["amp"]
    if scope.conduction and word != "bad":
        return ["cv"]
    return [measure for measure in reading.measures if measure] if scope.sides and word != "bad" else []
