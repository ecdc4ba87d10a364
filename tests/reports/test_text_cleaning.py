"""Each cleaning rule on a table of texts, their order, and the guess at the language."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest

from emgecg_cli.core.config import CLEANING
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.reports.language import detect_language
from emgecg_cli.core.reports.text import RULES, clean_report, parse_rules
from emgecg_cli.core.store.payloads.texts import SetAside, clean_text

CASES = [
    ("nan", "nan. Sinus rhythm. nan", "Sinus rhythm."),
    ("nan", "Sinus rhythm. NaN. Normal ECG", "Sinus rhythm. Normal ECG"),
    ("nan", "sinus nan rhythm", "sinus rhythm"),
    ("nan", "nan", ""),
    ("nan", "nan。窦性心律。nan", "窦性心律。"), ("nan", "窦性nan心律", "窦性心律"),
    ("nan", "正常です。NaN", "正常です。"),
    ("nan", "nan\u0303o, an nan\u0301", "nan\u0303o, an nan\u0301"),
    ("numeric", "窦性心律。４．４６。正常", "窦性心律。正常"), ("numeric", "洞調律。72／分。", "洞調律。72／分。"),
    ("numeric", "सामान्य। ७२। लय", "सामान्य। लय"), ("numeric", "طبيعي؛ ٧٢٫٥؛ نظم", "طبيعي؛ نظم"),
    ("nan", "nanosecond, renan, nan-like", "nanosecond, renan, nan-like"),
    ("numeric", "Sinus rhythm. 4.46. Normal", "Sinus rhythm. Normal"),
    ("numeric", "12 34. 5/6; Sinus rhythm", "Sinus rhythm"),
    ("numeric", "PR 0.12 s. QRS 90 ms.", "PR 0.12 s. QRS 90 ms."),
    ("numeric", "v1-3", "v1-3"),
    ("numeric", "100", ""),
    ("numeric", "first line\n12\nlast line", "first line\nlast line"),
    ("ekg", "EKG and ekg, Ekg", "ECG and ecg, Ekg"),
    ("stars", "*** abnormal ***", "abnormal"),
    ("stars", "== - borderline ** ecg - *=", "borderline ** ecg"),
    ("stars", "***", ""),
    ("lower", "Normales EKG, VERLÄNGERUNG", "normales ekg, verlängerung"),
]


@pytest.mark.parametrize("rule, text, expected", CASES)
def test_one_rule(rule: str, text: str, expected: str) -> None:
    cleaned, changed = clean_report(text, (rule,))
    assert cleaned == expected
    assert changed == ([rule] if text != expected else [])


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_applied_twice_changes_nothing_more(rule: str) -> None:
    for _, text, _ in CASES:
        once, _ = clean_report(text, (rule,))
        assert clean_report(once, (rule,)) == (once, [])


def test_the_default_pipeline_and_its_order() -> None:
    rules = parse_rules(CLEANING["signals"])
    assert rules == ("nan", "numeric", "ekg", "stars", "lower")
    assert clean_report("*** Abnormal EKG. nan. 12. ***", rules) == ("abnormal ecg.", list(rules))
    assert clean_report("Ekg", ("lower", "ekg"))[0] == "ecg" and clean_report("Ekg", ("ekg", "lower"))[0] == "ekg"


@pytest.mark.parametrize(("text", "words"), [("sinus rhythm", 2), ("窦性心律", 4), ("正常です。", 4), ("หัวใจ", 4),
                                             ("सामान्य लय", 2)])
def test_words_are_counted_in_any_script(text: str, words: int) -> None:
    recording = SimpleNamespace(ref=SimpleNamespace(record_id="1", source="s"), report=text)
    assert clean_text(recording, (), words) == (text, [])  # type: ignore[arg-type]
    with pytest.raises(SetAside) as caught:
        clean_text(recording, (), words + 1)  # type: ignore[arg-type]
    assert caught.value.row.detail == f"{words} words, fewer than {words + 1}"


def test_no_rule_leaves_all_but_the_blanks_around() -> None:
    assert parse_rules("none") == ()
    assert clean_report("  *** EKG nan 12.  ", ()) == ("*** EKG nan 12.", [])


@pytest.mark.parametrize("clean, message", [
    ("nan,lowr", "no cleaning rule 'lowr'; did you mean 'lower'?"),
    ("none,nan", "no cleaning rule 'none'"),
    ("", "no cleaning rule ''"),
    ("nan,nan", "a rule is given twice"),
])
def test_wrong_rules_are_refused(clean: str, message: str) -> None:
    with pytest.raises(MedReportError) as caught:
        parse_rules(clean)
    assert message in caught.value.message and "numeric" in (caught.value.hint or "")


@pytest.mark.parametrize("text, language", [
    ("sinusrhythmus normales ekg", "de"),
    ("ventrikulÄre extrasystole(n) sinusrhythmus lagetyp normal 4.46  unbestÄtigter bericht", "de"),
    ("sinus rhythm. normal ecg.", "en"),
    ("trace only requested.", "en"),
    ("sinusrytm vÄnster el-axel ospecifik t-fÖrÄndring", "sv"),
    ("sinusrytm normalt ekg", "sv"),
    ("sinusrhythmus a-v block i", "de"),
    ("ekg", "und"),
    ("", "und"),
    ("4.46", "und"),
])
def test_language(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_language_of_real_reports(shared_data: Path) -> None:
    with (shared_data / "ptb-xl-reports" / "reports.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    telling = {"de": ("sinusrhythmus", "vorhofflimmern", "sinustachykardie"), "sv": ("sinusrytm", "förmaksflimmer"),
               "en": ("sinus rhythm.", "atrial fibrillation.", "sinus tachycardia.")}
    for language, words in telling.items():
        found = [detect_language(row["report"]) for row in rows if row["report"].lower().startswith(words)]
        assert len(found) > 40 and found.count(language) / len(found) > 0.98, language
