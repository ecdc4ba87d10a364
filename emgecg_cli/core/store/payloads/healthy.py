"""Reference ranges of a store of tables: fitted on the healthy examinations of its train split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from emgecg_cli.core.config import HEALTHY
from emgecg_cli.core.emg.case import Case, Item, values
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.references import References, fit
from emgecg_cli.core.references.fit import check_percentiles
from emgecg_cli.core.reports.emg.healthy import why_not_healthy
from emgecg_cli.core.reports.emg.nerves import normal_nerves, normal_values

REFERENCES = "references.json"
# who is healthy, by the name of the choice, as references.json says it
RULES = dict(zip(HEALTHY, ("whole case normal", "whole case normal, or nerve and side called normal"), strict=True))


def parse_percentiles(text: str) -> tuple[float, ...]:
    """The percentiles of "2,5,8"; raises MedReportError unless they are numbers that can be used."""
    try:
        return check_percentiles([float(part) for part in text.split(",")])
    except ValueError:
        raise MedReportError(f"--percentiles '{text}': not numbers separated by commas",
                             "give --percentiles 2,5,8,11,14,17,20") from None


def check_healthy(healthy: str) -> None:
    """Raise MedReportError unless this is one of RULES."""
    if healthy not in RULES:
        raise MedReportError(f"--healthy is '{healthy}'", f"available: {', '.join(RULES)}")


def fit_references(cases: Iterable[Examination], percentiles: Sequence[float], covariates: str,
                   healthy: str = "cases") -> tuple[References, dict[str, Any]]:
    """References of the healthy among these cases (of the train split), and whose they are, as JSON values.

    "pool" counts the healthy examinations and why the others are none. With `healthy` "nerves" the others give the
    values of nerves that their reports call normal (`references.nerves`), and "nerves" counts these examinations and
    values, and why the rest gave none. Raises MedReportError for a choice that is none.
    """
    check_healthy(healthy)
    pool: dict[str, int] = {"healthy": 0}
    nerves: dict[str, Any] = {"examinations": 0, "values": 0, "none": {}}
    triples: list[tuple[Item, float, Case]] = []
    for stored in cases:
        case = stored.case
        if case is None:
            continue
        why_not = why_not_healthy(stored.findings, stored.impression, case.emg)
        if why_not is None:
            pool["healthy"] += 1
            triples += [(item, cell.value, case) for item, _, cell in values(case) if cell.value is not None]
        else:
            reason = why_not.partition(":")[0]
            pool[reason] = pool.get(reason, 0) + 1
            if healthy == "nerves":
                triples += _of_nerves(stored, case, nerves)
    made_of = {"pool": pool} | ({"nerves": nerves} if healthy == "nerves" else {})
    return fit(triples, percentiles, covariates, rule=RULES[healthy]), made_of


def _of_nerves(stored: Examination, case: Case, counts: dict[str, Any]) -> list[tuple[Item, float, Case]]:
    """The values of a patient's nerves that the report calls normal, counted."""
    called = normal_nerves(stored.findings, stored.impression, case)
    found: list[tuple[Item, float, Case]] = [(item, value, case) for item, value in normal_values(case, called)]
    if found:
        counts["examinations"] += 1
        counts["values"] += len(found)
    else:
        why = called.why_none or "every nerve called normal was not examined, or is called abnormal too"
        counts["none"][why] = counts["none"].get(why, 0) + 1
    return found
