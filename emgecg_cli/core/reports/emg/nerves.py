"""Which nerves the report of a patient calls normal: the fallback where too few examinations are normal as a whole.

Strict on purpose, as in `healthy`: a nerve counts on a side that the report calls normal, by name or as
one of the others, and of which it says nothing abnormal, borderline or unreadable, in findings or impression. A clause
that cannot be read and names no nerve may be about any of them: then none of the examination counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from emgecg_cli.core.emg.case import Case, Item, values
from emgecg_cli.core.emg.terms import SIDES, TYPES, names
from emgecg_cli.core.reports.emg.healthy import says_normal, why_needle_not_quiet
from emgecg_cli.core.reports.emg.places import Place, places_of
from emgecg_cli.core.reports.emg.statement_clauses import Predicate, Scope, read_clause
from emgecg_cli.core.reports.emg.statement_sections import clauses_of, sections_of
from emgecg_cli.core.reports.emg.statement_words import Token, normal_form
from emgecg_cli.core.reports.emg.statements import Normal
from emgecg_cli.core.reports.emg.statements_read import LONGEST_TEXT, read_statements

UNREAD = "the findings cannot be read in full"
SILENT = "the findings call something abnormal and the impression names no nerve"
# Words for abnormal that the reader of findings passes over, as it is asked for measures. What is negated is kept.
_NEGATED = (r"(?:未见|未发现|没有|无(?!名|力))[^,.;:。\n但而伴仅除见]{0,30}"
            r"|\b(?:no|not|without)\b(?:(?!\bbut\b)[^,.;:。\n]){0,60}")
_SICK = re.compile(rf"(?P<negated>{_NEGATED})|损害|损伤|(?:神经|肌)源性|改变|增多|病变"
                   r"|(?<![a-z])(?:cts|neurogenic|myogenic|myopathic|changes?|numerous)(?![a-z])", re.I)
_MARK = "unreadable"  # no word of the reader
_NERVES = frozenset(names("nerve"))


@dataclass
class NormalNerves:
    """What a report calls normal: those `named`, and all `others` if it says so, but for `out`, the (nerve, side) of
    which it says anything else.

    `why_none` says in a few words that can be counted why none counts; "" where some may.
    """

    named: frozenset[Normal] = frozenset()
    others: bool = False
    out: set[tuple[str, str]] = field(default_factory=set)
    why_none: str = ""

    def covers(self, item: Item, side: str) -> bool:
        """Whether values of this item are called normal on this side."""
        if self.why_none or (item.nerve, side) in self.out or item.nerve not in _NERVES or item.type not in TYPES:
            return False
        key = (item.nerve, side, item.type, item.measure)
        return self.others or any(normal.covers(key) for normal in self.named)


def normal_values(case: Case, called: NormalNerves) -> Iterator[tuple[Item, float]]:
    """The values of the nerves that count; a nerve with a response that is absent on a side does not count there."""
    gone = {(item.nerve, side) for item, side, cell in values(case) if cell.state == "absent"}
    for item, side, cell in values(case):
        if cell.value is not None and (item.nerve, side) not in gone and called.covers(item, side):
            yield item, cell.value


def normal_nerves(findings: str, impression: str, case: Case) -> NormalNerves:
    """What the report of this examination calls normal, nerve by nerve."""
    text = normal_form(findings)
    places = places_of(impression)
    if isinstance(places, str):
        return NormalNerves(why_none=places)
    if len(text) > LONGEST_TEXT:
        return NormalNerves(why_none=UNREAD)
    read = read_statements(text)
    if read.unresolved:
        return NormalNerves(why_none="the findings call something abnormal and not which nerve or muscle")
    others = read.others_normal and _calls_others_normal(text)
    found = NormalNerves(read.normal, others)
    marked = _SICK.sub(lambda word: word["negated"] or f" {_MARK} ", text)
    conduction, needle = sections_of(marked)
    for sentence in conduction:
        if not _take_out_unread(sentence, found):
            return NormalNerves(why_none=UNREAD)
    for statement in read.abnormal:
        found.out |= {(statement.nerve, side) for side in ([statement.side] if statement.side else SIDES)}
    seen = read.needle or any(token.text == _MARK for sentence in needle for token in sentence)
    if (seen or why_needle_not_quiet(case.emg)) and not places:
        return NormalNerves(why_none="the needle saw something and the impression names no nerve")
    if found.out and not places and not says_normal(impression):
        return NormalNerves(why_none=SILENT)
    found.out |= _in_places(places)
    if not (found.others or found.named):
        return NormalNerves(why_none=UNREAD if others else "the findings call no nerve normal")
    return found


def _in_places(places: Sequence[Place]) -> set[tuple[str, str]]:
    return {(nerve, side) for place in places for nerve in _NERVES if place.has(nerve) for side in place.sides}


def _take_out_unread(sentence: Sequence[Token], found: NormalNerves) -> bool:
    """Take out the nerves of which a sentence says what the reader does not read; False where it does not say whose it
    is."""
    before: set[str] = set()
    for clause in clauses_of(sentence):
        kinds = {token.kind for token in clause}
        words = {token.text for token in clause if token.kind == "unknown"}
        nerves = {token.value for token in clause if token.kind == "nerve"}
        before |= nerves
        if words - {_MARK}:
            if not nerves:
                return False
            found.others = False  # the word may be a nerve's name: nobody knows which are the others
        more = _MARK in words or _speaks_of_more(kinds)
        if more and not before:
            return False
        if words or more or "except" in kinds:
            found.out |= {(nerve, side) for nerve in (before if more else nerves) for side in SIDES}
    _, left = _walk(sentence)
    found.out |= {(nerve, side) for _, nerve in left.subjects for side in SIDES}  # named, and nothing said of them
    return True


def _speaks_of_more(kinds: set[str]) -> bool:
    """Whether a clause is about something that is no measure (a conduction block), and does not call that normal."""
    return "ignored" in kinds and (not kinds & {"neg", "normal"} or bool(kinds & {"dir", "limit", "sev"}))


def _walk(sentence: Sequence[Token]) -> tuple[list[Predicate], Scope]:
    """The predicates of a sentence, and what it names behind the last of them."""
    words = [token for token in sentence if token.kind not in ("unknown", "muscle")]
    predicates: list[Predicate] = []
    scope = Scope()
    for clause in clauses_of(words):
        found, scope, _ = read_clause(clause, scope, False)
        predicates += found
    return predicates, scope


def _calls_others_normal(text: str) -> bool:
    """Whether a sentence calls all other nerves normal: it speaks of nerves, or stands behind one that does."""
    about_nerves = False
    for piece in re.split(r"(?<=[;。\n!?])|(?<=\.)(?=\s|$)", text):
        conduction, needle = sections_of(piece)
        for sentence in conduction:
            ours = about_nerves or any(token.kind in ("nerve", "cond", "speed", "delay")
                                       or re.search("神经|nerve", token.text, re.I) for token in sentence)
            if ours and any(_is_of_others(predicate) for predicate in _walk(sentence)[0]):
                return True
        if conduction or needle:
            about_nerves = not needle
    return False


def _is_of_others(predicate: Predicate) -> bool:
    scope = predicate.scope
    return (predicate.token.kind == "normal" and not predicate.negated and scope.rest
            and (scope.excepted or not (scope.subjects or scope.sides))
            and not (scope.types or scope.pairs or scope.limb))
