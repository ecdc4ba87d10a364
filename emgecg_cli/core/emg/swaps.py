"""Numbers of a nerve-conduction table that stand in each other's column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emgecg_cli.core.emg.cells import Cell
from emgecg_cli.core.emg.ncv_rows import Placed, number_of
from emgecg_cli.core.emg.reading import Flag, Reading
from emgecg_cli.core.emg.terms import SIDES

# Where values usually lie, per type: narrower than what is possible, and used only to detect two swapped columns,
# when both numbers are outside their own range and inside the other's.
_USUAL = {"motor": {"lat": (1.0, 30.0), "amp": (0.05, 30.0), "cv": (20.0, 90.0)},
          "sensory": {"lat": (0.5, 12.0), "amp": (0.3, 200.0), "cv": (20.0, 95.0)}}
_PAIRS = (("lat", "cv"), ("amp", "cv"), ("lat", "amp"))
SHARE_SWAPPED = 0.8


def find_swaps(reading: Reading, rows: Sequence[Placed]) -> tuple[list[Placed], Flag | None]:
    """Mark numbers that stand in each other's column; refuse the record where that is so throughout.

    Very slow nerves can look like it: latency 45 ms, velocity 8 m/s. There the rows of distal stimulation have a
    latency and no velocity, as they must; in a table with swapped columns it is the other way round.
    """
    found = list(rows)
    for pair in _PAIRS:
        verdicts = {(i, side): verdict for i, placed in enumerate(found) for side in SIDES
                    if (verdict := _swapped(placed, side, pair)) is not None}
        hits = [key for key, verdict in verdicts.items() if verdict]
        throughout = len(hits) >= 2 and len(hits) >= SHARE_SWAPPED * len(verdicts)
        if throughout and pair == ("lat", "cv") and _distal_latency_alone(found):
            continue
        if throughout:
            placed, side = found[hits[0][0]], hits[0][1]
            told = " and ".join(placed.row.cells[measure, side].text for measure in pair)
            number, column = placed.at[pair[0], side]
            return found, Flag("ncv", number, column, "swapped columns",
                               f"{pair[0]} and {pair[1]} look exchanged here ({told}) and in {len(hits)} of "
                               f"{len(verdicts)} places")
        for i, side in hits:
            found[i] = _mark(reading, found[i], side, pair)
    return found, None


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _swapped(placed: Placed, side: str, pair: tuple[str, str]) -> bool | None:
    """Whether these two are swapped on that side; None if they cannot be compared."""
    usual, cells = _USUAL.get(placed.row.type), placed.row.cells
    if usual is None or cells[pair[0], side].state == "missing":
        return None
    one, other = number_of(cells[pair[0], side]), number_of(cells[pair[1], side])
    if one is None or other is None:
        return None
    mine, theirs = usual[pair[0]], usual[pair[1]]
    return (not _within(one, mine) and not _within(other, theirs)) and _within(one, theirs) and _within(other, mine)


def _distal_latency_alone(rows: Sequence[Placed]) -> bool:
    return any(row.type == "motor" and row.cells["lat", side].state == "value"
               and row.cells["cv", side].state in ("missing", "absent")
               for row in (placed.row for placed in rows) for side in SIDES)


def _mark(reading: Reading, placed: Placed, side: str, pair: tuple[str, str]) -> Placed:
    """The row with both numbers as text only, and one flag for the two."""
    places = [placed.at[measure, side] for measure in pair]
    reading.drop_flags(places)
    texts = [placed.row.cells[measure, side].text for measure in pair]
    reading.flag("ncv", *places[0], "swapped columns",
                 f"{texts[0]} and {texts[1]} look exchanged with {places[1][1]}; both kept as text")
    cells = dict(placed.row.cells)
    for measure, text in zip(pair, texts, strict=True):
        cells[measure, side] = Cell("implausible", None, text, "looks exchanged")
    return replace(placed, row=replace(placed.row, cells=cells))
