"""The closed tasks of ECGBench, scored: labels by class, choices and options by what is right.

An answer that cannot be read is wrong, and counted. What ECGBench calls AUC is that of yes and no answers, the mean of
sensitivity and specificity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given, Table, ratio
from emgecg_cli.core.metrics.bench.answers import labels_in, letter_in, options_in, options_of
from emgecg_cli.core.metrics.bench.tasks import TASKS, BenchTask, task_of

_CELLS = ("hit", "false", "missed", "rejected")   # of a label: said and true, said only, true only, neither
_ENDS = ("right", "unparsable", "answers")
Read = Callable[[BenchTask, str, PredictionRow], frozenset[str] | None]


class EcgBenchTasks:
    """Of a task with labels: AUC, F1 (each the mean over the labels that some reference has) and Hamming loss. Of one
    with options: accuracy, the exact set of ECG-QA. Of all: the share of answers that cannot be read, each of which is
    wrong. All lie in 0-1."""

    name = "ecgbench-tasks"
    declared = Declared(frozenset({"text"}), lower_is_better=frozenset({"ecgbench-hamming", "ecgbench-unparsable"}),
                        kind="clinical", headline={
                            "ecgbench-F1": "mean F1 over the labels of the task", "ecgbench-accuracy": "answers right"})

    def __init__(self, task: str | None = None, labels: Sequence[str] = ()) -> None:
        self._task = task
        self._labels = tuple(labels) or tuple(TASKS[task].labels if task else ())

    @classmethod
    def of(cls, given: Given) -> Self:
        """Of the task that the rows are of."""
        return cls(task_of(given.rows))

    @classmethod
    def restored(cls, columns: Sequence[str], sums: np.ndarray) -> Self:
        """The labels from the names of the statistics."""
        return cls(None, labels_of(columns))

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs a closed task, and of ECG-QA the questions."""
        return why_not(self._task, rows)

    def columns(self) -> tuple[str, ...]:
        """Of each label how often it is said and true, said, true, neither; answers right, unread, and all."""
        return columns_of(self._labels)

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Counts per answer, float (n, k)."""
        assert self._task is not None
        return counts(TASKS[self._task], hypotheses, references, rows, read)

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., k), each of shape (...)."""
        return values("ecgbench", len(self._labels), sums)

    def tabulate(self, sums: np.ndarray) -> list[Table]:
        """AUC, precision, recall and F1 of each label."""
        if not self._labels:
            return []
        hit, false, missed, rejected = _cells(np.asarray(sums, np.float64), len(self._labels))
        items, support = {}, {}
        for i, label in enumerate(self._labels):
            items[label] = {"AUC": _auc(hit, false, missed, rejected)[..., i],
                            "precision": ratio(hit, hit + false)[..., i], "recall": ratio(hit, hit + missed)[..., i],
                            "F1": ratio(2 * hit, 2 * hit + false + missed)[..., i]}
            support[label] = {"support": (hit + missed)[..., i], "stated": (hit + false)[..., i]}
        meanings = dict(TASKS[self._task].labels) if self._task else {}
        return [Table("ecgbench-labels", "Labels of the task", items, support, meanings)]

    def notes(self, hypotheses: Sequence[str], rows: Sequence[PredictionRow]) -> list[str]:
        """How many answers could not be read."""
        assert self._task is not None
        task = TASKS[self._task]
        unread = sum(read(task, text, row) is None for text, row in zip(hypotheses, rows, strict=True))
        return [f"ecgbench: {unread} of {len(rows)} answers cannot be read and are wrong"] if unread else []

    def signature(self) -> str:
        """The task, and how answers are read."""
        return f"task:{self._task or '-'}|labels:whole words|letters:by place|unread:wrong|AUC:of yes and no|version:1"


def columns_of(labels: Sequence[str]) -> tuple[str, ...]:
    """The names of the statistics of a task with these labels, or none."""
    return (*(f"{label} {cell}" for label in labels for cell in _CELLS), *_ENDS)


def labels_of(columns: Sequence[str]) -> list[str]:
    """The labels in the names of statistics."""
    return [name.removesuffix(" hit") for name in columns if name.endswith(" hit")]


def why_not(task: str | None, rows: Sequence[PredictionRow]) -> str | None:
    """Why rows are of no closed task, in a few words."""
    if task is None:
        return None if not rows else "needs a task: --task NAME, or a field task or dataset that names it"
    if TASKS[task].kind in ("report", "arena"):
        return f"{task} is free text, which a judge scores"
    if TASKS[task].kind == "options":
        missing = next((row for row in rows if not options_of(row.question or "")), None)
        if missing is not None:
            return f"record {missing.record_id}: needs the question with its options (--field question=prompt)"
    return None


def read(task: BenchTask, text: str, row: PredictionRow) -> frozenset[str] | None:
    """What an answer says; None where it cannot be read."""
    if task.kind == "labels":
        return labels_in(text, task.labels)
    if task.kind == "choice":
        letter = letter_in(text, task.letters, row.question)
        return None if letter is None else frozenset(letter)
    return options_in(text, options_of(row.question or ""))


def counts(task: BenchTask, hypotheses: Sequence[str], references: Sequence[str], rows: Sequence[PredictionRow],
           reads: Read) -> np.ndarray:
    """The statistics of answers read in some way, (n, 4 labels + 3)."""
    labels = tuple(task.labels)
    found = np.zeros((len(rows), len(_CELLS) * len(labels) + len(_ENDS)))
    for i, (text, reference, row) in enumerate(zip(hypotheses, references, rows, strict=True)):
        said, true = reads(task, text, row), reads(task, reference, row)
        for k, label in enumerate(labels):
            yes, right = label in (said or ()), label in (true or ())
            found[i, 4 * k + (0 if yes and right else 1 if yes else 2 if right else 3)] = 1
        found[i, -3:] = said is not None and said == true, said is None, 1
    return found


def values(name: str, labels: int, sums: np.ndarray) -> dict[str, np.ndarray]:
    """The values of a task from sums (..., 4 labels + 3): with labels AUC, F1 and Hamming loss, else accuracy."""
    sums = np.asarray(sums, np.float64)
    right, unread, answers = np.moveaxis(sums[..., -3:], -1, 0)
    if not labels:
        return {f"{name}-accuracy": ratio(right, answers), f"{name}-unparsable": ratio(unread, answers)}
    hit, false, missed, rejected = _cells(sums, labels)
    there = hit + missed > 0
    both = there & (false + rejected > 0)   # where every reference has a label nothing can be told apart by it
    auc, f1 = _auc(hit, false, missed, rejected), ratio(2 * hit, 2 * hit + false + missed)
    return {f"{name}-AUC": ratio(np.where(both, auc, 0).sum(-1), both.sum(-1)),
            f"{name}-F1": ratio(np.where(there, f1, 0).sum(-1), there.sum(-1)),
            f"{name}-hamming": ratio(np.where(there, false + missed, 0).sum(-1), answers * there.sum(-1)),
            f"{name}-exact": ratio(right, answers), f"{name}-unparsable": ratio(unread, answers)}


def _cells(sums: np.ndarray, labels: int) -> tuple[np.ndarray, ...]:
    """The four cells of each label, (..., labels)."""
    return tuple(sums[..., cell:4 * labels:4] for cell in range(len(_CELLS)))


def _auc(hit: np.ndarray, false: np.ndarray, missed: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    return (ratio(hit, hit + missed) + ratio(rejected, rejected + false)) / 2
