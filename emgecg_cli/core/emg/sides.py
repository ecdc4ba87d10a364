"""The side in a name: "R median", "尺神经(右)", "APB left" give the side, and the name without it."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from emgecg_cli.core.emg import words

LONGEST = 200
BOTH, CONFLICT = "both", "conflict"
CJK = "\u2e80-\u2fff\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAS_CJK = re.compile(f"[{CJK}]")
_LATIN = "A-Za-z0-9\u00c0-\u024f"
# A single letter is no side before a bare number (L 5, a root), nor behind a point of an abbreviation (Ext.Dig.L).
_NO_ROOT = r"(?!\s*[.\-]?\s*\d+(?![\da-z]))"
_NO_PIECE = r"(?<![^\W\d_]\.)"
_PAIRED = r"\s*(?:[/&+,、\-]|and|or|und|和|与|及|或)?\s*"


def _pattern(line: str) -> str:
    """One pattern for all spellings of a side in running text, longest first."""
    spellings = {part.strip() for cell in line.split("|") for part in cell.split(";") if part.strip()}
    chinese = sorted((word for word in spellings if _HAS_CJK.search(word)), key=len, reverse=True)
    latin = sorted(spellings.difference(chinese), key=len, reverse=True)
    letters = "|".join(word for word in latin if len(word) == 1)
    whole = "|".join(re.escape(word).replace("\\ ", r"[\s\-]?") for word in latin if len(word) > 1)
    return (f"(?:{'|'.join(chinese)}|(?<![{_LATIN}])(?:(?:{whole})(?![{_LATIN}])|"
            f"{_NO_PIECE}(?:{letters})(?![{_LATIN}]){_NO_ROOT}))")


_SIDES = {line.partition("|")[0].strip(): _pattern(line)
          for line in re.sub(r"\n\s+", " ", words.SIDES).strip().splitlines()}
_EITHER = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _SIDES.items())
_LEFT, _RIGHT = _SIDES["left"], _SIDES["right"]
_BOTH = (f"(?<![{_LATIN}])(?:bilateral(?:ly)?|bilat|both(?:\\s+sides)?|beidseits)(?![{_LATIN}])|"
         f"双侧|两侧|左右两?侧|左右|双|"
         f"{_LEFT}{_PAIRED}{_RIGHT}|{_RIGHT}{_PAIRED}{_LEFT}")
_OPEN, _CLOSE = r"[(\[<]?\s*", r"(?:\s*[)\]>])?\.?"
_BOTH_MARK = re.compile(f"{_OPEN}(?:{_BOTH}){_CLOSE}", re.I)
_MARK = re.compile(f"{_OPEN}(?:{_EITHER}){_CLOSE}", re.I)
_EDGES = " \t.,:;_-/&+"


def find_side(text: str) -> tuple[str | None, str]:
    """The side given in a name, and the name without it: "左 指总伸肌 L Ext.Dig.Com" gives ("left", "指总伸肌
    Ext.Dig.Com").

    The side may stand anywhere in it, in English or Chinese, once or in each language. "both" for 双侧, "bilateral",
    "L/R"; "conflict" if a name gives one side here and the other there; None if it gives none, and the text is
    returned unchanged.
    """
    return _find_side(text) if len(text) <= LONGEST else (None, text)


@lru_cache(maxsize=1 << 14)
def _find_side(text: str) -> tuple[str | None, str]:
    plain = unicodedata.normalize("NFKC", text)
    if _BOTH_MARK.search(plain):
        return BOTH, _without(_BOTH_MARK, plain)
    sides = {str(found.lastgroup) for found in _MARK.finditer(plain)}
    if not sides:
        return None, text
    return (sides.pop() if len(sides) == 1 else CONFLICT), _without(_MARK, plain)


def _without(mark: re.Pattern[str], text: str) -> str:
    return " ".join(mark.sub(" ", text).split()).strip(_EDGES)


def split_side(text: str) -> tuple[str | None, str]:
    """As `find_side` if the name gives one side; else None and the text as it is."""
    side, rest = find_side(text)
    return (side, rest) if side in _SIDES else (None, text)
