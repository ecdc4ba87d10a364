"""Reports written without a model, with which a model's scores must be compared: one a file, in `names.BASELINES`.

Some are made of the train reports of a store. Where a run was trained on one data set and writes about another, they
are made of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.slices import groups_of
from emgecg_cli.core.metrics.text.tokens import fits_group


class Lacks(Exception):
    """What a baseline would need, in a few words."""


@dataclass(frozen=True)
class TrainReports:
    """The T reports of a train split, and whose they are where there are several (""); `record_ids` and `features`
    (T, E) of their recordings are empty where nobody encoded them."""

    reports: Sequence[str]
    name: str = ""
    record_ids: Sequence[str] = ()
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32), repr=False)

    def of_group(self, group: str) -> TrainReports:
        """Those in the language of a group of rows; all where none is."""
        at = [i for i, report in enumerate(self.reports) if fits_group(report, group)]
        if not at or len(at) == len(self.reports):
            return self
        return replace(self, reports=[self.reports[i] for i in at],
                       record_ids=[self.record_ids[i] for i in at] if self.record_ids else (),
                       features=self.features[at] if len(self.features) else self.features)


@dataclass(frozen=True)
class Given:
    """What a baseline is made of: the checked rows, the train reports in their language (none for one that takes none),
    and the features of the rows' own recordings, (E,) by record."""

    rows: Sequence[PredictionRow]
    train: TrainReports
    seed: int
    features: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Baseline:
    """A writer of reports: what it is called in a table, what writes one report per row (raises `Lacks`), whether it is
    made of train reports, and whether judges, who are paid, are asked about its reports."""

    title: str
    write: Callable[[Given], list[str]]
    of_train: bool = True
    judged: bool = True


@dataclass(frozen=True)
class Written:
    """The reports of each baseline by its title, in row order; why others are missing; and which no judge sees."""

    texts: dict[str, list[str]]
    notes: list[str]
    unjudged: frozenset[str] = frozenset()


def write_baselines(rows: Sequence[PredictionRow], trains: Sequence[TrainReports], seed: int,
                    features: Mapping[str, np.ndarray] | None = None) -> Written:
    """The reports of all baselines, each language group of the rows by itself."""
    texts: dict[str, list[str]] = {}
    notes: list[str] = []
    unjudged: set[str] = set()
    trains = [train for train in trains if train.reports]
    for name in names.choices("baseline"):
        baseline: Baseline = names.resolve("baseline", name)
        for train in trains if baseline.of_train else [TrainReports(())]:
            title = f"{baseline.title} of {train.name}" if train.name else baseline.title
            try:
                texts[title] = _by_group(baseline, rows, train, seed, features or {})
            except Lacks as lacks:
                notes.append(f"no {title}: {lacks}")
            unjudged |= set() if baseline.judged else {title}
    return Written(texts, notes, frozenset(unjudged))


def _by_group(baseline: Baseline, rows: Sequence[PredictionRow], train: TrainReports, seed: int,
              features: Mapping[str, np.ndarray]) -> list[str]:
    groups, found = groups_of(rows), [""] * len(rows)
    for group in sorted(set(groups)):
        index = [i for i, its in enumerate(groups) if its == group]
        given = Given([rows[i] for i in index], train.of_group(group), seed, features)
        for i, text in zip(index, baseline.write(given), strict=True):
            found[i] = text
    return found
