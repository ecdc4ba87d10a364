"""What a sentence of a report tells of this recording, without what it tells of an earlier one.

"Rate 70, previously 88" has one rate, "compared with 2019, the rate is 72" has one, "the rate has decreased from 88 to
70" is 70, and "the rate has increased by 40" gives none.
"""

from __future__ import annotations

import re

_PAST = re.compile(
    r"\b(?:previous(?:ly)?|prior|earlier|(?:in|i|im jahr) (?:19|20)\d\d|"
    r"history of|compared (?:with|to)|in comparison|"
    r"(?:last|old|former) (?:tracing|ecg|ekg|study)|"
    r"z\.n\.|frueher\w*|vorbefund\w*|vor-?ekg\w*|voraufnahme\w*|zuvor|vormals|vorherig\w*|(?:letzte\w*|alte\w*) ekg|"
    r"im vergleich|verglichen|tidigare|foeregaaende|foerra|senaste ekg|jaemfoert)(?![a-z])|\((?:it )?(?:was|war|var) |"
    r"^\s*(?:it )?(?:was|war|var) ")
_NOW = re.compile(r"\b(?:now|today|currently|at present|heute|jetzt|aktuell|derzeit|nu|idag|i dag)\b")
_ASIDE = re.compile(r"\([^()]{0,80}\)")
_CLAUSE = re.compile(r"[,;()]|(?=\b(?:compared (?:with|to)|im vergleich|verglichen mit|jaemfoert med)\b)")
_RECORDING = r"(?:ecg|ekg|tracing|study|recording|vor-?ekg|vorbefund|voraufnahme|aufnahme)"
_DATE = r"(?:(?:of|from|on|dated|vom|von|aus|fraan|den) )?\d[\w./-]*(?: \d\d:\d\d)?"
# "Compared with the previous ECG of 12-MAR-2019 the rate …" speaks of this recording from here on.
_BEGINS = re.compile(rf"^\s*(?:when )?(?:compared (?:with|to)|in comparison (?:with|to)|since|im vergleich zu[mr]?|"
                     rf"verglichen mit|jaemfoert med) (?:\w+ ){{0,2}}(?:{_RECORDING}(?: {_DATE})?|{_DATE})"
                     r"(?=\s*$|\s+[a-z])")
_TOLD = re.compile(r"\b(?:was|were|had been|war|waren|var)\b")
_AS_BEFORE = re.compile(r"\b(?:unchanged|no (?:\w+ )?changes?|as|similar|same|unveraendert|wie|ofoeraendrat|som)\b"
                        r"[^,;()]{0,24}?(?:previous\w*|prior|before|earlier|last|vor-?ekg|vorbefund|tidigare|"
                        rf"foeregaaende)(?: {_RECORDING})?")
_CHANGE = r"(?:in|de)creased|risen|fallen|slowed|accelerated|changed|lengthened|shortened|widened|gone (?:up|down)"
_UNIT = r"\s*(?:bpm|ms(?:ec)?|/\s*min\w*)?"
_FROM = re.compile(rf"\b(?:{_CHANGE}) from \d+(?:[.,]\d+)?{_UNIT}\s+to\b")
_BY = re.compile(rf"\b(?:{_CHANGE}) by \d+(?:[.,]\d+)?{_UNIT}")


def told_now(sentence: str) -> str:
    """A sentence in lower case less its clauses on earlier recordings; "" where it has no others."""
    sentence = _BY.sub("", _FROM.sub("", sentence))
    sentence = _ASIDE.sub(lambda aside: " " if _PAST.search(aside[0]) else aside[0], sentence)
    if not _PAST.search(sentence):
        return sentence
    kept, past = [], False
    for clause in _CLAUSE.split(_AS_BEFORE.sub("", sentence)):
        now = _NOW.search(clause)
        if now is not None:
            past, clause = False, clause[now.start():] if _PAST.search(clause[:now.start()]) else clause
        begins = _BEGINS.match(clause)
        if begins is not None and not _TOLD.search(clause):
            past, clause = False, clause[begins.end():]
        elif now is None and _PAST.search(clause):
            past = True
        if not past:
            kept.append(clause)
    return ",".join(kept)
