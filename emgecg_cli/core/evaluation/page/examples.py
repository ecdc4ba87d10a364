"""Which records a page shows, and what it shows of each: the worst reports, and others drawn by the seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.about import perturbed_records
from emgecg_cli.core.evaluation.caveats import not_own
from emgecg_cli.core.evaluation.page.reading import Reading, Said, reading_of
from emgecg_cli.core.evidence import Evidence, RecordEvidence
from emgecg_cli.core.evidence.checked import Checked, check_report, check_tables
from emgecg_cli.core.store import Store
from emgecg_cli.core.view import Viewed, ViewedTables, measured_lanes, view_of

WORST, DRAWN = "among the worst", "drawn at random"


@dataclass(frozen=True)
class Shown:
    """What a report was written from, in words, and its recording as int16 microvolts (12, L) if it has one."""

    what: str
    signal: np.ndarray | None = None


@dataclass(frozen=True)
class PageExample:
    """One record on the page: int16 microvolts (12, L) at `fs` Hz, its report, and what each system wrote. `signal` is
    None for a record without a recording.

    `hypotheses` maps the name of a system ("real signal", "shuffled signal", …) to its report, in the order shown;
    `shown` what a system was shown, where that was not this recording. `perturbed` says what was done to it, `lanes`
    where intervals lie, in seconds; `tables` are those of an examination. `said` has what each text states, empty
    where nothing could be read in the reference, and `checked` what the record says of it, both by system and for
    `REFERENCE`; `scores` the values of each system's report; `why` says how the record came onto the page.
    """

    record_id: str
    signal: np.ndarray | None
    fs: int
    reference: str
    hypotheses: Mapping[str, str]
    shown: Mapping[str, Shown] = field(default_factory=dict)
    perturbed: str | None = None
    lanes: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    tables: ViewedTables | None = None
    said: Mapping[str, Said] = field(default_factory=dict)
    checked: Mapping[str, Sequence[Checked]] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Examples:
    """The records of a page, out of how many, and how their texts are read."""

    shown: list[PageExample]
    n: int
    reading: Reading


REFERENCE = "reference"


def page_examples(store: Store, rows: Mapping[str, Sequence[PredictionRow]], count: int, *,
                  scores: Mapping[str, Mapping[str, np.ndarray]] | None = None, seed: int = 0) -> Examples:
    """`count` of the records that every system wrote about and that the store holds; `rows` by name of the system.

    `scores` has values of single reports by system and name, (n,) in the order of its rows; the first value of the
    first system, better high, says which half is the worst. The other half is drawn by `seed`; all are without it.
    """
    texts = {name: {row.record_id: row for row in given} for name, given in rows.items()}
    first = next(iter(texts.values()))
    places = {name: {row.record_id: i for i, row in enumerate(given)} for name, given in rows.items()}
    evidence = Evidence(store)
    known = [record_id for record_id in first if record_id in evidence
             and all(record_id in own for own in texts.values())]
    by = {name: {value: dict(zip(places[name], numbers.tolist(), strict=True)) for value, numbers in own.items()}
          for name, own in (scores or {}).items()}
    order = next(iter(next(iter(by.values()), {}).values()), {})
    chosen = _chosen(known, order, count, seed)
    reading = reading_of(next(iter(rows.values())))
    perturbed = perturbed_records(store)
    shown = [_example(evidence, {name: own[record_id] for name, own in texts.items()}, reading,
                      perturbed.get(record_id), why, {name: {value: numbers[record_id] for value, numbers in own.items()
                                                             if np.isfinite(numbers[record_id])}
                                                      for name, own in by.items()})
             for record_id, why in chosen.items()]
    return Examples(shown, len(known), reading)


def _chosen(known: Sequence[str], order: Mapping[str, float], count: int, seed: int) -> dict[str, str]:
    """Record -> how it came to be chosen: the worst first, then the drawn ones in the order of the predictions."""
    if count >= len(known):
        return dict.fromkeys(known, "")
    worst = sorted(known, key=lambda one: order[one])[:(count + 1) // 2] if order else []
    others = [one for one in known if one not in set(worst)]
    drawn = np.random.default_rng([seed, 2]).choice(len(others), count - len(worst), replace=False)
    return dict.fromkeys(worst, WORST) | {others[i]: DRAWN for i in sorted(drawn.tolist())}


def _example(evidence: Evidence, own: Mapping[str, PredictionRow], reading: Reading, perturbed: str | None, why: str,
             scores: Mapping[str, Mapping[str, float]]) -> PageExample:
    row = next(iter(own.values()))
    found = evidence.of(row.record_id)
    assert found is not None  # of the store
    texts = {REFERENCE: row.reference or ""} | {name: one.prediction for name, one in own.items()}
    shown = {name: what for name, one in own.items() if (what := _shown(evidence, one)) is not None}
    view = view_of(found)
    said = {name: reading.read(text, row.language) for name, text in texts.items()}
    return PageExample(
        row.record_id, view.signal if isinstance(view, Viewed) else None, found.row.fs, texts[REFERENCE],
        {name: texts[name] for name in own}, shown, perturbed,
        measured_lanes(view) if isinstance(view, Viewed) else {}, view if isinstance(view, ViewedTables) else None,
        said if said[REFERENCE].understood else {},
        {name: _checked(text, row.language, found, view) for name, text in texts.items()}, scores, why)


def _checked(text: str, language: str | None, found: RecordEvidence, view: Viewed | ViewedTables
             ) -> tuple[Checked, ...]:
    """The text held against the record."""
    if isinstance(view, Viewed):
        return check_report(text, language, view.measurements, view.row.sex)
    if found.case is None or found.case.case is None or found.references is None:
        return ()
    return check_tables(text, found.case.case, found.references)


def _shown(evidence: Evidence, row: PredictionRow) -> Shown | None:
    """What a report was written from, where it was not the record's own signal."""
    kind = not_own(row)
    if kind is None or row.signal_from is None:
        return None if kind is None else Shown(kind)
    found = evidence.of(row.signal_from)
    absent = ", which is not in the store" if found is None else ""
    return Shown(f"the {evidence.store.kind.called} of record {row.signal_from}{absent}",
                 None if found is None else found.store.drawing(found.index))
