"""Which nerves and muscles a laboratory examines for a question, and the tables it fills in."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from emgecg_cli.core.datasets.synthetic_emg.diseases import Effects, draw_needle_row
from emgecg_cli.core.datasets.synthetic_emg.healthy import (
    DISTANCE_SD,
    MOTOR,
    PROXIMAL,
    SENSORY,
    Person,
    log_normal,
)
from emgecg_cli.core.emg.case import READING_ORDER, Case, EmgRow, NcvRow
from emgecg_cli.core.emg.cells import Cell
from emgecg_cli.core.emg.terms import SIDES

# question -> nerve -> (chance that it is tested at all, chance that both sides are)
NERVES_FOR: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "hand": {"median": (1.0, 0.9), "ulnar": (0.95, 0.5), "radial": (0.3, 0.3)},
    "elbow": {"median": (0.9, 0.35), "ulnar": (1.0, 0.85), "radial": (0.2, 0.2)},
    "cervical": {"median": (1.0, 0.55), "ulnar": (1.0, 0.55), "radial": (0.35, 0.4)},
    "lumbar": {"peroneal": (1.0, 0.85), "superficial_peroneal": (0.5, 0.7), "tibial": (1.0, 0.85), "sural": (0.9, 0.8)},
    "neuropathy": {"median": (0.95, 0.25), "ulnar": (0.7, 0.2), "peroneal": (1.0, 0.5),
                   "superficial_peroneal": (0.4, 0.6), "tibial": (0.95, 0.5), "sural": (1.0, 0.7)},
    "weakness": {"median": (1.0, 0.35), "ulnar": (0.9, 0.35), "peroneal": (0.9, 0.3), "tibial": (0.8, 0.3),
                 "sural": (0.75, 0.3)},
}
# question -> (chance of a needle examination, muscles with the chance of each and of both sides)
MUSCLES_FOR: Mapping[str, tuple[float, Mapping[str, tuple[float, float]]]] = {
    "hand": (0.5, {"apb": (1.0, 0.3), "fdi": (0.7, 0.2), "edc": (0.3, 0.0)}),
    "elbow": (0.7, {"fdi": (1.0, 0.3), "adm": (0.7, 0.2), "apb": (0.6, 0.0), "fcu": (0.3, 0.0)}),
    "cervical": (1.0, {"biceps_brachii": (1.0, 0.2), "triceps_brachii": (0.95, 0.2), "edc": (0.9, 0.2),
                       "fdi": (1.0, 0.3), "apb": (0.6, 0.1), "deltoid": (0.5, 0.1), "paraspinal_cervical": (0.3, 0.0)}),
    "lumbar": (1.0, {"tibialis_anterior": (1.0, 0.4), "gastrocnemius": (1.0, 0.4), "vastus_lateralis": (0.8, 0.2),
                     "ehl": (0.5, 0.1), "biceps_femoris": (0.5, 0.1), "paraspinal_lumbar": (0.3, 0.0)}),
    "neuropathy": (0.75, {"tibialis_anterior": (1.0, 0.4), "gastrocnemius": (0.7, 0.2), "fdi": (0.6, 0.1),
                          "vastus_lateralis": (0.4, 0.1)}),
    "weakness": (1.0, {"deltoid": (1.0, 0.3), "biceps_brachii": (0.8, 0.2), "fdi": (0.9, 0.5),
                       "vastus_lateralis": (1.0, 0.3), "tibialis_anterior": (0.9, 0.4), "iliopsoas": (0.3, 0.1),
                       "sternocleidomastoid": (0.4, 0.0), "paraspinal_thoracic": (0.4, 0.0)}),
}
WITHOUT_PROXIMAL, WITHOUT_SENSORY, WITH_F = 0.1, 0.04, 0.42
LOST_CELL = 0.012  # the chance that a number was not written down
FAINTEST = {"motor": 0.2, "sensory": 1.0}  # mV, uV; below it there is no response
SLOWEST = 14.0
ABSENT_TEXT = {"zh": "未引出", "en": "NR"}


def draw_muscles(question: str, side: str, rng: np.random.Generator) -> dict[tuple[str, str], bool]:
    """The muscles the needle examines, (muscle, side), in the order of examination."""
    chance, muscles = MUSCLES_FOR[question]
    tested = rng.random() < chance
    rolls = rng.random((len(muscles), 2))
    if not tested:
        return {}
    found = [(name, at) for (name, (any_side, both)), roll in zip(muscles.items(), rolls, strict=True)
             if roll[0] < any_side for at in ((side, _other(side)) if roll[1] < both else (side,))]
    return dict.fromkeys(found, True)


def _other(side: str) -> str:
    return SIDES[side == "left"]


def draw_case(question: str, side: str, person: Person, deviations: Mapping[tuple[str, str, str], float],
              muscles: Mapping[tuple[str, str], bool], effects: Effects, absent: str, rng: np.random.Generator) -> Case:
    """The tables of one examination; `absent` is what is written where no response was found."""
    emg: tuple[EmgRow, ...] = tuple(draw_needle_row(*key, effects.muscles.get(key), rng) for key in muscles)
    ncv: list[NcvRow] = []
    for nerve, (any_side, both) in NERVES_FOR[question].items():
        roll = rng.random(5)
        tall = float(np.clip(rng.normal(1.0, 0.03), 0.9, 1.1)) * person.height / 166
        if roll[0] >= any_side:
            continue
        sides = SIDES if roll[1] < both else (side,)
        values = {at: _values(nerve, at, deviations, effects, tall) for at in sides}
        ncv += _rows(nerve, values, roll[2] >= WITHOUT_PROXIMAL, roll[3] >= WITHOUT_SENSORY, roll[4] < WITH_F, absent,
                     rng)
    return Case(float(person.age), person.sex, float(person.height), emg, tuple(ncv))


def _values(nerve: str, side: str, deviations: Mapping[tuple[str, str, str], float], effects: Effects,
            tall: float) -> dict[tuple[str, str, str], float | None]:
    """(type, stim, measure) to the value of one side; None where there is no response."""
    def z(name: str, bad: int) -> float:
        return deviations[nerve, side, name] + bad * effects.shifts.get((nerve, side, name), 0.0)

    found: dict[tuple[str, str, str], float | None] = {}
    if (motor := MOTOR.get(nerve)) is not None:
        mean, sd = log_normal(*motor.amp)
        amp, lat = math.exp(mean + sd * z("amp", -1)), motor.lat[0] + motor.lat[1] * z("lat", 1)
        lost = (nerve, side, "motor") in effects.gone or amp < FAINTEST["motor"]
        found |= {("motor", motor.stim, name): None if lost else value for name, value in (("lat", lat), ("amp", amp))}
        for segment in motor.segments:
            cv = max(segment.cv[0] + segment.cv[1] * z(f"cv:{segment.stim}", -1), SLOWEST)
            lat += segment.length * tall / cv
            amp *= math.exp(PROXIMAL[0] + PROXIMAL[1] * z(f"ratio:{segment.stim}", 0))
            amp *= effects.blocks.get((nerve, side, segment.stim), 1.0)
            row = {"lat": lat, "amp": amp, "cv": cv}
            found |= {("motor", segment.stim, name): None if lost else value for name, value in row.items()}
        lost = lost or (nerve, side, "f_wave") in effects.gone
        found["f_wave", motor.stim, "lat"] = None if lost else motor.f[0] + motor.f[1] * z("f", 1)
    if (sensory := SENSORY.get(nerve)) is not None:
        mean, sd = log_normal(*sensory.amp)
        amp = math.exp(mean + sd * z("s_amp", -1))
        cv = max(sensory.cv[0] + sensory.cv[1] * z("s_cv", -1), SLOWEST)
        lat = sensory.distance * (1 + DISTANCE_SD * z("distance", 0)) / cv
        lost = (nerve, side, "sensory") in effects.gone or amp < FAINTEST["sensory"]
        row = {"lat": lat, "amp": amp, "cv": cv}
        found |= {("sensory", sensory.stim, name): None if lost else value for name, value in row.items()}
    return found


def _rows(nerve: str, values: Mapping[str, Mapping[tuple[str, str, str], float | None]], with_proximal: bool,
          with_sensory: bool, with_f: bool, absent: str, rng: np.random.Generator) -> list[NcvRow]:
    """The rows of a nerve; a number is written with one decimal, as the published tables have it."""
    motor, sensory = MOTOR.get(nerve), SENSORY.get(nerve)
    places = [("motor", motor.stim, motor.rec)] if motor else []
    places += [("motor", segment.stim, motor.rec) for segment in motor.segments if with_proximal] if motor else []
    places += [("sensory", sensory.stim, sensory.rec)] if sensory and (with_sensory or not motor) else []
    places += [("f_wave", motor.stim, motor.rec)] if motor and with_f else []
    rows = []
    for type, stim, rec in places:
        cells = {}
        for (measure, side), lost in zip(READING_ORDER, rng.random(len(READING_ORDER)) < LOST_CELL, strict=True):
            if lost or (type, stim, measure) not in values.get(side, {}):
                cells[measure, side] = Cell("missing", None, "")
            else:
                cells[measure, side] = _cell(values[side][type, stim, measure], measure, absent)
        rows.append(NcvRow(nerve, type, stim, rec, cells))
    return rows


def _cell(value: float | None, measure: str, absent: str) -> Cell:
    if value is None:
        return Cell("missing", None, "") if measure == "cv" else Cell("absent", None, absent)
    shown = f"{max(value, 0.1):.1f}"
    return Cell("value", float(shown), shown)
