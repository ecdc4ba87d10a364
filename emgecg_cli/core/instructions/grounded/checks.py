"""Why an interpretation is not kept: rules that need no model, for what any writer wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from emgecg_cli.core.evidence.grounding import ground
from emgecg_cli.core.instructions.grounded.grounds import Grounds
from emgecg_cli.core.instructions.grounded.quoted import beats_named, leads_named, quoted_numbers, why_off
from emgecg_cli.core.reports.ecg.diagnoses import WaveClaim
from emgecg_cli.core.reports.ecg.labels import Status, label
from emgecg_cli.core.reports.ecg.statements import statements

MOST_WORDS, FEWEST_WORDS = 300, 20
# Why a text is set aside, as it is counted
LENGTH, NO_TEXT, LEAK, EXTRA, MISSING, NUMBER, LEAD, BEAT = (
    "length", "no interpretation", "mentions the report", "diagnosis the report lacks", "diagnosis left out",
    "number off", "no such lead", "no such beat")
REASONS = (LENGTH, NO_TEXT, LEAK, EXTRA, MISSING, NUMBER, LEAD, BEAT)
_JUDGED = {"diagnostic", "rhythm"}  # kinds of statements that are more than a feature of the tracing
# What a statement says besides: whoever has the one, has the others
_IMPLIES: Mapping[str, tuple[str, ...]] = {
    "SBRAD": ("SR",), "STACH": ("SR",), "SARRH": ("SR",), "NDT": ("NST_",), "ANEUR": ("NST_",), "VCLVH": ("LVH",),
    "LPR": ("1AVB",), "ILMI": ("IMI", "LMI"), "IPLMI": ("IMI", "PMI", "LMI", "IPMI", "ILMI"), "IPMI": ("IMI", "PMI"),
    "ASMI": ("AMI",), "ALMI": ("AMI", "LMI"), "AFIB": ("SVARR",), "AFLT": ("SVARR",), "PSVT": ("SVTAC", "SVARR"),
    "SVTAC": ("SVARR",), "ISCAL": ("ISC_", "ISCAN", "ISCLA"), "ISCIN": ("ISC_",), "ISCIL": ("ISC_", "ISCIN", "ISCLA"),
    "ISCAS": ("ISC_", "ISCAN"), "ISCLA": ("ISC_",), "ISCAN": ("ISC_",),
}
_NOT_OF_BEATS = ("axis", "q wave", "r wave", "s wave")
_LEAK = re.compile(r"\breport(?:s|ed|ing)?\b|\b(?:provided|given|supplied|accompanying|machine|listed)[- ]"
                   r"(?:data|measurements?|values?|diagnos\w+|information|text|features?)|\bground[- ]truth\b|"
                   r"\bwritten diagnos\w+|\b(?:the|your) (?:prompt|instructions?)\b|"
                   r"\bas (?:stated|documented|noted) in\b", re.I)
_TALK = re.compile(r"\bas an? (?:ai|artificial|language)\b|\b(?:i'm|i am) (?:sorry|unable)|\bi can(?:not|'t)\b|```|<\||"
                   r"^(?:sure|certainly|of course)\b|\b(?:user|assistant|system)\s*:|[{}]|<image>|<ecg>", re.I)
_LIST = re.compile(r"^\s*(?:[-*\u2022#]|\d+[.)])\s", re.M)
_OTHER_LEAD = re.compile(r"\b[Vv](?:[07-9]|\d{2,})(?!\d)|\b[Vv][1-9]R\b|\baV(?![RLF]\b)[A-Z]\b|"
                         r"\b[Ll]eads? (?:IV|V|VI{1,3}|IX|X|\d+)\b")


@dataclass(frozen=True)
class Fault:
    """Why a text is not kept: one of REASONS, and what it is about."""

    reason: str
    detail: str

    def told(self) -> str:
        """For whoever is to write it again."""
        return f"{self.reason}: {self.detail}"


def faults_of(text: str, grounds: Grounds) -> list[Fault]:
    """What is wrong with an interpretation of a record; nothing where it may be kept."""
    words = len(text.split())
    if not FEWEST_WORDS <= words <= MOST_WORDS:
        return [Fault(LENGTH, f"{words} words, where {FEWEST_WORDS} to {MOST_WORDS} are wanted")]
    if found := _TALK.search(text) or _LIST.search(text):
        return [Fault(NO_TEXT, f"holds '{found[0].strip()[:40]}'")]
    return [*_leaks(text), *_leads(text, grounds), *_diagnoses(text, grounds), *_numbers(text, grounds)]


def _leaks(text: str) -> Iterator[Fault]:
    if found := _LEAK.search(text):
        yield Fault(LEAK, f"says '{found[0]}'")


def _leads(text: str, grounds: Grounds) -> Iterator[Fault]:
    if found := _OTHER_LEAD.search(text):
        yield Fault(LEAD, f"'{found[0]}' is none of the twelve")
    for lead in leads_named(text):
        if lead in grounds.absent:
            yield Fault(LEAD, f"{lead} holds no signal")
    for beat in beats_named(text):
        if not 1 <= beat <= grounds.n_beats:
            yield Fault(BEAT, f"beat {beat} of {grounds.n_beats}")


def _diagnoses(text: str, grounds: Grounds) -> Iterator[Fault]:
    """Diagnoses and rhythms that are said and that the report lacks or denies, and the reverse."""
    table = statements()
    said = {code for code, status in label(text, "en").items() if status != Status.ABSENT}
    own = {code for code, status in grounds.labels.items() if status != Status.ABSENT}
    for code in sorted(said - with_implied(own)):
        if _JUDGED & {*table[code].kinds}:
            yield Fault(EXTRA, table[code].description)
    for code in sorted(own - with_implied(said)):
        if _JUDGED & {*table[code].kinds}:
            yield Fault(MISSING, table[code].description)


def with_implied(codes: set[str]) -> set[str]:
    """Statements with those that they say besides."""
    return codes.union(*(_IMPLIES.get(code, ()) for code in codes))


def _numbers(text: str, grounds: Grounds) -> Iterator[Fault]:
    """Numbers with a unit that are not what was measured on the beats; and of what the table of beats does not have,
    the axis and single deflections, those that the recording contradicts."""
    for why in dict.fromkeys(why for quoted in quoted_numbers(text) if (why := why_off(quoted, grounds)) is not None):
        yield Fault(NUMBER, why)
    if grounds.waveform is None:
        return
    for one in ground(text, "en", grounds.waveform).contradicted:
        if isinstance(one.claim, str) or one.item not in _NOT_OF_BEATS:
            continue
        if one.claim.stated if isinstance(one.claim, WaveClaim) else one.claim.is_number:
            leads = f" in {', '.join(one.claim.leads)}" if one.claim.leads else ""
            yield Fault(NUMBER, f"{one.claim.low:g} of {one.item}{leads} is not what the recording shows")
