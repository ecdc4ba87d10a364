"""One draft: what was written of a recording, what is measured on it, and what of the text the recording contradicts.

It holds all that is shown of it, the drawn samples too, and becomes one line of JSON.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from emgecg_cli.core.artifacts import Measurements, RecordRow
from emgecg_cli.core.evidence.checked import NOT_MENTIONED, Checked, check_report, check_tables
from emgecg_cli.core.reports.language import detect_language
from emgecg_cli.core.signals.leads import LEADS
from emgecg_cli.core.view import Viewed, ViewedTables, check_lines, intervals_line, measured_lanes

NOT_A_DIAGNOSIS = "Draft, not a diagnosis"
CONTRADICTED = "contradicted"
_PERSON = {"F": "woman", "M": "man"}
# name, field, unit, field of its quality
INTERVALS = (("heart rate", "heart_rate_bpm", "/min", "heart_rate_quality"), ("PR", "pr_ms", "ms", "pr_quality"),
             ("QRS", "qrs_ms", "ms", "qrs_quality"), ("QT", "qt_ms", "ms", "qt_quality"),
             ("QTc (Bazett)", "qtc_bazett_ms", "ms", "qt_quality"),
             ("QTc (Fridericia)", "qtc_fridericia_ms", "ms", "qt_quality"),
             ("QRS axis", "qrs_axis_deg", "°", "qrs_axis_quality"))


@dataclass(frozen=True)
class DraftTables:
    """The tables of an examination as they are shown, each a title, a head and rows of cells: see
    `view.ViewedTables`."""

    tables: tuple[tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]], ...]
    ranges: Mapping[str, tuple[tuple[str, ...], ...]]
    n_outside: int
    n_judged: int


@dataclass(frozen=True)
class Draft:
    """A draft of the report of a recording, or of an examination of tables.

    `file` is the file as it was named, `record_id` the record in it; `about` says in words what was read. `text` is the
    draft, `truncated` whether it was cut at the longest that was allowed. `measured` are the intervals in a line, ""
    of tables; `checks` what the quality checks found. `facts` are the claims of the draft with the verdict of the
    recording, those that it contradicts first, then what is abnormal and not mentioned. `signal` are the samples that
    are drawn, packed, at `fs` Hz, "" of tables, and `lanes` where PR, QRS and QT lie; `tables` the examination's.
    """

    file: str
    record_id: str
    about: str
    run: str
    text: str
    truncated: bool
    facts: tuple[Checked, ...] = ()
    measured: str = ""
    measurements: Measurements | None = None
    checks: tuple[str, ...] = ()
    fs: int = 0
    signal: str = field(default="", repr=False)
    lanes: dict[str, list[tuple[float, float]]] = field(default_factory=dict, repr=False)
    tables: DraftTables | None = None

    @property
    def contradicted(self) -> list[Checked]:
        """The facts of the draft that the recording contradicts."""
        return [one for one in self.facts if one.verdict == CONTRADICTED]

    @property
    def source(self) -> str:
        """What it is a draft of."""
        return "recording" if self.tables is None else "tables"

    @property
    def unmentioned(self) -> list[Checked]:
        """What is abnormal beyond doubt, and not mentioned."""
        return [one for one in self.facts if one.verdict == NOT_MENTIONED]

    def samples(self) -> np.ndarray | None:
        """The recording as it is drawn, int16 microvolts (12, L); None of tables."""
        if not self.signal:
            return None
        flat = np.frombuffer(zlib.decompress(base64.b64decode(self.signal)), "<i2")
        return flat.reshape(len(LEADS), -1).astype(np.int16)

    def told(self) -> dict[str, Any]:
        """What a machine is told of it: all but what is only drawn, with the sentence that stands on each draft."""
        left_out = ("signal", "lanes", "tables")
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}
        values |= {"measurements": None if self.measurements is None else asdict(self.measurements),
                   "facts": [asdict(one) for one in self.facts], "checks": list(self.checks)}
        if self.tables is not None:
            values["tables"] = [{"table": title, "head": list(head), "rows": [list(row) for row in rows]}
                                for title, head, rows in self.tables.tables]
        return {"notice": NOT_A_DIAGNOSIS, **values}


def draft_of_file(file: str, view: Viewed, text: str, truncated: bool, run: str) -> Draft:
    """The draft of a recording that is viewed as its file has it."""
    row = view.row
    facts = check_report(text, detect_language(text), view.measurements, row.sex)
    packed = base64.b64encode(zlib.compress(view.signal.astype("<i2").tobytes(), 9)).decode()
    seconds = view.signal.shape[1] / row.fs
    rest = f"the first {seconds:g} s of it" if row.n_cropped else f"{seconds:g} s"
    return Draft(file, row.record_id, ", ".join([view.dataset, *_person(row), rest]), run, text, truncated, facts,
                 intervals_line(view.measurements), view.measurements, tuple(check_lines(row)), row.fs, packed,
                 measured_lanes(view))


def draft_of_tables(file: str, view: ViewedTables, text: str, truncated: bool, run: str, case: Any,
                    references: Any) -> Draft:
    """The draft of an examination: its values that are out of range and that the text calls normal contradict it."""
    facts = check_tables(text, case, references) if case is not None and references is not None else ()
    return Draft(file, view.row.record_id, ", ".join(["EMG and nerve conduction", *_person(view.row)]), run, text,
                 truncated, facts, checks=tuple(check_lines(view.row)),
                 tables=DraftTables(view.tables, view.ranges, view.n_outside, view.n_judged))


def _person(row: RecordRow) -> Iterator[str]:
    if row.sex:
        yield _PERSON.get(row.sex, row.sex)
    if row.age is not None:
        yield f"{row.age:g} years"


def facts_words(found: list[Checked]) -> str:
    """Facts in a line: what is claimed, and what is measured in its place."""
    return "; ".join(f"{one.claim} (measured: {one.measured})" if one.measured else one.claim for one in found)


def paragraphs(draft: Draft) -> list[str]:
    """The draft in words, each paragraph with its name before it."""
    parts = [(NOT_A_DIAGNOSIS, draft.text or "(empty)"), ("Measured", draft.measured),
             (f"Contradicted by the {draft.source}", facts_words(draft.contradicted)),
             ("Abnormal and not mentioned", facts_words(draft.unmentioned)), ("Checks", "; ".join(draft.checks)),
             ("Cut", "the draft was longer than the longest that was allowed" if draft.truncated else "")]
    return [f"{name}: {said}" for name, said in parts if said]
