"""The parts of a set that are scored by themselves: languages that must not be mixed, and the sections of reports.

What compares tokens is never pooled over a language without blanks between words and another one. Reports of findings
and impression are scored whole, and each section against its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics.text.tokens import fits_group, lacks_blanks, language_label
from emgecg_cli.core.reports.sections import split_sections

SECTIONS = ("all", "findings", "impression")


@dataclass(frozen=True)
class Slice:
    """Rows of a set, `index` (m,) among all n, and which section of their texts ("all": the text as it is).

    `group` is the language of texts that have to be segmented, "" of those with blanks between words. `label` stands
    behind the names of the values; the slice that is the whole set has none.
    """

    label: str
    index: np.ndarray
    section: str
    group: str

    def named(self, name: str) -> str:
        """The name of a value of this slice."""
        return f"{name} ({self.label})" if self.label else name

    def text(self, report: str) -> str:
        """The section of a report; empty where the report has none."""
        return report if self.section == "all" else _split(report)[SECTIONS.index(self.section) - 1]

    def reports(self, reports: Sequence[str]) -> list[str]:
        """The section of those of some reports that are in the language of the slice, blank ones left out."""
        found = (self.text(report) for report in reports if fits_group(report, self.group))
        return [text for text in found if text.strip()]


def check_section(name: str) -> None:
    """Refuse a name that is no section; raises MedReportError."""
    if name not in SECTIONS:
        raise MedReportError(f"no section '{name}'", f"--section takes {', '.join(SECTIONS)}")


def whole_slice(rows: Sequence[PredictionRow], section: str) -> Slice:
    """All rows, for metrics that read no tokens; of a section, those whose reference has it."""
    check_section(section)
    index = np.arange(len(rows)) if section == "all" else _sectioned(rows)
    if not len(index):
        raise MedReportError("no reference has both sections, findings and impression",
                             "leave --section out: these reports are scored whole")
    groups = set(groups_of(rows))
    return Slice("" if section == "all" else section, index, section, groups.pop() if len(groups) == 1 else "")


def groups_of(rows: Sequence[PredictionRow]) -> list[str]:
    """What each row is scored with: its language where that has to be segmented, else "" for all others together."""
    without = {row.language for row in rows if lacks_blanks(row.language, row.reference or "")}
    return [(row.language or "") if row.language in without else "" for row in rows]


def token_slices(rows: Sequence[PredictionRow], section: str) -> list[Slice]:
    """The slices for metrics that compare tokens, in the order in which they are shown: per language group the whole,
    then findings and impression of the reports whose references have both; or the one section asked for.
    """
    groups = groups_of(rows)
    both = _sectioned(rows)
    slices = []
    for group in sorted(set(groups)):
        index = np.array([i for i, its in enumerate(groups) if its == group], dtype=np.int64)
        mixed = len(index) < len(rows)
        language = [language_label([rows[i].language or "en" for i in index.tolist()])] * mixed
        parts = np.intersect1d(index, both)
        wanted = SECTIONS if section == "all" else (section,)
        for part in wanted:
            chosen = index if part == "all" else parts
            if len(chosen):
                label = ", ".join([*language, *([] if part == "all" else [part])])
                slices.append(Slice(label, chosen, part, group))
    return slices


def section_notes(rows: Sequence[PredictionRow], section: str) -> list[str]:
    """How many references have sections, where some have, and how many predictions lack one of them."""
    index = _sectioned(rows)
    if not len(index):
        return []
    notes = []
    if len(index) < len(rows):
        notes.append(f"{len(index)} of {len(rows)} references have findings and impression; the others are scored "
                     f"{'whole only' if section == 'all' else 'not at all'}")
    lacking = [sum(not part for part in column) for column in
               zip(*(_split(rows[i].prediction) for i in index), strict=True)]
    notes += [f"{count} of {len(index)} predictions have no {name}, which counts as zero"
              for name, count in zip(SECTIONS[1:], lacking, strict=True) if count]
    return notes


@lru_cache(maxsize=1 << 16)
def _split(report: str) -> tuple[str, str]:
    return split_sections(report)


def _sectioned(rows: Sequence[PredictionRow]) -> np.ndarray:
    """The rows whose reference has both findings and impression."""
    return np.array([i for i, row in enumerate(rows) if all(_split(row.reference))], dtype=np.int64)
