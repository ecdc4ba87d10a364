"""Words, letters and languages of all scripts: what is one letter, what is a word, and which scripts set no blanks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from metric_corpora import random_pairs, rows_of
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU
from score_rows import TEXT, has_note

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.page.reading import read_sentences
from emgecg_cli.core.evaluation.score import Scores, score_predictions
from emgecg_cli.core.metrics.text.segmentation import characters
from emgecg_cli.core.metrics.text.tokens import TEXT_FORM, unicode_words
from emgecg_cli.core.reports.language import detect_language, likely_language
from emgecg_cli.core.reports.scripts import count_words, same_letters, script_of

# Two different reports in each script, of at least four words or characters.
DENSE = {
    "zh": ("窦性心律，正常心电图", "心房颤动伴快速心室率"), "ja": ("正常洞調律でした。", "心房細動があります。"),
    "th": ("จังหวะไซนัสปกติ", "หัวใจเต้นผิดจังหวะ"), "lo": ("ຈັງຫວະໄຊນັດປົກກະຕິ", "ຫົວໃຈເຕັ້ນຜິດປົກກະຕິ"),
    "km": ("ចង្វាក់ស៊ីនុសធម្មតា", "ចង្វាក់បេះដូងមិនទៀងទាត់"), "my": ("ပုံမှန်ဆိုက်နပ်စ်ရစ်သမ်", "နှလုံးခုန်မမှန်ခြင်း"),
    "bo": ("སྙིང་གི་འཕར་ལྡིང་རྒྱུན་ལྡན།", "སྙིང་གི་འཕར་ལྡིང་མི་སྙོམས་པ།"),
}
BLANKS = {
    "hi": ("साइनस लय सामान्य ईसीजी है",
           "हृदय की गति अनियमित है"),
    "bn": ("সাইনাস ছন্দ স্বাভাবিক ইসিজি",
           "হৃৎস্পন্দন অনিয়মিত দেখা যায় এখানে"),
    "ta": ("சைனஸ் தாளம் இயல்பான ஈசிஜி",
           "இதயத் துடிப்பு ஒழுங்கற்ற நிலை உள்ளது"),
    "ar": ("نظم جيبي طبيعي ومخطط سليم",
           "رجفان أذيني مع استجابة بطينية"),
    "fa": ("ریتم سینوسی می‌باشد و طبیعی است",
           "فیبریلاسیون دهلیزی دیده می‌شود اینجا"),
    "he": ("קצב סינוס תקין ללא שינוי",
           "פרפור פרוזדורים עם תגובה מהירה"),
    "ru": ("Синусовый ритм, нормальная ЭКГ сегодня",
           "Фибрилляция предсердий с частым ритмом"),
    "el": ("Φλεβοκομβικός ρυθμός φυσιολογικό καρδιογράφημα σήμερα",
           "Κολπική μαρμαρυγή με ταχεία ανταπόκριση"),
    "ko": ("정상 동율동 정상 심전도 소견",
           "심방 세동과 빠른 심실 반응"),
    "ka": ("სინუსური რიტმი ნორმალური ეკგ დღეს",
           "წინაგულთა ფიბრილაცია სწრაფი რიტმით აქ"),
    "am": ("መደበኛ የልብ ምት እና ጤናማ ምርመራ",
           "ያልተለመደ የልብ ምት ታይቷል ዛሬ"),
    "de": ("Sinusrhythmus, normales EKG ohne Veränderung",
           "Vorhofflimmern mit schneller Überleitung"),
    "vi": ("Nhịp xoang đều điện tâm đồ",
           "Rung nhĩ đáp ứng thất nhanh"),
}
SAME = [("100 µV", "100 μV"), ("ＳＴ１２", "ST12"), ("ﬁbrillation", "fibrillation"), ("verla\u0308ngert", "verlängert"),
        ("٧٢", "72"), ("۷۲", "72"), ("७२", "72"), ("٧٢٫٥", "72.5"), ("３．５", "3.5"), ("Mobitz Ⅱ", "Mobitz II"),
        ("ven\u00adtricular", "ventricular"), ("ven\u200btricular", "ventricular"), ("می\u200cباشد", "میباشد"),
        ("ﾌﾞﾛｯｸ", "ブロック"), ("ﻻ", "لا"), ("10㎜/㎷", "10mm/mV"), ("𝐒inus", "Sinus"), ("قلـــب", "قلب")]
OTHER = [("m²", "m2"), ("½", "1/2"), ("①", "1"), ("QT\u2082", "QT2"), ("…", "..."), ("é", "e"), ("ß", "ss"), ("ı", "i")]


def pairs(texts: tuple[str, str], language: str | None) -> list[PredictionRow]:
    return rows_of([(text, text) for text in texts], language)


def perfect(scores: Scores) -> None:
    """All there is to get: METEOR takes off for one chunk of m words, by its definition."""
    for name in ("BLEU-1", "BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L"):
        assert scores.value(name).value == pytest.approx(1, abs=1e-9), name
    assert scores.value("CIDEr-D").value == pytest.approx(10, abs=1e-9)
    assert (scores.value("METEOR").value or 0) >= 0.99


@pytest.mark.parametrize("language", DENSE)
@pytest.mark.parametrize("tagged", [True, False])
def test_scripts_without_blanks_are_refused_until_segmented_and_then_perfect(language: str, tagged: bool) -> None:
    rows = pairs(DENSE[language], language if tagged else None)
    with pytest.raises(MedReportError, match="without blanks") as caught:
        score_predictions(rows, metrics=TEXT)
    assert "--segmentation char" in str(caught.value.hint)
    scores = score_predictions(rows, metrics=TEXT, segmentation="char", resamples=5)
    perfect(scores)
    assert scores.languages == [language] and "tok:char-2(" in scores.value("BLEU-4").signature
    wrong = [replace(row, language="en") for row in rows]
    with pytest.raises(MedReportError, match="its language is given as 'en'"):
        score_predictions(wrong, metrics=TEXT, segmentation="char")
    if language != "zh":
        with pytest.raises(MedReportError, match="jieba cuts Chinese only"):
            score_predictions(rows, metrics=TEXT, segmentation="jieba")


@pytest.mark.parametrize("language", BLANKS)
def test_identical_texts_with_blanks_are_perfect(language: str) -> None:
    for tag in (language, None):
        scores = score_predictions(pairs(BLANKS[language], tag), metrics=TEXT, resamples=5)
        for name in ("BLEU-1", "BLEU-4", "ROUGE-1", "ROUGE-L"):
            assert scores.value(name).value == pytest.approx(1, abs=1e-9), (name, tag)
        assert (scores.value("CIDEr-D").value or 0) == pytest.approx(10, abs=1e-9)
    if script_of(BLANKS[language][0]) != "Latin":
        with pytest.raises(MedReportError, match="its language is given as 'en'"):
            score_predictions(pairs(BLANKS[language], "en"), metrics=TEXT)


def test_japanese_is_not_called_chinese() -> None:
    rows = rows_of([("心房細動", "心房細動"), ("正常洞調律でした", "正常洞調律でした")], None)
    scores = score_predictions(rows, metrics=TEXT, segmentation="char", resamples=5)
    assert scores.languages == ["ja"] and has_note(scores, "2 of 2 records name no language", "taken as Japanese")
    assert not has_note(scores, "Chinese")
    tagged = score_predictions(rows_of([("心房細動", "心房細動です")], "ja"), metrics=["rouge"], segmentation="char")
    assert not has_note(tagged, "Chinese")


def test_each_script_without_blanks_is_scored_apart() -> None:
    rows = [replace(row, record_id=f"{language}{row.record_id}") for language in ("ja", "th", "zh")
            for row in pairs(DENSE[language], language)]
    rows += rows_of([("sinus rhythm", "sinus rhythm normal")])
    scores = score_predictions(rows, metrics=["rouge"], segmentation="char", resamples=5,
                               train_reports=[*DENSE["th"], *DENSE["zh"], "sinus rhythm"])
    assert [value.name for value in scores.systems[0].values if value.name.startswith("ROUGE-L")] == [
        "ROUGE-L (en)", "ROUGE-L (ja)", "ROUGE-L (th)", "ROUGE-L (zh)"]
    assert has_note(scores, "Japanese and Thai and Chinese are scored apart")
    assert (scores.value("ROUGE-L (th)", "baseline: most frequent train report").value or 0) > 0.3


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_letter_has_one_code(one: str, other: str) -> None:
    assert same_letters(one) == same_letters(other) == other
    language = None if script_of(other) in (None, "Latin") else "und"
    segmentation = "char" if script_of(other) == "Japanese" else None
    rows = rows_of([(f"{one} {one}", f"{other} {other}"), ("x y", "z")][:1], language)
    scores = score_predictions(rows, metrics=["bleu"], segmentation=segmentation, resamples=0)
    assert scores.value("BLEU-1").value == pytest.approx(1)
    assert scores.value("BLEU-1").signature.endswith(f"|text:{TEXT_FORM}")


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_means_something_else_is_left_alone(one: str, other: str) -> None:
    assert same_letters(one) != same_letters(other)
    assert same_letters(one) == one


def test_latin_text_has_the_values_of_the_libraries() -> None:
    texts = [(f"{one} Überleitung é {i % 3} mV", f"{other} überleitung é {i % 2} mV")
             for i, (one, other) in enumerate(random_pairs(80, 21))]
    found = score_predictions(rows_of(texts, "de"), metrics=["bleu", "rouge"], resamples=0)
    library = BLEU(tokenize="13a", lowercase=True).corpus_score([one for one, _ in texts], [[two for _, two in texts]])
    assert found.value("BLEU-4").value == pytest.approx(library.score / 100, abs=1e-9)
    english = score_predictions(rows_of(texts, "en"), metrics=["rouge"], resamples=0)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    each = [scorer.score(other, one) for one, other in texts]
    for name, theirs in (("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"), ("ROUGE-L", "rougeL")):
        mean = sum(one[theirs].fmeasure for one in each) / len(each)
        assert english.value(name).value == pytest.approx(mean, abs=1e-9)


def test_words_have_their_marks() -> None:
    assert unicode_words("हिन्दी में") == ["हिन्दी", "में"]
    assert unicode_words("für fu\u0308r_x V4") == ["für", "fu\u0308r", "x", "v4"]
    assert characters("น้ำ STの値") == ["น้ํ", "า", "st", "の", "値"]
    assert characters("ខ្មែរ") == ["ខ្មែ", "រ"]
    assert count_words("จังหวะไซนัสปกติ") == 12 and count_words("हिन्दी में") == 2
    # a vowel sign at the end makes another word
    assert read_sentences("लय की").without(read_sentences("लय का"))


@pytest.mark.parametrize(("text", "script"), [
    ("心電図でSTの上昇", "Japanese"), ("左室肥大", "Han"), ("V1-V4 导联 ST 段抬高", "Han"),
    ("sinus 100 µV δ wave", "Latin"),
    ("หัวใจ QRS 120 ms", "Thai"), ("12 / 5", None), ("ЭКГ в норме", "Cyrillic"), ("ꦧꦱꦗꦮ", "Javanese")])
def test_scripts(text: str, script: str | None) -> None:
    assert script_of(text) == script


def test_languages_by_script_and_by_words() -> None:
    found = {text: detect_language(text) for pair in (*DENSE.values(), BLANKS["ko"], BLANKS["el"]) for text in pair}
    assert list(found.values()) == ["zh", "zh", "ja", "ja", "th", "th", "lo", "lo", "km", "km", "my", "my", "bo", "bo",
                                    "ko", "ko", "el", "el"]
    assert detect_language(BLANKS["ru"][0]) == "und"
    assert detect_language("fu\u0308r die a\u0308lteren") == "de"
    texts = ("rythme sinusal, axe normal", "ritmo sinusal, eje normal", "ritmo sinusale, asse normale",
             "sinusritme, normale hartas", "sinus rhythm. normal ecg", "sinusrhythmus normales ekg")
    assert [likely_language(text) for text in texts] == ["fr", "es", "it", "nl", "en", "de"]
    assert [detect_language(text) for text in texts[:4]] == ["und"] * 4


def test_predictions_in_another_script_or_language_are_counted() -> None:
    rows = rows_of([("синусовый ритм", "sinus rhythm"), ("心房細動です", "atrial fibrillation"),
                    ("sinusrhythmus. normales ekg", "sinus rhythm. normal ecg"),
                    ("rythme sinusal, axe normal", "sinus rhythm, normal axis"), ("", "sinus"), ("sinus", "sinus")])
    caveats = score_predictions(rows, metrics=["bleu"], resamples=0).caveats
    for says in ("1 of 6 predictions are in Cyrillic script, their references in Latin script",
                 "1 of 6 predictions are in Japanese characters, their references in Latin script",
                 "1 of 6 predictions look German, their references English",
                 "1 of 6 predictions look French, their references English"):
        assert says in caveats
    latin = score_predictions(rows_of([("sinus rhythm", "sinus rhythm")], "zh"), metrics=["bleu"], segmentation="char",
                              resamples=0)
    assert has_note(latin, "1 of 1 references are in Latin script, their language is given as Chinese")


def test_the_cases_from_outside(shared_data: Path) -> None:
    folder = shared_data.parent / "cases" / "09-scripts"
    if not folder.is_dir():
        pytest.skip("the cases are not here")
    for name in ("ja-near", "th-same"):
        rows = read_rows(folder / f"{name}.jsonl", PredictionRow)
        with pytest.raises(MedReportError, match="Japanese" if name == "ja-near" else "Thai"):
            score_predictions(rows, metrics=TEXT)
        scores = score_predictions(rows, metrics=TEXT, segmentation="char", resamples=5)
        assert not has_note(scores, "Chinese")
        if name == "th-same":
            perfect(scores)
