"""Cleaning of report texts: named rules, applied in the order given, each counted; and a guess at the language.

`nan` and `numeric` are the rules of MEIT's paper (section 5.1), `ekg`, `stars` and `lower` those of its code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.names import unknown_name
from emgecg_cli.core.reports.scripts import dense_letters, marks

# A sentence with the blanks after it; the point in "0.12" ends none. Full-width marks need no blank behind them.
_SENTENCE = re.compile(r".+?(?:[.;\u0964\u0965\u06d4\u061f\u061b\u1362\u104b\u17d4](?:\s+|$)|[。｡；！？]\s*|\n+|$)",
                       re.DOTALL)
_SIGNS = r"[\s\d.,;:%+/\-\u0964\u06d4\u061b\u060c\u066a-\u066c\u1362\u104b\u17d4。｡；！？，、：％＋／．－]*"
_NUMERIC = re.compile(rf"{_SIGNS}\d{_SIGNS}")


@lru_cache(maxsize=1)
def _nan() -> re.Pattern[str]:
    """The word nan; next to a letter of a script without blanks between words it is a word too."""
    dense = dense_letters()
    return re.compile(rf"(?:(?<![\w{marks()}-])|(?<=[{dense}]))nan(?:(?![\w{marks()}-])|(?=[{dense}]))", re.IGNORECASE)


def _drop_nan(text: str) -> str:
    if "nan" not in text.lower() or not _nan().search(text):
        return text
    kept = []
    for sentence in _SENTENCE.findall(text):
        without = _nan().sub("", sentence)
        if without == sentence:
            kept.append(sentence)
        elif re.search(r"\w", without):
            kept.append(re.sub(r"[ \t]{2,}", " ", without).lstrip())
    return "".join(kept).strip()


def _drop_numeric(text: str) -> str:
    sentences = _SENTENCE.findall(text)
    kept = [sentence for sentence in sentences if not _NUMERIC.fullmatch(sentence)]
    return text if len(kept) == len(sentences) else "".join(kept).strip()


def _ekg_to_ecg(text: str) -> str:
    return text.replace("EKG", "ECG").replace("ekg", "ecg")


def _strip_stars(text: str) -> str:
    return text.strip("*=- \t\r\n")


RULES: dict[str, Callable[[str], str]] = {
    "nan": _drop_nan,
    "numeric": _drop_numeric,
    "ekg": _ekg_to_ecg,
    "stars": _strip_stars,
    "lower": str.lower,
}


def parse_rules(clean: str) -> tuple[str, ...]:
    """The rules of "nan,numeric,ekg,stars,lower", in the order given; "none" is no rule.

    Raises MedReportError on an unknown name, with the nearest known one, or on a name given twice.
    """
    names = [name.strip() for name in clean.split(",")]
    if names == ["none"]:
        return ()
    for name in names:
        if name not in RULES:
            raise unknown_name("cleaning rule", name, [*RULES, "none"])
    if len(set(names)) < len(names):
        raise MedReportError(f"--clean {clean}: a rule is given twice", f"each of {', '.join(RULES)} at most once")
    return tuple(names)


def clean_report(text: str, rules: tuple[str, ...]) -> tuple[str, list[str]]:
    """Apply the rules; return the text without blanks around it, and the rules that changed something."""
    text, changed = text.strip(), []
    for rule in rules:
        cleaned = RULES[rule](text)
        if cleaned != text:
            changed.append(rule)
        text = cleaned
    return text.strip(), changed
