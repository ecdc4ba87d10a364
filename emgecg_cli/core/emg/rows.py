"""Rows of EMG and nerve-conduction tables from raw cells, and the slips that only show across cells and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from emgecg_cli.core.emg.case import READING_ORDER, EmgRow, NcvRow
from emgecg_cli.core.emg.cells import LONGEST_TEXT, Cell, CellError, read_cell
from emgecg_cli.core.emg.terms import MEASURES, SIDES, TYPES, canonical, split_side

# Further spellings per kind of term, folded by `terms.fold`, each with its canonical name.
Extra = Mapping[str, Mapping[str, str]]

# Where values usually lie, per type: narrower than what is possible, and only used to see that two columns changed
# places, when both numbers are outside their own range and inside the other's.
_USUAL = {"motor": {"lat": (1.0, 30.0), "amp": (0.05, 30.0), "cv": (20.0, 90.0)},
          "sensory": {"lat": (0.5, 12.0), "amp": (0.3, 200.0), "cv": (20.0, 95.0)}}
_PAIRS = (("lat", "cv"), ("amp", "cv"), ("lat", "amp"))
SHARE_SWAPPED = 0.8
_EMG_WORDS = {"fibs": "grade", "psw": "grade", "fascics": "grade", "polyph": "grade", "others": "other",
              "form": "form", "recruitment": "recruitment"}


@dataclass(frozen=True)
class Flag:
    """Something wrong with a table that is kept: where (`table` is "emg" or "ncv", `row` counts from 1, `column` as in
    `terms.EMG_COLUMNS` and `NCV_COLUMNS`), a short countable reason, and what was found and done."""

    table: str
    row: int
    column: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Tables:
    """The rows of both tables, what is wrong with them, and in `refused` why the whole record cannot be trusted."""

    emg: tuple[EmgRow, ...]
    ncv: tuple[NcvRow, ...]
    flags: tuple[Flag, ...] = ()
    refused: Flag | None = None


@dataclass
class _Reading:
    """What has been read of one record so far."""

    extra: Extra
    flags: list[Flag] = field(default_factory=list)

    def flag(self, table: str, row: int, column: str, reason: str, detail: str) -> None:
        self.flags.append(Flag(table, row, column, reason, detail))


def read_tables(emg: Sequence[Mapping[str, object]], ncv: Sequence[Mapping[str, object]],
                extra: Extra | None = None) -> Tables:
    """Read both tables; each row maps canonical column names to raw cells (a column may lack).

    An unknown nerve, muscle or site keeps its text and is flagged, so that it can be added to the vocabulary; a cell
    that is no number keeps its text in state "implausible"; a repeated row is left out. Rows that are empty are passed
    over. `refused` is set where latency, amplitude and velocity changed places throughout.
    """
    reading = _Reading(extra or {})
    emg_rows = [(number, _emg_row(reading, number, row)) for number, row in enumerate(emg, 1) if _told(row)]
    ncv_rows: list[tuple[int, NcvRow]] = []
    for number, row in enumerate(ncv, 1):
        if _told(row):
            read = _ncv_row(reading, number, row, ncv_rows[-1][1].nerve if ncv_rows else "")
            ncv_rows += [(number, read)] if read else []
    kept_emg = _without_repeats_emg(reading, [pair for pair in emg_rows if pair[1].muscle])
    kept_ncv, refused = _find_swaps(reading, _without_repeats_ncv(reading, ncv_rows))
    return Tables(tuple(kept_emg), tuple(row for _, row in kept_ncv), tuple(reading.flags), refused)


def _told(row: Mapping[str, object]) -> bool:
    return any(value is not None and value == value and (not isinstance(value, str) or value.strip())
               for value in row.values())


def _text(value: object) -> str:
    """A raw cell as one line of at most LONGEST_TEXT characters; "|" is kept free for keys and pipe tables."""
    if value is None or value != value:
        return ""
    if isinstance(value, str) and len(value) <= LONGEST_TEXT:
        return _one_line(value)
    return " ".join(str(value)[:4 * LONGEST_TEXT].replace("|", "/").split())[:LONGEST_TEXT]


@lru_cache(maxsize=1 << 14)
def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _name(reading: _Reading, table: str, number: int, column: str, kind: str, value: object) -> str:
    """The canonical name of a cell, else its text with a flag; "" for an empty cell."""
    text = _text(value)
    if not text or text in ("-", "/", "nan", "NaN"):
        return ""
    found = canonical(kind, text, reading.extra.get(kind))
    if found is None:
        reading.flag(table, number, column, f"unknown {kind if kind != 'place' else 'site'}",
                     f"'{text}' is not in the vocabulary and kept as it is")
    return found or text


def _emg_row(reading: _Reading, number: int, row: Mapping[str, object]) -> EmgRow:
    side, rest = split_side(_text(row.get("muscle")))
    told = canonical("side", _text(row.get("side")))
    if told and side and told != side:
        reading.flag("emg", number, "side", "two sides", f"'{told}' here, '{side}' with the muscle; '{told}' taken")
    muscle = _name(reading, "emg", number, "muscle", "muscle", rest)
    if not muscle:
        reading.flag("emg", number, "muscle", "no muscle", "the cell is empty and the row left out")
    words = {}
    for column, kind in _EMG_WORDS.items():
        text = _text(row.get(column))
        words[column] = canonical("grade", text) or canonical(kind, text, reading.extra.get(kind)) or text
    return EmgRow(told or side, muscle, **words)


def _ncv_row(reading: _Reading, number: int, row: Mapping[str, object], above: str) -> NcvRow | None:
    text = _text(row.get("nerve"))
    _, rest = split_side(text)
    nerve = _name(reading, "ncv", number, "nerve", "nerve",
                  rest if rest and canonical("nerve", text, reading.extra.get("nerve")) is None else text)
    if not nerve and above:
        nerve = above
        reading.flag("ncv", number, "nerve", "no nerve", f"the cell is empty; '{above}' of the row above is taken")
    if not nerve:
        reading.flag("ncv", number, "nerve", "no nerve", "the cell is empty and the row left out")
        return None
    type = _name(reading, "ncv", number, "type", "type", row.get("type"))
    stim = _name(reading, "ncv", number, "stim", "place", row.get("stim"))
    rec = _name(reading, "ncv", number, "rec", "place", row.get("rec"))
    cells = {(measure, side): _cell(reading, number, measure, side, type, row.get(f"{measure}_{side}"))
             for measure, side in READING_ORDER}
    for side in SIDES:
        _settle_zeros(reading, number, side, cells)
    return NcvRow(nerve, type or "unknown", stim, rec, cells)


def _cell(reading: _Reading, number: int, measure: str, side: str, type: str, value: object) -> Cell:
    column = f"{measure}_{side}"
    try:
        cell = read_cell(value, measure, type)  # type: ignore[arg-type]
    except CellError as error:
        reading.flag("ncv", number, column, error.reason, f"{error.detail}; kept as text")
        return Cell("implausible", None, _text(value), error.reason)
    if cell.state == "implausible" and type in TYPES:  # an unknown type has its own flag
        slip = "unit slip" if "looks like" in cell.reason else "implausible value"
        reading.flag("ncv", number, column, slip, f"{cell.reason}; kept as text")
    return cell


def _number_of(cell: Cell) -> float | None:
    if cell.value is not None or cell.state != "implausible":
        return cell.value
    try:
        return float(cell.text)
    except ValueError:
        return None


def _settle_zeros(reading: _Reading, number: int, side: str, cells: dict[tuple[str, str], Cell]) -> None:
    """Zeros where nothing else was measured mean an absent response, not a number."""
    if any(cells[measure, side].state == "value" for measure in MEASURES):
        return
    for measure in MEASURES:
        cell = cells[measure, side]
        if _number_of(cell) == 0:
            cells[measure, side] = Cell("absent", None, cell.text)
            _drop_flags(reading, number, [f"{measure}_{side}"])


def _drop_flags(reading: _Reading, number: int, columns: Sequence[str]) -> None:
    reading.flags[:] = [flag for flag in reading.flags
                        if not (flag.table == "ncv" and flag.row == number and flag.column in columns)]


def _without_repeats_emg(reading: _Reading, rows: Sequence[tuple[int, EmgRow]]) -> list[EmgRow]:
    first: dict[tuple[str | None, str], tuple[int, EmgRow]] = {}
    kept = []
    for number, row in rows:
        earlier, twin = first.setdefault((row.side, row.muscle), (number, row))
        if earlier == number or row != twin:
            kept.append(row)
        if earlier != number:
            told = "with other words; both are kept" if row != twin else "and left out"
            reading.flag("emg", number, "muscle", "duplicated row", f"the same muscle as row {earlier}, {told}")
    return kept


def _without_repeats_ncv(reading: _Reading, rows: Sequence[tuple[int, NcvRow]]) -> list[tuple[int, NcvRow]]:
    first: dict[tuple[str, ...], tuple[int, NcvRow]] = {}
    kept = []
    for number, row in rows:
        earlier, twin = first.setdefault((row.nerve, row.type, row.stim, row.rec), (number, row))
        same = [_told_by(cell) for cell in row.cells.values()] == [_told_by(cell) for cell in twin.cells.values()]
        if earlier == number or not same:
            kept.append((number, row))
        # Left in one row and right in the next is one way to write a table, and no repeat.
        both = [key for key in READING_ORDER if "missing" not in (row.cells[key].state, twin.cells[key].state)]
        if earlier != number and (same or both):
            told = "and left out" if same else "with other numbers; both are kept"
            reading.flag("ncv", number, "nerve", "duplicated row", f"the same item as row {earlier}, {told}")
    return kept


def _told_by(cell: Cell) -> tuple[str, float | str]:
    return cell.state, cell.text if cell.value is None else cell.value


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _swapped(row: NcvRow, side: str, pair: tuple[str, str]) -> bool | None:
    """Whether these two changed places on that side; None where they cannot be compared."""
    usual, cell = _USUAL.get(row.type), row.cells[pair[0], side]
    if usual is None or cell.state == "missing":
        return None
    one, other = _number_of(cell), _number_of(row.cells[pair[1], side])
    if one is None or other is None:
        return None
    mine, theirs = usual[pair[0]], usual[pair[1]]
    return (not _within(one, mine) and not _within(other, theirs)) and _within(one, theirs) and _within(other, mine)


def _find_swaps(reading: _Reading,
                rows: list[tuple[int, NcvRow]]) -> tuple[list[tuple[int, NcvRow]], Flag | None]:
    """Mark numbers that stand in each other's column; refuse the record where that is so throughout.

    Very slow nerves can look like it: latency 45 ms, velocity 8 m/s. There the rows of distal stimulation have a
    latency and no velocity, as they must; in a table whose columns changed places it is the other way round.
    """
    for pair in _PAIRS:
        verdicts = {(i, side): verdict for i, (_, row) in enumerate(rows) for side in SIDES
                    if (verdict := _swapped(row, side, pair)) is not None}
        hits = [key for key, verdict in verdicts.items() if verdict]
        throughout = len(hits) >= 2 and len(hits) >= SHARE_SWAPPED * len(verdicts)
        if throughout and pair == ("lat", "cv") and _distal_latency_alone(rows):
            continue
        if throughout:
            number, row = rows[hits[0][0]]
            told = " and ".join(row.cells[measure, hits[0][1]].text for measure in pair)
            return rows, Flag("ncv", number, f"{pair[0]}_{hits[0][1]}", "swapped columns",
                              f"{pair[0]} and {pair[1]} look exchanged here ({told}) and in {len(hits)} of "
                              f"{len(verdicts)} places")
        for i, side in hits:
            number, row = rows[i]
            rows[i] = number, _mark(reading, number, row, side, pair)
    return rows, None


def _distal_latency_alone(rows: Sequence[tuple[int, NcvRow]]) -> bool:
    return any(row.type == "motor" and row.cells["lat", side].state == "value"
               and row.cells["cv", side].state in ("missing", "absent") for _, row in rows for side in SIDES)


def _mark(reading: _Reading, number: int, row: NcvRow, side: str, pair: tuple[str, str]) -> NcvRow:
    """The row with both numbers as text only, and one flag for the two."""
    _drop_flags(reading, number, [f"{measure}_{side}" for measure in pair])
    texts = [row.cells[measure, side].text for measure in pair]
    reading.flag("ncv", number, f"{pair[0]}_{side}", "swapped columns",
                 f"{texts[0]} and {texts[1]} look exchanged with {pair[1]}_{side}; both kept as text")
    cells = dict(row.cells)
    for measure in pair:
        cells[measure, side] = Cell("implausible", None, row.cells[measure, side].text, "looks exchanged")
    return replace(row, cells=cells)
