"""An interpretation without a language model: what is measured lead by lead, what it means, and the diagnosis.

The text is true to report and measurements: every value is measured, every diagnosis the report's. Which wording is
taken, and which leads are spoken of beyond those that the diagnosis rests on, the record's id and the seed decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from emgecg_cli.core.instructions.grounded.checks import MOST_WORDS
from emgecg_cli.core.instructions.grounded.grounds import Grounds
from emgecg_cli.core.instructions.grounded.reasons import leads_of, reasons_for
from emgecg_cli.core.instructions.grounded.stated import joined, stated
from emgecg_cli.core.instructions.grounded.wording import (
    CERTAIN,
    DESCRIPTIVE,
    IRREGULAR,
    NO_P,
    NOISY,
    OPENINGS,
    POSSIBLE,
    QRS,
    RATE,
    REGULAR,
    RR,
    ST_LEVEL,
    T_WAVE,
    TERRITORIES,
    WAVES_II,
)
from emgecg_cli.core.instructions.pool import draw
from emgecg_cli.core.reports.ecg.labels import Status
from emgecg_cli.core.signals.leads import LEADS

ROOM = 80  # words that are left below the most
_FLAT_MV = 0.05


@dataclass(frozen=True)
class Chooser:
    """Draws one of several wordings, by the seed, the record, and what is worded."""

    seed: int
    record_id: str
    attempt: int

    def one(self, wordings: Sequence[str], what: str) -> str:
        """One of the wordings."""
        return wordings[draw(len(wordings), "grounded", self.seed, self.record_id, self.attempt, what)]

    def order(self, items: Sequence[str], what: str) -> list[str]:
        """The items in an order of its own."""
        return sorted(items, key=lambda item: draw(1 << 62, "grounded", self.seed, self.record_id, self.attempt, what,
                                                   item))


def write_by_rules(grounds: Grounds, seed: int, attempt: int = 0) -> str:
    """The interpretation of a record, one paragraph; `attempt` draws other wordings."""
    choose = Chooser(seed, grounds.record_id, attempt)
    first, last = _first_look(grounds, choose), [*reasons_for(grounds, choose.one), *_conclusion(grounds, choose)]
    room = MOST_WORDS - ROOM - sum(len(part.split()) for part in (*first, *last))
    middle: dict[str, str] = {}
    for lead in _order(grounds, choose):
        told = _lead(grounds, lead, choose)
        if told and (room := room - len(told.split())) >= 0:
            middle[lead] = told
    leads = [middle[lead] for lead in LEADS if lead in middle] or [choose.one(NOISY, "noisy")]
    return " ".join([*first, *leads, *last])


def _order(grounds: Grounds, choose: Chooser) -> list[str]:
    """The leads by how much they matter: those the diagnosis rests on, one of each territory, then the others."""
    needed = [lead for code, status in grounds.labels.items() if status != Status.ABSENT
              for lead in leads_of(code, grounds)]
    each = [choose.order(leads, name)[0] for name, leads in TERRITORIES.items()]
    wanted = dict.fromkeys([*needed, "II", "V1", *each, *choose.order(LEADS, "rest")])
    return [lead for lead in wanted if lead not in grounds.absent]


def _first_look(grounds: Grounds, choose: Chooser) -> list[str]:
    """Rate, regularity and atria."""
    found, told = grounds.found, [choose.one(OPENINGS, "opening")]
    if found.heart_rate_bpm is not None and grounds.is_good("heart_rate"):
        told.append(choose.one(RATE, "rate").format(rate=round(found.heart_rate_bpm)))
    gaps = grounds.numbers("rr_interval_2", ["II"]) or grounds.numbers("rr_interval_2")
    if gaps and grounds.is_good("heart_rate"):
        told.append(choose.one(RR, "rr").format(low=round(min(gaps)), high=round(max(gaps))))
    if found.regular is not None and grounds.is_good("regular"):
        told.append(choose.one(REGULAR if found.regular else IRREGULAR, "regular"))
    if found.p_present is False and grounds.is_good("p_present"):
        told.append(choose.one(NO_P, "p"))
    elif grounds.is_good("p") and grounds.is_good("pr") and "II" not in grounds.absent and (
            amplitude := grounds.of("p_amplitude", "II")) is not None:
        length, pr = grounds.of("p_duration", "II"), grounds.of("pr_interval", "II")
        if length is not None and pr is not None:
            told.append(choose.one(WAVES_II, "atria").format(p=f"{amplitude:.2f}", length=round(length),
                                                             pr=round(pr)))
    return told


def _lead(grounds: Grounds, lead: str, choose: Chooser) -> str:
    """What is measured in one lead: QRS, ST and T."""
    height, length = grounds.of("qrs_amplitude", lead), grounds.of("qrs_duration", lead)
    if height is None or length is None or not grounds.is_good("qrs"):
        return ""
    told = choose.one(QRS, f"qrs {lead}").format(lead=lead, height=f"{height:.2f}", length=round(length))
    parts = [part for part in (_st(grounds, lead, choose), _t(grounds, lead, choose)) if part]
    return f"{told}, {' and '.join(parts)}." if parts else f"{told}."


def _st(grounds: Grounds, lead: str, choose: Chooser) -> str:
    level = grounds.st_mv(lead)
    return "" if level is None else choose.one(ST_LEVEL, f"st {lead}").format(level=f"{round(level, 2) + 0.0:+.2f}")


def _t(grounds: Grounds, lead: str, choose: Chooser) -> str:
    height = grounds.of("t_amplitude", lead)
    if height is None:
        return ""
    shape = "flat" if abs(height) < _FLAT_MV else "upright" if height > 0 else "negative"
    return choose.one(T_WAVE[shape], f"t {lead}").format(height=f"{height:.2f}")


def _conclusion(grounds: Grounds, choose: Chooser) -> Iterator[str]:
    """The diagnosis: what the report states, then what it holds possible."""
    certain, possible = stated(grounds)
    if not certain and not possible:
        yield choose.one(DESCRIPTIVE, "descriptive")
    if certain:
        yield choose.one(CERTAIN, "certain").format(diagnosis=joined(certain))
    for number, name in enumerate(possible):
        yield choose.one(POSSIBLE, f"possible {number}").format(diagnosis=name.removeprefix("a "))
