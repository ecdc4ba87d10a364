"""The language of the synthetic cohort: reports written from findings and rate, and read back exactly.

A report is lower-case sentences separated by ". ": rhythm and ventricular rate (rounded to 5 beats per minute) in
either order, then the other findings in any order, each in one of several phrasings. No phrasing contains a full stop
and no two findings share one, so that `read_findings` inverts `write_report` without loss.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.datasets.synthetic.findings import BASE, CODES, RHYTHMS


def _regional(region: str, change: str) -> tuple[str, ...]:
    return (f"{region} {change}", f"{change} in the {region} leads", f"{change} in {region} leads is present")


PHRASES: dict[str, tuple[str, ...]] = {
    "sr": ("sinus rhythm", "normal sinus rhythm", "regular sinus rhythm"),
    "sbrad": ("sinus bradycardia", "slow sinus rhythm"),
    "stach": ("sinus tachycardia", "fast sinus rhythm"),
    "afib": ("atrial fibrillation", "irregular rhythm without p waves", "rhythm is atrial fibrillation"),
    "pvc": ("premature ventricular complexes", "ventricular extrasystoles", "isolated premature ventricular beats"),
    "avb1": ("first degree av block", "prolonged pr interval", "pr interval above 200 ms"),
    "lbbb": ("left bundle branch block", "complete lbbb", "wide qrs of left bundle branch block type"),
    "rbbb": ("right bundle branch block", "complete rbbb", "wide qrs of right bundle branch block type"),
    "lvh": ("left ventricular hypertrophy", "voltage criteria for lvh", "high voltage suggesting lvh"),
    "lad": ("left axis deviation", "leftward axis"),
    "rad": ("right axis deviation", "rightward axis"),
    "ste_inf": _regional("inferior", "st elevation"),
    "ste_ant": _regional("anterior", "st elevation"),
    "ste_lat": _regional("lateral", "st elevation"),
    "std_inf": _regional("inferior", "st depression"),
    "std_ant": _regional("anterior", "st depression"),
    "std_lat": _regional("lateral", "st depression"),
    "twi_inf": ("inferior t wave inversion", "inverted t waves in the inferior leads"),
    "twi_ant": ("anterior t wave inversion", "inverted t waves in the anterior leads"),
    "twi_lat": ("lateral t wave inversion", "inverted t waves in the lateral leads"),
    "lowv": ("low voltage", "low qrs voltage", "qrs complexes of low amplitude"),
    "lqt": ("prolonged qt interval", "long qt", "qt prolongation"),
}
NORMAL = ("normal ecg", "ecg within normal limits", "no abnormality detected")
RATES = ("ventricular rate {} bpm", "heart rate {} per minute", "rate of {}")

_READ = {phrase: code for code, phrases in PHRASES.items() for phrase in phrases}
_READ_RATE = re.compile("|".join(re.escape(form).replace(r"\{\}", r"([0-9]{1,4})") for form in RATES))
_RATE_FIRST = 0.3


def write_report(codes: Collection[str], rate: float, rng: np.random.Generator) -> str:
    """Write the report of a record with these findings and this ventricular rate in beats per minute."""

    def choose(phrases: tuple[str, ...]) -> str:
        return phrases[rng.integers(len(phrases))]

    head = [choose(PHRASES[code]) for code in RHYTHMS if code in codes]
    head.append(choose(RATES).format(5 * round(rate / 5)))
    if rng.random() < _RATE_FIRST:
        head.reverse()
    others = [code for code in CODES if code in codes and code not in RHYTHMS]
    tail = [choose(PHRASES[code]) for code in rng.permutation(others)]
    if not set(codes) - BASE:
        tail = [choose(NORMAL)]
    return ". ".join(head + tail) + "."


def read_findings(report: str) -> set[str]:
    """The codes of the findings a report states; other sentences are skipped, see `unread_sentences`."""
    return {_READ[sentence] for sentence in _sentences(report) if sentence in _READ}


def read_rate(report: str) -> int | None:
    """The ventricular rate a report states first, in beats per minute, or None."""
    for sentence in _sentences(report):
        match = _READ_RATE.fullmatch(sentence)
        if match:
            return int(next(group for group in match.groups() if group))
    return None


def unread_sentences(report: str) -> list[str]:
    """The sentences of a report that belong to no phrasing of this module."""
    return [s for s in _sentences(report) if s not in _READ and s not in NORMAL and not _READ_RATE.fullmatch(s)]


def _sentences(report: str) -> list[str]:
    """Sentences in lower case with single spaces, without the empty ones."""
    parts = (" ".join(part.split()) for part in report.lower().split("."))
    return [part for part in parts if part]


@dataclass(frozen=True)
class Labeler:
    """Reads the codes of a dataset's reports, where their vocabulary is known exactly.

    `read` gives the codes a report states and `unread` the sentences it could not read. `vocabulary` holds all codes in
    their order; `abnormal` those which are abnormal, the others being base findings such as sinus rhythm.
    """

    read: Callable[[str], set[str]]
    unread: Callable[[str], list[str]]
    vocabulary: tuple[str, ...]
    abnormal: frozenset[str]


LABELER = Labeler(read_findings, unread_sentences, CODES, frozenset(CODES) - BASE)
