"""Artefacts in single precordial leads: steps and spikes that no beat makes.

What the heart does shows in several of V1 to V6 at once, each as fast as it is in every beat. A lead that jumps several
times as far as in its beats, while at least four of the others stand still, lost its electrode for a moment, or the
recorder lost a sample.
"""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.signals.leads import LEADS, MISSING

_FIRST = 6  # of V1 to V6 among LEADS
_SPANS_S = (0.004, 0.1)  # over which a jump is measured: a spike or an edge, and a step that takes its time
_LEAST_UV = (500, 1000)
_WEIGHTS = (1.0, 0.7)  # what is as large within the short span is said of that: the long one may reach into a beat
_TIMES = 3.0  # as far as in beats: real recordings without an artefact stay below 2
_BEATS_QUANTILE = 0.8  # of the seconds: in a slow rhythm many have no beat
_LARGEST_SHARE = 2.0  # a lead full of artefacts is measured by what the others do
_STILL_UV = 50
_STILL = 0.5  # a lead that moves by less than this part of its beats stands still
_BESIDE_S = 0.03
_FEWEST_OTHERS = 3
_ONE_JUMP_S = 0.25


def find_precordial_glitch(signal: np.ndarray, fs: int) -> str | None:
    """Describe the largest jump of a single precordial lead of int16 microvolts (12, L): which lead, by how much,
    where, and how many such jumps there are; None where there is none, or fewer than four of the leads have beats."""
    chest = signal[_FIRST:].astype(np.int32)
    missing = signal[_FIRST:] == MISSING
    found: list[tuple[float, int, int, int]] = []  # weight, lead, sample, microvolts
    for span_s, least, weight in zip(_SPANS_S, _LEAST_UV, _WEIGHTS, strict=True):
        span = max(1, round(span_s * fs))
        if signal.shape[1] >= fs + span:
            found += [(weight * abs(jump[2]), *jump) for jump in _jumps(chest, missing, fs, span, least)]
    if not found:
        return None
    _, lead, at, size = max(found)
    places = np.sort([place for _, _, place, _ in found])
    n = 1 + int((np.diff(places) > _ONE_JUMP_S * fs).sum())
    more = f"; {n} such jumps" if n > 1 else ""
    return f"{LEADS[_FIRST + lead]} jumps by {size:+d} uV at sample {at} ({at / fs:.2f} s){more}"


def _jumps(chest: np.ndarray, missing: np.ndarray, fs: int, span: int,
           least: int) -> list[tuple[int, int, int]]:
    """The jumps over `span` samples that are of one lead alone: lead, sample and microvolts."""
    jump = chest[:, span:] - chest[:, :-span]
    if missing.any():
        jump[missing[:, span:] | missing[:, :-span]] = 0
    size = np.abs(jump)
    seconds = size.shape[1] // fs
    ordered = np.sort(size[:, :seconds * fs].reshape(len(size), seconds, fs).max(axis=2), axis=1)
    usual = ordered[:, int(_BEATS_QUANTILE * (seconds - 1))]
    alive = usual > _STILL_UV
    if alive.sum() <= _FEWEST_OTHERS:
        return []
    usual = np.maximum(np.minimum(usual, _LARGEST_SHARE * np.median(usual[alive])), _STILL_UV)
    limit = np.maximum(_TIMES * usual, least)
    beside = max(1, round(_BESIDE_S * fs))
    found = []
    for lead in np.flatnonzero(alive & (size.max(axis=1) > limit)).tolist():
        for start in _starts(np.flatnonzero(size[lead] > limit[lead]), span + beside):
            at = start + int(size[lead, start:start + span + beside].argmax())
            window = slice(max(0, at - beside), at + beside + 1)
            others = size[:, window].max(axis=1)[alive] / usual[alive]
            # one other lead may move along: its electrode is near
            if np.sort(np.delete(others, int(alive[:lead].sum())))[-2] <= _STILL:
                steps = np.abs(np.diff(chest[lead, at:at + span + 1]))
                found.append((lead, at + 1 + int(steps.argmax()), int(jump[lead, at])))
    return found


def _starts(places: np.ndarray, apart: int) -> list[int]:
    """The first place of every group of places that are near each other."""
    return places[np.diff(places, prepend=-apart - 1) > apart].tolist()
