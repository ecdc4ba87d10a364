"""What a report states, in the words of a diagnosis: its statements, with the walls and the axis that it names."""

from __future__ import annotations

from collections.abc import Sequence

from emgecg_cli.core.instructions.grounded.grounds import Grounds
from emgecg_cli.core.reports.ecg.fact_patterns import FOLDED, SENTENCE, TERRITORY
from emgecg_cli.core.reports.ecg.facts import read_claims
from emgecg_cli.core.reports.ecg.labels import Status, label
from emgecg_cli.core.reports.ecg.rules import LANGUAGES
from emgecg_cli.core.reports.ecg.statements import statements

_SAID_AS = {"EL": "electrolyte disturbance or drug effect", "NORM": "a normal ECG", "ANEUR": "ventricular aneurysm",
            "NDT": "non-diagnostic T wave abnormalities", "VCLVH": "voltage criteria for LVH",
            "PACE": "a functioning artificial pacemaker", "STE_": "ST elevation", "STD_": "ST depression",
            "INVT": "inverted T waves", "LOWT": "low T waves", "LVOLT": "low QRS voltage",
            "PVC": "ventricular premature complexes", "PAC": "atrial premature complexes",
            "LPR": "a prolonged PR interval", "LNGQT": "a prolonged QT interval", "TAB_": "abnormal T waves",
            "ABQRS": "abnormal QRS complexes", "QWAVE": "pathological Q waves", "DIG": "digitalis effect",
            "ISC_": "non-specific ischemia", "LAO/LAE": "left atrial enlargement", "BIGU": "a bigeminal pattern",
            "RAO/RAE": "right atrial enlargement", "TRIGU": "a trigeminal pattern"} | {
                code: f"ischemia in the {wall} leads" for code, wall in (
                    ("ISCAL", "anterolateral"), ("ISCIN", "inferior"), ("ISCIL", "inferolateral"),
                    ("ISCAS", "anteroseptal"), ("ISCLA", "lateral"), ("ISCAN", "anterior"))}
_OF_A_WALL = ("STE_", "STD_", "INVT", "LOWT", "QWAVE")


def stated(grounds: Grounds) -> tuple[list[str], list[str]]:
    """What the report states, and what it holds possible, each as it is said in a diagnosis; rhythm goes first, then
    diagnoses, then what is only seen."""
    found: dict[Status, list[str]] = {Status.PRESENT: [], Status.POSSIBLE: []}
    for code in sorted(grounds.labels, key=_rank):
        if (status := grounds.labels[code]) in found:
            found[status].append(_name(code, grounds))
    found[Status.PRESENT] += _claimed(grounds)
    return found[Status.PRESENT], found[Status.POSSIBLE]


def walls_of(code: str, grounds: Grounds) -> tuple[str, ...]:
    """The territories that the report names in the sentences that state something: "inferior", "lateral" …"""
    language = grounds.read_in
    if code not in _OF_A_WALL or language not in LANGUAGES:
        return ()
    parts = SENTENCE.split(grounds.report.casefold().translate(FOLDED))
    own = [part for part in parts if label(part, language).get(code, Status.ABSENT) != Status.ABSENT]
    return tuple(dict.fromkeys(wall for part in own for wall in TERRITORY.findall(part)))


def _name(code: str, grounds: Grounds) -> str:
    name, walls = _SAID_AS.get(code, statements()[code].description), walls_of(code, grounds)
    return f"{name} in the {joined(walls)} leads" if walls else name


def joined(words: Sequence[str]) -> str:
    """Words as a list in a sentence: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _rank(code: str) -> tuple[int, int]:
    kinds = statements()[code].kinds
    return (0 if "rhythm" in kinds else 1 if "diagnostic" in kinds else 2), list(statements()).index(code)


def _claimed(grounds: Grounds) -> list[str]:
    """What the vocabulary of statements has no code for: the axis, and a PR interval that is called long."""
    claims = [claim for claim in read_claims(grounds.report, grounds.language)
              if claim.abnormal and not claim.is_number]
    codes, told = grounds.labels.keys(), []
    for claim in claims:
        if claim.kind == "axis" and not {"LAFB", "LPFB"} & codes:
            told.append("left axis deviation" if claim.high < 0 else "right axis deviation")
        if claim.kind == "pr" and claim.low > 0 and not {"1AVB", "LPR", "2AVB", "3AVB"} & codes:
            told.append(_SAID_AS["LPR"])
    return list(dict.fromkeys(told))
