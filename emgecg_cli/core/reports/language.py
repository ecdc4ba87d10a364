"""A small deterministic guess at the language of a report: by its script, and within Latin script by typical words."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from emgecg_cli.core.reports.scripts import LANGUAGE_OF, LATIN, same_letters, script_of, word

UNDETERMINED = "und"

_DIGIT = re.compile(r"\d")
_ASCII_WORD = re.compile("[a-z]+")
# Words that tell the three apart in ECG reports; what German and English share (normal, abnormal, block) is left out.
_WORDS = {language: frozenset(words.split()) for language, words in {
    "de": """
        aber ableitungen abnorm abnorme abnormes achse akut alt alter angehoben auf auszuschliessen auszuschließen bei
        bericht bestimmbare das der die ein ekg erregungsrückbildungsstörung extrasystolen flach flattern für fuer grad
        grenzbefund hebung im infarkt ischämie ischaemie kein keine lagetyp leitungsstörung leitungsstoerung
        linksbelastung linkshypertrophie linksschenkelblock linkstyp llt mit mögl möglich moeglich nach nicht
        niederspannung normales oder ohne periphere rechtsschenkelblock rechtstyp rhythmus schwierig senkung
        sinusbradykardie sinusrhythmus sinustachykardie sonst spannung steiltyp und unbest unbestätigter ueberdrehter
        überdrehter unspezifisches unspezifische verdacht verlängerung vorhofflimmern wahrscheinlich zustand arrhythmie
        bradykardie tachykardie pathologisch myokardschaden inferiorer anteriorer lateraler anteroseptaler
        ausgeschlossen ersten zweiten dritten grades extrasystolie fehlt fraglich fragliche fraglicher fragliches
        grenzwertig grenzwertige grenzwertiger grenzwertiges inkompletter inkompletten kompletter kompletten totaler
        möglicher mögliche möglicherweise negativierung negativierungen unspezifischer unwahrscheinlich vermutlich
        weder zacke zacken drittgradiger einen einer eventuell hwi ist lahb lsb nachweisbar rsb sind vhf vwi wurde""",
    "en": """
        abnormality age an and are arrhythmia atrial axis be beat beats block borderline bradycardia branch but
        bundle cannot changes chest consider consistent contraction deviation due ecg enlargement fibrillation
        findings flat flutter heart high hypertrophy incomplete infarction inferior interval inverted is
        history ischaemia ischemia lead leads left limb low may no non of old or otherwise pacemaker possible premature
        probable previous prolonged rate report rhythm right segment segments sinus specific suggest suggesting
        tachycardia the this to trace tracing only requested unconfirmed ventricular voltage wave waves with""",
    "sv": """
        avvikande axel axelställning bedömning ej ekg ektopi ektopisk elställning för förändring förändringar
        förmaksflimmer förmaksfladder förmaks grenblock hjärtfrekvens hypertrofi höger inga ischemi kammar kan
        lågvoltage med möjlig normalt och ospecifik ospecifika patologisk patologiskt sannolik sannolikt
        sinusbradykardi sinusrytm sinustakykardi som såsom takykardi bradykardi uttalad bör övervägas myokardskada vid
        vänster vänsterkammarhypertrofi ålder är akut anamnes andra digitaliseffekt digitalispåverkan eller elaxel
        enstaka eventuell eventuellt extraslag extrasystoli extrasystolier fascikelblock extrasystoler flacka flimmer
        framväggsinfarkt från främre första graden komplett föreligger förlängd gammal genomgången hållpunkter
        högergrenblock höjning höjningar icke inferiort infarkt ingen inget inkomplett inte inverterade känt lateralt
        låg låga längre misstanke misstänks misstänkt möjligen möjliga möjligt negativa nu osannolik osannolikt osäkert
        ospecifikt pacemakerrytm partiellt på rytm sannolika ses sänkning sänkningar talar tecken tidigare till totalt
        tredje trolig troligen troligt tveksam tveksamt uteslutas uteslutet utan varken våg vågor vänstergrenblock
        vänstersidigt""",
}.items()}


# Words of reports in languages that are told apart for a comparison of two texts only; none of them is English or an
# abbreviation that reports in other languages use.
_MORE_WORDS = {language: frozenset(words.split()) for language, words in {
    "fr": """
        rythme sinusal normale normaux électrique aucune aucun anomalie anomalies bloc branche droite gauche droit
        fibrillation auriculaire ventriculaire tachycardie hypertrophie une des les est avec sans ondes fréquence
        cardiaque axe sus-décalage sous-décalage dérivations trouble troubles repolarisation ischémie infarctus ancien
        tracé""",
    "es": """
        ritmo sinusal eje bloqueo rama derecha izquierda auricular fibrilación taquicardia hipertrofia ventricular con
        sin una los las electrocardiograma frecuencia cardíaca cardiaca isquemia infarto antiguo onda ondas
        derivaciones alteraciones repolarización dentro límites normales anormal desviación izquierdo derecho""",
    "it": """
        ritmo sinusale asse blocco branca destra sinistra atriale fibrillazione tachicardia ipertrofia ventricolare
        con senza della nella frequenza cardiaca ischemia infarto onda onde derivazioni alterazioni ripolarizzazione
        nei limiti normale anormale deviazione sinistro destro tracciato""",
    "pt": """
        ritmo sinusal eixo bloqueio ramo direito esquerdo fibrilação taquicardia hipertrofia ventricular com sem uma
        dos das não frequência cardíaca isquemia infarto enfarte antigo onda ondas derivações alterações repolarização
        dentro limites normais desvio esquerda direita""",
    "nl": """
        sinusritme normaal normale geen hartas rechter linker bundeltakblok boezemfibrilleren een het met zonder van
        voor hartfrequentie geleidingsstoornis repolarisatiestoornissen ischemie afwijkingen
        linkerventrikelhypertrofie onderwandinfarct voorwandinfarct""",
}.items()}


# A word -> the languages it tells of
_TELLING = {one: tuple(language for language, known in _WORDS.items() if one in known)
            for one in frozenset().union(*_WORDS.values())}
_MORE = {one: tuple(language for language, known in _MORE_WORDS.items() if one in known)
         for one in frozenset().union(*_MORE_WORDS.values())}


def detect_language(text: str) -> str:
    """`de`, `en`, `sv`, the language of a script that one language is written in (`zh`, `ja`, `th`, …), or `und`.

    In Latin script typical words decide. German and Swedish reports borrow English words (block, low voltage), so that
    a tie with English goes to them.
    """
    return _guesses(text)[0]


def likely_language(text: str) -> str:
    """`detect_language`, and French, Spanish, Italian, Portuguese or Dutch where two words or more tell of one of them
    and fewer of any other language; for comparing two texts, not for naming the language of a report for good."""
    return _guesses(text)[1]


@lru_cache(maxsize=1 << 19)  # of every different text of a large set, which is asked for by several
def _guesses(text: str) -> tuple[str, str]:
    """The language as `detect_language` and as `likely_language` give it."""
    text = same_letters(text)
    script = script_of(text)
    if script not in (LATIN, None):
        own = LANGUAGE_OF.get(str(script), UNDETERMINED)
        return own, own
    words = _words(text)
    telling = _votes(words, _TELLING)
    detected = _leading(telling)
    more = _votes(words, _MORE).most_common(2) if script == LATIN and not _MORE.keys().isdisjoint(words) else []
    if more and more[0][1] > max((1, *telling.values(), *(n for _, n in more[1:]))):
        return detected, more[0][0]
    return detected, detected


def _words(text: str) -> list[str]:
    """Words in lower case, without the digits in and around them."""
    text = text.lower()
    if text.isascii():
        return _ASCII_WORD.findall(text)
    words: list[str] = []
    for run in word().findall(text):
        if run.isalpha():
            words.append(run)
        else:
            words += filter(None, _DIGIT.split(run))
    return words


def _votes(words: list[str], telling: dict[str, tuple[str, ...]]) -> Counter[str]:
    """How many of the words tell of each language."""
    votes: dict[str, int] = {}
    for one in filter(telling.__contains__, words):
        for language in telling[one]:
            votes[language] = votes.get(language, 0) + 1
    return Counter(votes)


def _leading(votes: Counter[str]) -> str:
    """The language of most words; one that is tied with English goes first."""
    best = max(votes.values(), default=0)
    leading = [language for language, n in votes.items() if n == best]
    if len(leading) == 2 and "en" in leading:
        leading.remove("en")
    return leading[0] if len(leading) == 1 else UNDETERMINED
