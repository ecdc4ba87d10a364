"""The words of findings, Chinese and English, and the scanner that finds them in running text.

One scanner for sentences on nerve conduction and one for the needle part; both read both languages, as Chinese reports
mix them. Nerves, muscles and sites come from the vocabulary of the tables, the rest is written here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from emgecg_cli.core.emg import terms, words

_CJK = re.compile("[\u2e80-\u9fff\uf900-\ufaff]")
_LEFTOVER = re.compile("[\u2e80-\u3000\u3005-\u9fff\uf900-\ufaff]+|[A-Za-z]+")
# In a list the word for nerve stands once, at its end: 正中、尺神经. One character alone needs such a neighbour.
_LIST_FOLLOWS = r"(?=\s*(?:神经|[、,及和与或]|运动|感觉|F))"
_NORMAL_ZH = r"正常(?:值|参考值)?(?:范围|界限|限度)?(?:之?内)?"
_NO_ZH = "(?:未见|未发现|未显示|没有|无)"
_CLEAR_ZH = "(?:明显|显著|明确|肯定|确切|特殊)?的?"
_ABSENT_ZH = ("(?:均|也)?未(?:能)?(?:引出|记录到|测出)(?:明确|肯定|明显)?(?:的)?(?:波形|反应|电位)?|引不出|"
              "消失|缺如|无(?:反应|波形)")
_ABSENT_EN = (r"(?:not|un|non[ -]?|could not be|can ?not be|(?:was|were) not)(?: be)? ?(?:reliably |clearly )?"
              r"(?:elicitable|elicited|recordable|recorded|obtainable|obtained|evoked|evocable|detectable|detected)|"
              r"absent|absence|lost|unresponsive|inexcitable")
_LIMIT_EN = r"(?:the )?(?:(?:upper|lower) limits? of (?:the )?)?normal(?: range| limits?| values?)?"

# kind -> (value, Chinese, English), in the order in which they are tried at one place of the text
_CONDUCTION: tuple[tuple[str, str, str, str], ...] = (
    ("filler", "", r"正常(?:值|参考值|范围)?\s*[:<>≤≥=为]\s*[\d.]+",
     r"normal(?: values?| range| limits?)?\s*(?:[:<>≤≥=]+|is|up to|of)\s*[<>]?\s*[\d.]+"),
    ("limit", "high", "(?:在|达|为|接近|处于|位于)?正常(?:值|范围)?的?(?:上限|高限|高值)",
     r"(?:at |near |close to |towards? )?(?:the )?(?:upper|high)[ -](?:limits?|end|border|side|range) of (?:the )?"
     r"normal(?: range)?|(?:upper|high)[ -]normal"),
    ("limit", "low", "(?:在|达|为|接近|处于|位于)?正常(?:值|范围)?的?(?:下限|低限|低值)",
     r"(?:at |near |close to |towards? )?(?:the )?(?:lower|low)[ -](?:limits?|end|border|side|range) of (?:the )?"
     r"normal(?: range)?|(?:lower|low)[ -]normal"),
    ("dir", "high", "(?:超过|超出|高于|大于|长于)正常(?:值|范围)?的?(?:上限|高限)?",
     f"(?:above|beyond|exceeding) {_LIMIT_EN}"),
    ("dir", "low", "(?:低于|小于|慢于)正常(?:值|范围)?的?(?:下限|低限)?", f"(?:below|under|lower than) {_LIMIT_EN}"),
    ("dir", "bad", "不在?正常(?:范围)?(?:内)?", "not (?:(?:with)?in (?:the )?)?normal(?: limits| range)?"),
    ("normal", "", f"{_NO_ZH}{_CLEAR_ZH}(?:异常|改变)|(?:在|于|属|为)?{_NORMAL_ZH}",
     r"(?:with)?in (?:the )?normal (?:limits|range)|normal(?:ly)?|unremarkable|wnl|(?:no|without)(?: \w+){0,2}? "
     r"abnormalit(?:y|ies)(?: (?:detected|found|seen|noted|is|was|are|were))*|not abnormal|intact|preserved"),
    ("dir", "absent", _ABSENT_ZH, _ABSENT_EN),
    ("rest", "", "其余|余(?:者|下)?|(?:其他|其它)|所?(?:被|受)?检(?:查)?的?(?:所有|各|诸)?神经|(?:各|所有)神经",
     r"(?:all )?(?:the )?(?:other|others|rest|remaining|remainder)|otherwise|elsewhere|all(?: the)?(?: \w+)? "
     r"(?:nerves|studies|values|parameters)|any(?: \w+)? (?:nerves?|stud(?:y|ies))|(?:nerves|studies) "
     r"(?:tested|examined|studied)"),
    ("except", "", "除", "except(?: for)?|apart from|other than|aside from"),
    ("neg", "", f"{_NO_ZH}{_CLEAR_ZH}|不|未",
     r"no(?: (?:clear|significant|definite|obvious|further|longer|evidence of|sign of))*|not(?: significantly)?|"
     r"without|neither|nor|negative for|free of"),
    ("sev", "severe", "中(?:度)?[-~至到]?重度|严重|重度|明显|显著|极度|重",
     r"moderate(?:ly)?[ -]to[ -](?:severe|marked)(?:ly)?|severe(?:ly)?|marked(?:ly)?|profound(?:ly)?|gross(?:ly)?"),
    ("sev", "moderate", "轻(?:度)?[-~至到]?中度|中等?度?",
     r"(?:mild|slight)(?:ly)?[ -]to[ -]moderate(?:ly)?|moderate(?:ly)?"),
    ("sev", "mild", "轻度|轻微|稍微?|略微?|轻", "mild(?:ly)?|slight(?:ly)?|minimal(?:ly)?|a little"),
    ("sev", "borderline", "临界(?:值|性)?", "borderline"),
    ("type", "f_wave", r"F\s*-?\s*(?:波|反应)", r"f[ -]?(?:waves?|responses?)|late responses?"),
    ("type", "h_reflex", r"H\s*-?\s*(?:反射|波)", r"h[ -]?(?:reflex(?:es)?|waves?)"),
    ("speed", "motor", "运动(?:神经)?传导速度", r"mn?cvs?|motor (?:nerve )?conduction velocit(?:y|ies)"),
    ("speed", "sensory", "感觉(?:神经)?传导速度", r"sn?cvs?|sensory (?:nerve )?conduction velocit(?:y|ies)"),
    ("delay", "motor", "", r"dmls?|dl"),
    ("resp", "motor", "复合肌肉动作电位|CMAPs?|M波", r"cmaps?|compound muscle action potentials?"),
    ("resp", "sensory", "感觉神经动作电位|SNAPs?", r"snaps?|sensory nerve action potentials?"),
    ("type", "motor", "运动(?:神经)?", "motor"),
    ("type", "sensory", "感觉(?:神经)?", "sensory"),
    ("ignored", "", "出现率|离散度?|时程|时限|传导阻滞|波形|重复性",
     r"persistence|chronodispersion|(?:temporal )?dispersion|duration|conduction blocks?|blocks?"),
    ("distal", "", "(?:远端|末端|末梢)(?=潜伏)", r"(?:distal|terminal)(?= (?:\w+ )?latenc)"),
    ("measure", "lat", "(?:峰|起始)?潜伏(?:期|时)", r"(?:peak |onset )?latenc(?:y|ies)"),
    ("measure", "amp", "波幅|振幅|幅度|幅值", r"amplitudes?"),
    ("measure", "cv", "传导速度|速度", r"(?:conduction )?velocit(?:y|ies)|n?cvs?|conduction speeds?"),
    ("cond", "", "传导", r"conductions?"),
    ("resp", "", "电位|反应", r"responses?|potentials?"),
    ("dir", "delayed", "延长|延迟|偏长", "prolonged|prolongation|delay(?:ed|s)?|lengthened|long"),
    ("dir", "slow", "减慢|变慢|偏慢|缓慢|慢", "slow(?:ed|ing|er)?"),
    ("dir", "low", "降低|减低|下降|低下|减小|偏低|缩短|过低|低",
     "reduc(?:ed|tion|tions)|decreas(?:ed|es?)|diminished|low(?:er|ered)?|attenuat(?:ed|ion)|small|short(?:ened)?|"
     "drop(?:ped)?|loss"),
    ("dir", "high", "增[加高快大宽]|升高|加快|偏高|过快",
     "increas(?:ed|es?)|elevated|elevation|high(?:er)?|fast(?:er)?"),
    ("dir", "bad", "异常", "abnormal(?:ly)?|abnormalit(?:y|ies)|impaired"),
)
_NEEDLE: tuple[tuple[str, str, str, str], ...] = (
    ("normal", "", f"{_NO_ZH}{_CLEAR_ZH}(?:的)?(?:(?:肌|神经)源性|或|及|和|、|/)+(?:性)?(?:损害|损伤)?(?:的)?(?:肌电)?"
     f"(?:图)?(?:改变|表现|损害)?|{_NO_ZH}{_CLEAR_ZH}(?:异常|改变|自发电位|安静电位)(?:电位)?|(?:在|于)?{_NORMAL_ZH}",
     r"(?:no|without)(?: \w+){0,2} (?:myogenic|myopathic|neurogenic|neuropathic)(?: (?:or|and|nor) (?:\w+))?"
     r"(?: (?:change|damage|lesion|abnormalit)\w*)?(?: (?:is|was|are|were))?(?: seen| found)?|"
     r"(?:no|without)(?: \w+){0,3} (?:abnormalit(?:y|ies)|spontaneous activity)(?: (?:is|was|are|were))?"
     r"(?: seen| found| detected)?|"
     r"(?:with)?in (?:the )?normal (?:limits|range)|normal(?! (?:recruit|dur|ampl))|unremarkable|wnl|silent"),
    ("rest", "", "其余|余(?:者|下)?|(?:其他|其它)|所?(?:被|受)检(?:查)?的?(?:所有|各|诸)?肌肉?|(?:各|所有)肌肉?",
     r"(?:all )?(?:the )?(?:other|others|rest|remaining|remainder)|otherwise|elsewhere|all(?: the)?(?: \w+)? "
     r"(?:muscles)|any(?: \w+)? muscles?|muscles (?:tested|examined|studied)"),
    ("except", "", "除", "except(?: for)?|apart from|other than|aside from"),
    ("finding", "fibs", "纤颤(?:电位|波)?", r"fibrillations?(?: potentials?)?|fibs?"),
    ("finding", "psw", "正(?:锐|相|尖)波?", r"positive (?:sharp )?waves?|psws?"),
    ("finding", "fascics", "束颤(?:电位|波)?", r"fasciculations?(?: potentials?)?|fascics?"),
    ("finding", "complex_repetitive_discharge", "复杂重复放电|高频放电", r"complex repetitive discharges?|crds?"),
    ("finding", "myotonic_discharge", "肌?强直(?:性)?(?:放电|电位)", r"myotonic discharges?|myotonia"),
    ("finding", "myokymia", "肌颤搐(?:放电|电位)?", r"myokymi(?:a|c discharges?)"),
    ("finding", "polyph", "多相(?:波|电位)?(?:百分比)?(?:增多|增加)?",
     r"(?:increased |excess(?:ive)? )?polyphasi(?:c|a)(?: MU[AP]P?s?)?"),
    ("finding", "single_mixed", "单纯-?混合相|单混相|混合-?单纯相",
     r"single[ -]mixed(?: (?:recruitment )?pattern)?|single[ -]to[ -]mixed(?: pattern)?"),
    ("finding", "single", "单纯相",
     r"single(?:[ -]unit)?(?: recruitment)? pattern|discrete(?: recruitment)?(?: pattern)?"),
    ("finding", "early", "病理(?:性)?干扰相|早(?:期)?募集",
     r"early recruitment|pathological interference(?: pattern)?"),
    ("finding", "none", f"无(?:运动单位(?:电位)?|MUP)|{_NO_ZH}(?:运动单位(?:电位)?|MUP)",
     r"no (?:motor unit(?: action)?(?: potential)?s?|mu[ap]p?s?)"),
    ("finding", "reduced", "募集(?:相|反应)?(?:明显|轻度|中度|重度)?(?:减少|减弱|降低)",
     r"(?:reduced|decreased|poor) recruitment|recruitment (?:is |was )?(?:reduced|decreased)"),
    ("fine", "", "混合相|干扰相",
     r"(?:full |mixed )?interference(?: pattern)?|mixed (?:recruitment )?pattern|normal recruitment"),
    ("finding", "large", "(?:高大|宽大|巨大)(?:电位|波)?|时限(?:明显)?(?:增宽|延长)|波幅(?:明显)?(?:增高|升高)",
     r"(?:large|giant|high)[ -]?(?:amplitude)?|(?:long|increased|prolonged)[ -](?:duration|amplitude)|broad"),
    ("finding", "small", "短小(?:电位|波)?|时限(?:明显)?(?:缩短|变窄)|波幅(?:明显)?(?:降低|减低)",
     r"(?:small|low)[ -]?(?:amplitude)?|(?:short|reduced|decreased)[ -](?:duration|amplitude)|brief"),
    ("neg", "", f"{_NO_ZH}{_CLEAR_ZH}|不|未",
     r"no(?: (?:clear|significant|definite|evidence of))*|not|without|neither|nor"),
)
_SHARED: tuple[tuple[str, str, str, str], ...] = (
    ("side", "both", "左右(?:两|双)?侧?|左、右侧?|双侧|两侧|双",
     r"bilateral(?:ly)?|both(?= sides| (?:\w+ )?(?:median|ulnar|radial|peroneal|fibular|tibial|sural))|"
     r"left and right|right and left"),
    ("side", "left", "左侧?", r"left(?:[ -]sided?)?|(?-i:L)\.?(?= )"),
    ("side", "right", "右侧?", r"right(?:[ -]sided?)?|(?-i:R)\.?(?= )"),
    ("limb", "upper", "上肢", r"upper (?:limbs?|extremit(?:y|ies))|arms"),
    ("limb", "lower", "下肢", r"lower (?:limbs?|extremit(?:y|ies))|legs"),
)
_AND = ("and", "", "[、及和与或]|以及|伴有?|并", r"and|or|with|as well as|[&/]")
_STOP = r"[;。\n!?]|\.(?=\s|$)"
_COMMA = r",|但是?|而且?|(?<![A-Za-z])(?:but|while|whereas|however|although|yet)(?![A-Za-z])"
_FILLER_ZH = ("所(?:被)?检|被检|检查|测定|示|显示|提示|可见|见|呈|为|系|有|的|均|都|也|仍|尚|者|较|各|段|部|跨|"
              "处|侧|支|及其|神经|肌肉|肌|轻?收缩时?|静息时?|大力收缩|募集(?:相|反应)?|电位|改变|增多|外|上|下|"
              "在|于|且|则|其|中|内|肌电图?|神经传导|(?:肌|神经)源性|损害|损伤|记录|刺激|运动单位(?:电位)?|"
              "运动单位动作电位|时|远端|近端|腕-肘|肘-腕|以|到|至|由|自|比|值|对侧|患|健|可|CTS|两|并|相|呈现|"
              "表现|出现|存在|考虑")
_FILLER_EN = ("the a an of in at on to is are was were be been being has have had there it its this these "
              "those show shows showed shown showing seen found noted present reveal reveals revealed "
              "demonstrate demonstrates demonstrated nerve nerves muscle muscles study studies segment "
              "segments across over from by for as also both respectively mup mups muap muaps motor unit units "
              "potential potentials action recruitment pattern patterns emg ncv ncs conduction needle "
              "examination examined tested test tests all each either sided side sides distal proximal "
              "recording recorded recordings stimulation stimulating stimulated values value range which that "
              "increased reduced numerous some several occasional frequent sharp wave waves activity "
              "spontaneous neurogenic myogenic myopathic changes change then than only again within remained "
              "remain remains could fibres fibers ms mv uv obtained elicited contralateral compared evidence "
              "sign signs mu limb limbs hand foot arm leg more most less")


@dataclass(frozen=True)
class Token:
    """A word the scanner knows. `chinese`: it is written in Chinese characters, and stands behind what it is about."""

    kind: str
    value: str
    text: str

    @property
    def chinese(self) -> bool:
        return bool(_CJK.search(self.text))


def normal_form(text: str) -> str:
    """The text as the scanners take it: full-width letters, digits and marks made plain."""
    return unicodedata.normalize("NFKC", text)


def scan(text: str, needle: bool) -> Iterator[Token]:
    """The known words of a text in `normal_form`, in order; a word nobody knows comes as kind "unknown"."""
    pattern, kinds, spellings = _scanner(needle)
    at = 0
    for match in pattern.finditer(text):
        for word in _LEFTOVER.findall(text[at:match.start()]):
            yield Token("unknown", "", word)
        at = match.end()
        kind, value = kinds[match.lastgroup or ""]
        if kind in ("nerve", "muscle"):
            value = spellings[kind][terms.fold(match[0])]
        yield Token(kind, value, match[0])
    for word in _LEFTOVER.findall(text[at:]):
        yield Token("unknown", "", word)


@cache
def _scanner(needle: bool) -> tuple[re.Pattern[str], dict[str, tuple[str, str]], dict[str, dict[str, str]]]:
    """One pattern of named groups, what each group stands for, and the names behind the spellings."""
    nerves, nerve_names = _vocabulary("nerve", words.NERVES)
    muscles, muscle_names = _vocabulary("muscle", words.MUSCLES)
    sites, _ = _vocabulary("site", words.SITES)
    entries = [("muscle", "", muscles), ("nerve", "", nerves)]
    if needle:
        entries = entries[:1]
    for kind, value, chinese, english in (*_SHARED, *(_NEEDLE if needle else _CONDUCTION), _AND):
        entries.append((kind, value, "|".join(part for part in (chinese, _whole(english)) if part)))
    entries += [("filler", "", sites), ("stop", "", _STOP), ("comma", "", _COMMA),
                ("filler", "", f"{_FILLER_ZH}|{_whole('|'.join(sorted(_FILLER_EN.split(), key=len, reverse=True)))}")]
    kinds = {f"g{i}": (kind, value) for i, (kind, value, _) in enumerate(entries)}
    pattern = "|".join(f"(?P<g{i}>{body})" for i, (_, _, body) in enumerate(entries))
    return re.compile(pattern, re.I), kinds, {"nerve": nerve_names, "muscle": muscle_names}


def _whole(english: str) -> str:
    return f"(?<![A-Za-z])(?:{english})(?![A-Za-z])" if english else ""


def _vocabulary(kind: str, table: str) -> tuple[str, dict[str, str]]:
    """A pattern for all spellings of a kind in running text, longest first, and the name behind each folded one."""
    chinese: dict[str, str] = {}
    english: dict[str, str] = {}
    found: dict[str, str] = {}
    for line in re.sub(r"\n\s+", " ", table).strip().splitlines():
        name, *spellings = (part.strip() for part in line.split("|"))
        for spelling in (name.replace("_", " "), *spellings[:2], *spellings[2].split(";")):
            text = normal_form(spelling.strip())
            if _CJK.search(text):
                chinese.setdefault(text, _chinese(kind, text))
                found |= {terms.fold(text): name, terms.fold(text.removesuffix("神经")): name}
            elif len(terms.fold(text)) > 1 and not (kind == "site" and len(text) < 3):
                english.setdefault(text, _english(text))
                found[terms.fold(text)] = name
    def ordered(patterns: dict[str, str]) -> str:
        return "|".join(patterns[text] for text in sorted(patterns, key=len, reverse=True))
    return f"{ordered(chinese)}|(?<![A-Za-z])(?:{ordered(english)})(?![A-Za-z])", found


def _chinese(kind: str, text: str) -> str:
    stem = text.removesuffix("神经")
    if kind != "nerve" or stem == text:
        return re.escape(text)
    if len(stem) > 1:
        return f"{re.escape(stem)}(?:神经(?!根|源|丛)|(?![肌骨侧部]))"
    return f"{re.escape(stem)}(?:神经(?!根|源|丛)|{_LIST_FOLLOWS})"


def _english(text: str) -> str:
    """Pieces of letters and digits with any marks between; an abbreviation of up to four capitals as it is."""
    pieces = [re.escape(piece) for piece in re.findall(r"[A-Za-z0-9']+", text)]
    body = r"[\s.\-]*".join(pieces)
    return f"(?-i:{body})" if text.isupper() and len(text) <= 4 else body
