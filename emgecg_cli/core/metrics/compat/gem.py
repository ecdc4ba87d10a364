"""ECGBench's tasks as GEM's script scores them: labels as parts of words, letters in the order of the alphabet, a
random letter where none is found, and options compared as sets of characters. No answer is ever unreadable.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Self

import numpy as np

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.bench.answers import options_of
from emgecg_cli.core.metrics.bench.metric import columns_of, counts, labels_of, values, why_not
from emgecg_cli.core.metrics.bench.tasks import TASKS, BenchTask, task_of

SEED = 42
_SAYS = "The correct option is "


class GemTasks:
    """AUC, F1 and Hamming loss of labels, accuracy of choices and of ECG-QA, by the published arithmetic; in 0-1."""

    name = "gem-tasks"
    declared = Declared(frozenset({"text"}), lower_is_better=frozenset({"gem-hamming"}), kind="clinical",
                        resampled=False)   # a guess depends on how many came before it

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
        """Needs a closed task."""
        return why_not(self._task, rows)

    def columns(self) -> tuple[str, ...]:
        """As of the metric it stands beside."""
        return columns_of(self._labels)

    def segment_statistics(self, hypotheses: Sequence[str], references: Sequence[str],
                           rows: Sequence[PredictionRow]) -> np.ndarray:
        """Counts per answer, float (n, k), in the order of the rows."""
        assert self._task is not None
        task, guesses = TASKS[self._task], random.Random(SEED)
        if task.kind == "choice":
            right = [_letter(text, task.letters, guesses) == reference[:1]
                     for text, reference in zip(hypotheses, references, strict=True)]
        elif task.kind == "options":
            right = [_characters(text, row) == set(reference)
                     for text, reference, row in zip(hypotheses, references, rows, strict=True)]
        else:
            return counts(task, hypotheses, references, rows, _substrings)
        return np.column_stack([np.array(right, float), np.zeros(len(right)), np.ones(len(right))])

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus values from column sums (..., k), each of shape (...)."""
        found = values("gem", len(self._labels), sums)
        return {name: value for name, value in found.items() if name not in ("gem-unparsable", "gem-exact")}

    def signature(self) -> str:
        """The task, and how answers are read."""
        return (f"task:{self._task or '-'}|labels:substrings|letters:alphabetical|unread:random,seed {SEED}|"
                "options:characters|version:1")


def _substrings(task: BenchTask, text: str, row: PredictionRow) -> frozenset[str]:
    """The labels whose code is a part of the text; of CODE-15 behind the last "Answer:", ABNORMAL before NORM."""
    if "ABNORMAL" not in task.labels:
        return frozenset(code for code in task.labels if code in text)
    text = text.rpartition("Answer:")[2]
    whole = {"ABNORMAL"} if "ABNORMAL" in text else {"NORM"} if "NORM" in text else set()
    return frozenset(whole | {code for code in task.labels if code not in ("ABNORMAL", "NORM") and code in text})


def _letter(text: str, letters: str, guesses: random.Random) -> str:
    if text in letters and len(text) == 1:
        return text
    dotted = next((letter for letter in letters if f"{letter}." in text), None)
    if dotted:
        return dotted
    if _SAYS in text:
        return text.partition(_SAYS)[2][:1]
    behind = text.partition("Answer:")[2]
    return next((letter for letter in letters if letter in behind), None) or guesses.choice(letters)


def _characters(text: str, row: PredictionRow) -> set[str]:
    """The characters of the options that the text contains, joined."""
    return set("".join(option for option in options_of(row.question or "") if option in text))
