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
_NUMBER = r"(?P<sign>[-+]?)(?P<number>\d{1,3}(?:[.,]\d{1,3})?|[.,]\d{2,3})(?![.,]?\d)"
_END = r"(?:\s*(?:-|to|bis|till)\s*(?P<end>\d{1,3}(?:[.,]\d{1,3})?))?"
_PER_MINUTE = r"(?:bpm|(?:beats?|schlaege|slag|1)?\s*(?:/|per|pro|a)\s*min|min-1)"
_SECONDS = r"ms\b|msec|millisec|s\b|sec|sek"
# A number with one of these units measures something else.
_OTHER_UNIT = {"rate": rf"{_SECONDS}|mm|mv|%|°|grad|deg|cm|kg|year|yo\b|y/o|jahr|aar|lead|kanal",
               "axis": rf"{_SECONDS}|mm|mv|%|{_PER_MINUTE}"}
_LIMIT = r"(?P<limit>above|over|more than|greater than|exceeding|>=?|≥|ueber|groesser|oever|" \
         r"below|under|less than|<=?|≤|unter|kleiner)?"
_PART = r"(?:[- ]?(?:intervall?\w*|int|duration|dauer|zeit|tid\w*|breite|bredd|width|time|komplex\w*|complex\w*|" \
        r"deviation|abweichung)\b)*"
_BETWEEN = r"(?:\s*(?:(?:is|of|about|around|circa|approximately|measures|measured|betraegt|von|ist|aer|was|at|to|mit|" \
           r"auf|med|paa|till|prolonged|lengthened|borderline|increased|short(?:ened)?|normal\w*|wide(?:ned)?|mildly|" \
           r"slightly|markedly|leicht|laett|(?:ver|foer)laeng\w*|verkuerzt|foerkortad|verbreitert|now|" \
           r"prolongation|(?:ver|foer)laengerung|foerlaengning|currently|jetzt|aktuell|nu|bazett|fridericia|" \
           r"ca|approx)\b\.?|[:=,()~]))*\s*"
_NAMES = {
    "rate": r"(?<!atrial )(?<!vorhof)(?:(?:heart|ventricular|sinus|pulse|overall)[ -]*)?(?:rate|frequency|herzfrequenz|"
            r"kammerfrequenz|frequenz|response|hf|hr|pulse?|"
            r"(?:sinus ?)?(?:rhythm(?:us)?|rytm)|(?:hjaert|kammar|kammer)?frekvens)",
    "pr": r"(?:pri?|pq|p-r|p-q)", "qrs": r"qrsd?",
    "qtc": r"(?:qtc(?:[ -]?(?:bazett|fridericia|b|f))?|corrected qt|frequenzkorrigierte qt|korrigerad qt)",
    "qt": r"(?<!corrected )(?<!korrigierte )(?<!korrigerad )qt(?!c)",
    "axis": r"(?<!\bp )(?<!\bt )(?:axis|(?:herz)?achse|lagetyp|(?:el-?)?axel)"}
STATED = {kind: re.compile(rf"(?<![a-z]){name}{_PART}{_BETWEEN}{_LIMIT}\s*{_NUMBER}{_END}"
                           rf"(?!\s*(?:{_OTHER_UNIT.get(kind, _PER_MINUTE + '|mm|mv|%')}))")
           for kind, name in _NAMES.items()}
_MS = r"(?:\d{3}|0?[.,]\d{2,3})"
PAIR = re.compile(rf"(?<![a-z])qt-?\s*/\s*qtc(?:[- ]?intervall?)?\D{{0,6}}?(?P<qt>{_MS})\s*(?:ms|s)?\s*/\s*"
                  rf"(?P<qtc>{_MS})(?!\d)")
# The axes of P, QRS and T as machines print them: "P-R-T axes 60 -20 45"; one that was not measured is a star.
_DEGREES = r"(?:[-+]?\d{1,3}|\*+)"
AXES = re.compile(rf"(?<![a-z])p[-/ ,]*(?:qrs|r)[-/ ,]*t[- ]*(?:axes|axis|achsen?|lagetyp|axlar)?\s*[:=]?"
                  rf"\s*{_DEGREES}\s*°?[\s/,;]+(?P<qrs>{_DEGREES})\s*°?[\s/,;]+{_DEGREES}")
BPM = re.compile(rf"(?<![\d.,]){_LIMIT}\s*{_NUMBER}{_END}\s*{_PER_MINUTE}")
# What a number per minute belongs to that is no rate of the ventricles.
NOT_RATE = re.compile(r"(?:extrasystol\w*|\bs?ves\b|\bes\b|\bpvcs?|\bpacs?|"
                      r"atrial (?:rate|flutter)|vorhof(?!flimm)\w*|foermaks(?!flimmer)\w*|"
                      r"uniforme?|polymorph)(?:[^\w,.;]+[a-z]+){0,3}[^\w.;]*$")
WORDS: tuple[tuple[re.Pattern[str], Claim], ...] = tuple((re.compile(pattern), claim) for pattern, claim in (
    (r"(?<!a)\b(?:tachycard|tachykard|takykard)(?!\w*[- ]brady)|rapid ventricular (?:response|rate)|"
     r"schnelle ueberleitung", Claim("rate", low=limits.FAST, abnormal=True)),
    (r"\b(?:bradycard|bradykard)(?!\w*[- ]tachy)|slow ventricular (?:response|rate)",
     Claim("rate", high=limits.SLOW, abnormal=True)),
    (r"normal (?:heart|ventricular) rate|normofre(?:qu|kv)en|normale? (?:herz)?frequenz|normal (?:hjaert)?frekvens",
     Claim("rate", limits.SLOW, limits.FAST)),
    (r"short(?:ened)? p[rq]|p[rq] interval (?:is )?short|kort p[rq]|p[rq]-?(?:zeit|intervall?) verkuerzt|"
     r"verkuerzte p[rq]", Claim("pr", high=limits.SHORT_PR, abnormal=True)),
    (r"normal p[rq](?:-| )?(?:interval|zeit)|p[rq] interval (?:is )?normal", Claim("pr", limits.SHORT_PR,
                                                                                 limits.LONG_PR)),
    (r"\b(?:wide|broad)(?:ned|ened)? qrs|qrs(?:[- ]?(?:complex|komplex)\w*)? (?:is |are |ist |sind |aer )?(?:"
     r"wide(?:ned)?|broad|prolonged|verbreitert|breddoek\w*)|verbreiterter? qrs|breiter? qrs|"
     r"(?:breddoek\w*|brett|breda) qrs", _WIDE),
    (r"narrow qrs|schmaler? qrs|smal(?:t|a) qrs|normal qrs duration|qrs duration (?:is )?normal",
     Claim("qrs", high=limits.WIDE_QRS)),
    (r"short(?:ened)? qt|qt-?(?:zeit|intervall?) verkuerzt|verkuerzte qt", Claim("qtc", high=limits.SHORT_QTC,
                                                                                abnormal=True)),
    (r"normal qtc?\b|qtc? interval (?:is )?normal", Claim("qtc", limits.SHORT_QTC, limits.LONG_QTC["F"])),
    (r"left(?:ward)? axis|leftward qrs axis|axis deviation to the left|ueberdrehter links(?:lage)?typ|"
     r"\bvaenster(?:staelld)? (?:el)?axel", Claim("axis", -180, limits.LEFT_AXIS, True)),
    (r"right(?:ward)? axis|axis deviation to the right|(?<!sagittal)(?:ueberdrehter )?rechts(?:lage)?typ|"
     r"hoeger(?:staelld)? (?:el)?axel", Claim("axis", limits.RIGHT_AXIS, 180, True)),
    (r"normal (?:qrs )?axis|axis (?:is )?normal|lagetyp normal|normal (?:el-?)?axel",
     Claim("axis", limits.LEFT_AXIS, limits.RIGHT_AXIS)),
    (r"(?<!ueberdrehter )links(?:lage)?typ", Claim("axis", -30, 30)),
    (r"indifferenz(?:lage)?typ", Claim("axis", 30, 60)),
    (r"steil(?:lage)?typ", Claim("axis", 60, 90)),
    (r"(?<!ir)\bregular (?:sinus |narrow |heart )?(?:rhythm|rate)|rhythm is regular|\bregelmaessiger? rhythm|"
     r"\bregelbunden", Claim("regular", 1, 1)),
    (r"irregular(?:ly irregular)? (?:\w+ )?(?:rhythm|rate|ventric|response)|rhythm is irregular|"
     r"unregelmaessiger? (?:rhythm|rr|r-r|herz)|irregular (?:rr|r-r)|oregelbunden", Claim("regular", 0, 0, True)),
    (r"(?:no|without|absent|absence of) (?:discernible |visible |clear )?p[- ]?waves?|p[- ]?waves? (?:(?:is|are) )?"
     r"(?:absent|not (?:seen|visible|discernible|identif\w+|present))|keine? p-?welle|"
     r"p-?wellen? (?:sind )?(?:nicht|fehlen)|fehlende p-?welle|inga p-?vaag|p-?vaag\w* saknas", Claim("p", 0, 0, True)),
    (r"p[- ]?waves? (?:precedes?|before|preceding) (?:each|every|all)|preceded by (?:a )?p[- ]?waves?|"
     r"p-?wellen? vor jedem|p-?vaag\w* foere varje", _SINUS),
))
DENIED = re.compile(r"(?:\b(?:no|not|without|neither|nor|kein\w*|nicht|ohne|ingen|inga|inte|utan)\b(?: \w+){0,2} ?$)")
DOUBTED = re.compile(r"\b(?:possible|possibly|probabl[ey]|borderline|consider|cannot|suspected|likely|may be|might be|"
                     r"could be|moeglich\w*|fraglich\w*|v\.a\.|verdacht|grenzwertig\w*|wahrscheinlich|misstaenkt|"
                     r"moejlig\w*|trolig\w*|sannolik\w*)\b(?: \w+){0,3} ?$")
ST = re.compile(r"\bst(?:[- ](?:segment|t|strecken?))*[- ]?(?P<what>elevations?|depressions?|hebung\w*|senkung\w*|"
                 r"hoejning\w*|saenkning\w*)|(?P<before>elevation|depression) of (?:the )?st\b")
AMOUNT = re.compile(r"(?<![\d.,])(?:(?P<from>\d(?:[.,]\d{1,2})?)\s*(?:-|to|bis|till)\s*)?"
                    r"(?P<number>\d{1,4}(?:[.,]\d{1,2})?)[\s-]*(?P<unit>mm|mv|uv)\b(?!\s*/)")
LEAD = re.compile(r"\bv\s?([1-6])(?:\s*(?:-|to|through|thru|bis|till)\s*v?\s?([1-6]))?\b"
                  r"((?:(?:, ?|/|\+|&| and | und | och )[1-6](?!\d|\.\d|(?:,\d)?\s*m[mv]))*)|\b(avr|avl|avf)\b|"
                  r"(?<![a-z-])(?<!block )(?<!type )(?<!typ )(?<!mobitz )(?<!grad )(?<!degree )(?<!class )"
                  r"(i{1,3})(?![a-z-])(?! (?:see|note|suspect|think|believe|find|would|cannot)\b)")
TERRITORY = re.compile(rf"\b({'|'.join(sorted(LEADS_OF, key=len, reverse=True))})")
SENTENCE = re.compile(r"[.;!?](?=\s|$)|\n")
FOLDED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ß": "ss", "μ": "u", "µ": "u",
                        "−": "-", "–": "-", "—": "-", "‐": "-"})
