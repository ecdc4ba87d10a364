"""Statements of a report: what its text says is present, possible or absent, in SCP-ECG terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from emgecg_cli.core.reports.ecg.rules import LANGUAGES, Rules, rules_of
from emgecg_cli.core.reports.ecg.scope import Place, weigh
from emgecg_cli.core.reports.ecg.statements import statements
from emgecg_cli.core.reports.ecg.text import fold, passages, sentences
from emgecg_cli.core.reports.language import UNDETERMINED, detect_language


class Status(StrEnum):
    """What a report says of a statement; one it says nothing of has no status."""

    PRESENT = "present"
    POSSIBLE = "possible"
    ABSENT = "absent"


_STRENGTH = {Status.ABSENT: 0, Status.POSSIBLE: 1, Status.PRESENT: 2}


def label(report: str, language: str) -> dict[str, Status]:
    """Code -> status of every statement that a report speaks of, in the order of the vocabulary.

    Where several sentences differ, present goes before possible and possible before absent. What is told of the past
    only ("previously atrial flutter") is not stated. Raises MedReportError for a language without rules.
    """
    found: dict[str, Status] = {}
    for passage in passages(report, rules_of(language).shortened):
        _strengthen(found, _of_passage(passage, language))
    return {code: found[code] for code in sorted(found, key=_order().__getitem__)}


def label_all(reports: Iterable[str], language: str | None = None) -> list[dict[str, Status] | None]:
    """The statements of many reports; equal texts are read once.

    Without a language each report is read in its own; a text whose language is not told by its words (only
    abbreviations, say) in the one whose rules find most. None stands for a report in a language without rules.
    """
    known: dict[str, dict[str, Status] | None] = {}
    found = []
    for report in reports:
        if report not in known:
            known[report] = label(report, language) if language is not None else _in_its_language(report)
        labels = known[report]
        found.append(None if labels is None else dict(labels))
    return found


def codes(labels: Mapping[str, Status], possible: bool = True) -> set[str]:
    """The statements that are present, and with `possible` also those that may be."""
    wanted = {Status.PRESENT, Status.POSSIBLE} if possible else {Status.PRESENT}
    return {code for code, status in labels.items() if status in wanted}


def _in_its_language(report: str) -> dict[str, Status] | None:
    language = detect_language(report)
    if language != UNDETERMINED:
        return label(report, language) if language in LANGUAGES else None
    # In two languages that find as many, doubt and denial tell which one the words are of.
    return max((label(report, each) for each in LANGUAGES),
               key=lambda found: (len(found), sum(status != Status.PRESENT for status in found.values())))


def _written_out(folded: str, rules: Rules) -> str:
    if rules.abbreviations is None:
        return folded
    return " ".join(rules.abbreviations.sub(
        lambda found: f" {rules.written_out[found[0].replace(' ', '')]} ", folded).split())


@lru_cache(maxsize=1)
def _order() -> dict[str, int]:
    return {code: number for number, code in enumerate(statements())}


def _strengthen(found: dict[str, Status], said: Iterable[tuple[str, Status]]) -> None:
    """Add what is said; of a statement that is there already the stronger status stays."""
    for code, status in said:
        if code not in found or _STRENGTH[status] > _STRENGTH[found[code]]:
            found[code] = status


@lru_cache(maxsize=1 << 17)
def _of_passage(passage: str, language: str) -> Sequence[tuple[str, Status]]:
    found: dict[str, Status] = {}
    for sentence in sentences(_written_out(fold(passage), rules_of(language))):
        _strengthen(found, _of_sentence(sentence, language))
    return tuple(found.items())


@lru_cache(maxsize=1 << 17)
def _of_sentence(sentence: str, language: str) -> Sequence[tuple[str, Status]]:
    rules = rules_of(language)
    places = _places(sentence, rules)
    if not places:
        return ()
    weigh(sentence, places, rules)
    return tuple((place.code, Status(place.status)) for place in places if place.status != "past")


def _places(sentence: str, rules: Rules) -> list[Place]:
    """Where the sentence says a statement, less the places that a statement of more words hides."""
    table = statements()
    found = []
    for number in rules.sieve.candidates(sentence):
        rule, pattern, status = rules.patterns[number]
        found += [(Place(match.start(), match.end(), rule.code, table[rule.code].family, status), rule.over)
                  for match in pattern.finditer(sentence)]
    hiding = [(place, (*over, place.code) if place.status == "possible" else over) for place, over in found]
    return [place for place, _ in found
            if not any(place.code in over and other.start <= place.start < other.end
                       for other, over in hiding if other is not place)]
