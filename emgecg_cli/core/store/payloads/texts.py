"""The text of a record: cleaned, and refused where nothing or too little is left."""

from __future__ import annotations

from collections.abc import Sequence

from emgecg_cli.core.artifacts import QuarantineRow
from emgecg_cli.core.datasets import ReadExamination, Recording
from emgecg_cli.core.reports.scripts import count_words
from emgecg_cli.core.reports.text import clean_report

CLEANED = "cleaned:"  # before the name of a rule, and
FLAGGED = "flagged:"  # before a fault, in what is counted of a shard


class SetAside(Exception):
    """A record that was read and yet is not stored."""

    def __init__(self, record: Recording | ReadExamination, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.row = QuarantineRow(record.ref.record_id, reason, detail, record.ref.source)


def clean_text(recording: Recording, rules: tuple[str, ...], min_words: int) -> tuple[str, list[str]]:
    """The cleaned report and the rules that changed it; raises SetAside for an empty or too short one."""
    raw = recording.report or ""
    report, changed = clean_report(raw, rules)
    check_text(recording, raw, report, min_words)
    return report, changed


def check_text(record: Recording | ReadExamination, raw: str, report: str, min_words: int) -> None:
    """Raise SetAside where cleaning left nothing of the raw text, or fewer words than are asked for."""
    if not report:
        raise SetAside(record, "empty report", "nothing left after cleaning" if raw.strip() else "no text")
    n_words = count_words(report)
    if n_words < min_words:
        raise SetAside(record, "short report", f"{n_words} words, fewer than {min_words}")


def counted(rules: Sequence[str], flags: Sequence[str]) -> list[str]:
    """What is counted of a record: the cleaning rules that changed its text, and the faults it has, by their kind."""
    return [CLEANED + rule for rule in rules] + [FLAGGED + flag.partition(":")[0] for flag in flags]
