"""When the heart beats: the beat times of each record, which beats are ventricular ectopics, and the measured rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SECONDS = 10
# enough beats for the fastest rate; the window opens between beats 2 and 3, so that the waves of earlier beats reach in
N_BEATS = 42
_FIRST = 3
_SHORTEST_RR = 0.30


@dataclass(frozen=True)
class Beats:
    """The beats of n records; time 0 is the first sample and `SECONDS` the end of the record.

    `times` (n, N_BEATS) is the time of each R peak in seconds, ascending; `ectopic` (n, N_BEATS) marks premature
    ventricular beats. `rr` (n,) is the mean RR interval drawn, in seconds; `rate` (n,) is the ventricular rate in beats
    per minute as measured between the first and the last beat inside the record.
    """

    times: np.ndarray
    ectopic: np.ndarray
    rr: np.ndarray
    rate: np.ndarray


def draw_beats(has: Mapping[str, np.ndarray], rng: np.random.Generator) -> Beats:
    """Draw the beats of n records with the findings `has`: code -> (n,) bool."""
    n = len(has["sr"])
    per_minute = np.select(
        [has["sbrad"], has["stach"], has["afib"]],
        [rng.uniform(40, 56, n), rng.uniform(105, 145, n), rng.uniform(60, 140, n)],
        rng.uniform(61, 98, n),
    )
    mean_rr = 60 / per_minute
    rr = _draw_intervals(mean_rr, has["afib"], rng)
    times = np.cumsum(rr, axis=1)
    opens = times[:, _FIRST - 1] + rng.random(n) * rr[:, _FIRST]
    times -= opens[:, None]
    ectopic = np.zeros(times.shape, bool)
    for i in np.flatnonzero(has["pvc"]):
        _make_premature(times[i], ectopic[i], rng)
    return Beats(times, ectopic, mean_rr, _measured_rate(times))


def _draw_intervals(mean_rr: np.ndarray, irregular: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """RR intervals (n, N_BEATS) in seconds: respiratory sway in sinus rhythm, irregularly irregular otherwise."""
    n = len(mean_rr)
    spread = np.where(irregular, 0.22, 0.02)[:, None]
    rr = mean_rr[:, None] * np.exp(spread * rng.standard_normal((n, N_BEATS)))
    breaths = 0.25 * np.arange(N_BEATS) * mean_rr[:, None] + rng.random((n, 1))
    rr *= 1 + np.where(irregular, 0.0, 0.03)[:, None] * np.sin(2 * np.pi * breaths)
    rr = np.maximum(rr, _SHORTEST_RR)
    return rr * (mean_rr / rr.mean(axis=1))[:, None]


def _make_premature(times: np.ndarray, ectopic: np.ndarray, rng: np.random.Generator) -> None:
    """Turn two to five beats of one record into ectopics, in place: early, with a full compensatory pause.

    Never the first or the last beat inside the record, so that every ectopic is seen whole and the measured rate stays,
    and never two in a row.
    """
    inside = np.flatnonzero((times > 0) & (times < SECONDS))
    eligible = inside[1 + rng.integers(2) if len(inside) > 6 else 1 : -1 : 2]
    chosen = rng.permutation(eligible)[: rng.integers(2, 6)]
    early = rng.uniform(0.34, 0.42) * (times[chosen] - times[chosen - 1])
    times[chosen] -= early
    ectopic[chosen] = True


def _measured_rate(times: np.ndarray) -> np.ndarray:
    inside = (times > 0) & (times < SECONDS)
    first = np.where(inside, times, np.inf).min(axis=1)
    last = np.where(inside, times, -np.inf).max(axis=1)
    return 60 * (inside.sum(axis=1) - 1) / (last - first)
