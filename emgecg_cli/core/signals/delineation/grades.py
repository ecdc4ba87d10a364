"""How far each measurement can be trusted, as good, fair or poor, judged by what was found while measuring.

The limits were chosen on LUDB 1-100, clean and disturbed, so that in records not used to choose them the error grows
from good to fair to poor: docs/measurements.md.
"""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.delineation.atria import PWave
from emgecg_cli.core.signals.delineation.axes import Axis
from emgecg_cli.core.signals.delineation.beats import MedianBeat
from emgecg_cli.core.signals.delineation.pacing import Pacing
from emgecg_cli.core.signals.delineation.quantiles import median
from emgecg_cli.core.signals.delineation.rhythm import Rhythm
from emgecg_cli.core.signals.delineation.ventricles import Qrs, TWave

GOOD, FAIR, POOR = "good", "fair", "poor"
_NEVER = float("inf")
_PAUSE = 1.7  # an RR interval so much longer than the others may hide a missed beat
# Two to one atrial flutter looks like P waves from 120 beats per minute on, and P lies on T.
_FAST_RR_S = 0.5
_CLEAR_AXIS, _VAGUE_AXIS = 0.35, 0.15
_LARGEST_MISFIT = 0.5
_FEW_LEADS = 4
# Quantity -> the limits of good and of fair; one that must be large is given with a minus.
LIMITS = {
    "qrs doubt_ms": (24.0, 40.0), "qrs slack_ms": (28.0, 50.0), "qrs fall": (-0.085, _NEVER),
    "qrs noise": (0.04, 0.10),
    "t spread_ms": (25.0, 60.0), "t late": (0.25, 0.32), "t amplitude_uv": (-75.0, -30.0), "t scatter_ms": (4.0, 12.0),
    "p agreement": (-0.95, -0.82), "p amplitude_uv": (-50.0, -30.0), "p doubt_ms": (8.0, 10.0),
    "pr noise": (0.03, 0.10),
}


def grade(*checks: tuple[float, float, float]) -> str:
    """Checks of (value, least for good, least for fair): the worst of them."""
    if all(value >= good for value, good, _ in checks):
        return GOOD
    return FAIR if all(value >= fair for value, _, fair in checks) else POOR


def _limited(name: str, value: float) -> tuple[float, float, float]:
    """The check of a value by its limits."""
    good, fair = LIMITS[name]
    return (value, -good, -fair) if good < 0 else (-value, -good, -fair)


def worse(*grades: str) -> str:
    """The worst of several grades."""
    return max(grades, key=(GOOD, FAIR, POOR).index)


def at_best_fair(doubtful: bool) -> str:
    """Fair if there is a doubt that does not tell how far off a value may be."""
    return FAIR if doubtful else GOOD


def grade_rate(rhythm: Rhythm, contrast: float, likeness: float) -> tuple[str, str]:
    """Of the heart rate and of its regularity; `likeness` is the median correlation of the beats with the commonest two
    shapes of them."""
    found = (contrast, 6.0, 3.0), (likeness, 0.80, 0.50)
    return (grade(*found, (rhythm.n_rr, 4, 2), (-rhythm.longest, -_PAUSE, -_NEVER)),
            grade(*found, (rhythm.n_rr, 6, 4)))


def grade_qrs(beat: MedianBeat, leads: np.ndarray, rhythm: Rhythm, qrs: Qrs, pacing: Pacing | None) -> str:
    """Of the QRS complex, and so of all that is measured from it."""
    if qrs.guessed:
        return POOR
    width = qrs.off_ms - qrs.on_ms
    return worse(
        grade((len(beat.beats), 4, 2), (median(beat.likeness), 0.90, 0.70), (beat.share, 0.6, 0.25)),
        grade(_limited("qrs doubt_ms", qrs.doubt_ms), _limited("qrs slack_ms", qrs.slack_ms),
              _limited("qrs noise", qrs.noise), _limited("qrs fall", qrs.fall)),
        # in a wide complex, or one that takes up much of the RR interval, a T wave may have a part
        grade((-width, -160.0, -180.0), (-width, -300.0 * rhythm.typical_rr_s, -400.0 * rhythm.typical_rr_s)),
        at_best_fair(pacing is not None or len(leads) < _FEW_LEADS))


def grade_qt(beat: MedianBeat, leads: np.ndarray, rhythm: Rhythm, qrs: Qrs, t: TWave, p_present: bool | None,
             pacing: Pacing | None) -> str:
    """Of QT without what speaks against QRS. Waves of atrial fibrillation, early beats and pacing move the T wave's end
    in ways that a median beat does not show."""
    width = qrs.off_ms - qrs.on_ms
    return worse(
        grade(_limited("t spread_ms", t.spread_ms), _limited("t late", t.late),
              _limited("t amplitude_uv", t.amplitude_uv), _limited("t scatter_ms", t.scatter_ms)),
        grade((len(beat.beats), 3, 3), (beat.share, 0.7, 0.7), (rhythm.typical_rr_s, _FAST_RR_S, 0.4),
              (-width, -130.0, -180.0)),
        POOR if rhythm.regular is False else GOOD,
        at_best_fair(pacing is not None or not p_present or len(leads) < _FEW_LEADS))


def grade_p(beat: MedianBeat, rhythm: Rhythm, p: PWave, present: bool, pacing: Pacing | None) -> str:
    """Of whether there is a P wave."""
    if not present:
        return grade((len(beat.beats), 5, 3), (-p.agreement, -0.65, -0.90))
    return worse(grade((len(beat.beats), 5, 3), (rhythm.typical_rr_s, _FAST_RR_S, _FAST_RR_S)),
                 grade(_limited("p agreement", p.agreement), _limited("p amplitude_uv", p.amplitude_uv)),
                 at_best_fair(pacing is not None))


def grade_pr(qrs: Qrs, p: PWave) -> str:
    """Of PR and P duration without what speaks against QRS and the P wave itself."""
    return grade(_limited("p doubt_ms", p.doubt_ms), _limited("pr noise", qrs.noise))


def grade_axis(axis: Axis) -> str:
    """Of an axis: whether the net vector is clear, and whether the limb leads belong to one vector."""
    return POOR if axis.misfit > _LARGEST_MISFIT else grade((axis.clarity, _CLEAR_AXIS, _VAGUE_AXIS))


def grade_st(error_uv: float) -> str:
    """Of ST levels without what speaks against QRS, from their standard error."""
    return grade((-error_uv, -12.0, -35.0))
