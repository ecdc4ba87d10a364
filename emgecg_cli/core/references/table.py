"""Reference percentiles of one item and of all, and where a value lies among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from emgecg_cli.core.emg.case import Item
from emgecg_cli.core.references.covariates import NOTHING, Person, shift

PERCENTILES = (2.0, 5.0, 8.0, 11.0, 14.0, 17.0, 20.0)
# Where the limits of an item come from. "item": its own values. "stimulation", "nerve", "limb": its own and those of a
# wider pool. "parametric": its own mean and SD.
LEVELS = ("item", "stimulation", "nerve", "limb", "parametric")
CLASSES = ("markedly low", "low", "borderline low", "normal", "borderline high", "high", "markedly high")
BORDERLINE = 5.0  # per cent: past this line and within the outermost one, a value is borderline
MARKED = 4.0  # robust standard deviations from the median: a median DML of 4.9 ms where 3.4 is usual
ANY = "*"  # as the recording site of an item: wherever it was recorded
SD_PER_MAD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class Reference:
    """The limits of one item, in its unit. `lower` and `upper` hold as many percentiles, the most extreme first, so
    that `lower` rises and `upper` falls.

    `n` counts the item's own healthy values and `level` (one of LEVELS) says what else the limits rest on. `mad` is the
    median absolute deviation, of the natural logarithm for amplitudes. `slopes` are those of age, height and sex on the
    scale of `mad`; zeros without adjustment.
    """

    item_key: str
    unit: str
    n: int
    level: str
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    median: float
    mad: float
    slopes: tuple[float, float, float] = NOTHING

    @property
    def logarithmic(self) -> bool:
        """Whether the item is an amplitude: skewed to the right, and so judged by its logarithm."""
        return is_logarithmic(self.item_key)


@dataclass(frozen=True)
class References:
    """All items' limits, at these `percentiles` (per cent, the lower ones) and their mirror.

    `rule` says who counted as healthy and `covariates` what the values are adjusted for. `left_out` counts values that
    could not be used: amplitudes of 0.
    """

    percentiles: tuple[float, ...]
    rule: str
    entries: Mapping[str, Reference] = field(default_factory=dict)
    covariates: str = "none"
    left_out: int = 0

    def of(self, item: Item | str) -> Reference | None:
        """The limits of an item, else of the same stimulation recorded anywhere; None where there are neither, and the
        value stays plain text."""
        key = key_of(item)
        return self.entries.get(key) or self.entries.get(anywhere(key))

    def adjusted(self, reference: Reference, value: float, person: Person | None) -> float:
        """The value a person of 40 years, 165 cm, male, would have in this one's place."""
        if self.covariates == "none" or person is None:
            return value
        by = shift(reference.slopes, person)
        return value * math.exp(-by) if reference.logarithmic else value - by

    def limits(self, reference: Reference, person: Person | None) -> tuple[float, float]:
        """The outermost lines as they are for a person: what `adjusted` takes to those of the reference person."""
        low, high = reference.lower[0], reference.upper[0]
        if self.covariates == "none" or person is None:
            return low, high
        by = shift(reference.slopes, person)
        return (low * math.exp(by), high * math.exp(by)) if reference.logarithmic else (low + by, high + by)

    def abnormality(self, reference: Reference, value: float) -> str:
        """The class of a value, one of CLASSES; see the function of the same name."""
        return abnormality(reference, value, self.percentiles)


def key_of(item: Item | str) -> str:
    """The text key of an item."""
    return item if isinstance(item, str) else item.key


def anywhere(key: str) -> str:
    """The key of the same stimulation and measure, wherever it is recorded."""
    nerve, kind, stim, _, measure = key.split("|")
    return "|".join((nerve, kind, stim, ANY, measure))


def is_logarithmic(key: str) -> bool:
    """Whether an item is an amplitude."""
    return key.endswith("|amp")


def matrix(reference: Reference, value: float) -> np.ndarray:
    """What the EMG encoder takes, float32 (3, percentiles): upper limits, the value, lower limits; extreme first."""
    return np.array([reference.upper, [value] * len(reference.upper), reference.lower], np.float32)


def rank(reference: Reference, value: float) -> int:
    """How many upper lines a value is above, or minus how many lower lines it is below; 0 is within all of them."""
    return sum(value > line for line in reference.upper) - sum(value < line for line in reference.lower)


def is_outside(reference: Reference, value: float) -> bool:
    """Whether a value is beyond the outermost line, on either side."""
    return value < reference.lower[0] or value > reference.upper[0]


def deviation(reference: Reference, value: float) -> float:
    """Robust standard deviations from the median (of the logarithm for amplitudes).

    Where half the healthy values are equal, the distance of the outermost lines stands in for their spread.
    """
    x, middle, low, high = (_scaled(reference, v) for v in (value, reference.median, reference.lower[0],
                                                            reference.upper[0]))
    spread = SD_PER_MAD * reference.mad or (high - low) / 4.1  # 2 % to 98 % of a normal distribution: 4.1 SD
    if x == middle:
        return 0.0
    return (x - middle) / spread if spread > 0 else math.copysign(math.inf, x - middle)


def abnormality(reference: Reference, value: float, percentiles: tuple[float, ...] = PERCENTILES) -> str:
    """The class of a value, one of CLASSES.

    Within the line nearest to 5 % from below it is normal, between that and the outermost line borderline, beyond it
    low or high, and markedly so when it is also MARKED robust standard deviations from the median. On a line is within.
    """
    side = -1 if value < reference.median else 1
    lines, bad = ((reference.lower, lambda line: value < line) if side < 0 else
                  (reference.upper, lambda line: value > line))
    if bad(lines[0]):
        step = 3 if abs(deviation(reference, value)) >= MARKED else 2
    else:
        nearest = max((i for i, p in enumerate(percentiles) if p <= BORDERLINE), default=0)
        step = int(bad(lines[nearest]))
    return CLASSES[3 + side * step]


def _scaled(reference: Reference, value: float) -> float:
    if not reference.logarithmic:
        return value
    return math.log(value) if value > 0 else -math.inf
