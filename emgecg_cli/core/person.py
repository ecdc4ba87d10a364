"""Age, sex and height as hospitals write them."""

from __future__ import annotations

import re
import unicodedata

_YEARS = frozenset(("", "岁", "周岁", "y", "yr", "yrs", "year", "years", "a"))
_MONTHS = frozenset(("月", "个月", "month", "months", "mo"))
_CENTIMETRES, _METRES = frozenset(("", "cm", "厘米", "公分")), frozenset(("m", "米"))
_MISSING = frozenset(("", "nan", "none", "null", "na", "n/a", "-", "--", "/", "未知", "不详", "unknown"))
_SEX = {"男": "M", "男性": "M", "male": "M", "m": "M", "man": "M", "女": "F", "女性": "F", "female": "F", "f": "F",
        "woman": "F"}
_QUANTITY = re.compile(r"(\d{1,4}(?:[.,]\d{1,6})?)\s*(\D*)", re.ASCII)
OLDEST = 130.0
SHORTEST, TALLEST = 30.0, 250.0


def _plain(value: object) -> str:
    text = "" if value is None else str(value)[:200]
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _quantity(value: object) -> tuple[float, str] | None:
    found = _QUANTITY.fullmatch(_plain(value)) if not isinstance(value, bool) else None
    return (float(found[1].replace(",", ".")), found[2].strip()) if found else None


def is_missing(value: object) -> bool:
    """Whether a field says nothing: empty, NaN, "-", 不详."""
    return _plain(value) in _MISSING


def read_age(value: object) -> float | None:
    """Years from 0 to 130, from "32", "32岁" or "6个月"; None for anything else."""
    found = _quantity(value)
    if found is None:
        return None
    years = found[0] if found[1] in _YEARS else found[0] / 12 if found[1] in _MONTHS else -1.0
    return round(years, 3) if 0 <= years <= OLDEST else None


def read_years(text: str) -> float | None:
    """Years from 0 to 130, from a plain number; None for anything else."""
    try:
        years = float(text)
    except ValueError:
        return None
    return years if 0 <= years <= OLDEST else None


def read_sex(value: object) -> str | None:
    """"M" or "F", from 男, 女, "Male", "f"; None for anything else (1 and 2 mean different things in different places).
    """
    return _SEX.get(_plain(value))


def read_height(value: object) -> float | None:
    """Centimetres from 30 to 250, from "178", "178 cm" or "1.78 m"; None for anything else."""
    found = _quantity(value)
    if found is None:
        return None
    height = found[0] if found[1] in _CENTIMETRES else found[0] * 100 if found[1] in _METRES else -1.0
    return round(height, 2) if SHORTEST <= height <= TALLEST else None
