"""ECGBench's free texts by a judge: reports on three criteria, and dialogues of two turns on three others, each from 0
to 10 and shown as 0 to 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.metrics import Declared, Given
from emgecg_cli.core.metrics.bench.tasks import TASKS, task_of
from emgecg_cli.core.metrics.judged.criteria import Criteria, Criterion
from emgecg_cli.core.metrics.judged.judge import Judged
from emgecg_cli.core.metrics.judged.meit import CRITERIA as OF_REPORTS
from emgecg_cli.core.metrics.judged.panel import Pair

_ROLE = "You are an experienced cardiologist who grades the interpretation of ECGs."
REPORT = Criteria(
    name="ecgbench-report", version=1, role=_ROLE, lowest=0, highest=10, lowest_means="wrong or missing",
    highest_means="fully right; 5 is partly right",
    criteria=(
        Criterion("diagnosis", "Diagnosis", "are the diagnoses of the reference there and right? Judge only what the "
                  "reference holds, whatever the length.", telling=True),
        Criterion("waveform", "Waveform", "are the waves, segments and intervals that the reference describes right?",
                  telling=True),
        Criterion("rhythm", "Rhythm", "are rhythm and rate as in the reference?"),
    ), samples=OF_REPORTS.samples)
ARENA = Criteria(
    name="ecgbench-arena", version=2, role=_ROLE + " The texts are the answers of a dialogue, turn by turn; judge all "
    "turns together.", lowest=0, highest=10, lowest_means="not at all", highest_means="fully; 5 is in part",
    criteria=(
        Criterion("accuracy", "Accuracy", "are the answers right by the reference?", telling=True),
        Criterion("completeness", "Completeness", "is everything of the reference's answers there?", telling=True),
        Criterion("instructions", "Instruction adherence", "does each answer keep to what was asked (the reference "
                  "says it, or shows it), as the reference does?"),
    ), samples=OF_REPORTS.samples)


def _declared(name: str) -> Declared:
    return Declared(frozenset({"text", "judge"}), lower_is_better=frozenset({f"{name}-failed"}),
                    descriptive=frozenset({f"{name}-failed"}))


class ReportJudge(Judged):
    """ECGBench's report score: the mean of diagnosis, waveform and rhythm, and each, 0 to 100."""

    name = "ecgbench-report"
    times = 10.0
    kind = "report"
    asked = REPORT
    declared = _declared(name)
    task: str | None = None

    @classmethod
    def of(cls, given: Given) -> Self:
        """Of the task that the rows are of."""
        made = cls.asking(given, cls.asked, of_models=True)
        made.task = task_of(given.rows)
        return made

    def applicable(self, rows: Sequence[PredictionRow]) -> str | None:
        """Needs its task, and a judge that passes its controls."""
        if rows and (self.task is None or TASKS[self.task].kind != self.kind):
            return f"for another task: {self.task}" if self.task else "needs a task: --task NAME, or a field task"
        return super().applicable(rows)


class ArenaJudge(ReportJudge):
    """The same of dialogues: accuracy, completeness and adherence to instructions."""

    name = "ecgbench-arena"
    kind = "arena"
    asked = ARENA
    declared = _declared(name)

    def shown(self, reference: str, hypothesis: str, row: PredictionRow) -> Pair:
        """The reference beside what was asked, where the row says it: adherence is to that."""
        asked = f"Asked was:\n{row.question}\n\nAnswers of the reference:\n" if row.question else ""
        return asked + reference, hypothesis
