"""Numbers that an interpretation quotes with their units, held against what was measured on the beats.

A number belongs to the quantity that is named last before it in its sentence (else first behind it), and to the leads
that its sentence names, or to any lead. It is right where it lies within the tolerance of what was measured in any beat
of these leads, or in the beat that is named. A limit ("above 120 ms", "the normal 200 ms") is no measurement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from emgecg_cli.core.instructions.grounded.grounds import Grounds
from emgecg_cli.core.reports.ecg.criteria import TOLERANCE
from emgecg_cli.core.signals.leads import LEADS

_NUMBER = r"(?<![\w.])[-+\u2212]?\d+(?:\.\d+)?"
_UNITS = r"mV|millivolts?|\u00b5V|uV|mm|ms|msec|milliseconds?|sec(?:onds?)?|s|bpm|beats per minute|beats/min|/min|" \
         r"degrees?|\u00b0"
_QUOTED = re.compile(rf"({_NUMBER}(?:\s*(?:,|and|to|or|through|/|-|\u2013)+\s*{_NUMBER})*)\s*-?({_UNITS})(?![\w])",
                     re.I)
_RATE = re.compile(rf"\brate\s+(?:is|of|at|was|about|around|:|near|\s)*({_NUMBER})(?!\s*(?:{_UNITS})|[\d.]*\d)", re.I)
_LIMIT = re.compile(r"(?:\b(?:above|over|below|under|beyond|within|exceed\w*|(?:more|less|greater|longer|shorter|wider|"
                    r"higher|lower) than|at least|at most|up to|limits?|threshold|cut-?off|normal(?: range)?|criterion|"
                    r"criteria|range)\b|[<>\u2264\u2265])(?:[\s(:=]|of|the|for|is|a|by|upper|lower|normal|and)*$", re.I)
_BEATS = re.compile(r"\b(beats?|complex(?:es)?|leads?)(?: (?:numbers?|no\.))? *$", re.I)
_BEAT = re.compile(r"\bbeats? (?:number |no\. ?)?(\d{1,3})(?!\d*\s*(?:ms|mV|/min))(?!\s*per\b)", re.I)
_SENTENCE = re.compile(r"(?<=[.;!?])\s+|\n+")
_LEAD = re.compile(r"\b[Vv]\s?([1-6])(?:\s*(?:-|to|through|\u2013)\s*[Vv]?([1-6]))?(?!\d)|\baV([RLF])\b|"
                   r"(?<![\w-])(I{1,3})(?![\w-])")
_QUANTITY = re.compile(
    r"\b(?P<rr>R-?R\b(?: intervals?)?)|\b(?P<qtc>QTc|corrected QT)\b|\b(?P<qt>QT)\b|\b(?P<pr>P[RQ](?![a-z]))|"
    r"\b(?P<qrs>QRS)\b|\b(?P<st>ST)\b|\b(?P<axis>ax[ie]s)\b|\b(?P<rate>(?:heart |ventricular )?rate|HR)\b|"
    r"\b(?P<wave>[QRS](?:[- ]waves?|'))|\b(?P<p>P(?:[- ]waves?)?)(?![\w-])|\b(?P<t>T(?:[- ]waves?)?)(?![\w-])", re.I)
_TIME, _VOLTAGE = "time", "voltage"
# quantity and kind of unit -> the names of the table, and the tolerance; of voltages a share of the value besides
_SERIES: dict[tuple[str, str], tuple[tuple[str, ...], float]] = {
    ("rate", "rate"): (("heart_rate",), TOLERANCE["rate"]), ("rr", _TIME): (("rr_interval_1", "rr_interval_2"), 40.0),
    ("pr", _TIME): (("pr_interval",), TOLERANCE["pr"]), ("qrs", _TIME): (("qrs_duration",), TOLERANCE["qrs"]),
    ("qt", _TIME): (("qt_interval",), TOLERANCE["qt"]), ("qtc", _TIME): (("qtc_interval",), TOLERANCE["qtc"]),
    ("p", _TIME): (("p_duration",), 20.0), ("t", _TIME): (("t_duration",), 40.0),
    ("st", _TIME): (("st_duration",), 40.0),
    ("p", _VOLTAGE): (("p_amplitude",), 0.05), ("t", _VOLTAGE): (("t_amplitude",), 0.05),
    ("qrs", _VOLTAGE): (("qrs_amplitude",), 0.1), ("st", _VOLTAGE): ((), TOLERANCE["st"] / 1000),
}
_SHARE = 0.1
_MEDIANS = {"rate": ("heart_rate_bpm",), "pr": ("pr_ms",), "qrs": ("qrs_ms",), "qt": ("qt_ms",), "p": ("p_ms",),
            "qtc": ("qtc_bazett_ms", "qtc_fridericia_ms")}


@dataclass(frozen=True)
class Quoted:
    """A number with its unit as a text quotes it: the quantity it is of ("" where none is named), the kind of unit, the
    leads and the beats of its sentence, and `said` for showing it."""

    value: float
    quantity: str
    kind: str
    leads: tuple[str, ...]
    beats: tuple[int, ...]
    said: str


def sentences(text: str) -> list[str]:
    """The sentences of a text; a decimal point ends none."""
    return [part for part in _SENTENCE.split(text) if part.strip()]


def leads_named(text: str) -> tuple[str, ...]:
    """The leads that a text names, ranges written out."""
    found: list[str] = []
    for first, last, augmented, limb in _LEAD.findall(text):
        if first:
            found += [f"V{n}" for n in range(int(first), int(last or first) + 1)]
        else:
            found.append(f"aV{augmented}" if augmented else limb)
    return tuple(dict.fromkeys(found))


def beats_named(text: str) -> tuple[int, ...]:
    """The beats that a text names by their number, from 1."""
    return tuple(int(number) for number in _BEAT.findall(text))


def quoted_numbers(text: str) -> Iterator[Quoted]:
    """The numbers with a unit, and rates without one, that a text gives as measured."""
    for sentence in sentences(text):
        leads, beats = leads_named(sentence), beats_named(sentence)
        for match in _QUOTED.finditer(sentence):
            start = match.start()
            numbers = [float(number.replace("\u2212", "-")) for number in re.findall(_NUMBER, match[1])]
            if not numbers or _LIMIT.search(sentence[:start]):
                continue
            if len(numbers) > 1 and _BEATS.search(sentence[:start]):
                numbers = numbers[-1:]  # "beats 3 and 4, 0.2 mV"
            scale, kind = _unit(match[2])
            name = _quantity(sentence, start, match.end(), kind)
            yield from (Quoted(value * scale, name, kind, leads, beats, f"{value:g} {match[2]}") for value in numbers)
        for match in _RATE.finditer(sentence):
            if not _LIMIT.search(sentence[:match.start(1)]):
                yield Quoted(float(match[1]), "rate", "rate", (), beats, f"rate {match[1]}")


def why_off(quoted: Quoted, grounds: Grounds) -> str | None:
    """What is wrong with a quoted number: it is of nothing that was measured, or differs; None where it is right."""
    known = _SERIES.get((quoted.quantity, quoted.kind))
    if quoted.quantity in ("wave", "axis"):  # which the table does not have; `evidence.grounding` judges them
        return None
    if known is None:
        return f"{quoted.said} is no value that was measured"
    names, tolerance = known
    leads = quoted.leads or LEADS
    values = [value for name in names for value in _in_beats(grounds, name, leads, quoted.beats)]
    if not (quoted.beats and values):
        values += _of_median_beat(quoted.quantity, leads, grounds)
    if not values:
        return f"{quoted.said} of {quoted.quantity} was not measured" + _where(quoted.leads)
    signed = quoted.kind != _VOLTAGE
    near = [abs(quoted.value - value) if signed else abs(abs(quoted.value) - abs(value)) for value in values]
    margin = tolerance + (_SHARE * abs(quoted.value) if quoted.kind == _VOLTAGE else 0.0)
    if quoted.kind != _VOLTAGE:
        between = min(values) <= quoted.value <= max(values)
    else:  # "inverted by 0.2 mV" speaks of -0.2 mV
        between = min(values) <= quoted.value <= max(values) or \
            min(map(abs, values)) <= abs(quoted.value) <= max(map(abs, values))
    if between or min(near) <= margin + 1e-9:
        return None
    nearest = values[near.index(min(near))]
    return f"{quoted.said} of {quoted.quantity}{_where(quoted.leads)}, measured is {nearest:.4g}"


def _in_beats(grounds: Grounds, name: str, leads: Sequence[str], beats: Sequence[int]) -> list[float]:
    if not beats:
        return grounds.numbers(name, leads)
    series = [grounds.leads.get(lead, {}).get(name, ()) for lead in leads]
    return [float(one[beat - 1]) for one in series for beat in beats
            if 0 < beat <= len(one) and isinstance(one[beat - 1], int | float)]


def _of_median_beat(quantity: str, leads: Sequence[str], grounds: Grounds) -> list[float]:
    if quantity == "st":
        return [level for lead in leads if (level := grounds.st_mv(lead)) is not None]
    return [float(value) for name in _MEDIANS.get(quantity, ())
            if (value := getattr(grounds.found, name)) is not None]


def _where(leads: Sequence[str]) -> str:
    return f" in {', '.join(leads)}" if leads else ""


def _unit(said: str) -> tuple[float, str]:
    """The scale to ms, mV, bpm or degrees, and which of them."""
    unit = said.lower()
    if unit in ("ms", "msec") or unit.startswith("millisec"):
        return 1.0, _TIME
    if unit == "s" or unit.startswith("sec"):
        return 1000.0, _TIME
    if unit == "mm":
        return 0.1, _VOLTAGE
    if unit in ("uv", "\u00b5v"):
        return 0.001, _VOLTAGE
    if unit.startswith(("mv", "milliv")):
        return 1.0, _VOLTAGE
    return (1.0, "angle") if unit.startswith(("deg", "\u00b0")) else (1.0, "rate")


def _quantity(sentence: str, start: int, end: int, kind: str) -> str:
    """What a number is of: the quantity of its unit that is named last before it, else first behind it."""
    if kind in ("rate", "angle"):
        return {"rate": "rate", "angle": "axis"}[kind]
    before = [match.lastgroup or "" for match in _QUANTITY.finditer(sentence[:start])]
    behind = [match.lastgroup or "" for match in _QUANTITY.finditer(sentence[end:])]
    for name in (*reversed(before), *behind):
        if name == "wave" or (name, kind) in _SERIES:
            return name
    return ""
