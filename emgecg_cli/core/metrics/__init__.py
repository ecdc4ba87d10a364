"""How good reports are: per-report statistics first, corpus value second.

A metric turns every hypothesis-reference pair into a row of numbers whose column SUMS decide the corpus value.
Confidence intervals then cost one matrix product, and no metric has to know about resampling. A metric declares what it
needs and which of its values are better low, and brings its notes and tables: nothing outside its file knows it by
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evidence import Evidence

Kind = Literal["text", "clinical", "facts", "loss"]
Need = Literal["text", "codes", "evidence", "weights", "judge"]
# What of the texts is compared: "tokens" and "text" by language and by section, tokens only if it is known how texts
# without blanks between words are cut; "reports" as they are, all at once.
Compares = Literal["tokens", "text", "reports"]

# Of several references: the first alone, the best statistics or their mean, or all of them at once, by the metric
# itself, which finds the others in its rows.
Several = Literal["first", "best", "mean", "all"]


@dataclass(frozen=True)
class Declared:
    """What a metric declares before anything is computed. `lower_is_better` names values, without their slice;
    `headline` maps those that stand in a short table to what they are, "" where their name says it.

    `kind` says what values are of: words, what is said of the patient, claims against the recording, or the losses of a
    run, which no baseline has. `decisive` are those by which it is decided whether a run uses its signal.
    `descriptive` values are of the references, or say what texts are like: no system is better by them. A metric is not
    `resampled` where the order of the reports decides its values, so that draws of them would be of something else.
    `several` says what it makes of a record with several references. One `of_models` is computed on the models' reports
    alone, and on no baseline's. `ranked` are values to sort single reports by, each with the one that is 1 where a
    report is exactly right, as one is that says nothing of nothing.
    """

    needs: frozenset[Need] = frozenset()
    compares: Compares = "reports"
    lower_is_better: frozenset[str] = frozenset()
    headline: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = "text"
    decisive: frozenset[str] = frozenset()
    descriptive: frozenset[str] = frozenset()
    resampled: bool = True
    several: Several = "first"
    of_models: bool = False
    ranked: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether it needs a judge, and so sends texts to an endpoint."""
        return "judge" in self.needs


@dataclass(frozen=True)
class Given:
    """What is at hand when a slice of a set is scored: its `rows` with their references, their languages, how texts
    without blanks between words are cut (None where there are none), the train `reports` of its language and section,
    what is true of the records, a judge, and the metric's own `settings`. What it puts into `kept` is available for
    the next slice."""

    rows: Sequence[PredictionRow] = ()
    languages: Sequence[str] = ("en",)
    segmentation: str | None = None
    reports: Sequence[str] = ()
    evidence: Evidence | None = None
    judge: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)

    def lacks(self, declared: Declared) -> str | None:
        """Why a metric cannot have what it needs, in a few words; None when it can."""
        needs = declared.needs
        if "text" in needs and any(not row.reference for row in self.rows):
            return "needs a reference for every record"
        without = next((row for row in self.rows if row.codes is None), None) if "codes" in needs else None
        if without is not None:
            return f"record {without.record_id}: the row has no codes"
        if "evidence" in needs and self.evidence is None:
            return "needs the recordings: --store STORE"
        if "weights" in needs and self.settings.get("model") is None:
            return "needs model weights"
        return "needs a judge: --judge MODEL --base-url URL" if "judge" in needs and self.judge is None else None


@dataclass(frozen=True)
class Table:
    """Values of a metric item by item (a finding, a statement, a kind of fact): item -> name of a value -> (...) array
    from sums (..., k). `counts`, of the same shape, say what they are made of: "support", how often the item is true,
    "stated", how often it is said; an item without any is not shown. `meanings` says in words what items are."""

    name: str
    title: str
    items: Mapping[str, Mapping[str, np.ndarray]]
    counts: Mapping[str, Mapping[str, np.ndarray]]
    meanings: Mapping[str, str] = field(default_factory=dict)


class Metric(Protocol):
    """What every metric offers; the table `names.METRICS` says which there are. A class can be called without
    arguments, for what needs no texts: aggregating statistics that were kept."""

    name: str
    declared: Declared

    @classmethod
    def of(cls, given: Given) -> Self:
        """The metric for a slice, with what it takes of what is given."""
        ...

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Why the metric cannot be computed on these rows, in a few words; None when it can."""
        ...

    def columns(self) -> tuple[str, ...]:
        """The names of the k statistics of a report."""
        ...

    def segment_statistics(self, hypotheses: list[str], references: list[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Statistics of n pairs, (n, k), of integers where most are zero. `rows` gives language, codes and dataset of
        each pair, not its texts."""
        ...

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums, (..., k) -> value name -> (...). Values lie in 0-1 unless stated
        otherwise."""
        ...

    def signature(self) -> str:
        """The settings under which the values are true, `key:value` joined by `|`."""
        ...


@runtime_checkable
class Noted(Protocol):
    """A metric that adds notes to its values."""

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """Sentences on the model's reports and their references, each with its count."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A metric that can write a file besides, where its settings name one."""

    def keep(self) -> None:
        """Write it, atomically; raises MedReportError."""
        ...


@runtime_checkable
class Tabled(Protocol):
    """A metric whose values can be broken down item by item."""

    def tabulate(self, sums: np.ndarray) -> list[Table]:
        """From column sums (..., k), as `aggregate`."""
        ...


@runtime_checkable
class Restored(Protocol):
    """A metric that needs more than its columns' number to aggregate statistics that were kept."""

    @classmethod
    def restored(cls, columns: Sequence[str], sums: np.ndarray) -> Self:
        """The metric that gave these columns, from their names and their sums over the whole set, (k,)."""
        ...


def ratio(part: np.ndarray | int, whole: np.ndarray | int) -> np.ndarray:
    """part / whole, 0 where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)
