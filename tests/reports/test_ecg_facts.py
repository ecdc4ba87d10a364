"""Claims that can be measured, read from sentences in three languages."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.facts import read_claims, stated_rate

P, NO_P, IRREGULAR = Claim("p", 1, 1), Claim("p", 0, 0, True), Claim("regular", 0, 0, True)
LONG_PR, WIDE = Claim("pr", low=200, abnormal=True), Claim("qrs", low=120, abnormal=True)
SLOW, FAST = Claim("rate", high=60, abnormal=True), Claim("rate", low=100, abnormal=True)
LEFT = Claim("axis", -180, -30, True)


def number(kind: str, value: float, abnormal: bool = False) -> Claim:
    return Claim(kind, value, value, abnormal)


SENTENCES: list[tuple[str, str, set[Claim]]] = [
    ("en", "Heart rate 75 bpm, PR interval 180 ms, QRS duration 98 ms, QT/QTc 400/420 ms, axis -35 degrees.",
     {number("rate", 75), number("pr", 180), number("qrs", 98), number("qt", 400), number("qtc", 420),
      number("axis", -35, True)}),
    ("en", "PR 0.22 s, QRS: 0,09 sec", {number("pr", 220, True), number("qrs", 90)}),
    ("en", "Ventricular rate of 60-80", {Claim("rate", 60, 80)}),
    ("en", "Atrial rate = 300/min, ventricular rate 150", {number("rate", 150, True)}),
    ("en", "Multiple PVCs, > 5/min", set()),
    ("en", "PR interval above 200 ms", {LONG_PR}),
    ("en", "Left bundle branch block. First degree AV block, PR 240", {WIDE, LONG_PR, number("pr", 240, True)}),
    ("en", "Possible left bundle branch block. No left axis deviation. No ST elevation.", set()),
    ("en", "Previously sinus tachycardia, rate 130. Now rate 70.", {number("rate", 70)}),
    ("en", "Atrial fibrillation with rapid ventricular response", {NO_P, IRREGULAR, FAST}),
    ("en", "Sinus bradycardia, left axis deviation, prolonged QT interval", {P, SLOW, LEFT,
                                                                             Claim("qtc", low=450, abnormal=True)}),
    ("en", "Irregular rhythm without P waves", {NO_P, IRREGULAR}),
    ("en", "Normal axis, normal PR interval, narrow QRS", {Claim("axis", -30, 90), Claim("pr", 120, 200),
                                                           Claim("qrs", high=120)}),
    ("en", "Regular sinus rhythm with premature ventricular complexes", {P}),
    ("en", "ST elevation of 2 mm in V2-V4", {Claim("st", 200, 200, True, ("V2", "V3", "V4"))}),
    ("en", "Inferior ST elevation", {Claim("st", 100, inf, True, ("II", "III", "aVF"))}),
    ("en", "ST depression in I, aVL and V6", {Claim("st", -inf, -50, True, ("I", "aVL", "V6"))}),
    ("de", "Sinusrhythmus, Herzfrequenz 62/min, PQ-Zeit 210 ms, QRS-Dauer 110 ms, Linkstyp",
     {P, number("rate", 62), number("pr", 210, True), number("qrs", 110), Claim("axis", -30, 30)}),
    ("de", "Vorhofflimmern, überdrehter Linkstyp, ST-Senkung in V5 und V6",
     {NO_P, IRREGULAR, LEFT, Claim("st", -inf, -50, True, ("V5", "V6"))}),
    ("de", "ventrikuläre Extrasystolen > 5/min, Lagetyp normal", {Claim("axis", -30, 90)}),
    ("de", "Unregelmäßiger Rhythmus, keine P-Wellen", {NO_P, IRREGULAR}),
    ("sv", "Sinusrytm, frekvens 70, PQ 160 ms", {P, number("rate", 70), number("pr", 160)}),
    ("en", "the moon is round", set()), ("en", "", set()),
]


@pytest.mark.parametrize(("language", "text", "expected"), SENTENCES, ids=[text[:40] for _, text, _ in SENTENCES])
def test_claims_of_a_sentence(language: str, text: str, expected: set[Claim]) -> None:
    assert set(read_claims(text, language)) == expected


def shorthand(claim: Claim) -> str:
    """A claim as `ecg_facts.txt` writes it."""
    if claim.kind in ("p", "regular"):
        return f"{'p' if claim.kind == 'p' else 'reg'}{claim.low:g}"
    leads = ",".join(claim.leads)
    if claim.low == claim.high:
        return f"{claim.kind}={claim.low:g}" + (f"@{leads}" if leads else "")
    ends = (-180, 180) if claim.kind == "axis" else (-inf, inf)
    beyond = "<" if claim.low == ends[0] else ">" if claim.high == ends[1] else "~"
    return f"{claim.kind}{beyond}{leads}"


@pytest.mark.parametrize("language", ["en", "de", "sv"])
def test_sentences_written_by_hand(language: str) -> None:
    wrong = []
    for line in (Path(__file__).parent / "ecg_facts.txt").read_text(encoding="utf-8").splitlines()[2:]:
        expected, own, text = (part.strip() for part in f" {line}".split("| ", 2))
        found = {shorthand(claim) for claim in read_claims(text, own)} if own == language else set(expected.split())
        if found != set(expected.split()):
            wrong.append((text, expected, sorted(found)))
    assert not wrong


def test_the_rate_that_is_stated_first() -> None:
    assert stated_rate(read_claims("Sinus tachycardia. Heart rate 120. Rate 90 later.")) == 120
    assert stated_rate(read_claims("Sinus tachycardia.")) is None is stated_rate(read_claims("rate above 100"))


def test_hostile_texts_are_read_in_time() -> None:
    for text in ("rate " * 20_000, "st elevation " * 3000, "qt/" * 20_000, "1" * 50_000, "rate = (" * 5000 + "70",
                 "pq tid" + "tid" * 5000, "qrs normal" + "normal" * 5000, "compared with " * 5000, "qt normal " * 5000):
        read_claims(text, "en")
