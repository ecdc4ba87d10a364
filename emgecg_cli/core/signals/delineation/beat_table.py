"""The measurements of every beat of a recording in every lead: as arrays, as JSON, and as the text that GEM's prompts
hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emgecg_cli.core.signals.leads import LEADS

# GEM's 14 sequences in its order, and the unit of each
UNITS = {"heart_rate": "bpm", "rr_interval_1": "ms", "rr_interval_2": "ms", "p_amplitude": "mV", "p_duration": "ms",
         "pr_interval": "ms", "qrs_amplitude": "mV", "qrs_duration": "ms", "t_amplitude": "mV", "t_duration": "ms",
         "st_duration": "ms", "st_form": "word", "qt_interval": "ms", "qtc_interval": "ms"}
EDGES = ("p_on", "p_off", "qrs_on", "qrs_off", "t_on", "t_off")
FORMS = {0: "horizontal", 1: "upslope", -1: "declination"}
_PLACES = {"bpm": 1, "ms": 0, "mV": 3}
# As GEM's own examples spell them: a capital, and the plural of what is measured in numbers.
_GEM_NAMES = {"heart_rate": "Heart_rates", "rr_interval_1": "RR_intervals_1", "rr_interval_2": "RR_intervals_2",
              "p_amplitude": "P_amplitudes", "p_duration": "P_durations", "pr_interval": "PR_intervals",
              "qrs_amplitude": "QRS_amplitudes", "qrs_duration": "QRS_durations", "t_amplitude": "T_amplitudes",
              "t_duration": "T_durations", "st_duration": "ST_durations", "st_form": "ST_form",
              "qt_interval": "QT_intervals", "qtc_interval": "QTc_intervals"}


@dataclass(frozen=True)
class BeatTable:
    """What is measured on each of the n beats of a recording, in time order, in each of LEADS.

    `time` (n,) is the R peak in seconds from the start of the recording; `ectopic` (n,) says which beats are of another
    shape than the one that is measured, or come too early in a regular rhythm. `values` has an array (12, n) for every
    name of UNITS, NaN where nothing was detected; forms are the numbers of FORMS. `edges` (6, n) are the EDGES of each
    beat in seconds from the start, as the median of the leads has them, `lead_edges` (12, 6, n) those of each lead.
    `qtc` names the formula of the corrected QT interval.
    """

    time: np.ndarray
    ectopic: np.ndarray
    values: Mapping[str, np.ndarray]
    edges: np.ndarray
    lead_edges: np.ndarray
    qtc: str = "bazett"

    def average(self, name: str) -> np.ndarray:
        """The median of a measurement over the beats that are not ectopic, (12,); NaN in leads without one. Of forms,
        the commonest."""
        values = self.values[name][:, ~self.ectopic]
        if name == "st_form":
            counts = np.stack([(values == form).sum(axis=1) for form in FORMS])
            return np.where(counts.any(axis=0), np.array(list(FORMS), float)[counts.argmax(axis=0)], np.nan)
        found = np.isfinite(values).any(axis=1) if values.size else np.zeros(len(LEADS), bool)
        average = np.full(len(LEADS), np.nan)
        average[found] = np.nanmedian(values[found], axis=1)
        return average

    def to_json(self) -> dict[str, Any]:
        """JSON values: `leads` has each lead's 14 sequences with one entry for every beat, None where nothing was
        detected; `beats` when each beat was, whether it is ectopic, and where its waves begin and end, in seconds;
        `averages` the medians over the beats that are not ectopic."""
        leads = {lead: {name: [_rounded(name, value) for value in self.values[name][row].tolist()] for name in UNITS}
                 for row, lead in enumerate(LEADS)}
        averages = {name: self.average(name).tolist() for name in UNITS}
        beats = [{"time": round(time, 4), "ectopic": ectopic}
                 | {name: None if at != at else round(at, 4) for name, at in zip(EDGES, edges, strict=True)}
                 for time, ectopic, edges in zip(self.time.tolist(), self.ectopic.tolist(), self.edges.T.tolist(),
                                                 strict=True)]
        return {"leads": leads, "beats": beats,
                "averages": {lead: {name: _rounded(name, averages[name][row]) for name in UNITS}
                             for row, lead in enumerate(LEADS)},
                "units": UNITS | {"time": "s"} | dict.fromkeys(EDGES, "s"), "qtc_formula": self.qtc}


def serialise_gem(table: BeatTable) -> str:
    """The table as GEM's prompts hold it: a JSON object of leads, in which each of the 14 sequences is one text of
    values joined by commas, times and rates as whole numbers and amplitudes in millivolts with three decimals.

    What was not detected is `null` between the commas. Where there are ectopic beats their numbers, from 1, stand under
    `Ectopic_beats`, which GEM's own text does not have.
    """
    text: dict[str, Any] = {lead: {_GEM_NAMES[name]: ", ".join(_word(name, value) for value in values[row].tolist())
                                   for name, values in ((name, table.values[name]) for name in UNITS)}
                            for row, lead in enumerate(LEADS)}
    if table.ectopic.any():
        text["Ectopic_beats"] = ", ".join(str(i + 1) for i in np.flatnonzero(table.ectopic))
    return json.dumps(text)


def _rounded(name: str, value: float) -> float | int | str | None:
    if value != value:
        return None
    if name == "st_form":
        return FORMS[int(value)]
    places = _PLACES[UNITS[name]]
    return round(value, places) if places else round(value)


def _word(name: str, value: float) -> str:
    rounded = _rounded(name, value)
    if rounded is None:
        return "null"
    if isinstance(rounded, str):
        return rounded
    return f"{rounded:.3f}" if UNITS[name] == "mV" else f"{rounded:.0f}"
