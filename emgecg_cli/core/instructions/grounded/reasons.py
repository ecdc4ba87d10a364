"""How measurements lead to a diagnosis: for each statement of a report, the value it rests on, and what that means.

A sentence is written only where the value was measured, and calls it what it is: where it does not show what the
report states, the report is right and the sentence says no more than the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from emgecg_cli.core.evidence.claims import measured
from emgecg_cli.core.instructions.grounded import wording
from emgecg_cli.core.instructions.grounded.grounds import Grounds
from emgecg_cli.core.instructions.grounded.stated import joined, walls_of
from emgecg_cli.core.reports.ecg import criteria
from emgecg_cli.core.reports.ecg.criteria import LEADS_OF
from emgecg_cli.core.reports.ecg.labels import Status
from emgecg_cli.core.signals.leads import LEADS

Choose = Callable[[Sequence[str], str], str]
MOST = 5  # reasons in a text
_WIDE = ("CLBBB", "CRBBB", "IVCD", "WPW", "ILBBB", "IRBBB")
_REGIONS = {"IMI": "inferior", "ISCIN": "inferior", "INJIN": "inferior", "ASMI": "anteroseptal",
            "ISCAS": "anteroseptal", "INJAS": "anteroseptal", "AMI": "anterior", "ISCAN": "anterior",
            "ALMI": "anterolateral", "ISCAL": "anterolateral", "INJAL": "anterolateral", "LMI": "lateral",
            "ISCLA": "lateral", "INJLA": "lateral", "ILMI": "inferolateral", "ISCIL": "inferolateral",
            "INJIL": "inferolateral", "IPMI": "inferior", "IPLMI": "inferolateral", "PMI": "anterior"}
_REPOLARISATION = ("NDT", "NST_", "NT_", "TAB_", "INVT", "LOWT", "ISC_", "DIG", "ANEUR")
_OF_LEADS = {"CLBBB": ("V1", "V6"), "CRBBB": ("V1", "V6"), "IRBBB": ("V1",), "ILBBB": ("V6",), "LAFB": ("I", "aVF"),
             "LPFB": ("I", "aVF"), "LVH": ("V5", "V6", "aVL"), "VCLVH": ("V5", "V6"), "HVOLT": ("V4", "V5"),
             "RVH": ("V1",), "LVOLT": ("I", "II"), "1AVB": ("II",), "LPR": ("II",), "LAO/LAE": ("II", "V1"),
             "RAO/RAE": ("II", "V1")}


def leads_of(code: str, grounds: Grounds) -> tuple[str, ...]:
    """The leads in which a statement of the report is seen."""
    if walls := walls_of(code, grounds):
        return tuple(dict.fromkeys(lead for wall in walls for lead in LEADS_OF[wall]))
    return LEADS_OF[_REGIONS[code]] if code in _REGIONS else _OF_LEADS.get(code, ())


def reasons_for(grounds: Grounds, choose: Choose) -> Iterator[str]:
    """A sentence for each kind of statement that the report makes, as long as they are not too many."""
    codes = [code for code, status in grounds.labels.items() if status != Status.ABSENT]
    made: list[str] = []
    for reason in (_rate, _normal, _rhythm, _conduction, _ventricle, _axis, _qtc, _voltage, _levels, _regions,
                   _repolarisation):
        if told := reason(codes, grounds, choose):
            made.append(told)
    yield from made[:MOST]


def _rate(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    values = measured("rate", grounds.found)
    if not values or not {"SBRAD", "STACH"} & {*codes}:
        return ""
    slow = "SBRAD" in codes
    shown = values[0] < criteria.SLOW if slow else values[0] > criteria.FAST
    if not shown:
        return ""
    return choose(wording.SLOW if slow else wording.FAST, "slow or fast").format(rate=round(values[0]))


def _normal(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    pr, qrs = measured("pr", grounds.found), measured("qrs", grounds.found)
    if "NORM" not in codes or not qrs:
        return ""
    if pr and criteria.SHORT_PR <= pr[0] <= criteria.LONG_PR and qrs[0] < criteria.WIDE_QRS:
        return choose(wording.NORMAL, "normal").format(pr=round(pr[0]), qrs=round(qrs[0]))
    return choose(wording.QRS_VALUE, "qrs value").format(qrs=round(qrs[0]))


def _rhythm(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    gaps = grounds.numbers("rr_interval_2")
    if "AFIB" in codes and gaps and measured("regular", grounds.found) == [0.0]:
        return choose(wording.FIBRILLATION, "af").format(low=round(min(gaps)), high=round(max(gaps)))
    early = [number for number, odd in enumerate(grounds.ectopic, 1) if odd]
    if {"PVC", "PAC", "PRC(S)"} & {*codes} and early:
        return choose(wording.EARLY_ONE if len(early) == 1 else wording.EARLY, "early").format(
            beats=early[0] if len(early) == 1 else " and ".join([", ".join(map(str, early[:-1])), str(early[-1])]))
    return ""


def _conduction(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    values = measured("pr", grounds.found)
    if not {"1AVB", "LPR"} & {*codes} or not values:
        return ""
    return choose(wording.LONG_PR if values[0] > criteria.LONG_PR else wording.PR_VALUE, "pr").format(
        pr=round(values[0]))


def _ventricle(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    values = measured("qrs", grounds.found)
    if not {*_WIDE} & {*codes} or not values:
        return ""
    return choose(wording.WIDE if values[0] >= criteria.WIDE_QRS else wording.QRS_VALUE, "wide").format(
        qrs=round(values[0]))


def _axis(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    values = measured("axis", grounds.found)
    if not {"LAFB", "LPFB"} & {*codes} or not values:
        return ""
    turned = values[0] < criteria.LEFT_AXIS if "LAFB" in codes else values[0] > criteria.RIGHT_AXIS
    words = (wording.LEFT if "LAFB" in codes else wording.RIGHT) if turned else wording.AXIS_VALUE
    return choose(words, "axis").format(axis=round(values[0]))


def _qtc(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    values = measured("qtc", grounds.found)
    if "LNGQT" not in codes or not values:
        return ""
    long = all(value > criteria.LONG_QTC["M"] for value in values)
    return choose(wording.LONG_QTC if long else wording.QTC_VALUE, "qtc").format(qtc=round(values[0]))


def _voltage(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    for code in ("LVH", "VCLVH", "HVOLT", "RVH", "LVOLT") if grounds.is_good("qrs") else ():
        heights = [(lead, height) for lead in leads_of(code, grounds) if code in codes and lead not in grounds.absent
                   and (height := grounds.of("qrs_amplitude", lead)) is not None]
        if heights:
            lead, height = max(heights, key=lambda one: one[1])
            words = wording.LOW_VOLTAGE if code == "LVOLT" else wording.VOLTAGE
            return choose(words, "voltage").format(lead=lead, height=f"{height:.2f}")
    return ""


def _levels(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    """ST where the report states that it is raised or lowered, in the leads that it names, else where it is most so."""
    up, down = "STE_" in codes, "STD_" in codes
    if up == down:
        return ""
    named = leads_of("STE_" if up else "STD_", grounds)
    levels = [(level, lead) for lead in named or LEADS if lead not in ("aVR", *grounds.absent)
              and (level := grounds.st_mv(lead)) is not None]
    told = [f"an ST level of {level:+.2f} mV in {lead}" for level, lead in sorted(levels, reverse=up)[:3]]
    return choose(wording.ST_LEVELS, "st levels").format(levels=joined(told)) if told else ""


def _regions(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    """T waves where infarction, injury, ischaemia or inverted T waves are stated of a wall."""
    walls = [wall for code in ("INVT", "LOWT") if code in codes for wall in walls_of(code, grounds)]
    region = next((_REGIONS[code] for code in codes if code in _REGIONS), next(iter(walls), ""))
    if not grounds.is_good("qrs"):
        return ""
    told = [f"a T wave of {height:+.2f} mV in {lead}" for lead in LEADS_OF.get(region, ()) if lead not in grounds.absent
            and (height := grounds.of("t_amplitude", lead)) is not None]
    return choose(wording.REGION, "region").format(region=region, leads=joined(told)) if told else ""


def _repolarisation(codes: list[str], grounds: Grounds, choose: Choose) -> str:
    """The leads whose T waves are lowest, aVR aside."""
    if not {*_REPOLARISATION} & {*codes} or not grounds.is_good("qrs"):
        return ""
    heights = sorted((height, lead) for lead in grounds.leads if lead not in ("aVR", *grounds.absent)
                     and (height := grounds.of("t_amplitude", lead)) is not None)[:3]
    told = [f"a T wave of {height:+.2f} mV in {lead}" for height, lead in heights]
    return choose(wording.LOWEST_T, "lowest t").format(leads=joined(told)) if told else ""
