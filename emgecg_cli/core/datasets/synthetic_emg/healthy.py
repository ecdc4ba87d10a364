"""Nerve conduction of healthy people: the distribution of every value, and draws from it.

Means and standard deviations of median and ulnar nerves are those published for 493 limbs (JNND 9:102), of tibial and
sural nerves those of Korean men in their twenties (doi 10.5535/arm.21170); the others are set so that their lines come
near the usual textbook limits. For simulation only, not for clinical use. Velocities and latencies are normal,
amplitudes log-normal, and a sensory latency is the distance divided by the velocity.

A value's deviation in SD is a sum of age, height or sex, of the person, of the nerve (both sides share it) and of the
side; their squares add up to one. So each value alone has exactly its published distribution, and the two sides of a
person are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.emg.case import Item
from emgecg_cli.core.emg.terms import SIDES, abnormal_direction


@dataclass(frozen=True)
class Segment:
    """The nerve between a proximal stimulation site and the one before it: velocity (mean, SD) and length in mm."""

    stim: str
    cv: tuple[float, float]
    length: float


@dataclass(frozen=True)
class Motor:
    """A motor study: (mean, SD) of distal latency in ms, amplitude in mV and F latency in ms; segments going up."""

    stim: str
    rec: str
    lat: tuple[float, float]
    amp: tuple[float, float]
    f: tuple[float, float]
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Sensory:
    """A sensory study: (mean, SD) of amplitude in uV and velocity in m/s; distance in mm."""

    stim: str
    rec: str
    amp: tuple[float, float]
    cv: tuple[float, float]
    distance: float


MOTOR: Mapping[str, Motor] = {
    "median": Motor("wrist", "apb", (3.4, 0.37), (10.6, 2.75), (24.8, 3.2), (Segment("elbow", (54.4, 5.7), 215),)),
    "ulnar": Motor("wrist", "adm", (2.75, 0.39), (9.6, 2.2), (25.8, 3.4),
                   (Segment("below_elbow", (59.8, 7.98), 210), Segment("above_elbow", (56.5, 6.2), 100))),
    "peroneal": Motor("ankle", "edb", (4.4, 0.8), (5.5, 2.0), (47.2, 4.2),
                      (Segment("fibular_head", (48.8, 3.9), 315),)),
    "tibial": Motor("ankle", "ah", (4.3, 0.58), (7.1, 1.9), (48.4, 4.4),
                    (Segment("popliteal_fossa", (50.7, 4.4), 390),)),
}
SENSORY: Mapping[str, Sensory] = {
    "median": Sensory("digit_3", "wrist", (32.95, 14.4), (54.6, 6.5), 140),
    "ulnar": Sensory("digit_5", "wrist", (29.75, 13.4), (53.9, 6.8), 118),
    "radial": Sensory("forearm", "dorsum_of_hand", (28.0, 8.5), (59.5, 4.9), 112),
    "sural": Sensory("calf", "lateral_malleolus", (21.7, 6.9), (51.5, 5.2), 130),
    "superficial_peroneal": Sensory("calf", "ankle", (15.5, 5.0), (51.0, 5.0), 115),
}
NERVES = ("median", "ulnar", "radial", "peroneal", "superficial_peroneal", "tibial", "sural")
DISTANCE_SD = 0.05  # of the mean: the electrodes are set by anatomy, and people differ
PROXIMAL = (math.log(0.95), 0.04)  # log ratio of a response to that of the site before
MEAN_HEIGHT, SD_HEIGHT = 165.7, 8.3
# quantity -> what its deviation is made of: age, height, female sex, the person, the nerve; the side has the rest
_MIXTURE = {"lat": (0.20, 0.0, 0.0, -0.35, 0.55), "cv": (-0.25, 0.0, 0.0, 0.45, 0.55),
            "amp": (-0.20, 0.0, 0.0, 0.40, 0.55), "f": (0.20, 0.50, 0.0, -0.30, 0.55),
            "s_amp": (-0.35, 0.0, 0.15, 0.40, 0.50), "s_cv": (-0.25, 0.0, 0.0, 0.45, 0.55),
            "distance": (0.0, 0.40, 0.0, 0.0, 0.75)}


@dataclass(frozen=True)
class Person:
    """Who is examined: `age` in years, `sex` "F" or "M", `height` in cm, and the scores of the mixture, in SD."""

    age: int
    sex: str
    height: int
    scores: tuple[float, float, float]


def draw_person(rng: np.random.Generator) -> Person:
    """An adult of 18 to 76 years."""
    score = float(np.clip(rng.standard_normal(), -1.9, 1.9)) / 0.94  # clipping takes 6 % off the SD
    sex = "M" if rng.random() < 0.52 else "F"
    height = round((171.0 if sex == "M" else 160.0) + 6.2 * float(np.clip(rng.standard_normal(), -2.5, 2.5)))
    return Person(round(47 + 14.3 * score), sex, height,
                  (score, (height - MEAN_HEIGHT) / SD_HEIGHT, 1.0 if sex == "F" else -1.0))


def draw_deviations(person: Person, rng: np.random.Generator) -> dict[tuple[str, str, str], float]:
    """The deviation in SD of each (nerve, side, quantity) of a healthy person.

    Quantities: lat, amp, f, and `cv:<site>` and `ratio:<site>` of each segment; s_amp, s_cv and distance.
    """
    speed, size = rng.standard_normal(2)
    names = [(nerve, name) for nerve in NERVES for name in quantities(nerve)]
    own, sides = rng.standard_normal(len(names)), rng.standard_normal((len(names), 2))
    found = {}
    for (nerve, name), shared, each in zip(names, own, sides, strict=True):
        age, height, female, trait, common = _MIXTURE.get(name.partition(":")[0], (0.0, 0.0, 0.0, 0.0, 0.45))
        rest = math.sqrt(1 - age**2 - height**2 - female**2 - trait**2 - common**2)
        base = (np.dot((age, height, female), person.scores) + trait * (size if "amp" in name else speed)
                + common * shared)
        for side, noise in zip(SIDES, each, strict=True):
            found[nerve, side, name] = float(base + rest * noise)
    return found


def quantities(nerve: str) -> list[str]:
    """What is drawn for a nerve."""
    motor = MOTOR.get(nerve)
    names = ["lat", "amp", "f"] if motor else []
    names += [f"{name}:{segment.stim}" for segment in (motor.segments if motor else ()) for name in ("cv", "ratio")]
    return names + (["s_amp", "s_cv", "distance"] if nerve in SENSORY else [])


def log_normal(mean: float, sd: float) -> tuple[float, float]:
    """Mean and SD of the logarithm of a log-normal quantity with this mean and SD."""
    variance = math.log1p((sd / mean) ** 2)
    return math.log(mean) - variance / 2, math.sqrt(variance)


def abnormal_deviation(item: Item, value: float) -> float | None:
    """How far a value lies on the abnormal side, in SD of all healthy people: 2.05 is the 2 % line.

    None for an item outside the cohort, and for latencies of proximal stimulation, which follow from the velocity.
    """
    if item.type == "sensory":
        return _sensory_deviation(SENSORY.get(item.nerve), item.measure, value)
    study = MOTOR.get(item.nerve)
    if study is None:
        return None
    at = [study.stim, *(segment.stim for segment in study.segments)].index(item.stim)
    if item.type == "f_wave":
        mean, sd = study.f
    elif item.measure == "amp":
        mean, sd = log_normal(*study.amp)
        mean, sd, value = mean + at * PROXIMAL[0], math.hypot(sd, PROXIMAL[1] * math.sqrt(at)), math.log(value)
    elif item.measure == "cv":
        mean, sd = study.segments[at - 1].cv
    elif at:
        return None
    else:
        mean, sd = study.lat
    return abnormal_direction(item.measure) * (value - mean) / sd


def _sensory_deviation(study: Sensory | None, measure: str, value: float) -> float | None:
    if study is None:
        return None
    mean, sd = study.cv
    if measure == "lat":  # distance / velocity > value: a sum of two normal quantities is above zero (Geary 1930)
        return (value * mean - study.distance) / math.hypot(DISTANCE_SD * study.distance, value * sd)
    if measure == "amp":
        mean, sd = log_normal(*study.amp)
        value = math.log(value)
    return abnormal_direction(measure) * (value - mean) / sd
