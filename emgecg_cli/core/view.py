"""Viewing one record of a store: found by its id, drawn on paper or in a terminal, and described in words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars

from emgecg_cli.core.artifacts import Measurements, Reading, RecordRow
from emgecg_cli.core.emg.case import Case, Item, NcvRow, values
from emgecg_cli.core.emg.examination import Examination
from emgecg_cli.core.emg.terms import EMG_COLUMNS, MEASURES, SIDES, display
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evidence import Evidence, RecordEvidence
from emgecg_cli.core.pages.notebook import html_of, html_table, html_text
from emgecg_cli.core.references import References
from emgecg_cli.core.signals.paper import LAYOUTS, Page, lay_out, page_svg
from emgecg_cli.core.signals.paper.terminal import draw_text
from emgecg_cli.core.store import Store

NEEDLE = tuple(name for name in EMG_COLUMNS if name != "muscle")
_CANDIDATES = 20_000  # ids that a mistyped one is compared with
_KINDS = {"machine": "the recorder", "template": "a template from labels", "translation": "a translation"}


@dataclass(frozen=True)
class Viewed:
    """A record to view: its row, with measurements if any could be made, its signal, and the store's name.

    `measured_now` tells measurements that were made for this view from those in the store, `perturbed` says what was
    done to the signal of a perturbed store.
    """

    dataset: str
    row: RecordRow
    signal: np.ndarray
    measurements: Measurements
    measured_now: bool
    perturbed: str = ""

    def _repr_html_(self) -> str:
        """What a notebook shows: the recording on ECG paper, what was measured, and the report."""
        drawn = page_svg(draw_page(self, "3x4", 0.0), f"12-lead ECG of record {self.row.record_id}")
        return html_of(f"Record {self.row.record_id}: {facts_line(self)}", drawn,
                       html_text("\n".join([*notes(self), *([self.row.report] if self.row.report else [])])))


@dataclass(frozen=True)
class ViewedTables:
    """A record of a store of tables: its row, and each table as a head and rows of cells. A number beyond the outermost
    percentile of its reference is marked, `H` above and `L` below, and counted in `n_outside` of `n_judged`. `ranges`
    has the limits of the cells of a table in words, by its name, "" where a cell has none."""

    dataset: str
    row: RecordRow
    tables: tuple[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]], ...]
    n_outside: int
    n_judged: int
    ranges: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """What a notebook shows: the tables with marked numbers, and the report."""
        return html_of(f"Record {self.row.record_id}: {facts_line(self)}",
                       *(f"{html_text(name)}{html_table(head, rows)}" for name, head, rows in self.tables),
                       html_text(report_text(self.row)))


def _open_tables(store: Store, row: RecordRow, stored: Examination, references: References | None) -> ViewedTables:
    """The tables of a record beside the ranges that judge their values."""
    if stored.case is None:
        shown = [(name, *(f"{values[0]:g}" for values in matrix[[2, 1, 0]])) for name, matrix in stored.matrices]
        outside = sum(not matrix[2, 0] <= matrix[1, 0] <= matrix[0, 0] for _, matrix in stored.matrices)
        head = ("item", "lower", "value", "upper")
        return ViewedTables(store.dataset, row, (("Values", head, tuple(shown)),), outside, len(shown))
    marks: Marks = {} if references is None else _marks(stored.case, references)
    needle = tuple((display("side", one.side or ""), display("muscle", one.muscle),
                    *(getattr(one, name) for name in NEEDLE)) for one in stored.case.emg)
    conduction = tuple((display("nerve", one.nerve), display("type", one.type), display("site", one.stim),
                        display("place", one.rec), *(_cell(one, measure, side, marks) for measure in MEASURES
                                                     for side in SIDES)) for one in stored.case.ncv)
    columns = tuple(f"{measure} {side}" for measure in MEASURES for side in SIDES)
    tables = (("EMG", ("side", "muscle", *NEEDLE), needle),
              ("NCV", ("nerve", "type", "stim", "rec", *columns), conduction))
    ranges = tuple(("",) * 4 + tuple(_mark(one, measure, side, marks)[1] for measure in MEASURES for side in SIDES)
                   for one in stored.case.ncv)
    return ViewedTables(store.dataset, row, tuple(one for one in tables if one[2]),
                        sum(mark != "" for mark, _ in marks.values()), len(marks), {"NCV": ranges})


Marks = Mapping[tuple[str, str], tuple[str, str]]


def _marks(case: Case, references: References) -> Marks:
    """For each number that has a reference, by item key and side: "H", "L" or "" within the outermost limits, and these
    in words."""
    marks = {}
    for item, side, cell in values(case):
        reference = references.of(item)
        if cell.value is not None and reference is not None:
            value = references.adjusted(reference, cell.value, case)
            mark = "H" if value > reference.upper[0] else "L" if value < reference.lower[0] else ""
            marks[item.key, side] = mark, " – ".join(f"{end:.3g}" for end in references.limits(reference, case))
    return marks


def _mark(row: NcvRow, measure: str, side: str, marks: Marks) -> tuple[str, str]:
    return marks.get((Item(row.nerve, row.type, row.stim, row.rec, measure).key, side), ("", ""))


def _cell(row: NcvRow, measure: str, side: str, marks: Marks) -> str:
    """A cell as text with its mark; one that is not a number as it was written."""
    cell = row.cells.get((measure, side))
    if cell is None or cell.state == "missing":
        return ""
    if cell.value is None:
        return "absent" if cell.state == "absent" else cell.text
    return f"{cell.value:g} {_mark(row, measure, side, marks)[0]}".strip()


def open_record(store: Store, record_id: str | None, index: int | None = None) -> Viewed | ViewedTables:
    """Find a record by its id or by its row number; raises MedReportError, with a near id where there is one."""
    return view_of(Evidence(store).at(_at(store, record_id, index)))


def view_of(found: RecordEvidence) -> Viewed | ViewedTables:
    """What is shown of a record."""
    store = found.store
    if found.signal is not None and found.measurements is not None:
        return Viewed(store.dataset, found.row, found.signal, found.measurements, found.measured_now, found.perturbed)
    return _open_tables(store, found.row, store.case(found.index), found.references)


def _at(store: Store, record_id: str | None, index: int | None) -> int:
    at = _find(store, record_id) if index is None else index
    if not 0 <= at < len(store):
        raise MedReportError(f"{store.path}: no row {at}", f"rows are 0 to {len(store) - 1}")
    return at


def _find(store: Store, record_id: str | None) -> int:
    ids = store.column("record_id")
    if record_id is None:
        raise MedReportError("no record is named", f"name one, such as {ids[0]}, or give --index N")
    found = (ids == record_id).arg_true()
    if len(found):
        return int(found[0])
    windows = ids.filter(store.column("recording_id") == record_id)
    if len(windows):
        raise MedReportError(f"{store.path}: {record_id} is a recording of {len(windows)} records",
                             f"name one of {', '.join(windows.head(8))}")
    like = ids.filter(ids.str.len_chars().cast(polars.Int64).is_between(len(record_id) - 2, len(record_id) + 2))
    near = difflib.get_close_matches(record_id, like.head(_CANDIDATES).to_list(), n=1)
    guess = f"; did you mean '{near[0]}'?" if near else ""
    raise MedReportError(f"{store.path}: no record '{record_id}'{guess}",
                         f"records are named as in {ids[0]}; --index N takes a row number")


def facts_line(view: Viewed | ViewedTables) -> str:
    """Where the record comes from, in a line."""
    row = view.row
    person = {"F": "woman", "M": "man"}.get(row.sex or "", row.sex or "")
    age = f"{row.age:g} years" if row.age is not None else ""
    window = f"from {row.start_s:g} s of recording {row.recording_id}" if row.recording_id not in ("", row.record_id) \
        or row.start_s else ""
    return ", ".join(filter(None, (view.dataset, f"split {row.split}" if row.split else "", person, age, window)))


def intervals_line(measured: Measurements) -> str:
    """The measured intervals in a line, with those that were not detected."""
    if not measured.n_beats:
        return "no beat was detected"
    parts = [("heart rate", measured.heart_rate_bpm, "/min"), ("PR", measured.pr_ms, " ms"),
             ("QRS", measured.qrs_ms, " ms"), ("QT", measured.qt_ms, " ms"),
             ("QTc", measured.qtc_bazett_ms, " ms (Bazett)"), ("QRS axis", measured.qrs_axis_deg, "°")]
    said = [f"{name} {value:.0f}{unit}" for name, value, unit in parts if value is not None]
    missing = [name for name, value, _ in parts if value is None]
    return ", ".join(said) + (f"; undetected: {', '.join(missing)}" if missing else "")


def check_lines(row: RecordRow) -> list[str]:
    """What the quality checks found in this record; none for a record without a finding."""
    found = [row.lead_check] if row.lead_check.startswith("suspect") else []
    found += [f"glitch: {row.lead_glitch}"] if row.lead_glitch else []
    found += [row.scale_check] if row.scale_check.startswith("suspect") else []
    for names, what in ((row.absent_leads, "not recorded"), (row.flat_leads, "flat")):
        found += [f"{', '.join(names)} {what}"] if names else []
    found += [f"{row.n_clipped:,} samples clipped"] if row.n_clipped else []
    reading = row.reading or Reading()
    found += [f"{', '.join(reading.derived_leads)} computed from other limb leads"] if reading.derived_leads else []
    found += [f"not used: {', '.join(reading.unused_signals)}"] if reading.unused_signals else []
    return found + (reading.file_flags or [])


def notes(view: Viewed) -> list[str]:
    """The paragraphs below a drawing: intervals, findings, report."""
    lines = [f"Perturbed: {view.perturbed}"] if view.perturbed else []
    lines.append(f"Measured: {intervals_line(view.measurements)}")
    found = check_lines(view.row)
    if found:
        lines.append(f"Checks: {'; '.join(found)}")
    by = _KINDS.get(view.row.report_kind)
    return [*lines, f"Report{f' by {by}' if by else ''}: {report_text(view.row)}"]


def report_text(row: RecordRow) -> str:
    """The report as it is shown; a recording that has none says so."""
    return "none" if row.report is None else row.report


def draw_page(view: Viewed, layout: str, start: float, gain: float | None = None, measured: bool = False) -> Page:
    """The record on paper with its words around it, at `gain` mm per millivolt or at what fits, PR, QRS and QT of each
    beat marked below if they are to be `measured`; raises MedReportError for an unknown layout or start."""
    _check(view, layout, start)
    return lay_out(view.signal, view.row.fs, layout=layout, start=start, gain=gain,
                   header=(f"Record {view.row.record_id}", facts_line(view)), notes=notes(view),
                   lanes=measured_lanes(view) if measured else None)


def measured_lanes(view: Viewed) -> dict[str, list[tuple[float, float]]]:
    """Where PR, QRS and QT of each beat lie, in seconds; an interval of quality "poor" says so in its name."""
    from emgecg_cli.core.signals.delineation import FS_RANGE, delineate  # takes a moment to import
    from emgecg_cli.core.signals.delineation.spans import spans_of

    if not FS_RANGE[0] <= view.row.fs <= FS_RANGE[1]:
        return {}
    lanes: dict[str, list[tuple[float, float]]] = {}
    for span in spans_of(delineate(view.signal, view.row.fs)):
        poor = getattr(view.measurements, f"{span.name.lower()}_quality") == "poor"
        lanes.setdefault(f"{span.name}?" if poor else span.name, []).append((span.begin, span.end))
    return lanes


def beats_text(view: Viewed, form: str) -> str:
    """What is measured on every beat in every lead, as JSON ("json") or as GEM's prompts hold it ("gem"); raises
    MedReportError at a rate at which nothing can be measured."""
    from emgecg_cli.core.signals.delineation import FS_RANGE  # takes a moment to import
    from emgecg_cli.core.signals.delineation.beat_table import serialise_gem
    from emgecg_cli.core.signals.delineation.per_beat import measure_beats

    if not FS_RANGE[0] <= view.row.fs <= FS_RANGE[1]:
        raise MedReportError(f"record {view.row.record_id} has {view.row.fs} samples per second",
                             f"{FS_RANGE[0]} to {FS_RANGE[1]} can be measured")
    table = measure_beats(view.signal, view.row.fs)
    return serialise_gem(table) if form == "gem" else json.dumps(table.to_json())


def draw_file(view: Viewed, layout: str, start: float, suffix: str, dpi: int, gain: float | None = None,
              measured: bool = False) -> bytes:
    """The page as the bytes of a file with that suffix; see `draw_page`."""
    page = draw_page(view, layout, start, gain, measured)
    if suffix == ".svg":
        svg = page_svg(page, f"12-lead ECG of record {view.row.record_id}")
        return svg.encode("utf-8", "backslashreplace") + b"\n"
    from emgecg_cli.core.signals.paper.png import page_png

    return page_png(page, dpi)


def draw_lines(view: Viewed, layout: str, start: float, width: int) -> list[str]:
    """The drawing for a terminal of that width, without words."""
    _check(view, layout, start)
    return draw_text(view.signal, view.row.fs, layout=layout, start=start, width=width)


def _check(view: Viewed, layout: str, start: float) -> None:
    if layout not in LAYOUTS:
        raise MedReportError(f"no layout '{layout}'", f"available: {', '.join(LAYOUTS)}")
    seconds = view.signal.shape[1] / view.row.fs
    if not 0 <= start < seconds:
        raise MedReportError(f"record {view.row.record_id} has no second {start:g}", f"it is {seconds:g} s long")


def as_json(view: Viewed | ViewedTables) -> dict[str, Any]:
    """The row as JSON values, with the measurements or the tables shown."""
    if isinstance(view, ViewedTables):
        shown = [{"table": title, "head": head, "rows": rows} for title, head, rows in view.tables]
        return asdict(view.row) | {"dataset": view.dataset, "tables": shown, "values_judged": view.n_judged,
                                   "values_outside": view.n_outside}
    return asdict(view.row) | {"dataset": view.dataset, "measurements": asdict(view.measurements),
                               "measured_now": view.measured_now, "perturbed": view.perturbed,
                               "checks": check_lines(view.row)}
