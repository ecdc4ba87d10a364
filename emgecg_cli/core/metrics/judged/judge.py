"""The scores that language models give a report beside its reference, and how far two of them agree.

No value of a judge is shown that does not pass its controls. A report whose verdict cannot be had counts in the share
that failed and in no mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Self

import numpy as np

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.metrics import Declared, Given, Table, ratio
from emgecg_cli.core.metrics.judged.agreement import spearman, weighted_kappa
from emgecg_cli.core.metrics.judged.controls import Outcome, check, controls_of
from emgecg_cli.core.metrics.judged.criteria import Asks
from emgecg_cli.core.metrics.judged.panel import Judge, Pair, Panel, Scores

JUDGED, FAILED = "judged", "failed"


class Judged:
    """The mean score on each criterion and over all of them, on the scale of the suite, and the share of reports
    without a verdict; of every judge by itself. A table tells how far two judges agree."""

    name = "judge"
    times = 1.0   # what values are of a score
    averaged: tuple[str, ...] = ()   # the criteria whose mean is shown, () all
    declared = Declared(frozenset({"text", "judge"}), lower_is_better=frozenset({"judge-failed"}),
                        descriptive=frozenset({"judge-failed"}))

    def __init__(self, panel: Panel | None = None, criteria: Asks | None = None,
                 references: Sequence[tuple[str, str]] = (), chosen: frozenset[str] | None = None,
                 of_models: bool = False) -> None:
        self._panel, self._criteria, self._chosen, self._of_models = panel, criteria, chosen, of_models
        self._references = references
        self._outcomes: dict[str, Outcome] = {}
        self._said: dict[tuple[str, Pair], Scores] = {}
        self._labels: list[str] = []
        self._keys: tuple[str, ...] = criteria.keys if criteria else ()
        self._levels = criteria.levels if criteria else 0

    @classmethod
    def of(cls, given: Given) -> Self:
        """With the judges and the criteria of the settings; `records` of the set are judged, all if not given, and the
        reports of all `systems` or of "models" alone."""
        systems = given.settings.get("systems") or "all"
        if systems not in ("all", "models"):
            raise MedReportError(f"--judge-systems {systems}", "it is all or models")
        return cls.asking(given, names.resolve("judge criteria", given.settings.get("criteria") or "meit"),
                          systems == "models")

    @classmethod
    def asking(cls, given: Given, criteria: Asks, of_models: bool) -> Self:
        """With some criteria."""
        languages = [((row.language or "en").partition("-")[0], row) for row in given.rows]
        return cls(given.judge, criteria, [(row.reference or "", language) for language, row in languages],
                   _chosen(given.rows, given.settings.get("records")), of_models)

    @classmethod
    def restored(cls, columns: Sequence[str], sums: np.ndarray) -> Self:
        """Judges and criteria from the names of the statistics."""
        made, start = cls(), 0
        while start < len(columns) and (ends := [i for i, name in enumerate(columns[start:], start)
                                                 if name.endswith(f" {JUDGED}")]):
            label = columns[ends[0]].removesuffix(f" {JUDGED}")
            made._labels.append(label)
            made._keys = tuple(name.removeprefix(f"{label} ") for name in columns[start:ends[0]])
            start = ends[0] + 2
        tables = len(made._pairs()) * len(made._keys)
        made._levels = round(((len(columns) - start) / tables) ** 0.5) if tables else 0
        made._declare()
        return made

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs a judge that passes its controls, which are sent here."""
        if self._panel is None or self._criteria is None:
            return None
        if not self._outcomes:
            controls = controls_of(self._criteria, self._references)
            self._outcomes = {one.label: check(one, self._panel, self._criteria, controls)
                              for one in self._panel.judges}
            self._labels = [label for label, outcome in self._outcomes.items() if outcome.wrong is None]
            self._declare()
        return None if self._labels else "; ".join(self._withheld())

    def shown(self, reference: str, hypothesis: str, row: PredictionRow) -> Pair:
        """What a judge is shown of a report: its reference and its text."""
        return reference, hypothesis

    def columns(self) -> tuple[str, ...]:
        """Of each judge the sums of its scores, reports judged and reports without a verdict; of two judges how often
        they gave which two scores."""
        own = [f"{label} {name}" for label in self._labels for name in (*self._keys, JUDGED, FAILED)]
        both = [f"{one} & {two} {key} {i}-{j}" for one, two in self._pairs() for key in self._keys
                for i in range(self._levels) for j in range(self._levels)]
        return (*own, *both)

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Scores and counts per report, float (n, k); all zero for a report that is not among those to be judged."""
        assert self._panel is not None and self._criteria is not None
        asked = [i for i, row in enumerate(rows) if self._chosen is None or row.record_id in self._chosen]
        pairs = [self.shown(references[i], hypotheses[i], rows[i]) for i in asked]
        found = np.zeros((len(rows), len(self.columns())))
        by_judge = [self._verdicts(judge, pairs) for judge in self._panel.judges if judge.label in self._labels]
        width = len(self._keys) + 2
        for number, said in enumerate(by_judge):
            for i, scores in zip(asked, said, strict=True):
                found[i, number * width:(number + 1) * width] = \
                    [*[0] * len(self._keys), 0, 1] if scores is None else [*(scores[key] for key in self._keys), 1, 0]
        tables = found[:, len(by_judge) * width:].reshape(len(rows), -1, len(self._keys), self._levels, self._levels)
        for number, (one, two) in enumerate(combinations(by_judge, 2)):
            for i, first, second in zip(asked, one, two, strict=True):
                if first is not None and second is not None:
                    for k, key in enumerate(self._keys):
                        tables[i, number, k, self._level(first[key]), self._level(second[key])] = 1
        return found

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Means over the reports judged, nan where there is none."""
        sums = np.asarray(sums, float)
        values: dict[str, np.ndarray] = {}
        width = len(self._keys) + 2
        for number, label in enumerate(self._labels):
            own = sums[..., number * width:(number + 1) * width]
            judged, failed = own[..., -2], own[..., -1]
            means = {key: self.times * own[..., i] / np.where(judged > 0, judged, np.nan)
                     for i, key in enumerate(self._keys)}
            values |= {self._named(key, label): value for key, value in means.items()}
            values[self._named("mean", label)] = np.stack([means[key] for key in self.averaged or means]).mean(axis=0)
            values[self._named(FAILED, label)] = ratio(failed, judged + failed)
        return values

    def tabulate(self, sums: np.ndarray) -> list[Table]:
        """Agreement of every two judges on each criterion, over the reports that both judged."""
        sums = np.asarray(sums, float)
        pairs = self._pairs()
        if not pairs:
            return []
        start = len(self._labels) * (len(self._keys) + 2)
        counts = sums[..., start:].reshape(*sums.shape[:-1], len(pairs), len(self._keys), self._levels, self._levels)
        items, support, meanings = {}, {}, {}
        for number, (one, two) in enumerate(pairs):
            for k, key in enumerate(self._keys):
                own = counts[..., number, k, :, :]
                item = key if len(pairs) == 1 else f"{key}: {one}, {two}"
                items[item] = {"weighted kappa": weighted_kappa(own), "Spearman": spearman(own)}
                support[item] = {"judged by both": own.sum((-2, -1))}
                meanings[item] = f"{one} and {two}" if len(pairs) == 1 else ""
        return [Table(f"{self.name}-agreement", "Agreement of the judges", items, support, meanings)]

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """Which judges are left out, how many reports have no verdict, and on how many this rests."""
        notes = [*self._withheld()]
        pairs = {self.shown(row.reference or "", text, row) for text, row in zip(hypotheses, rows, strict=True)}
        for label in self._labels:
            own = [self._said[label, pair] for pair in pairs if (label, pair) in self._said]
            if failed := sum(scores is None for scores in own):
                notes.append(f"{label}: no verdict on {failed} of {len(own)} different reports; they count in "
                             f"{self._named(FAILED, label)} and in no mean")
        if self._chosen is not None and len(self._chosen) < len(rows):
            notes.append(f"judged are {len(self._chosen)} of {len(rows)} records, drawn by their ids")
        return notes

    def signature(self) -> str:
        """The judges, what they were asked, and what they said of the controls."""
        if self._panel is None or self._criteria is None:
            return "judge:-|version:1"
        forms = {judge.label: "schema" if judge.form else "text" for judge in self._panel.judges}
        judges = ";".join(f"{label} ({forms[label]}; {self._outcomes[label].told()})" for label in self._labels)
        return (f"judge:{judges}|criteria:{self._criteria.identity()}|scale:{self._criteria.lowest}-"
                f"{self._criteria.highest}|temperature:0|failed:not imputed|version:1")

    def _verdicts(self, judge: Judge, pairs: Sequence[Pair]) -> list[Scores]:
        assert self._panel is not None and self._criteria is not None
        found = self._panel.verdicts(judge, self._criteria, pairs)
        self._said |= {(judge.label, pair): scores for pair, scores in found.items()}
        return [found[pair] for pair in pairs]

    def _withheld(self) -> list[str]:
        return [f"the judge {label} does not pass its controls: {outcome.wrong}"
                for label, outcome in self._outcomes.items() if outcome.wrong is not None]

    def _named(self, what: str, label: str) -> str:
        return f"{self.name}-{what}" if len(self._labels) < 2 else f"{self.name}-{what} {label}"

    def _pairs(self) -> list[tuple[str, str]]:
        return list(combinations(self._labels, 2))

    def _declare(self) -> None:
        failed = frozenset(self._named(FAILED, label) for label in self._labels)
        self.declared = replace(type(self).declared, lower_is_better=failed, descriptive=failed,
                                of_models=self._of_models)

    def _level(self, score: float) -> int:
        assert self._criteria is not None
        return self._criteria.place(score)


def _chosen(rows: Sequence[PredictionRow], count: int | None) -> frozenset[str] | None:
    """The records to be judged: as many as are asked for, drawn by their ids, so that every system has the same."""
    if count is None:
        return None
    if count < 1:
        raise MedReportError(f"--judge-records {count}", "it is 1 or more; leave it out to have all records judged")
    order = sorted({row.record_id for row in rows},
                   key=lambda one: hashlib.sha256(one.encode("utf-8", "surrogatepass")).digest())
    return frozenset(order[:count])
