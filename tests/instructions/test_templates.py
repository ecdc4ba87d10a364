"""Reports from labels: one sentence per statement, in the order of the table."""

from __future__ import annotations

import pytest

from emgecg_cli.core.reports.templates import report_of, write_report


@pytest.mark.parametrize(("statements", "report"), [
    ([], ""),
    (["sinus rhythm"], "Sinus rhythm."),
    (["sinus rhythm", "first-degree AV block"], "Sinus rhythm. First-degree AV block."),
    (["Ischemia: inferior wall.", " ST  depression\n"], "Ischemia: inferior wall. ST depression."),
    (["T wave inversion", "", " . ", "t wave Inversion."], "T wave inversion."),
    (["QT 0.44 s", "1:1 conduction"], "QT 0.44 s. 1:1 conduction."),
])
def test_one_sentence_per_statement(statements: list[str], report: str) -> None:
    assert write_report(statements) == report


def test_reports_follow_the_table_and_not_the_labels() -> None:
    table = {"1": "sinus rhythm", "2": "left axis deviation", "3": "T wave inversion"}
    assert report_of(["3", "1"], table) == report_of(["1", "3", "1"], table) == "Sinus rhythm. T wave inversion."
    with pytest.raises(KeyError, match="4"):
        report_of(["1", "4"], table)
