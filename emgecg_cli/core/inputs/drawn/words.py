"""Words of stage 1, in English and Chinese: its questions, and of a value the class, the item and a report's phrase."""

from __future__ import annotations

import re

from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Item
from emgecg_cli.core.references import CLASSES
from emgecg_cli.core.references.table import ANY

_CLASSES_ZH = dict(zip(CLASSES, ("明显偏低", "偏低", "临界偏低", "正常", "临界偏高", "偏高", "明显偏高"), strict=True))
_HAN = re.compile(r"[\u4e00-\u9fff]{2,}")
_ABNORMAL = {"en": {"lat": "prolonged", "amp": "reduced", "cv": "slowed"},
        "zh": {"lat": "延长", "amp": "降低", "cv": "减慢"}}
_MEASURES = {"en": {"lat": "latency", "amp": "amplitude", "cv": "conduction velocity"},
             "zh": {"lat": "潜伏期", "amp": "波幅", "cv": "传导速度"}}
_SIDES = {"en": {"left": "left", "right": "right"}, "zh": {"left": "左侧", "right": "右侧"}}
_NORMAL = {"en": "normal", "zh": "正常"}
_QUESTIONS = {
    "class": {"en": "Where does it lie among the values of healthy people?", "zh": "与健康人的参考值相比如何？"},
    "phrase": {"en": "Write the finding.", "zh": "请写出检查所见。"},
    "table": {"en": "Write the findings of nerve conduction.", "zh": "请写出神经传导检查所见。"}}
# Of which findings are made besides the names of nerves, types and sites: words to a tokenizer that is trained, since
# Chinese has no spaces
_WORDS_ZH = ("左侧", "右侧", "双侧", "轻度", "轻微", "中度", "重度", "明显", "潜伏期", "波幅", "传导", "速度", "延长",
             "降低", "减低", "减慢", "未引出", "远端", "末端", "正常", "上限", "下限", "异常", "神经", "肘段", "前臂段",
             "小腿段", "纤颤", "正锐波", "束颤", "电位", "多相波", "宽大", "短小", "募集", "减少", "单纯相", "混合相",
             "干扰相", "偏高", "偏低", "临界")


def words_zh() -> list[str]:
    """Chinese words of tables and findings, the longest first."""
    names = {terms.display(kind, name, "zh") for kind in ("nerve", "type", "site", "place", "muscle")
             for name in terms.names(kind)}
    return sorted({*_WORDS_ZH, *filter(_HAN.fullmatch, names)}, key=lambda word: (-len(word), word))


def language_of(language: str) -> str:
    """The one of our languages that is used for a record's."""
    return "zh" if language.startswith("zh") else "en"


def class_word(name: str, language: str) -> str:
    """A class of `references.CLASSES` in a language."""
    return _CLASSES_ZH[name] if language_of(language) == "zh" else name


def question(task: str, language: str) -> str:
    """What is asked: the "class" of a value, the "phrase" of a report for it, or the findings of a "table"."""
    return _QUESTIONS[task][language_of(language)]


def item_text(item: Item | str, side: str, language: str) -> str:
    """The words of the table a value stands in; a text is an item's name as its source gives it."""
    if isinstance(item, str):
        return item
    words = [("nerve", item.nerve), ("type", item.type), ("site", item.stim), ("place", item.rec),
             ("column", f"{item.measure}_{side}")]
    shown = (terms.display(kind, name, language_of(language)) for kind, name in words if name != ANY)
    return "|".join(shown).replace(" (", "(")


def item_names(item: Item | str, side: str, language: str) -> list[str]:
    """The names of a value's item: side, nerve, type and measure as reports write them, stimulation and recording as
    tables do; a text is an item's name as its source gives it."""
    if isinstance(item, str):
        return [item]
    language = language_of(language)
    sites = [terms.display("place", name, language) for name in (item.stim, item.rec) if name != ANY]
    return [*_place(item, side, language), *sites, _MEASURES[language][item.measure]]


def phrase(item: Item | str, side: str, name: str, language: str) -> str:
    """What a report says of a value of this class, as in "left median motor latency mildly prolonged".

    Values are abnormal in one direction of a measure only; a value of an item without a known measure keeps its class.
    """
    language = language_of(language)
    if isinstance(item, str):
        return f"{item}{' ' if language == 'en' else ''}{class_word(name, language)}"
    words = [*_place(item, side, language), _MEASURES[language][item.measure], _verdict(name, item.measure, language)]
    return ("" if language == "zh" else " ").join(words)


def _place(item: Item, side: str, language: str) -> list[str]:
    """Side, nerve and type."""
    nerve, kind = (terms.display(k, n, language) for k, n in (("nerve", item.nerve), ("type", item.type)))
    if language == "en":
        nerve, kind = nerve.lower(), "F-wave" if item.type == "f_wave" else kind.lower()
    return [_SIDES[language][side], nerve, kind]


def abnormal_end(measure: str) -> str:
    """The end of the range beyond which a value of this measure is abnormal, as the classes name it: "high" or
    "low"."""
    return "high" if terms.abnormal_direction(measure) > 0 else "low"


def _verdict(name: str, measure: str, language: str) -> str:
    end = abnormal_end(measure)
    if not name.endswith(end):
        return _NORMAL[language]
    if name.startswith("borderline"):
        limit = {"high": ("upper", "上"), "low": ("lower", "下")}[end]
        return f"at the {limit[0]} limit of normal" if language == "en" else f"在正常{limit[1]}限"
    grade = {"en": ("mildly ", "severely "), "zh": ("轻度", "重度")}[language][name.startswith("markedly")]
    return f"{grade}{_ABNORMAL[language][measure]}"
