"""A small deterministic guess at the language of a report: German, English, Swedish, or undetermined."""

from __future__ import annotations

import re

UNDETERMINED = "und"

_WORD = re.compile(r"[^\W\d_]+")
# Words that tell the three apart in ECG reports; what German and English share (normal, abnormal, block) is left out.
_WORDS = {language: frozenset(words.split()) for language, words in {
    "de": """
        aber ableitungen abnorm abnorme abnormes achse akut alt alter angehoben auf auszuschliessen
        auszuschließen bei bericht bestimmbare das der die ein ekg erregungsrückbildungsstörung extrasystolen flach
        flattern für fuer grad grenzbefund hebung im infarkt ischämie ischaemie kein keine lagetyp
        leitungsstörung leitungsstoerung linksbelastung linkshypertrophie linksschenkelblock linkstyp llt mit
        mögl möglich moeglich nach nicht niederspannung normales oder ohne periphere rechtsschenkelblock
        rechtstyp rhythmus schwierig senkung sinusbradykardie sinusrhythmus sinustachykardie sonst spannung
        steiltyp und unbest unbestätigter ueberdrehter überdrehter unspezifisches unspezifische verdacht
        verlängerung vorhofflimmern wahrscheinlich zustand arrhythmie bradykardie tachykardie pathologisch
        myokardschaden inferiorer anteriorer lateraler anteroseptaler""",
    "en": """
        abnormality age an and are arrhythmia atrial axis be beat beats block borderline bradycardia branch but
        bundle cannot changes chest consider consistent contraction deviation due ecg enlargement fibrillation
        findings flat flutter heart high hypertrophy incomplete infarction inferior interval inverted is
        ischaemia ischemia lead leads left limb low may no non of old or otherwise pacemaker possible premature
        probable prolonged rate report rhythm right segment segments sinus specific suggest suggesting
        tachycardia the this to trace tracing only requested unconfirmed ventricular voltage wave waves with""",
    "sv": """
        avvikande axel axelställning bedömning ej ekg ektopi ektopisk elställning för förändring förändringar
        förmaksflimmer förmaksfladder förmaks grenblock hjärtfrekvens hypertrofi höger inga ischemi kammar kan
        lågvoltage med möjlig normalt och ospecifik ospecifika patologisk patologiskt sannolik
        sannolikt sinusbradykardi sinusrytm sinustakykardi som såsom takykardi bradykardi
        uttalad bör övervägas myokardskada vid vänster vänsterkammarhypertrofi ålder är""",
}.items()}


def detect_language(text: str) -> str:
    """`de`, `en`, `sv`, or `und` when no language is ahead by its telling words.

    German and Swedish reports borrow English words (block, low voltage), so that a tie with English goes to them.
    """
    words = _WORD.findall(text.lower())
    votes = {language: sum(word in known for word in words) for language, known in _WORDS.items()}
    best = max(votes.values())
    leading = [language for language, n in votes.items() if n == best]
    if len(leading) == 2 and "en" in leading:
        leading.remove("en")
    return leading[0] if best and len(leading) == 1 else UNDETERMINED
