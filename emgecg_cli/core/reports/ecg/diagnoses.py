"""What must be true of a recording for a statement to hold, read from `data/ecg_criteria.txt`.

The file says at its head how it is written, and where each limit comes from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from math import inf

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.reports.ecg.criteria import KINDS, LONG_QTC, Claim
from emgecg_cli.core.reports.ecg.statements import statements
from emgecg_cli.core.signals.leads import LEADS

WAVES = ("p", "q", "r", "s", "t", "st", "qrs", "q_ms", "net", "end")   # of a lead
SUMS = ("sokolow", "cornell", "peguero", "p_ms", "ectopic_ms", "paced")                       # of the recording
_HEAD = re.compile(r"\[([^\]]*)\]\s*(\S.*)")
_CONDITION = re.compile(r"(?:(?:(?P<least>\d+) of )?(?P<leads>[IVaLRF1-6 ]+):\s*)?(?P<what>[a-z_]+)\s*"
                        r"(?P<op><=|>=|<|>|=)?\s*(?P<one>-?[\d.]+?)(?:\.\.(?P<two>-?[\d.]+)|\s+M\s+(?P<f>[\d.]+)\s+F)?")


@dataclass(frozen=True)
class WaveClaim:
    """A wave lies between `low` and `high` in `least` of the `leads`, all of them where it is 0; a sum over leads has
    none. Millivolts, or milliseconds for durations ("q_ms"); `female` is the limit for women where it differs. `stated`
    in numbers, and not in words or by a criterion."""

    wave: str
    low: float = -inf
    high: float = inf
    leads: tuple[str, ...] = ()
    least: int = 1
    female: float | None = None
    stated: bool = False


Criterion = tuple[Claim | WaveClaim, ...]   # alternatives, one of which is enough


@dataclass(frozen=True)
class Diagnosis:
    """One section of the file: `codes` need all `criteria`; `said_by` are all statements that say it."""

    name: str
    codes: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    expected: bool
    said_by: frozenset[str]
    source: str
    usual: bool = False
    alone: bool = False   # contradicted by whatever else a report is expected to say and that is not usual


@lru_cache(maxsize=1)
def diagnoses() -> tuple[Diagnosis, ...]:
    """All sections, in their order. Raises MedReportError naming the line that is not understood."""
    return read_diagnoses((files("emgecg_cli") / "data" / "ecg_criteria.txt").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def of_code() -> dict[str, Diagnosis]:
    """Statement -> what it needs."""
    return {code: one for one in diagnoses() for code in one.codes}


def read_diagnoses(text: str, name: str = "ecg_criteria.txt") -> tuple[Diagnosis, ...]:
    """Sections from the text of the file; raises MedReportError naming the line that is not understood."""
    found: list[Diagnosis] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("["):
                found.append(_begun(line))
            else:
                found.append(_with_line(found.pop(), line))
        except (ValueError, IndexError) as error:
            raise MedReportError(f"{name}, line {number}: {error}", "see the head of the file") from None
    incomplete = next((one for one in found if not one.criteria or not one.source), None)
    if incomplete:
        raise MedReportError(f"{name}: [{incomplete.name}] lacks criteria or their source", "see the head of the file")
    return tuple(found)


def _begun(line: str) -> Diagnosis:
    head = _HEAD.fullmatch(line)
    if head is None:
        raise ValueError("a section is [CODE …] NAME")
    codes = tuple(head[1].split())
    _known(codes)
    return Diagnosis(head[2], codes, (), False, frozenset(codes), "")


def _with_line(one: Diagnosis, line: str) -> Diagnosis:
    if line == "expected":
        return replace(one, expected=True)
    if line == "usual":
        return replace(one, usual=True)
    if line == "alone":
        return replace(one, alone=True)
    if line.startswith("said by "):
        others = line.removeprefix("said by ").split()
        _known(others)
        return replace(one, said_by=one.said_by | set(others))
    if line.startswith("from "):
        return replace(one, source=line.removeprefix("from "))
    return replace(one, criteria=(*one.criteria, tuple(_condition(part.strip()) for part in line.split(" or "))))


def _known(codes: tuple[str, ...] | list[str]) -> None:
    if unknown := next((code for code in codes if code not in statements()), None):
        raise ValueError(f"no statement {unknown}")


def _condition(text: str) -> Claim | WaveClaim:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"no condition: {text}")
    what, operator = found["what"], found["op"]
    low, high = _limits(operator, float(found["one"]), found["two"])
    if found["leads"] is None and what in KINDS:
        return Claim(what, low, high, True) if what != "qtc" else _of_qtc(low, high, found["f"])
    leads = tuple((found["leads"] or "").split())
    if unknown := next((lead for lead in leads if lead not in LEADS), None):
        raise ValueError(f"no lead {unknown}")
    if (what not in WAVES) if leads else (what not in SUMS):
        raise ValueError(f"no quantity {what}")
    least = int(found["least"]) if found["least"] else 0
    if least > len(leads):
        raise ValueError(f"{least} of {len(leads)} leads")
    return WaveClaim(what, low, high, leads, least, float(found["f"]) if found["f"] else None)


def _limits(operator: str | None, one: float, two: str | None) -> tuple[float, float]:
    if (operator is None) != (two is not None):
        raise ValueError("limits are FROM..TO, or an operator and a number")
    if two is not None:
        return one, float(two)
    return {"=": (one, one), "<": (-inf, one), "<=": (-inf, one)}.get(str(operator), (one, inf))


def _of_qtc(low: float, high: float, female: str | None) -> Claim:
    """The limits of QTc by sex are those of `criteria`, which judges them; the file must not say others."""
    if female is None or {low, high} - {-inf, inf} != {LONG_QTC["M"]} or float(female) != LONG_QTC["F"]:
        raise ValueError("the limits of qtc are those of core/reports/ecg/criteria.py")
    return Claim("qtc", low, LONG_QTC["F"] if high < inf else inf, True)
