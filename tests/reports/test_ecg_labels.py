"""The labeler of ECG reports: every rule by its own examples, whole sentences, the reach of doubt, and its limits."""

from __future__ import annotations

import ast
import csv
import json
import random
import re
import time
from pathlib import Path

import pytest

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.reports.ecg import labels
from emgecg_cli.core.reports.ecg.coding import coded_in_ptb_xl
from emgecg_cli.core.reports.ecg.labels import Status, codes, label, label_all
from emgecg_cli.core.reports.ecg.prefilter import pieces
from emgecg_cli.core.reports.ecg.rules import LANGUAGES, read_rules, rules_of
from emgecg_cli.core.reports.ecg.statements import SUPERCLASSES, statements, superclasses_of
from emgecg_cli.core.reports.ecg.text import fold, passages, sentences
from emgecg_cli.core.reports.language import detect_language

SENTENCES = Path(__file__).parent / "ecg_sentences"
STATUS = {"+": Status.PRESENT, "?": Status.POSSIBLE, "-": Status.ABSENT}
P, M, A = Status.PRESENT, Status.POSSIBLE, Status.ABSENT


def written_by_hand(language):
    """(sentence, statements) of the fixture of a language."""
    for line in (SENTENCES / f"{language}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            stated, sentence = line.split(" | ", 1)
            yield sentence, {word[:-1]: STATUS[word[-1]] for word in stated.split()}


@pytest.mark.parametrize(("language", "code", "status", "sentence"), [
    (language, rule.code, status, sentence) for language in LANGUAGES for rule in rules_of(language).rules
    for status, examples in rule.examples.items() for sentence in examples])
def test_every_rule_holds_for_its_examples(language, code, status, sentence):
    assert label(sentence, language).get(code) == status


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_has_examples_of_all_three(language):
    rules = rules_of(language).rules
    assert all(rule.examples[status] for rule in rules for status in ("present", "possible", "absent"))
    assert len({rule.code for rule in rules}) == len(rules)
    assert {rule.code for rule in rules} == set(statements())


@pytest.mark.parametrize(("language", "least"), [("en", 200), ("de", 200), ("sv", 200)])
def test_sentences_written_by_hand(language, least):
    pairs = list(written_by_hand(language))
    wrong = [(sentence, label(sentence, language)) for sentence, stated in pairs if label(sentence, language) != stated]
    assert len(pairs) >= least
    assert len(wrong) <= 0.01 * len(pairs), wrong


@pytest.mark.parametrize(("language", "finding", "code"), [
    ("en", "inferior infarction", "IMI"), ("en", "left ventricular hypertrophy", "LVH"),
    ("de", "Vorhofflimmern", "AFIB"),
    ("de", "Linksherzhypertrophie", "LVH"), ("sv", "inferior infarkt", "IMI"), ("sv", "förmaksflimmer", "AFIB")])
def test_phrases_of_denial_doubt_and_the_past(language, finding, code):
    wrong = []
    for line in (SENTENCES / f"cues_{language}.txt").read_text(encoding="utf-8").splitlines()[1:]:
        status, phrase = line.split(" | ")
        said = phrase.format(finding if not phrase.startswith("{") else finding[0].upper() + finding[1:])
        if str(label(said, language).get(code, "none")) != status:
            wrong.append(said)
    assert not wrong


@pytest.mark.parametrize(("text", "language", "stated"), [
    # The nearest statement only, in reports of machines that set no full stops
    ("sinusrhythmus verdacht auf p-sinistrocardiale linkstyp qrs(t) abnorm   inferiorer infarkt   alter unbest.", "de",
     {"SR": P, "LAO/LAE": M, "ABQRS": P, "IMI": P}),
    ("qrs(t) abnorm    anteroseptaler infarkt     mögl. akut    inferiorer myokardschaden möglich", "de",
     {"ABQRS": P, "ASMI": P, "IMI": M}),
    # Lines: a new one is a new sentence, one that goes on is not
    ("No ST elevation\nLeft bundle branch block", "en", {"STE_": A, "CLBBB": P}),
    ("consistent with old inferior\n  myocardial infarction", "en", {"IMI": P}),
    # Lists: over "or" and commas before it, over "and" within a family; not over a comma alone, not past a stop
    ("No ST elevation, T wave inversion or Q waves", "en", {"STE_": A, "INVT": A, "QWAVE": A}),
    ("No LVH, left bundle branch block", "en", {"LVH": A, "CLBBB": P}),
    ("Possible LVH and left atrial enlargement", "en", {"LVH": M, "LAO/LAE": M}),
    ("Possible LVH and sinus rhythm", "en", {"LVH": M, "SR": P}),
    ("Kein Hinterwandinfarkt, jedoch Linksschenkelblock", "de", {"IMI": A, "CLBBB": P}),
    ("No fibrillation waves; there is atrial flutter", "en", {"AFLT": P}),
    ("Kein aber Linksschenkelblock", "de", {"CLBBB": P}),
    # Two that are given as alternatives
    ("Ischaemia or LV strain", "en", {"ISC_": M, "LVH": M}),
    ("anterolaterale Ischämie oder Linksbelastung", "de", {"ISCAL": M, "LVH": M}),
    # A denial on either side, and one word for both
    ("Neither left anterior nor left posterior fascicular block", "en", {"LAFB": A, "LPFB": A}),
    ("Kein AV-Block II. oder III. Grades", "de", {"2AVB": A, "3AVB": A}),
    # What a reviewer wrote below a report is not read
    ("sinusrhythmus Edit: ASMI 100, IMI 15, anteroseptaler Infarkt", "de", {"SR": P}),
    # Umlauts of all kinds
    ("QT-VerlÄngerung, ISCHAEMIE möglich", "de", {"LNGQT": P, "ISC_": M}),
    # The stronger of two sentences
    ("Possible LVH. Left ventricular hypertrophy.", "en", {"LVH": P}),
    ("No LVH. Possible LVH.", "en", {"LVH": M}),
    ("", "en", {}), ("?.,;", "de", {}),
])
def test_what_is_read_of_whole_reports(text, language, stated):
    assert label(text, language) == stated


def test_possible_counts_where_it_is_asked_for():
    found = label("Atrial fibrillation, possible LVH, no RVH", "en")
    assert codes(found) == {"AFIB", "LVH"} and codes(found, possible=False) == {"AFIB"}
    assert list(label("LVH. Sinus rhythm. Normal ECG.", "en")) == ["NORM", "LVH", "SR"]  # the vocabulary's order
    assert json.loads(json.dumps(found)) == {"AFIB": "present", "LVH": "possible", "RVH": "absent"}


def test_superclasses_are_those_of_the_published_table():
    table = statements()
    assert len(table) == 71 and {one.superclass for one in table.values()} == {*SUPERCLASSES, None}
    assert superclasses_of(["NORM", "IMI", "NDT", "LAFB", "LAO/LAE"]) == set(SUPERCLASSES)
    assert superclasses_of(["SR", "PVC", "no such code"]) == set()
    counts = {kind: sum(kind in one.kinds for one in table.values()) for kind in ("diagnostic", "form", "rhythm")}
    assert counts == {"diagnostic": 44, "form": 19, "rhythm": 12}
    assert all((one.superclass is None) == ("diagnostic" not in one.kinds) for one in table.values())


def test_the_table_is_that_of_the_data_set(shared_data):
    path = shared_data / "ptb-xl" / "scp_statements.csv"
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            one = statements()[row[""]]
            assert one.superclass == (row["diagnostic_class"] or None)
            assert set(one.kinds) == {kind for kind in ("diagnostic", "form", "rhythm") if row[kind]}


def test_each_report_in_its_own_language():
    reports = ["Sinusrhythmus, kein Vorhofflimmern", "Sinus rhythm with LVH", "sinusrytm, vänstergrenblock",
               "LAFB, WPW", "窦性心律", "Sinus rhythm with LVH"]
    found = label_all(reports)
    assert found == [{"SR": P, "AFIB": A}, {"SR": P, "LVH": P}, {"SR": P, "CLBBB": P}, {"LAFB": P, "WPW": P}, None,
                     {"SR": P, "LVH": P}]
    assert found[1] is not found[5]
    assert label_all(["Vorhofflimmern", "old inferior scar"], language="de") == [{"AFIB": P}, {}]
    with pytest.raises(MedReportError, match="'zh'"):
        label("窦性心律", "zh")


@pytest.mark.parametrize("language", LANGUAGES)
def test_short_sentences_are_read_in_their_own_language(language):
    sentences_of = [sentence for sentence, _ in written_by_hand(language)]
    read = label_all(sentences_of)
    wrong = [sentence for sentence, found in zip(sentences_of, read, strict=True) if found != label(sentence, language)]
    assert len(wrong) <= 0.01 * len(sentences_of), wrong


def test_abbreviations_end_no_sentence_and_full_stops_do():
    assert list(sentences(fold("Q waves in V4,5. Rate 4.46 s. LVH?"))) == [
        "q waves in v4 , 5", "rate 4.46 s", "lvh askedafter"]
    assert label("Inkompl. RSB. V. a. LVH. AV-Block 1. Grades.", "de") == {"IRBBB": P, "LVH": M, "1AVB": P}


@pytest.mark.parametrize(("text", "line"), [
    ("[SR]\nsinus {nothing}", 2), ("sinus rhythm", 1), ("@x = a\n@y = {z}", 2)])
def test_a_line_that_is_not_understood_is_named(text, line):
    with pytest.raises(MedReportError, match=f"own.txt, line {line}"):
        read_rules(text, "en", "own.txt")


def test_a_section_that_stands_for_nothing_is_named():
    with pytest.raises(MedReportError, match=r"\[SINUS\]"):
        read_rules("[SINUS]\nsinus rhythm", "en", "own.txt")
    with pytest.raises(MedReportError, match=r"own.txt: a pattern of \[SR\]"):
        read_rules("[SR]\nsinus (rhythm", "en", "own.txt")


@pytest.mark.parametrize("text", ["no " * 30_000, "t waves " * 20_000, "possible lvh or " * 5_000,
                                  "inferior and lateral " * 5_000, "\0\ud800 sinus rhythm", "v. a. " * 20_000])
def test_long_and_odd_texts_take_no_longer_than_their_length(text):
    start = time.process_time()
    for language in LANGUAGES:
        label(text, language)
    assert time.process_time() - start < 10


def test_the_sieve_leaves_out_no_pattern_that_would_match():
    for language in LANGUAGES:
        rules = rules_of(language)
        for sentence, _ in written_by_hand(language):
            for part in sentences(fold(sentence)):
                found = {i for i, (_, pattern, _) in enumerate(rules.patterns) if pattern.search(part)}
                assert found <= set(rules.sieve.candidates(part))
        assert len(rules.sieve.candidates("die katze schlief")) < 10


@pytest.mark.parametrize(("pattern", "needed"), [
    (r"(?<!\w)(?:sinus rhythm|nsr)(?!\w)", {"rhythm", "nsr"}), (r"(?:no )?block", {"block"}), (r"\w+", None),
    (r"(?:left|l) (?:bundle)? ?block", {"block"}), (r"a|\w*", None), (r"q ?wave(?= in)", {"wave"})])
def test_pieces_of_a_pattern(pattern, needed):
    assert pieces(re.compile(pattern)) == needed


def test_codes_as_ptb_xl_gives_them():
    assert coded_in_ptb_xl({"AMI": P, "SR": P, "STE_": P}, "en") == {"ASMI", "SR"}
    assert coded_in_ptb_xl({"IMI": P, "LMI": M, "RVH": A}, "en") == {"IMI", "ILMI", "LMI"}
    assert coded_in_ptb_xl({"LVH": M}, "de") == set() and coded_in_ptb_xl({"LVH": P}, "de") == {"LVH"}
    assert coded_in_ptb_xl({"IMI": P, "ALMI": M}, "de") == {"ILMI"}
    assert coded_in_ptb_xl({"AFIB": M, "SR": A}, "other") == {"AFIB"}
    assert coded_in_ptb_xl({"INVT": P}, "en", "T waves are inverted in V5.") == {"INVT"} and \
        coded_in_ptb_xl({"INVT": P}, "en", "ST segments are depressed and T waves inverted in V5.") == set()


@pytest.mark.parametrize(("language", "said", "coded"), [("en", 0.76, 0.83), ("de", 0.69, 0.78)])
def test_agreement_with_the_codes_of_ptb_xl(shared_data, language, said, coded):
    pairs = []
    with (shared_data / "ptb-xl-reports" / "reports.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if int(row["strat_fold"]) > 8 and detect_language(row["report"]) == language:
                found = label(row["report"], language)
                pairs.append((codes(found), coded_in_ptb_xl(found, language, row["report"]),
                              set(ast.literal_eval(row["scp_codes"]))))
    for which, least in ((0, said), (1, coded)):
        true = sum(len(pair[which] & pair[2]) for pair in pairs)
        assert 2 * true / sum(len(pair[which]) + len(pair[2]) for pair in pairs) >= least


_PARTS = ("sinus rhythm. ", "prob. ischemia. ", "AV block. ", "AV-Block I. Grades. ", "1. grad AV block. ", "(LVH. ",
          "?) ", "(?)) ", "possible LVH? ", "no LVH, ischemia or ", "infarct. ", "Überleitung. ", "z. n. infarkt. ",
          "verd. auf infarkt. ", "EDIT: ", "foo. edit: LVH. ", "\n", "\n- LVH. ", "in\u00adfarkt. ", "un(s)pez. ",
          "vorhofflimmern. ", "; LVH: ", "low voltage (limb leads). ", "supra\u00adventr. ", "\u212a. ", "normal ecg. ")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_in_passages_says_what_it_says_as_a_whole(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    texts = ["".join(rng.choices(_PARTS, k=rng.randrange(1, 8))) for _ in range(1500)]
    found = [label(text, language) for text in texts]
    assert sum(len(passages(text, rules_of(language).shortened)) > 1 for text in texts) > 300
    monkeypatch.setattr(labels, "passages", lambda text, shortened: [text])
    assert found == [label(text, language) for text in texts]
