"""Statements about waves held against a recording: lead by lead, with the slack two careful readers differ by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from emgecg_cli.core.artifacts import Measurements
from emgecg_cli.core.evidence.claims import Verdict, judge, measured
from emgecg_cli.core.reports.ecg import criteria
from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.diagnoses import WaveClaim
from emgecg_cli.core.signals.delineation.lead_waves import LeadWaves
from emgecg_cli.core.signals.leads import LEADS

_POOR = (None, "poor")
# By how much a limit must be missed to contradict, and by how much a stated number; of the larger ones a part as well.
# Voltages of one heart differ by a fifth from day to day and with the place of chest electrodes.
SLACK = {"p": 0.03, "q": 0.05, "r": 0.05, "s": 0.05, "t": 0.05, "st": 0.025, "qrs": 0.05, "q_ms": 6.0, "net": 0.1,
         "end": 0.02, "sokolow": 0.7, "cornell": 0.5, "peguero": 0.5, "p_ms": 10.0, "ectopic_ms": 20.0, "paced": 0.0}
TOLERANCE = {"p": 0.05, "q": 0.1, "r": 0.15, "s": 0.15, "t": 0.1, "st": 0.1, "qrs": 0.2, "p_ms": 20.0, "q_ms": 15.0,
             "t_ms": 40.0, "st_ms": 40.0}
_PART = 0.15
# The names of per-beat sequences, for numbers that a text gives of a lead.
BEAT_NAMES = {"rate": "heart_rate", "pr": "pr_interval", "qrs": "qrs_duration", "qt": "qt_interval",
              "qtc": "qtc_interval", "p_ms": "p_duration", "t_ms": "t_duration", "st_ms": "st_duration",
              "p": "p_amplitude", "wave qrs": "qrs_amplitude", "t": "t_amplitude"}
_MAGNITUDES = ("q", "r", "s", "qrs")


class Beats(Mapping[str, Mapping[str, Sequence[float | None]]]):
    """A table of beats by lead that is measured when it is first asked."""

    def __init__(self, measure: Callable[[], Mapping[str, Any]]) -> None:
        self._measure = measure
        self._found: Mapping[str, Any] | None = None

    def __getitem__(self, lead: str) -> Mapping[str, Sequence[float | None]]:
        return self._table()[lead]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table())

    def __len__(self) -> int:
        return len(self._table())

    def _table(self) -> Mapping[str, Any]:
        if self._found is None:
            self._found = self._measure()
        return self._found


@dataclass(frozen=True)
class Waveform:
    """What a text is held against: the measurements of a recording, its waves by lead, the patient's sex ("M", "F"),
    and where there is one its table of beats, lead -> name -> one value per beat, None where nothing was detected.

    `ectopic_ms` is the longest QRS complex of its ectopic beats, 0 where no beat is ectopic, None where that was not
    measured; `paced` whether spikes were seen: that none was tells nothing.
    """

    measurements: Measurements
    waves: LeadWaves | None = None
    sex: str | None = None
    beats: Mapping[str, Mapping[str, Sequence[float | None]]] | None = None
    ectopic_ms: float | None = None
    paced: bool = False


def holds(claim: Claim | WaveClaim, of: Waveform) -> Verdict:
    """Whether the recording supports a claim; within the slack of its limit it does."""
    if isinstance(claim, Claim):
        verdict = judge(claim, of.measurements, of.sex)
        if verdict == Verdict.CONTRADICTED and claim.is_number and _in_beats(claim.kind, claim.low, claim.high,
                                                                             claim.leads, of):
            return Verdict.SUPPORTED
        return verdict
    if not claim.leads:
        value = _sum(claim.wave, of)
        return _counted([None if value is None else _near(claim, value, of)], 1)
    found = [_in_lead(claim, lead, of) for lead in claim.leads]
    return _counted(found, claim.least or len(claim.leads))


def surely(claim: Claim | WaveClaim, of: Waveform) -> bool:
    """Whether the recording meets a limit by more than its slack."""
    if isinstance(claim, Claim):
        return _surely_measured(claim, of)
    low, high = _limits(claim, of.sex)
    slack = SLACK[claim.wave]
    values = [of_lead(claim.wave, lead, of) for lead in claim.leads] if claim.leads else [_sum(claim.wave, of)]
    met = sum(value is not None and low + (low > -inf) * slack <= value <= high - (high < inf) * slack
              for value in values)
    return met >= (claim.least or len(values))


def of_lead(wave: str, lead: str, of: Waveform) -> float | None:
    """What a wave measures in a lead, None where it was not measured well."""
    found = of.measurements
    if wave == "st":
        levels = None if found.st_quality in _POOR else found.st_uv
        level = levels[LEADS.index(lead)] if levels else None
        return None if level is None else level / 1000
    if found.qrs_quality in _POOR or of.waves is None:
        return None
    if wave == "p" and (found.p_present_quality in _POOR or not found.p_present):
        return None
    return of.waves.of(wave, lead)


def _surely_measured(claim: Claim, of: Waveform) -> bool:
    values = measured(claim.kind, of.measurements)
    slack = criteria.SLACK[claim.kind]
    low, high = claim.low, claim.high
    if claim.kind == "qtc":
        low = criteria.long_qtc(of.sex, shown=True) if low > -inf else low
    if claim.kind == "axis":
        values = [(value - low) % 360 + low for value in values]
    return bool(values) and all(low + (low > -inf) * slack <= value <= high - (high < inf) * slack for value in values)


def _in_lead(claim: WaveClaim, lead: str, of: Waveform) -> bool | None:
    """Whether a claim holds in a lead; None where it cannot be judged."""
    value = of_lead(claim.wave, lead, of)
    near = None if value is None else _near(claim, value, of)
    if not claim.stated or near:
        return near
    if claim.wave == "p_ms" and _sum("p_ms", of) is not None:
        near = _near(claim, _sum("p_ms", of) or 0.0, of)
    if claim.wave == "qrs":   # an amplitude is from peak to peak to some, the largest deflection to others
        sides = [side for name in ("r", "s") if (side := of_lead(name, lead, of)) is not None]
        near = any(_near(claim, side, of) for side in sides) if sides else near
    name = "wave qrs" if claim.wave == "qrs" else claim.wave
    return _in_beats(name, claim.low, claim.high, (lead,), of) if not near and name in BEAT_NAMES and of.beats else near


def _in_beats(kind: str, low: float, high: float, leads: Sequence[str], of: Waveform) -> bool:
    """Whether one of the beats in one of the leads is as stated."""
    wave = kind.removeprefix("wave ")
    margin = criteria.TOLERANCE.get(kind) or TOLERANCE[wave]   # of "p", whose presence has none, the amplitude's
    for lead in leads:
        for value in ((of.beats or {}).get(lead) or {}).get(BEAT_NAMES.get(kind, ""), ()):
            size = abs(value) if value is not None and wave in _MAGNITUDES and kind not in criteria.TOLERANCE else value
            if size is not None and low - margin <= size <= high + margin:
                return True
    return False


def _near(claim: WaveClaim, value: float, of: Waveform) -> bool:
    low, high = _limits(claim, of.sex)
    if claim.stated and claim.wave in _MAGNITUDES:
        low, high = sorted((abs(low), abs(high)))
    margin = max(TOLERANCE[claim.wave], _PART * abs(value)) if claim.stated else SLACK[claim.wave]
    return low - margin <= value <= high + margin


def _limits(claim: WaveClaim, sex: str | None) -> tuple[float, float]:
    """The limits for the patient: where a limit differs by sex and that is not known, the one that claims less."""
    if claim.female is None or sex == "M":
        return claim.low, claim.high
    if claim.low > -inf:
        return (claim.female if sex == "F" else min(claim.low, claim.female)), claim.high
    return claim.low, claim.female if sex == "F" else max(claim.high, claim.female)


def _sum(name: str, of: Waveform) -> float | None:
    """A quantity of several leads, or of the recording."""
    if name == "p_ms":
        return None if of.measurements.p_quality in _POOR else of.measurements.p_ms
    if name == "ectopic_ms":
        return None if of.measurements.heart_rate_quality in _POOR else of.ectopic_ms
    if name == "paced":
        return 1.0 if of.paced else None
    if name == "peguero":
        depths = [of_lead("s", lead, of) for lead in LEADS]
        known, fourth = [depth for depth in depths if depth is not None], of_lead("s", "V4", of)
        return None if fourth is None else max(known) + fourth
    parts = {"sokolow": (("s", "V1"), ("r", "V5"), ("r", "V6")), "cornell": (("r", "aVL"), ("s", "V3"))}[name]
    values = [of_lead(wave, lead, of) for wave, lead in parts]
    first, rest = values[0], [value for value in values[1:] if value is not None]
    return None if first is None or not rest else first + max(rest)


def _counted(found: Sequence[bool | None], needed: int) -> Verdict:
    yes, unknown = sum(one is True for one in found), sum(one is None for one in found)
    if yes >= needed:
        return Verdict.SUPPORTED
    return Verdict.NOT_MEASURABLE if yes + unknown >= needed else Verdict.CONTRADICTED
