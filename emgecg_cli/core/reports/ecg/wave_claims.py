"""What a text says of single leads: deflections that are there ("T wave inversion in V2-V4"), and sizes in numbers.

Leads that follow belong to what stands before them, until the next deflection; leads at the head of a sentence ("In V1
and V2, …") to all of it. A region ("inferior") claims one of its leads, a lead that is named claims itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from emgecg_cli.core.reports.ecg.criteria import LEADS_OF
from emgecg_cli.core.reports.ecg.diagnoses import WaveClaim
from emgecg_cli.core.reports.ecg.fact_patterns import DENIED, DOUBTED, LEAD, TERRITORY
from emgecg_cli.core.reports.ecg.labels import Status, label

_REACH = 80
_WAVE = r"(?P<wave>qrs|st|[pqrst])"
_OF_WAVE = r"(?:[- ]?(?:waves?|complex(?:es)?|segments?|zacken?|wellen?|welle|komplex))"
_SIZE = r"(?:amplituden?s?|voltages?|heights?|depths?|deviations?|levels?|hoehe|tiefe)"
_GAP = r"(?:v\s?[1-6]|av[rlf]|[^.;\d]){0,60}?"
_NUMBER = r"[-+]?\d{1,4}(?:\.\d{1,4})?"
_NUMBERS = rf"(?P<numbers>{_NUMBER}(?:\s*(?:,\s*and\b|,|-|/|to\b|and\b|bis\b|und\b)\s*{_NUMBER}){{0,20}})"
_MV = r"\s*(?P<unit>mv|mm|uv|µv|millivolts?|microvolts?)\b"
_MS = r"\s*(?P<unit>ms|msec|milliseconds?)\b"
_SIZES = tuple(re.compile(pattern) for pattern in (
    rf"(?<![a-z]){_WAVE}{_OF_WAVE}?[- ]{_SIZE}{_GAP}(?<![\w.]){_NUMBERS}{_MV}",
    rf"{_SIZE} of (?:the )?{_WAVE}{_OF_WAVE}?{_GAP}(?<![\w.]){_NUMBERS}{_MV}",
    rf"(?<![a-z]){_WAVE}{_OF_WAVE}\b{_GAP}(?<![\w.]){_NUMBERS}{_MV}"))
_DURATIONS = re.compile(rf"(?<![a-z])(?P<wave>st|[pt]){_OF_WAVE}?[- ]duration{_GAP}(?<![\w.]){_NUMBERS}{_MS}")
_RANGE = re.compile(rf"({_NUMBER})\s*(?:-|to|bis)\s*({_NUMBER})")
_MILLIVOLTS = {"mm": 0.1, "uv": 0.001, "µv": 0.001, "microvolt": 0.001, "microvolts": 0.001}
_UNKNOWN = re.compile(r"(?<![a-z0-9])(?:v\s?(?:0|[7-9]|[1-9]\d)|av[a-eg-km-qs-z]|lead (?:iv|v|vi)(?![a-z0-9]))"
                      r"(?![a-z0-9])")
_T = r"t(?:[- ]?(?:waves?|wellen?|vaagor))?"
# What is claimed, in millivolts: what the labeler must read as present, "" where nothing else than these words says it.
_DEFLECTIONS = tuple((re.compile(pattern), claim, code) for pattern, claim, code in (
    (rf"(?<![a-z]){_T} (?:\w+ ){{0,2}}(?:inver\w+|negativ\w*)|(?:inverted|negative|inversion of(?: the)?) {_T}\b|"
     r"\btwi\b|(?<![a-z])t[- ]negativ\w*", WaveClaim("t", high=-0.1), "INVT"),
    (rf"\b(?:upright|positive) {_T}\b|(?<![a-z]){_T} (?:is|are|remains?) (?:upright|positive)",
     WaveClaim("t", low=0.05), ""),
    (r"(?:pathologic\w*|significant|abnormal|wide) q(?:[- ]?waves?)?\b|\bqs (?:complex\w*|pattern|deflection)",
     WaveClaim("q_ms", low=30), "QWAVE"),
    (r"(?<!pathological )(?<!significant )(?<!abnormal )(?<!wide )\bq[- ]?(?:waves?|zacken?)\b",
     WaveClaim("q", low=0.1), "QWAVE"),
    (r"\br ?s ?r ?'|\brsr\b|(?<![a-z])r'|\br prime\b", WaveClaim("end", low=0.0), ""),
    (r"\bdominant r\b|\br[-/ ]?s ratio (?:above|over|>|greater than) ?1\b", WaveClaim("net", low=0.0), ""),
    (r"\bst(?:[- ](?:segments?|strecken?|t))*[- ]?(?:elevat\w+|hebung\w*|hoejning\w*)|"
     r"\belevat\w+ (?:of )?(?:the )?st\b", WaveClaim("st", low=0.1), "STE_"),
    (r"\bst(?:[- ](?:segments?|strecken?|t))*[- ]?(?:depress\w+|senkung\w*|saenkning\w*)|"
     r"\bdepress\w+ (?:of )?(?:the )?st\b", WaveClaim("st", high=-0.05), "STD_"),
    (r"\bisoelectric st\b|\bst(?:[- ]segments?)? (?:\w+ ){0,2}(?:isoelectric|at baseline)", WaveClaim("st", -0.1, 0.1),
     ""),
))
_OPENING = re.compile(r"(?:[,;:]|\b(?:and|while|but|whereas)\b) *(?:(?:and|while|but|whereas) )?(?:in|leads?)\b"
                      r"[^,;]{0,40}$")
_Leads = tuple[tuple[str, ...], tuple[str, ...]]
_AMOUNT = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<unit>mm|mv|uv|µv)\b")


@dataclass(frozen=True)
class _Found:
    """A claim in a sentence and where it stands."""

    start: int
    end: int
    claims: tuple[WaveClaim, ...]


def wave_claims(sentence: str, language: str) -> Iterator[WaveClaim]:
    """The claims of a sentence in lower case, every dash a hyphen; those without a lead are left to the labeler."""
    sentence = re.sub(r"\b(?:through|thru)\b", "to", sentence)
    found = sorted([*_sized(sentence), *_deflections(sentence, language)], key=lambda one: (one.start, -one.end))
    kept: list[_Found] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    head, before = leads_in(sentence[:kept[0].start]) if kept else ((), ()), ((), ())   # type: tuple[_Leads, _Leads]
    for number, one in enumerate(kept):
        until = kept[number + 1].start if number + 1 < len(kept) else len(sentence)
        opening = _OPENING.search(sentence, one.end, until)   # ", in V5 the R wave …": the leads of what follows
        own = leads_in(sentence[one.start:opening.start() if opening else until])
        named, region = before if any(before) else own if any(own) else head
        before = leads_in(opening[0]) if opening and number + 1 < len(kept) else ((), ())
        for claim in one.claims:
            yield from (_at(claim, (lead,), 0) for lead in named)
            if region and not named:
                yield _at(claim, region, 1)


def leads_in(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The leads a text names, and those of the regions it names."""
    named: list[str] = []
    for match in LEAD.finditer(text):
        first, last, more, augmented, limb = match.groups()
        if first:   # "V2-V4", "V5,6"
            named += [f"V{n}" for n in (*range(int(first), int(last or first) + 1), *re.findall(r"\d", more))]
        else:
            named.append(f"aV{augmented[2].upper()}" if augmented else limb.upper())
    region = [lead for match in TERRITORY.finditer(text) for lead in LEADS_OF[match[1]]]
    return tuple(dict.fromkeys(named)), tuple(dict.fromkeys(region))


def unknown_leads(sentence: str) -> set[str]:
    """Leads that no 12-lead ECG has, as they are written."""
    return {match[0] for match in _UNKNOWN.finditer(sentence)}


def _at(claim: WaveClaim, leads: tuple[str, ...], least: int) -> WaveClaim:
    return WaveClaim(claim.wave, claim.low, claim.high, leads, least, stated=claim.stated)


def _sized(sentence: str) -> Iterator[_Found]:
    for pattern in _SIZES:
        for match in pattern.finditer(sentence):
            if not _refused(sentence, match.start()):
                scale = _MILLIVOLTS.get(match["unit"], 1.0)
                yield _Found(match.start(), match.end(), _stated(match["wave"], match["numbers"], scale))
    for match in _DURATIONS.finditer(sentence):
        if not _refused(sentence, match.start()):
            yield _Found(match.start(), match.end(), _stated(f"{match['wave']}_ms", match["numbers"], 1.0))


def _stated(wave: str, numbers: str, scale: float) -> tuple[WaveClaim, ...]:
    """A claim for each number of a list, one for a range."""
    between = _RANGE.fullmatch(numbers.strip())
    if between:
        ends = sorted(float(end) * scale for end in between.groups())
        return (WaveClaim(wave, ends[0], ends[1], stated=True),)
    values = [float(one) * scale for one in re.findall(rf"(?<![\d.]){_NUMBER}", numbers)]
    return tuple(WaveClaim(wave, value, value, stated=True) for value in values)


def _deflections(sentence: str, language: str) -> Iterator[_Found]:
    said: dict[str, Status] | None = None
    for pattern, claim, code in _DEFLECTIONS:
        for match in pattern.finditer(sentence):
            if code:
                said = label(sentence, language) if said is None else said
                if said.get(code) != Status.PRESENT:
                    continue
            elif _refused(sentence, match.start()):
                continue
            amount = _AMOUNT.search(sentence, match.end()) if claim.wave == "st" else None
            if amount is not None and abs(claim.low) != abs(claim.high) and amount.start() - match.end() < _REACH // 2:
                level = float(amount["number"]) * _MILLIVOLTS.get(amount["unit"], 1.0)
                level = abs(level) if claim.high == inf else -abs(level)
                yield _Found(match.start(), match.end(), (WaveClaim("st", level, level, stated=True),))
            else:
                yield _Found(match.start(), match.end(), (claim,))


def _refused(sentence: str, start: int) -> bool:
    before = sentence[max(0, start - _REACH):start]
    return DENIED.search(before) is not None or DOUBTED.search(before) is not None
