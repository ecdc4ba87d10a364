"""The codes PTB-XL gives to what a report says: the habits of its annotators.

PTB-XL's `scp_codes` are no plain reading of the reports: an anterior infarct is coded as anteroseptal, T waves that a
German report calls abnormal are not coded at all, and "T waves low or flat" is coded otherwise than "T waves flat".
The habits are a file, `data/ecg_coding_ptb_xl.txt`, and serve only for comparison with `scp_codes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from emgecg_cli.core.reports.ecg.labels import Status, codes
from emgecg_cli.core.reports.ecg.text import fold

WORDS = "words"
_QUOTED = re.compile(r'"[^"]*"')
_WORD = re.compile(r"[a-z0-9/]+")


@dataclass(frozen=True)
class Condition:
    """Holds where all of `needed` are said and none of `without`; each is a code and the status it must have, "" for
    present or possible, or words in a row, which have the status WORDS."""

    needed: tuple[tuple[str, str], ...]
    without: tuple[tuple[str, str], ...]

    def holds(self, labels: Mapping[str, Status], words: str) -> bool:
        return all(_said(one, labels, words) for one in self.needed) and \
            not any(_said(one, labels, words) for one in self.without)


def coded_in_ptb_xl(labels: Mapping[str, Status], language: str, report: str = "") -> set[str]:
    """The codes that PTB-XL gives, as a rule, to a report that says these statements, in these words."""
    habits = _habits().get(language, {})
    kept = {code for code in codes(labels) if code not in habits}
    words = f" {' '.join(_WORD.findall(fold(report)))} "
    return kept | {code for code, conditions in habits.items() if any(one.holds(labels, words) for one in conditions)}


@lru_cache(maxsize=1)
def _habits() -> dict[str, dict[str, tuple[Condition, ...]]]:
    """Language -> code -> the conditions under which it is given."""
    found: dict[str, dict[str, tuple[Condition, ...]]] = {}
    language = ""
    for line in (files("emgecg_cli") / "data" / "ecg_coding_ptb_xl.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            language = line.strip("[] ")
            found[language] = {}
        elif line.strip() and not line.startswith("#"):
            line = _QUOTED.sub(lambda words: words[0].replace(" ", "_"), line)
            code, _, said = (part.strip() for part in line.partition("="))
            conditions = () if said == "never" else tuple(_condition(one) for one in said.split("|"))
            found[language][code] = conditions
    return found


def _condition(text: str) -> Condition:
    needed, *without = text.split(" without ")
    return Condition(tuple(_term(one) for one in needed.split(" and ")), tuple(_term(one) for one in without))


def _term(text: str) -> tuple[str, str]:
    text = text.strip()
    if text.startswith('"'):
        return f" {text[1:-1].replace('_', ' ')} ", WORDS
    status = {"!": Status.PRESENT, "?": Status.POSSIBLE}.get(text[-1], "")
    return (text[:-1] if status else text), str(status)


def _said(term: tuple[str, str], labels: Mapping[str, Status], words: str) -> bool:
    code, status = term
    if status == WORDS:
        return code in words
    found = labels.get(code, Status.ABSENT)
    return found != Status.ABSENT and status in ("", found)
