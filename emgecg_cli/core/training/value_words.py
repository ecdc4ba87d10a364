"""Words about one value: its class, its item, and the phrase a report would have for it, in English and Chinese."""

from __future__ import annotations

from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Item
from emgecg_cli.core.references import CLASSES
from emgecg_cli.core.references.table import ANY

_CLASSES_ZH = dict(zip(CLASSES, ("明显偏低", "偏低", "临界偏低", "正常", "临界偏高", "偏高", "明显偏高"), strict=True))
_BAD = {"en": {"lat": "prolonged", "amp": "reduced", "cv": "slowed"},
        "zh": {"lat": "延长", "amp": "降低", "cv": "减慢"}}
_MEASURES = {"en": {"lat": "latency", "amp": "amplitude", "cv": "conduction velocity"},
             "zh": {"lat": "潜伏期", "amp": "波幅", "cv": "传导速度"}}
_QUESTIONS = {
    "class": {"en": "Where does it lie among the values of healthy people?", "zh": "与健康人的参考值相比如何？"},
    "phrase": {"en": "Write the finding.", "zh": "请写出检查所见。"}}


def language_of(language: str) -> str:
    """The one of our languages that stands for a record's."""
    return "zh" if language.startswith("zh") else "en"


def class_word(name: str, language: str) -> str:
    """A class of `references.CLASSES` in a language."""
    return _CLASSES_ZH[name] if language_of(language) == "zh" else name


def question(task: str, language: str) -> str:
    """What is asked about a value: its "class", or the "phrase" of a report."""
    return _QUESTIONS[task][language_of(language)]


def item_text(item: Item | str, side: str, language: str) -> str:
    """The words of the table a value stands in; a text is an item's name as its source gives it."""
    if isinstance(item, str):
        return item
    words = [("nerve", item.nerve), ("type", item.type), ("site", item.stim), ("place", item.rec),
             ("column", f"{item.measure}_{side}")]
    return "|".join(terms.display(kind, name, language_of(language)) for kind, name in words if name != ANY)


def phrase(item: Item | str, side: str, name: str, language: str) -> str:
    """What a report says of a value of this class, as in "left median motor latency mildly prolonged".

    Only the bad direction of a measure is abnormal; a value of an item without a known measure keeps its class.
    """
    language = language_of(language)
    if isinstance(item, str):
        return f"{item}{' ' if language == 'en' else ''}{class_word(name, language)}"
    nerve, kind = (terms.display(k, n, language).lower() for k, n in (("nerve", item.nerve), ("type", item.type)))
    words = [{"left": "左侧", "right": "右侧"}[side] if language == "zh" else side, nerve, kind,
             _MEASURES[language][item.measure], _verdict(name, item.measure, language)]
    return ("" if language == "zh" else " ").join(words)


def _verdict(name: str, measure: str, language: str) -> str:
    side = "high" if terms.bad_direction(measure) > 0 else "low"
    if not name.endswith(side):
        return "normal" if language == "en" else "正常"
    if name.startswith("borderline"):
        limit = {"high": ("upper", "上"), "low": ("lower", "下")}[side]
        return f"at the {limit[0]} limit of normal" if language == "en" else f"在正常{limit[1]}限"
    grade = {"en": ("mildly ", "severely "), "zh": ("轻度", "重度")}[language][name.startswith("markedly")]
    return f"{grade}{_BAD[language][measure]}"
