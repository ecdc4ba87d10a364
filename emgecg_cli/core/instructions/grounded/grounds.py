"""What an interpretation may rest on: the report of a record, and what is measured on its beats, lead by lead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import Any

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.waveform import Waveform
from emgecg_cli.core.reports.ecg.labels import Status, label, label_all
from emgecg_cli.core.reports.ecg.rules import LANGUAGES
from emgecg_cli.core.reports.language import UNDETERMINED, detect_language
from emgecg_cli.core.signals.leads import LEADS

_ECG = re.compile(r"\becg\b", re.I)
Series = Sequence[Any]  # one entry a beat: a number, a word (the form of ST), None for what was not found


@dataclass(frozen=True)
class Grounds:
    """One record: its report, the measurements of its median beat, and the table of its beats, lead -> name -> series,
    with GEM's fourteen names. `ectopic` tells for each beat whether it is one, `text` is the table as GEM writes it,
    and claims are held against `waveform`."""

    record_id: str
    report: str
    language: str
    found: Measurements
    leads: Mapping[str, Mapping[str, Series]] = field(default_factory=dict)
    ectopic: Sequence[bool] = ()
    absent: Sequence[str] = ()
    text: str = ""
    waveform: Waveform | None = None

    @cached_property
    def labels(self) -> Mapping[str, Status]:
        """The statements of the report."""
        if self.read_in not in LANGUAGES:
            return label_all([self.report])[0] or {}
        # Cleaning writes ECG for EKG, which German and Swedish rules do not expect.
        text = self.report if self.read_in == "en" else _ECG.sub("EKG", self.report)
        return label(text, self.read_in)

    @cached_property
    def read_in(self) -> str:
        """The language of the report's words, else that of the record."""
        own = detect_language(self.report)
        return self.language if own == UNDETERMINED else own

    @property
    def n_beats(self) -> int:
        """Beats that the table has."""
        return len(self.ectopic) or self.found.n_beats

    def is_good(self, name: str) -> bool:
        """Whether a measurement of the median beat is of a quality that may be evidence."""
        return getattr(self.found, f"{name}_quality") not in (None, "poor")

    def numbers(self, name: str, leads: Iterable[str] = LEADS) -> list[float]:
        """What was measured of a name in some leads, in any beat."""
        return [float(value) for lead in leads for value in self.leads.get(lead, {}).get(name, ())
                if isinstance(value, int | float)]

    def of(self, name: str, lead: str) -> float | None:
        """The median over the beats of a lead that are not ectopic; None where it was not found in half of them."""
        series = self.leads.get(lead, {}).get(name, ())
        kept = [value for value, odd in zip(series, self.ectopic or [False] * len(series), strict=False) if not odd]
        there = [float(value) for value in kept if isinstance(value, int | float)]
        return median(there) if there and 2 * len(there) >= len(kept) else None

    def st_mv(self, lead: str) -> float | None:
        """The level of ST in a lead in millivolts; None where it was not measured well."""
        levels = self.found.st_uv
        if levels is None or not self.is_good("st"):
            return None
        level = levels[LEADS.index(lead)]
        return None if level is None else level / 1000


def grounds_of(evidence: Evidence, index: int) -> Grounds:
    """The grounds of the record in a row of the store, which has a report."""
    from emgecg_cli.core.signals.delineation.beat_table import serialise_gem  # takes a moment to import

    record = evidence.at(index)
    waveform = record.waveform   # before the measurements, which are made with it where the store has none
    row, found, table = record.row, record.measurements or Measurements(), record.beats
    leads: Mapping[str, Mapping[str, Series]] = {}
    ectopic: list[bool] = []
    text = ""
    if table is not None:
        told, text = table.to_json(), serialise_gem(table)
        leads, ectopic = told["leads"], [bool(beat["ectopic"]) for beat in told["beats"]]
    return Grounds(row.record_id, row.report or "", row.language, found, leads, ectopic,
                   [*row.absent_leads, *row.flat_leads], text, waveform and replace(waveform, beats=leads or None))
