"""One cell of a nerve-conduction table: what its text says, in the unit of its row and column."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from emgecg_cli.core.delimited.numerals import is_ambiguous, with_point

STATES = ("value", "missing", "absent", "implausible", "censored")
LONGEST_TEXT = 80
# Latency in ms, velocity in m/s; amplitude in mV of a muscle's response, in uV of a sensory nerve's.
UNITS = {("motor", "lat"): "ms", ("motor", "amp"): "mV", ("motor", "cv"): "m/s",
         ("sensory", "lat"): "ms", ("sensory", "amp"): "uV", ("sensory", "cv"): "m/s",
         ("f_wave", "lat"): "ms", ("h_reflex", "lat"): "ms", ("h_reflex", "amp"): "mV"}
# A value outside these is implausible: no recording gives it. What lies below, or well above, is another unit.
_LIMITS: dict[str, tuple[float, float]] = {"ms": (0.1, 100.0), "m/s": (0.5, 120.0), "mV": (0.01, 50.0),
                                           "uV": (0.2, 500.0)}
# unit -> (looks like below the limit, looks like above it, from there on)
_SLIPS = {"ms": ("s", "us", 200.0), "m/s": ("km/s", "cm/s", 200.0), "mV": ("V", "uV", 100.0),
          "uV": ("mV", "nV", 1000.0)}
_FACTORS = {("s", "ms"): 1e3, ("us", "ms"): 1e-3, ("V", "mV"): 1e3, ("uV", "mV"): 1e-3, ("mV", "uV"): 1e3,
            ("V", "uV"): 1e6, ("nV", "uV"): 1e-3, ("cm/s", "m/s"): 1e-2, ("km/s", "m/s"): 1e3}
_MISSING = frozenset(("", "nan", "null", "none", "na", "n/a", "<na>", "-", "--", "---", "—", "——", "–", "−", "/", "\\",
                      "未查", "未测", "未做", "未检", "缺失", "nt", "not tested", "not done", "."))
_ABSENT = frozenset(("未引出", "未引出波形", "未引出反应", "未引出肯定波形", "引不出", "未引", "未出", "未见",
                     "未见波形", "未记录到", "无反应", "无波", "无波形", "消失", "波形消失", "缺如", "nr", "n.r.",
                     "n.r", "no response", "noresponse", "no resp", "no resp.", "absent", "not recordable",
                     "unrecordable", "not elicited", "unobtainable", "not obtainable"))
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d{1,4})?", re.ASCII | re.I)
_MARKED = re.compile(r"[↑↓*\s]*(?P<number>[-+]?[\d.,]+(?:e[-+]?\d{1,4})?)\s*(?P<unit>[a-z][a-z/]*)?[()↑↓*\s]*",
                     re.ASCII | re.I)
_CENSORED = re.compile(r"[<>≤≥]=?\s*[\d.,]+\s*(?:[a-z][a-z/]*)?", re.ASCII | re.I)
_UNIT_NAMES = {"ms": "ms", "msec": "ms", "s": "s", "us": "us", "mv": "mV", "uv": "uV", "v": "V", "nv": "nV",
               "m/s": "m/s", "m/sec": "m/s", "cm/s": "cm/s", "km/s": "km/s"}


@dataclass(frozen=True)
class Cell:
    """One cell. `state` is one of STATES and `value` a finite number, in the unit of `unit`, for "value" alone.

    `text` is what a prompt shows where the number is not encoded: the number without unit or mark, "" for a missing
    one, and as given for every other state (at most LONGEST_TEXT characters). `reason` says why it is implausible.
    """

    state: str
    value: float | None
    text: str
    reason: str = ""


_NOTHING = Cell("missing", None, "")


class CellError(Exception):
    """A cell that is neither a number nor one of the known words; `reason` is short and can be counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def unit(measure: str, type: str) -> str | None:
    """The unit of a measure in a row of that type; None where it has none."""
    return UNITS.get((type, measure))


def read_cell(text: str | float | None, measure: str, type: str, mark: str | None = None) -> Cell:
    """Read a cell of column `measure` in a row of `type` (canonical names of `terms`).

    `mark` is the decimal mark of its column, "," or ".", None where that is not known: then "5,6" is a number and
    "1,234" is ambiguous.

    Missing: empty, NaN, null, "-", "/", 未查. Absent: 未引出, "NR", "no response". Censored: "<0.5", ">20".
    Implausible: a latency outside 0.1 to 100 ms, a velocity outside 0.5 to 120 m/s, an amplitude outside 0.01 to 50 mV
    or 0.2 to 500 uV, with the unit it looks like; a zero, which `rows` turns into an absent response where there is no
    other one; a number in a row whose type has no such measure. A unit in the cell is taken at its word and converted.
    Raises CellError for any other text.
    """
    if text is None:
        return _NOTHING
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise CellError("not a cell", f"a {type_name(text)} where a number should be")
    if text != text:
        return _NOTHING
    if isinstance(text, int | float):
        return _judge(_shown_number(text), _finite(text), measure, type)
    read = _read_text if len(text) <= LONGEST_TEXT else _read_text.__wrapped__
    return read(text, measure, type, mark)


@lru_cache(maxsize=1 << 15)  # the same few thousand numbers make up a whole set
def _read_text(text: str, measure: str, type: str, mark: str | None) -> Cell:
    shown = text.strip()[:LONGEST_TEXT]
    plain = unicodedata.normalize("NFKC", text).replace("μ", "u").replace("µ", "u").strip().casefold()
    if plain in _MISSING:
        return _NOTHING
    if plain in _ABSENT:
        return Cell("absent", None, shown)
    if len(plain) > LONGEST_TEXT:
        raise CellError("text in a number", f"{len(plain)} characters, '{shown[:20]}…'")
    if _CENSORED.fullmatch(plain):
        return Cell("censored", None, shown)
    if plain in ("inf", "+inf", "-inf", "infinity"):
        return Cell("implausible", None, shown, "not a finite number")
    return _judge(*_number(plain, shown, unit(measure, type), mark), measure, type)


def _number(plain: str, shown: str, wanted: str | None, mark: str | None) -> tuple[str, float | None]:
    """The number of a cell as text and as a float, None for an infinite one; raises CellError."""
    found = _MARKED.fullmatch(plain)
    digits = found["number"] if found else ""
    whole, e, exponent = digits.partition("e")
    if "," in whole or "." in whole:
        pointed = with_point(whole, mark)
        if pointed is None and is_ambiguous(whole):
            found_mark = "comma" if "," in whole else "point"
            raise CellError("ambiguous number", f"'{shown[:40]}' has a decimal {found_mark}, or one between thousands")
        digits = digits if pointed is None else pointed + e + exponent
    if found is None or not _NUMBER.fullmatch(digits) or (found["unit"] or "ms") not in _UNIT_NAMES:
        raise CellError("text in a number", f"'{shown[:40]}' is no number")
    value = _finite(float(digits))
    given = _UNIT_NAMES[found["unit"]] if found["unit"] else wanted
    if given == wanted or value is None:
        return digits, value
    factor = _FACTORS.get((str(given), str(wanted)))
    if factor is None:
        raise CellError("text in a number", f"'{shown[:40]}' where {wanted or 'no number'} is meant")
    value = _finite(float(f"{value * factor:.6g}"))
    return f"{value:g}" if value is not None else digits, value


def _finite(value: float) -> float | None:
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _shown_number(value: float) -> str:
    try:
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)[:LONGEST_TEXT]
    except ValueError:  # a whole number of more digits than Python writes out
        return "a huge number"
    return f"{shown}.0" if isinstance(value, float) and shown.lstrip("-").isdigit() else shown


def type_name(value: object) -> str:
    """What a value of JSON is called in an error."""
    return {bool: "true or false", list: "list", dict: "group"}.get(type(value), type(value).__name__)


def _judge(shown: str, value: float | None, measure: str, type: str) -> Cell:
    reason = why_implausible(value, measure, type)
    return Cell("implausible", None, shown, reason) if reason or value is None else Cell("value", value, shown)


def why_implausible(value: float | None, measure: str, type: str) -> str:
    """Why a number cannot be that measure of a row of `type`; "" where it can."""
    wanted = unit(measure, type)
    if value is None:
        return "not a finite number"
    if wanted is None:
        return f"a row of type {type[:40]} has no {measure} with a known unit"
    if value <= 0:
        return f"{value:g} {wanted} cannot be"
    (low, high), (below, above, from_there) = _LIMITS[wanted], _SLIPS[wanted]
    if value < low:
        return f"{value:g} looks like {below}, the unit is {wanted}"
    if value > high:
        return f"{value:g} looks like {above}, the unit is {wanted}" if value >= from_there else (
            f"{value:g} {wanted} cannot be, above {high:g}")
    return ""
