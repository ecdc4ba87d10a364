"""Names of nerves, muscles, sites, types, measures and grades: from any known spelling to one, and back for display."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from emgecg_cli.core.emg import words
from emgecg_cli.core.emg.sides import CJK as _CJK
from emgecg_cli.core.emg.sides import split_side

LONGEST_TERM = 200
TYPES = ("motor", "sensory", "f_wave", "h_reflex")
MEASURES = ("lat", "amp", "cv")
SIDES = ("left", "right")
EMG_COLUMNS = ("muscle", "fibs", "psw", "fascics", "others", "polyph", "form", "recruitment")
NCV_COLUMNS = ("nerve", "type", "stim", "rec", *(f"{measure}_{side}" for measure in MEASURES for side in SIDES))
GRADES = ("-", "1+", "2+", "3+", "4+")
# +1: a high value is the abnormal one; -1: a low one
_ABNORMAL_DIRECTION = {"lat": 1, "amp": -1, "cv": -1}
_AFFIXES = {"nerve": (("神经", "nerve", "n"), ("nervus", "n")), "muscle": (("muscle", "m"), ("m",))}
_HAS_CJK = re.compile(f"[{_CJK}]")
_NOT_CJK = re.compile(f"[^{_CJK}]+")
_NO_LETTER = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """A spelling reduced to what counts: without case, full-width forms, blanks and punctuation."""
    return _fold(text[:LONGEST_TERM + 1])


@lru_cache(maxsize=1 << 14)
def _fold(text: str) -> str:
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", text)).casefold()


def _parse(table: str) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    shown: dict[str, tuple[str, str]] = {}
    known: dict[str, str] = {}
    for line in re.sub(r"\n\s+", " ", table).strip().splitlines():
        name, english, chinese, others = (part.strip() for part in line.split("|"))
        shown[name] = (english, chinese)
        for spelling in (name, english, chinese, *others.split(";")):
            if spelling.strip() and known.setdefault(fold(spelling), name) != name:
                raise ValueError(f"'{spelling.strip()}' stands for {known[fold(spelling)]} and for {name}")
    return shown, known


_TABLES = {kind: _parse(table) for kind, table in {
    "nerve": words.NERVES, "muscle": words.MUSCLES, "site": words.SITES, "type": words.TYPES,
    "measure": words.MEASURES, "side": words.SIDES, "column": words.COLUMNS, "recruitment": words.RECRUITMENT,
    "form": words.FORMS, "other": words.OTHERS}.items()}
# Where a response is recorded: a muscle for motor rows, a site for sensory ones.
_TABLES["place"] = ({**_TABLES["site"][0], **_TABLES["muscle"][0]}, {**_TABLES["muscle"][1], **_TABLES["site"][1]})
for _measure in MEASURES:
    for _side in SIDES:
        _pairs = list(zip(_TABLES["measure"][0][_measure], _TABLES["side"][0][_side], strict=True))
        _TABLES["column"][0][f"{_measure}_{_side}"] = tuple(f"{m} ({s})" for m, s in _pairs)  # type: ignore[assignment]
KINDS = (*_TABLES, "grade")


def names(kind: str) -> list[str]:
    """The canonical names of a kind (see KINDS), in the order of the vocabulary."""
    return list(GRADES) if kind == "grade" else list(_TABLES[kind][0])


def canonical(kind: str, text: str, extra: Mapping[str, str] | None = None) -> str | None:
    """The canonical name of a spelling, or None where the vocabulary has none.

    `kind` is one of KINDS. A bilingual text ("正中神经 Median") is known when both halves are, and mean the same.
    `extra` maps further spellings, folded by `fold`, to names, and takes precedence over the vocabulary.
    """
    if extra and (found := extra.get(fold(text))) is not None:
        return found
    return _canonical(kind, text) if len(text) <= LONGEST_TERM else None


@lru_cache(maxsize=1 << 14)
def _canonical(kind: str, text: str) -> str | None:
    if kind == "grade":
        return _grade(text)
    whole = _look_up(kind, text)
    if whole or not _HAS_CJK.search(text):
        return whole
    chinese, english = halves(text)
    if not english:
        chinese, english = "".join(re.findall(f"[{_CJK}]", text)), " ".join(_NOT_CJK.findall(text))
    found = {_look_up(kind, half) for half in (chinese, english) if fold(half)}
    return found.pop() if len(found) == 1 else None


def _look_up(kind: str, text: str) -> str | None:
    folded, known = fold(text), _TABLES[kind][1]
    if folded in known:
        return known[folded]
    if kind == "column" and (name := _value_column(text)):
        return name
    tails, heads = _AFFIXES.get(kind, ((), ()))
    for stem in (*(folded.removesuffix(tail) for tail in tails if folded.endswith(tail)),
                 *(folded.removeprefix(head) for head in heads if folded.startswith(head))):
        if stem in known:
            return known[stem]
        if kind == "nerve" and f"{stem}神经" in known:
            return known[f"{stem}神经"]
    return known.get(f"{folded}神经") if kind == "nerve" and folded else None


def _value_column(text: str) -> str | None:
    """`lat_left` of "Lat (L)", "左潜伏期" or "lat_left"."""
    side, rest = split_side(text)
    if side is None and "_" in text:
        rest, _, last = text.rpartition("_")
        side = _TABLES["side"][1].get(fold(last))
    measure = _TABLES["measure"][1].get(fold(rest))
    return f"{measure}_{side}" if measure and side else None


def _grade(text: str) -> str | None:
    """`-`, or 1+ to 4+ of "2+", "+2", "++", "(++)"."""
    bare = re.sub(r"[\s()]+", "", unicodedata.normalize("NFKC", text)).casefold()
    if bare in ("-", "--", "—", "–", "−", "neg", "negative", "none", "阴性", "无", "未见"):
        return "-"
    if (plus := re.fullmatch(r"\+{1,4}", bare)) is not None:
        return f"{len(plus[0])}+"
    digit = re.fullmatch(r"\+?([1-4])\+?", bare)
    return f"{digit[1]}+" if digit and "+" in bare else None


def halves(text: str) -> tuple[str, str]:
    """The words of a bilingual text that have a Chinese character, and those that have none."""
    tokens = unicodedata.normalize("NFKC", text).split()
    return (" ".join(token for token in tokens if _HAS_CJK.search(token)),
            " ".join(token for token in tokens if not _HAS_CJK.search(token)))


def display(kind: str, name: str, language: str = "en") -> str:
    """How a canonical name is written in a table, in "en" or "zh"; a name outside the vocabulary as it is."""
    shown = _TABLES[kind][0].get(name) if kind != "grade" else None
    return name if shown is None else shown[language == "zh"]


def abnormal_direction(measure: str) -> int:
    """+1 where high values are abnormal (latencies), -1 where low ones are (amplitudes, velocities)."""
    return _ABNORMAL_DIRECTION[measure]


def limb(nerve: str) -> str | None:
    """`upper`, `lower` or `head`; None for a nerve outside the vocabulary."""
    if nerve not in _TABLES["nerve"][0]:
        return None
    return "lower" if nerve in words.LOWER_LIMB else "head" if nerve in words.HEAD else "upper"
