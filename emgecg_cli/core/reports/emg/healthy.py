"""Who is healthy: a whole examination called normal, by its texts, Chinese or English, and its needle EMG table.

Strict on purpose: an examination left out costs one of thousands, an abnormal one moves the limits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from emgecg_cli.core.emg.case import EmgRow
from emgecg_cli.core.emg.terms import canonical

# Abnormal whatever stands around it: what reads like a negation, or like "normal", and is neither.
_PHRASES = re.compile(
    r"未能?引出|未见引出|引不出|无法引出|未记录到|无反应|无波形|无动作电位|不正常|非正常|不在正常|超[出过]正常"
    r"|[低高长慢]于正常|正常[上下高低]限|临界|无力"
    r"|\bno (?:\w+ ){0,3}(?:response|snap|cmap|f[- ]?wave)s?\b|\bunrecordable|\bunobtainable|\bborderline"
    r"|\b(?:not|cannot|could not) (?:be )?(?:elicit|obtain|record|evok)|\bnon-?recordable|\bnot (?:\w+ ){0,2}normal"
    r"|\b(?:below|above|beyond|outside|under|over|exceed\w*) (?:\w+ ){0,3}(?:normal|reference)"
    r"|\b(?:upper|lower|low|high)(?: end| limits?)?(?: of)?(?: the)?[ -]normal", re.ASCII)
_NORMAL = re.compile(r"正常|(?:未见|无)[^,.;:]{0,30}(?:异常|损害|病变|改变)|\bnormal\b|\bunremarkable"
                     r"|\bno (?:\w+ ){0,4}(?:abnormalit|evidence)", re.ASCII)
# What a value does, and what a disease is called.
_CHANGES = (r"减慢|缓慢|偏慢|延长|偏长|延迟|降低|下降|偏低|减低|减小|减少|减弱|消失|缺失|缺如|增宽|增多|增高"
            r"|\bslow|\bprolong|\breduc|\bdecreas|\bincreas|\belevated|\blow(?:er|ered)?\b|\bsmall|\babsen[tc]"
            r"|\bdelay|\bloss\b|\blong(?:er)?\b|\bweak|\bdiminish|\bdispers")
_NOUNS = (r"阻滞|离散|损害|损伤|病变|受累|受损|神经源性|肌源性|异常|卡压|综合征|纤颤|正锐|正相|束颤|自发电位|失神经"
          r"|巨大电位|单纯相|病理|可疑|脱髓鞘|轴索|腕管|\babnormal|\bblock|neuropath|myopath|radiculopath|plexopath"
          r"|neurogenic|myogenic|denervat|\bfib(?:s|rillation)|\bpositive sharp|\bpsws?\b|\bfasciculat|\bdemyelinat"
          r"|\baxonal|\bcarpal tunnel|\bcts\b|\bentrapment|\blesion|\bdamage|\binjur|\bmild|\bmoderate|\bsevere"
          r"|\bimpair|\bpolyphas|\bsuspect|\bals\b")
_CHANGE, _WORD = re.compile(_CHANGES, re.ASCII), re.compile(f"{_CHANGES}|{_NOUNS}", re.ASCII)
_NEGATION = re.compile(r"未见|未发现|未提示|未检出|没有|无|不伴"
                       r"|\b(?:no|not|without|neither|nor|free of|negative for)\b", re.ASCII)
_TURN = re.compile(r"可见|但|然而|而见|伴|仅|除|提示|其?余|\b(?:but|however|although|though|except|while|whereas|yet"
                   r"|only|with|apart|others?|remaining)\b", re.ASCII)
_ENDS_NORMAL = re.compile(r"(?:正常(?:范围)?(?:内|之内)?|\b(?:normal|unremarkable)(?: (?:limits|range|values))?)\s*$",
                          re.ASCII)
# A list goes on with these alone: "no fibrillations, positive sharp waves, or fasciculations"
_BARE = ("fib", "positive", "sharp", "wave", "psw", "fasc", "spontaneous", "activity", "potential", "myotonic",
         "complex", "repetitive", "discharge", "neurogenic", "myogenic", "myopathic", "denervation", "axonal",
         "demyelinating", "change", "and", "or", "nor")
_BARE_CHINESE = re.compile(r"纤颤|正锐|正相|束颤|自发|电位|尖波|波|放电|活动|及|和|或|、|\s")


def is_healthy(findings: str, impression: str, emg_rows: Iterable[EmgRow]) -> bool:
    """Whether a whole examination is normal: see `why_not_healthy`."""
    return why_not_healthy(findings, impression, emg_rows) is None


def why_not_healthy(findings: str, impression: str, emg_rows: Iterable[EmgRow]) -> str | None:
    """None for a healthy examination; else why not, in a few words that can be counted.

    The impression has a word for normal; neither text has a word for abnormal once what is negated or called normal is
    taken out; the needle EMG saw nothing: every column "-", empty or normal, and recruitment full or mixed.
    """
    said = _plain(impression)
    if not _NORMAL.search(said):
        return "the impression does not say normal"
    for where, text in (("impression", said), ("findings", _plain(findings))):
        if found := abnormal_word(text):
            return f"the {where}: {found}"
    return why_needle_not_quiet(emg_rows)


def why_needle_not_quiet(emg_rows: Iterable[EmgRow]) -> str | None:
    """None where the needle saw nothing abnormal; else the column in which it did."""
    for row in emg_rows:
        for name in ("fibs", "psw", "fascics", "others", "polyph", "form"):
            if not _quiet(getattr(row, name)):
                return f"the EMG table: {name}"
        if not _quiet(row.recruitment) and canonical("recruitment", row.recruitment) not in ("interference", "mixed"):
            return "the EMG table: recruitment"
    return None


def says_normal(text: str) -> bool:
    """Whether a text has a word for normal, and none for abnormal."""
    return _NORMAL.search(_plain(text)) is not None and abnormal_word(text) is None


def abnormal_word(text: str) -> str | None:
    """The first word for abnormal that is neither negated nor in a clause that ends in "normal"; None without one.

    A clause with a change in it ("slowed", 减慢) is never called normal as a whole: it may speak of two nerves.
    """
    text = _plain(text)
    if found := _PHRASES.search(text):
        return found[0]
    for sentence in re.split(r"[.;:]", text):
        for left in _not_negated(sentence.split(",")):
            turns = [0, *(turn.start() for turn in _TURN.finditer(left))]
            if _ENDS_NORMAL.search(left) and not _CHANGE.search(left, turns[-1]):
                left = left[:turns[-1]]
            if found := _WORD.search(left):
                return found[0]
    return None


def _not_negated(clauses: list[str]) -> Iterator[str]:
    """What is left of each clause of a sentence: a negation covers the rest of its clause, up to a word that reverses
    it, and the bare names that continue after a comma."""
    open_list = False
    for clause in clauses:
        if open_list and _goes_on(clause):
            continue
        kept, position, open_list = "", 0, False
        while found := _NEGATION.search(clause, position):
            turn = _TURN.search(clause, found.end())
            kept += clause[position:found.start()] + " "
            position, open_list = (turn.start(), False) if turn else (len(clause), True)
        yield kept + clause[position:]


def _goes_on(clause: str) -> bool:
    words = re.findall(r"[a-z]+", clause)
    if words and words[0] in ("or", "nor"):
        return not _TURN.search(clause)
    return not _BARE_CHINESE.sub("", re.sub(r"[a-z-]+", "", clause)) and all(word.startswith(_BARE) for word in words)


def _plain(text: str) -> str:
    """Lower case, half-width, one space, and a full stop for every end of a sentence but a decimal point."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"(?<=\d)\.(?=\d)", "", text)
    return re.sub(r"\s+", " ", re.sub(r"[。!?\r\n]+", ".", text)).strip(" .")


def _quiet(text: str) -> bool:
    return not text.strip() or canonical("grade", text) == "-" or canonical("form", text) == "normal"
