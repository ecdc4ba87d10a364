"""What the measured tables of an EMG examination call abnormal: values beyond their reference range, absent responses.

How reports are worded plays no part: a value is abnormal when it lies beyond the outermost line of its
reference range on the abnormal side, or its response is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from emgecg_cli.core.emg import terms
from emgecg_cli.core.emg.case import Case, Item
from emgecg_cli.core.references import References
from emgecg_cli.core.reports.emg.statements import Judgement, Statement, table_statements


@dataclass(frozen=True)
class Tables:
    """The measured tables of a store by record id, and the reference ranges that judge their values."""

    cases: Mapping[str, Case] = field(default_factory=dict)
    references: References | None = None


def called_abnormal(case: Case, limits: References) -> frozenset[Statement]:
    """The statements of a table: values beyond the outermost line on the abnormal side, and absent responses."""
    def judge(item: Item, value: float) -> Judgement | None:
        reference = limits.of(item)
        if reference is None:
            return None
        value = limits.adjusted(reference, value, case)
        high = terms.abnormal_direction(item.measure) > 0
        outside = value > reference.upper[0] if high else value < reference.lower[0]
        return ("high" if high else "low", None) if outside else None

    return frozenset(table_statements(case, judge))
