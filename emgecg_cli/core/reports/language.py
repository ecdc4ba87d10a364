"""A small deterministic guess at the language of a report: by its script, and within Latin script by typical words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
        abnormality age an and are arrhythmia atrial axis be beat beats borderline bradycardia branch but
        bundle cannot changes chest consider consistent contraction deviation due ecg enlargement fibrillation
        findings flat flutter heart high hypertrophy incomplete infarction interval inverted is
        history ischaemia ischemia lead leads left limb low may no non of old or otherwise pacemaker possible premature
        probable previous prolonged rate report rhythm right segment segments sinus specific suggest suggesting
        tachycardia the this to trace tracing only requested unconfirmed ventricular wave waves with""",
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


# The votes of a text for all languages are the fields of one integer, so that those of its words are added at once.
_FIELD = 32
_PLACE = {language: _FIELD * number for number, language in enumerate((*_WORDS, *_MORE_WORDS))}
_VOTES: dict[str, int] = {}
for _language, _own in (*_WORDS.items(), *_MORE_WORDS.items()):
    for _one in _own:
        _VOTES[_one] = _VOTES.get(_one, 0) + (1 << _PLACE[_language])


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
    return _told(sum(map(_votes, text.lower().split())), script == LATIN)


@lru_cache(maxsize=1 << 16)
def _told(votes: int, latin: bool) -> tuple[str, str]:
    """The two guesses by the votes of all words; the second one asks for a text in Latin script."""
    telling, more = _counted(votes, _WORDS), _counted(votes, _MORE_WORDS) if latin else {}
    detected = _leading(telling)
    best = max(more, key=lambda language: more[language], default=detected)
    others = [n for language, n in (telling | more).items() if language != best]
    return detected, best if more and more[best] > max((1, *others)) else detected


@lru_cache(maxsize=1 << 16)
def _votes(chunk: str) -> int:
    """The votes of what stands between two blanks, in lower case."""
    return sum(_VOTES.get(one, 0) for one in _words(chunk))


def _counted(votes: int, languages: Iterable[str]) -> dict[str, int]:
    """How many words tell of each of the languages, of those that any tells of."""
    found = {language: votes >> _PLACE[language] & (1 << _FIELD) - 1 for language in languages}
    return {language: n for language, n in found.items() if n}


def _words(chunk: str) -> list[str]:
    """The words of a text in lower case, without the digits in and around them."""
    if chunk.isascii():
        return _ASCII_WORD.findall(chunk)
    words: list[str] = []
    for run in word().findall(chunk):
        if run.isalpha():
            words.append(run)
        else:
            words += filter(None, _DIGIT.split(run))
    return words


def _leading(votes: Mapping[str, int]) -> str:
    """The language of most words; one that is tied with English goes first."""
    best = max(votes.values(), default=0)
    leading = [language for language, n in votes.items() if n == best]
    if len(leading) == 2 and "en" in leading:
        leading.remove("en")
    return leading[0] if len(leading) == 1 else UNDETERMINED
