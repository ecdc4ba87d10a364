"""The claims of one report in words, each with the verdict of the recording and what was measured on it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.emg.case import Case
from emgecg_cli.core.emg.terms import display
from emgecg_cli.core.evidence.claims import Verdict, abnormal_kinds, judge, measured, mentions
from emgecg_cli.core.evidence.tables import called_abnormal
from emgecg_cli.core.references import References
from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.facts import read_claims
from emgecg_cli.core.reports.emg.statements import Key, contradictions
from emgecg_cli.core.reports.emg.statements_read import read_statements
from emgecg_cli.core.reports.sections import split_sections
from emgecg_cli.core.signals.leads import LEADS

_NAMES = {"rate": ("rate", "/min"), "pr": ("PR", "ms"), "qrs": ("QRS", "ms"), "qt": ("QT", "ms"), "qtc": ("QTc", "ms"),
          "axis": ("QRS axis", "°"), "st": ("ST", "µV")}
_YES_NO = {"regular": ("irregular", "regular"), "p": ("no P waves", "P waves")}
_FORMULAS = ("Bazett", "Fridericia")


@dataclass(frozen=True)
class Checked:
    """A claim, what the recording says of it, and the measured value in words, "" where nothing was measured well.

    Of an abnormal measurement that the report does not mention, `claim` is what was measured and `verdict` "not
    mentioned".
    """

    claim: str
    verdict: str
    measured: str


NOT_MENTIONED = "not mentioned"


def check_report(text: str, language: str | None, found: Measurements, sex: str | None) -> tuple[Checked, ...]:
    """The claims of a report, those that the recording contradicts first, then what it leaves unmentioned."""
    claims = read_claims(text, language)
    judged = [Checked(claim_words(one), judge(one, found, sex).value, measured_words(one.kind, found, one.leads))
              for one in claims]
    order = [Verdict.CONTRADICTED.value, Verdict.SUPPORTED.value, Verdict.NOT_MEASURABLE.value]
    left_out = [Checked(measured_words(kind, found), NOT_MENTIONED, "") for kind in sorted(abnormal_kinds(found, sex))
                if not mentions(claims, kind, found, sex)]
    return (*sorted(judged, key=lambda one: order.index(one.verdict)), *left_out)


def check_tables(text: str, case: Case, limits: References) -> tuple[Checked, ...]:
    """Values outside their reference range that a report calls normal, by name or as one of all others."""
    called = {one.key: one.direction for one in called_abnormal(case, limits)}
    found = sorted(contradictions(read_statements(split_sections(text)[0] or text), called),
                   key=lambda key: tuple(part or "" for part in key))
    return tuple(Checked(f"{_key_words(key)} called normal", Verdict.CONTRADICTED.value, f"{called[key]} in the table")
                 for key in found)


def _key_words(key: Key) -> str:
    nerve, side, kind, measure = key
    named = (("side", side), ("nerve", nerve), ("type", kind))
    return " ".join([*(display(what, name) for what, name in named if name), measure])


def claim_words(claim: Claim) -> str:
    """A claim in words: "PR 180 ms", "rate < 60 /min", "ST ≥ 100 µV in V2 or V3", "irregular"."""
    if claim.kind in _YES_NO:
        return _YES_NO[claim.kind][claim.low > 0]
    name, unit = _NAMES[claim.kind]
    if claim.low == claim.high:
        said = f"{claim.low:.0f}"
    elif claim.high == inf:
        said = f"≥ {claim.low:.0f}"
    elif claim.low == -inf:
        said = f"≤ {claim.high:.0f}"
    else:
        said = f"{claim.low:.0f} to {claim.high:.0f}"
    leads = f" in {' or '.join(claim.leads)}" if claim.leads else ""
    return f"{name} {said}{_unit(unit)}{leads}"


def measured_words(kind: str, found: Measurements, leads: tuple[str, ...] = ()) -> str:
    """What was measured of a kind; "" where nothing was measured well enough to judge. ST levels are those of `leads`,
    of all leads but aVR where none is named."""
    if kind == "st":
        levels = dict(zip(LEADS, found.st_uv or [None] * len(LEADS), strict=True))
        known = [(lead, level) for lead in leads or LEADS if (level := levels[lead]) is not None
                 and (lead != "aVR" or lead in leads)]
        if found.st_quality in (None, "poor") or not known:
            return ""
        return "ST " + ", ".join(f"{lead} {level:+.0f}" for lead, level in known) + " µV"
    values = measured(kind, found)
    if not values:
        return "no P waves" if kind == "pr" and measured("p", found) == [0.0] else ""
    if kind in _YES_NO:
        return _YES_NO[kind][values[0] > 0]
    name, unit = _NAMES[kind]
    by = [f" ({formula})" for formula in _FORMULAS] if kind == "qtc" and len(values) == len(_FORMULAS) else [""]
    return f"{name} " + ", ".join(f"{value:.0f}{_unit(unit)}{how}" for value, how in zip(values, by, strict=False))


def _unit(unit: str) -> str:
    return unit if unit == "°" else f" {unit}"
