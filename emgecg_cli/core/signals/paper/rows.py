"""The rows of a page: their heights, so that no trace leaves its row, the gain this needs, and where lead names stand.

A page grows with its traces. Where it would grow too tall, the gain is halved; what leaves its row even so, such as an
artefact at the end of the recorder's scale, is cut there, marked, and reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emgecg_cli.core.signals.leads import LEADS, MISSING, to_float_uv

GAINS = (10.0, 5.0, 2.5)  # mm per millivolt, the usual one first
TALLEST_MM = 400
ROOM_FOR_NAMES_MM = 20  # narrower rows have their lead's name beside the trace
EDGE_MM = 0.5  # between a trace that is cut and the end of its row
_MARGIN_MM = 1.5
NAME_MM = 3.6  # the height of a lead's name
_NAME_UP_MM = 7.8  # where it stands above the base line unless the trace is there
_NAME_CLEAR_MM = 1.2
_LONGEST_NAME_MM = 12.0


@dataclass(frozen=True)
class Part:
    """What a row shows of one lead: samples `first` to `last` of what is shown, in millivolts around the lead's median,
    NaN where missing. `remark` says why there is nothing to draw."""

    name: str
    first: int
    millivolts: np.ndarray
    remark: str | None


@dataclass(frozen=True)
class Row:
    """The parts of a row, and how many mm it reaches above and below its base line."""

    parts: tuple[Part, ...]
    up: float
    down: float


def cut_parts(shown: np.ndarray, names: Sequence[Sequence[str]], length: int) -> list[tuple[Part, ...]]:
    """The parts of every row of `names`, of int16 microvolts (12, L); a row's leads share `length` samples."""
    values = to_float_uv(shown)
    return [tuple(_part(LEADS.index(name), shown, values, column, len(row), length)
                  for column, name in enumerate(row)) for row in names]


def _part(lead: int, shown: np.ndarray, values: np.ndarray, column: int, n_columns: int, length: int) -> Part:
    first, last = column * length // n_columns, (column + 1) * length // n_columns
    own, present = values[lead], np.isfinite(values[lead])
    window = slice(first, min(last, len(own)))
    if not (shown[lead] != MISSING).any():
        return Part(LEADS[lead], first, np.zeros(0), "not recorded")
    if not present[window].any():
        remark = "after the end of the recording" if first >= len(own) else "missing here"
        return Part(LEADS[lead], first, np.zeros(0), remark)
    return Part(LEADS[lead], first, (own[window] - np.median(own[present])) / 1000, None)


def fit_rows(parts: Sequence[tuple[Part, ...]], row_mm: float, mm_per_sample: float,
             gain: float | None) -> tuple[float, list[Row]]:
    """The gain and the rows. `gain` in mm per millivolt; None takes the largest of GAINS with which all traces stay in
    rows that make no page taller than TALLEST_MM."""
    fits: list[Row] = []
    for one in GAINS if gain is None else (gain,):
        fits = [_row(row, row_mm, mm_per_sample, one) for row in parts]
        if sum(row.up + row.down for row in fits) <= TALLEST_MM:
            return one, fits
    return one, _lowered(fits, row_mm)


def _row(parts: tuple[Part, ...], row_mm: float, mm_per_sample: float, gain: float) -> Row:
    up = max(row_mm / 2, gain + _MARGIN_MM)  # room for the calibration pulse
    down = row_mm / 2
    for part in parts:
        if part.millivolts.size:
            up = max(up, float(np.nanmax(part.millivolts)) * gain + _MARGIN_MM)
            down = max(down, -float(np.nanmin(part.millivolts)) * gain + _MARGIN_MM)
        if row_mm >= ROOM_FOR_NAMES_MM:
            up = max(up, name_up(part, mm_per_sample, gain) + NAME_MM)
    return Row(parts, up, down)


def name_up(part: Part, mm_per_sample: float, gain: float) -> float:
    """How many mm above the base line a lead's name stands, clear of the trace below it."""
    under = part.millivolts[:int(_LONGEST_NAME_MM / mm_per_sample)]
    if not np.isfinite(under).any():
        return _NAME_UP_MM
    return max(_NAME_UP_MM, float(np.nanmax(under)) * gain + _NAME_CLEAR_MM)


def _lowered(rows: list[Row], row_mm: float) -> list[Row]:
    """The rows with what reaches highest and lowest cut so that all together are TALLEST_MM."""
    sides = np.array([(row.up, row.down) for row in rows])
    low, high = row_mm / 2, float(sides.max())
    for _ in range(30):
        limit = (low + high) / 2
        low, high = (limit, high) if np.minimum(sides, limit).sum() <= TALLEST_MM else (low, limit)
    return [Row(row.parts, min(row.up, low), min(row.down, low)) for row in rows]
