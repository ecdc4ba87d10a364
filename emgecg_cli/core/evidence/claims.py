"""Claims of a report held against what is measured on its recording: supported, contradicted, or not measurable.

A measurement of quality "poor" judges nothing, and what was not detected neither; but where there surely are no P
waves, a PR interval that is claimed is contradicted. QTc is measured by Bazett's and by Fridericia's formula: a claim
holds where it holds for one of them, and a QTc is called long where both are.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.reports.ecg import criteria
from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.facts import is_abnormal
from emgecg_cli.core.signals.leads import LEADS

_POOR = "poor"
_FIELDS = {"rate": (("heart_rate_bpm",), "heart_rate_quality"), "pr": (("pr_ms",), "pr_quality"),
           "qrs": (("qrs_ms",), "qrs_quality"), "qt": (("qt_ms",), "qt_quality"),
           "qtc": (("qtc_bazett_ms", "qtc_fridericia_ms"), "qt_quality"),
           "axis": (("qrs_axis_deg",), "qrs_axis_quality"),
           "regular": (("regular",), "regular_quality"), "p": (("p_present",), "p_present_quality")}
# What a report should mention where it is abnormal. ST deviations are not among them: what they mean depends on the QRS
# complex, and on leads that nobody has to name.
MENTIONED = ("rate", "pr", "qrs", "qtc", "axis", "regular")


class Verdict(StrEnum):
    """What the recording says of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_MEASURABLE = "not measurable"


def measured(kind: str, found: Measurements) -> list[float]:
    """The values of one kind that may judge: one, or one for each formula; none where it was not measured well."""
    fields, quality = _FIELDS[kind]
    values = [getattr(found, name) for name in fields]
    if getattr(found, quality) in (None, _POOR):
        return []
    return [float(value) for value in values if value is not None]


def judge(claim: Claim, found: Measurements, sex: str | None) -> Verdict:
    """Whether the recording supports a claim; `sex` ("M", "F") decides on the limit of a QTc that is called long or
    normal."""
    if claim.kind == "st":
        return _judge_st(claim, found)
    values = measured(claim.kind, found)
    if not values:
        no_p = claim.kind == "pr" and measured("p", found) == [0.0]
        return Verdict.CONTRADICTED if no_p else Verdict.NOT_MEASURABLE
    low, high = claim.low, claim.high
    if claim.kind == "qtc" and not claim.is_number:
        limit = criteria.long_qtc(sex)
        low = limit if low == criteria.LONG_QTC["M"] else low
        high = limit if high == criteria.LONG_QTC["F"] else high
    margin = (criteria.TOLERANCE if claim.is_number else criteria.SLACK)[claim.kind]
    if claim.kind == "axis":
        values = [value + turn for value in values for turn in (-360, 0, 360)]
    return _verdict(any(low - margin <= value <= high + margin for value in values))


def abnormal_kinds(found: Measurements, sex: str | None) -> set[str]:
    """Of what a report should mention, what is abnormal beyond doubt."""
    return {kind for kind in MENTIONED if (values := measured(kind, found))
            and all(is_abnormal(kind, value, sex, shown=True) for value in values)}


def mentions(claims: Iterable[Claim], kind: str, found: Measurements, sex: str | None) -> bool:
    """Whether claims that the recording supports say a number of this kind, or that it is abnormal."""
    return any(claim.kind == kind and (claim.abnormal or claim.is_number)
               and judge(claim, found, sex) == Verdict.SUPPORTED for claim in claims)


def _judge_st(claim: Claim, found: Measurements) -> Verdict:
    """Supported where one of the leads it names is as claimed."""
    levels = dict(zip(LEADS, found.st_uv or [None] * len(LEADS), strict=True))
    values = [level for lead in claim.leads or LEADS if lead != "aVR" or lead in claim.leads
              if (level := levels[lead]) is not None]
    if not values or found.st_quality in (None, _POOR):
        return Verdict.NOT_MEASURABLE
    margin = (criteria.TOLERANCE if claim.is_number else criteria.SLACK)["st"]
    return _verdict(any(claim.low - margin <= value <= claim.high + margin for value in values))


def _verdict(holds: bool) -> Verdict:
    return Verdict.SUPPORTED if holds else Verdict.CONTRADICTED
