"""The language of the synthetic cohort: reports read back exactly, hostile text, and rates that are true."""

from __future__ import annotations

import numpy as np
import pytest

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import Recording
from emgecg_cli.core.datasets.synthetic import RECORDS_PER_BLOCK, draw_block, open_source
from emgecg_cli.core.datasets.synthetic.findings import CODES, SETS
from emgecg_cli.core.datasets.synthetic.reports import (
    NORMAL,
    PHRASES,
    read_findings,
    read_rate,
    unread_sentences,
    write_report,
)


@pytest.fixture(scope="module")
def cohort() -> list[Recording]:
    source = open_source(2000, seed=4, fs=50)
    return [recording for recording in source.read(list(source.listing())) if not isinstance(recording, QuarantineRow)]



def test_reports_read_back_exactly(cohort: list[Recording]) -> None:
    assert len(cohort) == 2000
    for recording in cohort:
        assert read_findings(recording.report) == set(recording.codes)
        assert unread_sentences(recording.report) == []
        assert recording.report == recording.report.lower() and recording.language == "en"
        assert (recording.codes == ["sr"]) == any(words in recording.report for words in NORMAL)
    assert len({r.report for r in cohort}) > 900


def test_phrasings_are_distinct_and_varied(cohort: list[Recording]) -> None:
    phrases = [phrase for phrases in PHRASES.values() for phrase in phrases]
    assert len(phrases) == len(set(phrases)) and list(PHRASES) == list(CODES)
    assert all(2 <= len(phrases) <= 4 for phrases in PHRASES.values())
    used = {sentence.strip(" .") for r in cohort for sentence in r.report.split(".")}
    assert {phrase for code in SETS["core"] for phrase in PHRASES[code]} <= used


@pytest.mark.parametrize(
    ("text", "codes", "rate", "unread"),
    [
        ("", set(), None, []),
        (" . .. ", set(), None, []),
        ("SINUS RHYTHM. Rate of 70.  Lateral   ST\nDepression", {"sr", "std_lat"}, 70, []),
        ("sinus rhythm, left axis deviation.", set(), None, ["sinus rhythm, left axis deviation"]),
        ("no lbbb. complete lbbb", {"lbbb"}, None, ["no lbbb"]),
        ("rate of x. rate of 99999. rate of ٧٠. heart rate 80 per minute. rate of 10", set(), 80, None),
        ("normal ecg. long qt. long qt.", {"lqt"}, None, []),
        ("\x00\udcff 心电图.", set(), None, ["\x00\udcff 心电图"]),
    ],
)
def test_hostile_text(text: str, codes: set[str], rate: int | None, unread: list[str] | None) -> None:
    assert read_findings(text) == codes
    assert read_rate(text) == rate
    if unread is not None:
        assert unread_sentences(text) == unread


def test_rate_in_the_text_is_the_measured_rate() -> None:
    rng = np.random.default_rng(0)
    for rate in rng.uniform(30, 200, 300):
        stated = read_rate(write_report(["afib"], rate, rng))
        assert stated is not None and abs(stated - rate) <= 2.5
    source = open_source(RECORDS_PER_BLOCK, seed=5)
    measured = draw_block(5, 0, "core").beats.rate
    for recording, rate in zip(source.read(list(source.listing())), measured, strict=True):
        assert isinstance(recording, Recording)
        assert abs((read_rate(recording.report) or 0) - rate) <= 2.5


def test_rate_agrees_with_the_rhythm(cohort: list[Recording]) -> None:
    for r in cohort:
        rate = read_rate(r.report) or 0
        assert rate <= 60 or "sbrad" not in r.codes
        assert rate >= 100 or "stach" not in r.codes
        assert 55 <= rate <= 105 or "sr" not in r.codes
