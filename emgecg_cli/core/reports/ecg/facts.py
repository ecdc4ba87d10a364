"""Facts in the text of an ECG report that can be held against the waveform: numbers, and words that stand for numbers.

Rate, PR, QRS, QT, QTc and axis are read as numbers ("PR 180 ms", "0,18 s", "Frequenz 75/min") and as limits ("PR above
200 ms"); so are ST deviations with their leads, regularity and P waves. Diagnoses that are defined by a measurement
(sinus bradycardia, first degree AV block, bundle branch blocks, long QT, axis deviation) are claims of it: which of
them a report states, and does not deny or doubt, is read by the labeler. What is told of another recording is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from math import inf

from emgecg_cli.core.reports.ecg import criteria as limits
from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.fact_patterns import (
    AMOUNT,
    AXES,
    BPM,
    DENIED,
    DOUBTED,
    ECTOPY,
    FOLDED,
    NOT_RATE,
    OF_STATEMENT,
    PAIR,
    SENTENCE,
    ST,
    STATED,
    WORDS,
)
from emgecg_cli.core.reports.ecg.labels import Status, codes, label, label_all
from emgecg_cli.core.reports.ecg.rules import LANGUAGES
from emgecg_cli.core.reports.ecg.told_now import told_now
from emgecg_cli.core.reports.ecg.wave_claims import leads_in
from emgecg_cli.core.reports.language import UNDETERMINED, detect_language
from emgecg_cli.core.reports.scripts import same_letters

_LONGEST = 1000   # characters
_IN = re.compile(r"(?<=\s)(?<!och )(?<!samt )i(?=\s+\w)")   # the Swedish word for "in", which is no lead
_OTHER_WAVE = re.compile(r"(?<![a-z])(?:[pqrtu]|qrs|qt)(?![a-z0-9])")   # leads behind it are its own
_REACH = 80   # characters before a claim in which it may be denied


@lru_cache(maxsize=1 << 14)
def read_claims(report: str, language: str | None = None) -> tuple[Claim, ...]:
    """The claims of a report, each once: statements first, then what stands in its sentences. A text whose words do not
    tell its language is read in `language`."""
    said, language = stated_in(report, language)
    found = [claim for code in said if code in codes(said, possible=False) for claim in OF_STATEMENT.get(code, ())]
    for sentence in sentences_of(report, language):
        found += [*claims_in(sentence), *_st(sentence, language)]
    if said.keys() & ECTOPY:
        found = [claim for claim in found if claim != Claim("regular", 1, 1)]
    return tuple(dict.fromkeys(_settled(found)))


def stated_in(report: str, language: str | None) -> tuple[dict[str, Status], str]:
    """The statements a report speaks of, and the language it is read in."""
    own = detect_language(report)
    if own == UNDETERMINED and language in LANGUAGES:
        return label(report, str(language)), str(language)
    known = own if own in LANGUAGES else language if language in LANGUAGES else "en"
    return label_all([report])[0] or {}, str(known)


def sentences_of(report: str, language: str) -> Iterator[str]:
    """The sentences of a text as the patterns read them, without what they tell of the past; one that never ends comes
    in pieces."""
    text = same_letters(report)
    if language == "sv":
        text = _IN.sub("in", text)
    for sentence in SENTENCE.split(text.casefold().translate(FOLDED)):
        for start in range(0, len(sentence), _LONGEST):
            if now := told_now(sentence[start:start + _LONGEST]):
                yield now


def claims_in(sentence: str) -> Iterator[Claim]:
    """What a sentence says of the whole recording in numbers and in words, statements apart."""
    yield from _numbers(sentence)
    yield from _words(sentence)


def stated_rate(claims: tuple[Claim, ...]) -> float | None:
    """The heart rate that a report gives as a number, the first of them."""
    return next((claim.low for claim in claims if claim.kind == "rate" and claim.is_number), None)


def _settled(claims: list[Claim]) -> Iterator[Claim]:
    """One claim of the same range and kind; of ST without leads none where the leads are named as well."""
    named = {(claim.low, claim.high) for claim in claims if claim.kind == "st" and claim.leads}
    yield from (claim for claim in claims if claim.kind != "st" or claim.leads or (claim.low, claim.high) not in named)


def _numbers(sentence: str) -> Iterator[Claim]:
    """Numbers with the name of what they measure, or with the unit of a rate."""
    taken: set[int] = set()
    if pair := PAIR.search(sentence):
        yield from (number_claim(kind, _milliseconds(_number(pair[kind]))) for kind in ("qt", "qtc"))
        taken |= {pair.start("qt"), pair.start("qtc")}
    if (axes := AXES.search(sentence)) and "*" not in axes["qrs"]:
        yield number_claim("axis", float(axes["qrs"]))
        taken |= set(range(*axes.span()))
    for kind, pattern in (*STATED.items(), ("rate", BPM)):
        for match in pattern.finditer(sentence):
            claim = _stated(kind, match)
            if match.start("number") in taken or claim is None or _refused(sentence, match.start()):
                continue
            if kind == "rate" and not match[0].startswith(("ventric", "kammer", "kammar")) and \
                    NOT_RATE.search(_before(sentence, match.start())):
                continue
            taken.add(match.start("number"))
            yield claim


def _stated(kind: str, match: re.Match[str]) -> Claim | None:
    """The claim of a number, a range or a limit; None where it can be no measurement."""
    value = _number(match["number"])
    signed = -value if match["sign"] == "-" and kind == "axis" else value
    if kind in ("pr", "qrs", "qt", "qtc"):
        signed = _milliseconds(value)
    lowest, highest = {"rate": (15, 400), "pr": (50, 600), "qrs": (30, 400), "qt": (150, 800), "qtc": (200, 800),
                       "axis": (-180, 270)}[kind]
    if not lowest <= signed <= highest or (kind == "axis" and signed % 1):
        return None
    limit, end = match["limit"], match.groupdict().get("end")
    if limit:
        above = limit[0] in ">≥" or limit in ("above", "over", "more than", "greater than", "exceeding", "ueber",
                                              "groesser", "oever")
        return _bounded(kind, signed, above)
    if end and _number(end) > value:
        return Claim(kind, signed, _milliseconds(_number(end)) if signed > value else _number(end))
    return number_claim(kind, signed)


def _number(digits: str) -> float:
    return float(digits.replace(",", "."))


def _milliseconds(value: float) -> float:
    """A duration in milliseconds: one below 2 is in seconds."""
    return round(value * 1000, 3) if value < 2 else value


def number_claim(kind: str, value: float) -> Claim:
    """That something is so much."""
    return Claim(kind, value, value, is_abnormal(kind, value, None))


def _bounded(kind: str, value: float, above: bool) -> Claim:
    """A limit claims something abnormal where all that lies beyond it is."""
    beyond = value + 1e-6 if above else value - 1e-6
    return Claim(kind, value if above else -inf, inf if above else value, is_abnormal(kind, beyond, None))


def is_abnormal(kind: str, value: float, sex: str | None, shown: bool = False) -> bool:
    """Whether a value is abnormal by the criteria; with `shown`, by more than their slack."""
    slack = limits.SLACK[kind] if shown else 0.0
    if kind == "rate":
        return value < limits.SLOW - slack or value > limits.FAST + slack
    if kind == "pr":
        return value > limits.LONG_PR + slack
    if kind == "qrs":
        return value >= limits.WIDE_QRS + slack
    if kind == "qtc":
        return value > limits.long_qtc(sex, shown) + slack
    if kind == "axis":
        return not limits.LEFT_AXIS - slack <= (value + 180) % 360 - 180 <= limits.RIGHT_AXIS + slack
    return kind == "regular" and value == 0


def _words(sentence: str) -> Iterator[Claim]:
    for pattern, claim in WORDS:
        for match in pattern.finditer(sentence):
            own = match[0].startswith(("no ", "without", "absent", "absence", "kein", "inga"))
            if own or not (_refused(sentence, match.start()) or DOUBTED.search(_before(sentence, match.start()))):
                yield claim


def _refused(sentence: str, start: int) -> bool:
    return DENIED.search(_before(sentence, start)) is not None


def _before(sentence: str, start: int) -> str:
    """The words before a place, as many as can belong to it."""
    return sentence[max(0, start - _REACH):start]


def _st(sentence: str, language: str) -> Iterator[Claim]:
    """ST deviations with the leads that the sentence names beside them: those that follow up to the next deviation,
    else those before."""
    matches = list(ST.finditer(sentence))
    said = label(sentence, language) if matches else {}
    for number, match in enumerate(matches):
        what = match["what"] or match["before"]
        up = what.startswith(("elev", "heb", "hoej"))
        # the labeler knows what denial and doubt reach
        if said.get("STE_" if up else "STD_") != Status.PRESENT:
            continue
        before = sentence[matches[number - 1].end() if number else 0:match.start()]
        after = sentence[match.end():matches[number + 1].start() if number + 1 < len(matches) else len(sentence)]
        after = _OTHER_WAVE.split(after, maxsplit=1)[0]
        leads = next((found for text in (after, before, sentence) for found in leads_in(text) if found), ())
        bound = limits.ST_ELEVATION if up else limits.ST_DEPRESSION
        low, high = _st_level(before, after, up) or ((bound, inf) if up else (-inf, bound))
        yield Claim("st", low, high, True, leads)


def _st_level(before: str, after: str, up: bool) -> tuple[float, float] | None:
    """The microvolts a deviation is said to have, "2 mm of ST elevation" or "ST depression of 0.1 mV"; None without."""
    amounts = list(AMOUNT.finditer(before))
    near = amounts and len(before) - amounts[-1].end() <= len(" of horizontal ")
    amount = amounts[-1] if near else AMOUNT.search(after)
    if amount is None:
        return None
    scale = {"mm": 100.0, "mv": 1000.0}.get(amount["unit"], 1.0) * (1 if up else -1)
    ends = sorted(_number(one) * scale for one in (amount["from"] or amount["number"], amount["number"]))
    return ends[0], ends[1]
