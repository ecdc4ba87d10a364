"""What words of an ECG report claim in numbers, and how near a number must be to the measured one.

Limits are those of the AHA/ACCF/HRS recommendations for the interpretation of the electrocardiogram (2009). A claim in
words is contradicted only where the measured value lies beyond its limit by more than SLACK, a claim in numbers where
it differs by more than TOLERANCE: what two careful readers, or two definitions of an interval, differ by.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

# Rates in beats per minute, intervals in milliseconds, axis in degrees, ST levels in microvolts. Rhythms are 1 or 0:
# "regular" and "p" (P waves before QRS) have neither tolerance nor slack.
KINDS = ("rate", "pr", "qrs", "qt", "qtc", "axis", "st", "regular", "p")
TOLERANCE = {"rate": 5.0, "pr": 20.0, "qrs": 20.0, "qt": 30.0, "qtc": 30.0, "axis": 20.0, "st": 100.0, "regular": 0.0,
             "p": 0.0}
SLACK = {"rate": 2.0, "pr": 10.0, "qrs": 10.0, "qt": 15.0, "qtc": 15.0, "axis": 10.0, "st": 25.0, "regular": 0.0,
         "p": 0.0}
SLOW, FAST = 60.0, 100.0
SHORT_PR, LONG_PR = 120.0, 200.0
WIDE_QRS, INCOMPLETE_QRS = 120.0, 100.0
LONG_QTC = {"M": 450.0, "F": 460.0}   # of unknown sex: the lower one is said, the higher one must be shown
SHORT_QTC = 390.0
LEFT_AXIS, RIGHT_AXIS = -30.0, 90.0
ST_ELEVATION, ST_DEPRESSION = 100.0, -50.0

LEADS_OF = {
    "inferior": ("II", "III", "aVF"), "septal": ("V1", "V2"), "anteroseptal": ("V1", "V2", "V3", "V4"),
    "anterior": ("V1", "V2", "V3", "V4"), "anterolateral": ("I", "aVL", "V3", "V4", "V5", "V6"),
    "lateral": ("I", "aVL", "V5", "V6"), "inferolateral": ("II", "III", "aVF", "V5", "V6"),
    "precordial": ("V1", "V2", "V3", "V4", "V5", "V6"), "limb": ("I", "II", "III", "aVL", "aVF"),
}


@dataclass(frozen=True)
class Claim:
    """One claim of a report: what it speaks of lies between `low` and `high`; both are the same for a number.

    `abnormal` tells what a physician would act on from what is normal. `leads` are those an ST claim is about, none of
    them named means any; it holds where one of them is as claimed.
    """

    kind: str
    low: float = -inf
    high: float = inf
    abnormal: bool = False
    leads: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether a number was stated, and not a word or a limit."""
        return self.low == self.high and self.kind not in ("regular", "p")


def long_qtc(sex: str | None, shown: bool = False) -> float:
    """The limit of the corrected QT interval; of unknown sex the one for men, or, for what must be `shown`, the one for
    women."""
    return LONG_QTC.get(sex or "", LONG_QTC["F" if shown else "M"])
