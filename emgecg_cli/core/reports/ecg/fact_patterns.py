"""How reports put facts into words and numbers, in English, German and Swedish: patterns, and what each claims.

Texts are in lower case, umlauts as two letters, every dash a hyphen.
"""

from __future__ import annotations

import re

from emgecg_cli.core.reports.ecg import criteria as limits
from emgecg_cli.core.reports.ecg.criteria import LEADS_OF, Claim

_SINUS, _FIBRILLATION = Claim("p", 1, 1), (Claim("p", 0, 0, True), Claim("regular", 0, 0, True))
_WIDE = Claim("qrs", low=limits.WIDE_QRS, abnormal=True)
_INCOMPLETE = Claim("qrs", limits.INCOMPLETE_QRS, limits.WIDE_QRS, True)
_LONG_PR = Claim("pr", low=limits.LONG_PR, abnormal=True)
# What makes a rhythm irregular that a physician may call regular all the same.
ECTOPY = frozenset({"PVC", "PAC", "PRC(S)", "BIGU", "TRIGU"})
# SCP-ECG statement -> what it claims
OF_STATEMENT: dict[str, tuple[Claim, ...]] = {
    "SR": (_SINUS,), "SARRH": (_SINUS,), "AFIB": _FIBRILLATION,
    "SBRAD": (_SINUS, Claim("rate", high=limits.SLOW, abnormal=True)),
    "STACH": (_SINUS, Claim("rate", low=limits.FAST, abnormal=True)),
    "SVTAC": (Claim("rate", low=limits.FAST, abnormal=True),),
    "PSVT": (Claim("rate", low=limits.FAST, abnormal=True),),
    "1AVB": (_LONG_PR,), "LPR": (_LONG_PR,), "CLBBB": (_WIDE,), "CRBBB": (_WIDE,), "IRBBB": (_INCOMPLETE,),
    "ILBBB": (_INCOMPLETE,), "LAFB": (Claim("axis", -180, limits.LEFT_AXIS, True),),
    "LPFB": (Claim("axis", limits.RIGHT_AXIS, 180, True),),
    "LNGQT": (Claim("qtc", low=limits.LONG_QTC["M"], abnormal=True),),
}
_NUMBER = r"(?P<sign>[-+]?)(?P<number>\d{1,3}(?:[.,]\d{1,3})?)(?!\d)"
_LIMIT = r"(?P<limit>above|over|more than|greater than|exceeding|>=?|≥|ueber|groesser|oever|" \
         r"below|under|less than|<=?|≤|unter|kleiner)?"
_BETWEEN = r"(?:\s*(?:interval(?:l)?|duration|dauer|zeit|tid|complex|komplex|width|breite|time|is|of|about|around|" \
           r"ca\.?|approximately|measures|betraegt|von|ist|aer|was|at|[:=,(~]))*\s*"
_NAMES = {
    "rate": r"(?<!atrial )(?<!vorhof)(?:(?:heart|ventricular|sinus|pulse|overall)[ -]*)?(?:rate|frequency|herzfrequenz|"
            r"kammerfrequenz|frequenz|response|hf|hr|puls|frekvens|hjaertfrekvens)",
    "pr": r"(?:pr|pq|p-r|p-q)", "qrs": r"qrs", "qtc": r"(?:qtc(?:[ -]?(?:bazett|fridericia|b|f))?|corrected qt|"
    r"frequenzkorrigierte qt)",
    "qt": r"(?<!corrected )qt(?!c)", "axis": r"(?<!p )(?<!t )(?:axis|achse|lagetyp|axel)"}
STATED = {kind: re.compile(rf"(?<![a-z]){name}(?:[- ]?(?:intervall?|duration|dauer|zeit))?{_BETWEEN}{_LIMIT}\s*"
                           rf"{_NUMBER}(?:\s*(?:-|to|bis)\s*(?P<end>\d{{1,3}}))?\s*(?P<unit>ms\b|msec\b|s\b|sec\b|sek\b)?")
           for kind, name in _NAMES.items()}
PAIR = re.compile(r"(?<![a-z])qt\s*/\s*qtc(?:[- ]?intervall?)?\D{0,6}?(?P<qt>\d{3})\s*(?:ms)?\s*/\s*"
                  r"(?P<qtc>\d{3})(?!\d)")
BPM = re.compile(rf"(?<![\d.,]){_LIMIT}\s*{_NUMBER}\s*(?:bpm|(?:beats|schlaege|slag)?\s*(?:/|per|pro)\s*min)")
# What a number per minute belongs to that is no rate of the ventricles.
NOT_RATE = re.compile(r"(?:extrasystol\w*|\bs?ves\b|\bes\b|\bpvcs?|\bpacs?|atrial|vorhof\w*|uniforme?|polymorph)"
                      r"(?:[^\w,.;]+[a-z]+){0,3}[^\w.;]*$")
WORDS: tuple[tuple[re.Pattern[str], Claim], ...] = tuple((re.compile(pattern), claim) for pattern, claim in (
    (r"(?<!a)\b(?:tachycard|tachykard|takykard)(?!\w*[- ]brady)|rapid ventricular (?:response|rate)|"
     r"schnelle ueberleitung", Claim("rate", low=limits.FAST, abnormal=True)),
    (r"\b(?:bradycard|bradykard)(?!\w*[- ]tachy)|slow ventricular (?:response|rate)",
     Claim("rate", high=limits.SLOW, abnormal=True)),
    (r"normal (?:heart|ventricular) rate|normofrequen|normale? (?:herz)?frequenz",
     Claim("rate", limits.SLOW, limits.FAST)),
    (r"short(?:ened)? p[rq]|p[rq]-?(?:zeit|intervall?) verkuerzt|verkuerzte p[rq]", Claim("pr", high=limits.SHORT_PR,
                                                                                     abnormal=True)),
    (r"normal p[rq](?:-| )?(?:interval|zeit)|p[rq] interval (?:is )?normal", Claim("pr", limits.SHORT_PR,
                                                                                 limits.LONG_PR)),
    (r"\bwide qrs|broad qrs|qrs (?:is )?(?:wide|broad|prolonged|verbreitert)|verbreiterter? qrs|breiter qrs", _WIDE),
    (r"narrow qrs|schmaler? qrs|normal qrs duration|qrs duration (?:is )?normal", Claim("qrs", high=limits.WIDE_QRS)),
    (r"short(?:ened)? qt|qt-?(?:zeit|intervall?) verkuerzt|verkuerzte qt", Claim("qtc", high=limits.SHORT_QTC,
                                                                                abnormal=True)),
    (r"normal qtc?\b|qtc? interval (?:is )?normal", Claim("qtc", limits.SHORT_QTC, limits.LONG_QTC["F"])),
    (r"left(?:ward)? axis|leftward qrs axis|axis deviation to the left|ueberdrehter linkstyp|\bvaenster(?:staelld)? "
     r"(?:el)?axel", Claim("axis", -180, limits.LEFT_AXIS, True)),
    (r"right(?:ward)? axis|axis deviation to the right|(?<!sagittal)(?:ueberdrehter )?rechtstyp|hoeger(?:staelld)? "
     r"(?:el)?axel", Claim("axis", limits.RIGHT_AXIS, 180, True)),
    (r"normal (?:qrs )?axis|axis (?:is )?normal|lagetyp normal", Claim("axis", limits.LEFT_AXIS, limits.RIGHT_AXIS)),
    (r"(?<!ueberdrehter )linkstyp", Claim("axis", -30, 30)), (r"indifferenztyp", Claim("axis", 30, 60)),
    (r"steiltyp", Claim("axis", 60, 90)),
    (r"(?<!ir)\bregular (?:sinus |narrow |heart )?(?:rhythm|rate)|rhythm is regular|\bregelmaessiger? rhythm|"
     r"\bregelbunden", Claim("regular", 1, 1)),
    (r"irregular(?:ly irregular)? (?:\w+ )?(?:rhythm|rate|ventric|response)|rhythm is irregular|"
     r"unregelmaessiger? rhythm|oregelbunden", Claim("regular", 0, 0, True)),
    (r"(?:no|without|absent|absence of) (?:discernible |visible |clear )?p[- ]?waves?|keine? p-?welle|"
     r"p-?wellen? nicht|inga p-?vaag", Claim("p", 0, 0, True)),
))
DENIED = re.compile(r"(?:\b(?:no|not|without|neither|nor|kein\w*|nicht|ohne|ingen|inga|inte|utan)\b(?: \w+){0,2} ?$)")
DOUBTED = re.compile(r"\b(?:possible|possibly|probabl[ey]|borderline|consider|cannot|moeglich\w*|fraglich\w*|"
                     r"v\.a\.|verdacht|grenzwertig\w*|misstaenkt)\b(?: \w+){0,3} ?$")
PAST = re.compile(r"\b(?:previous(?:ly)?|prior|history of|compared (?:with|to)|last tracing|z\.n\.|frueher\w*|"
                  r"vorbefund|tidigare)\b")
ST = re.compile(r"\bst(?:[- ](?:segment|t|strecken?))*[- ]?(?P<what>elevations?|depressions?|hebung\w*|senkung\w*|"
                 r"hoejning\w*|saenkning\w*)|(?P<before>elevation|depression) of (?:the )?st\b")
AMOUNT = re.compile(r"(?P<number>\d(?:[.,]\d{1,2})?)\s*(?P<unit>mm|mv)\b")
LEAD = re.compile(r"\bv\s?([1-6])(?:\s*(?:-|to|bis)\s*v?\s?([1-6]))?\b|\b(avr|avl|avf)\b|"
                  r"(?<![a-z-])(i{1,3})(?![a-z-])")
TERRITORY = re.compile(rf"\b({'|'.join(sorted(LEADS_OF, key=len, reverse=True))})")
SENTENCE = re.compile(r"[.;!?](?=\s|$)|\n")
FOLDED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ß": "ss", "−": "-", "–": "-", "—": "-", "‐": "-"})
