"""Everything in an interpretation of an ECG that a recording can be asked about: statements, numbers, rhythm, leads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.diagnoses import WaveClaim
from emgecg_cli.core.reports.ecg.fact_patterns import ECTOPY, STATED
from emgecg_cli.core.reports.ecg.facts import claims_in, number_claim, sentences_of, stated_in
from emgecg_cli.core.reports.ecg.labels import codes
from emgecg_cli.core.reports.ecg.wave_claims import leads_in, unknown_leads, wave_claims

# Further numbers of a list: "PR intervals of 160, 164 and 160 ms".
_MORE = re.compile(r"((?:\s*(?:,\s*and\b|,|/|and\b|und\b)\s*\d{2,3}(?![\d.]))+)\s*(?:ms|msec|bpm|beats)\b")
_RR = re.compile(r"(?<![a-z])r[- ]?r(?:[- ]?intervals?)?(?: (?:before|after|of|is|was|about|around|[12]|=|:))*\s*"
                 r"(?P<number>\d{3,4})\s*(?:ms|msec)\b")
_PLURAL = re.compile(r"\b(interval|duration|rate|amplitude)s\b")
_OF_A_LEAD = ("rate", "pr", "qrs", "qt", "qtc")


@dataclass(frozen=True)
class Interpretation:
    """`statements` a text says are present; `claims` in its own words and numbers, each once; and `unknown_leads` that
    no 12-lead ECG has. A claim of an interval has the leads that its sentence names."""

    statements: frozenset[str] = frozenset()
    claims: tuple[Claim | WaveClaim, ...] = ()
    unknown_leads: tuple[str, ...] = ()


@lru_cache(maxsize=1 << 14)
def read_interpretation(text: str, language: str | None = None) -> Interpretation:
    """Read a text in its own language (English, German, Swedish), in `language` where its words do not tell it."""
    said, language = stated_in(text, language)
    found: list[Claim | WaveClaim] = []
    unknown: set[str] = set()
    for sentence in sentences_of(text, language):
        sentence = _PLURAL.sub(r"\1", sentence)
        found += _of_recording(sentence)
        found += wave_claims(sentence, language)
        unknown |= unknown_leads(sentence)
    if said.keys() & ECTOPY:
        found = [claim for claim in found if claim != Claim("regular", 1, 1)]
    return Interpretation(frozenset(codes(said, possible=False)), tuple(dict.fromkeys(found)), tuple(sorted(unknown)))


def _of_recording(sentence: str) -> Iterator[Claim]:
    named: tuple[str, ...] | None = None
    for claim in (*claims_in(sentence), *_more(sentence)):
        if claim.kind in _OF_A_LEAD and claim.is_number:
            named = leads_in(sentence)[0] if named is None else named
            claim = replace(claim, leads=named)
        yield claim


def _more(sentence: str) -> Iterator[Claim]:
    """Further numbers of lists, and distances of beats as the rates they are."""
    for kind, pattern in STATED.items():
        for match in pattern.finditer(sentence):
            further = _MORE.match(sentence, match.end("number"))
            if further and not match["limit"]:
                yield from (number_claim(kind, float(one)) for one in re.findall(r"\d+", further[1]))
    for match in _RR.finditer(sentence):
        yield number_claim("rate", round(60_000 / float(match["number"]), 2))
