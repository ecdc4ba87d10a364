"""The statements metric against cases counted by hand, a brute-force count, and tables whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from emg_store import make_tables
from pipeline import make_store
from score_rows import MOST_FREQUENT

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.datasets.synthetic_emg import SimulatedCase, draw_case
from emgecg_cli.core.emg.case import Case, NcvRow
from emgecg_cli.core.emg.cells import Cell
from emgecg_cli.core.evaluation.score import MODEL, score_predictions
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.tables import Tables, called_abnormal
from emgecg_cli.core.metrics.clinical import statements as module
from emgecg_cli.core.metrics.clinical.statements import Statements
from emgecg_cli.core.references import Reference, References
from emgecg_cli.core.reports.emg.statements import Statement
from emgecg_cli.core.reports.emg.statements_write import write_findings
from emgecg_cli.core.reports.sections import join_sections
from emgecg_cli.core.store import open_store

LATENCY = Statement("median", "left", "motor", "lat", "high", "moderate")
VELOCITY = Statement("median", "left", "sensory", "cv", "low", "mild")
ULNAR = Statement("ulnar", "right", "motor", "amp", "low", "severe")
CASES = [draw_case(3, number) for number in range(60)]


def report(*found: Statement, language: str = "en") -> str:
    return write_findings(found, (), language, needle_tested=False)


def report_of(case: SimulatedCase) -> str:
    return join_sections(case.findings, case.impression, case.language)


def row(prediction: str, reference: str, number: int = 0) -> PredictionRow:
    return PredictionRow(f"emg-{number}", prediction, reference, subject_id=f"p{number // 2}", language="en")


def values(pairs: list[tuple[str, str]], tables: Tables | None = None) -> dict[str, float]:
    rows = [row(*pair, number) for number, pair in enumerate(pairs)]
    metric = Statements(tables)
    counts = metric.segment_statistics([one for one, _ in pairs], [other for _, other in pairs], rows)
    return {name: float(value) for name, value in metric.aggregate(counts.sum(axis=0)).items()}


def limits(item: str, lower: float, upper: float) -> Reference:
    """Seven lines from `lower` and `upper` inwards."""
    return Reference(item, "", 500, "item", tuple(lower + 0.01 * i for i in range(7)),
                     tuple(upper - 0.01 * i for i in range(7)), (lower + upper) / 2, 0.5)


LIMITS = References((2.0, 5.0, 8.0, 11.0, 14.0, 17.0, 20.0), "any", {key: limits(key, *lines) for key, lines in {
    "median|motor|wrist|apb|lat": (2.5, 4.0), "median|sensory|digit_2|wrist|cv": (50.0, 70.0),
    "ulnar|motor|wrist|adm|amp": (5.0, 15.0)}.items()})


def table(latency: float, velocity: float, amplitude: float | None) -> Case:
    """Left median latency and velocity; right ulnar amplitude, None where no response could be had."""
    def cell(value: float | None) -> Cell:
        return Cell("absent", None, "NR") if value is None else Cell("value", value, str(value))

    return Case(40, "F", 160, (), (
        NcvRow("median", "motor", "wrist", "apb", {("lat", "left"): cell(latency)}),
        NcvRow("median", "sensory", "digit_2", "wrist", {("cv", "left"): cell(velocity)}),
        NcvRow("ulnar", "motor", "wrist", "adm", {("amp", "right"): cell(amplitude)})))


@pytest.mark.parametrize("said_in", ["en", "zh"])
@pytest.mark.parametrize("true_in", ["en", "zh"])
def test_golden_case_in_any_language(said_in: str, true_in: str) -> None:
    graded = replace(LATENCY, severity="severe")
    got = values([(report(graded, ULNAR, language=said_in), report(LATENCY, VELOCITY, language=true_in)),
                  (report(VELOCITY, language=said_in), report(VELOCITY, language=true_in)),
                  (report(language=said_in), report(language=true_in))])
    assert got["statements-precision"] == pytest.approx(2 / 3) == got["statements-recall"] == got["statements-F1"]
    assert got["statements-severity"] == 0.5
    assert got["statements-exact"] == pytest.approx(2 / 3)
    assert got["statements-unread"] == got["statements-unread-references"] == 0
    assert not any(name.startswith(("table", "contradictions")) for name in got)


@pytest.mark.parametrize("wrong", [
    replace(LATENCY, side="right"), replace(LATENCY, nerve="ulnar"), replace(LATENCY, measure="amp", direction="low"),
    Statement("median", "left", "sensory", "lat", "high", "moderate"), replace(LATENCY, direction="low")])
def test_every_part_of_a_statement_counts(wrong: Statement) -> None:
    assert values([(report(wrong), report(LATENCY))])["statements-F1"] == 0


def test_agrees_with_a_brute_force_count_on_simulated_reports() -> None:
    pairs, both, said, true = [], 0, 0, 0
    for number, case in enumerate(CASES):
        other = CASES[(number + number % 3) % len(CASES)]
        pairs.append((report_of(other), report_of(case)))
        ours, theirs = ({(*each.key, each.direction) for each in one.statements if each.called}
                        for one in (other, case))
        both, said, true = both + len(ours & theirs), said + len(ours), true + len(theirs)
    got = values(pairs)
    assert both and both < min(said, true)
    assert got["statements-precision"] == pytest.approx(both / said)
    assert got["statements-recall"] == pytest.approx(both / true)
    assert got["statements-F1"] == pytest.approx(2 * both / (said + true))
    perfect = values([(reference, reference) for _, reference in pairs])
    assert perfect["statements-F1"] == perfect["statements-exact"] == perfect["needle-F1"] == 1


def test_contradictions_and_the_table() -> None:
    tables = Tables({"emg-0": table(4.6, 45.0, 9.0), "emg-1": table(4.6, 60.0, None), "emg-2": table(3.0, 60.0, 9.0)},
                    LIMITS)
    latency = replace(LATENCY, severity=None)
    assert called_abnormal(tables.cases["emg-0"], LIMITS) == {latency, replace(VELOCITY, severity=None)}
    assert called_abnormal(tables.cases["emg-1"], LIMITS) == {
        latency, Statement("ulnar", "right", "motor", "amp", "absent")}
    assert not called_abnormal(tables.cases["emg-2"], LIMITS)
    # One of two outside is called and the rest called normal; all called normal; silent on a record without a table.
    pairs = [(report(LATENCY), report(LATENCY, VELOCITY)), (report(), report(LATENCY)), (report(ULNAR), report()),
             ("", report(LATENCY))]
    got = values(pairs, tables)
    assert (got["contradictions"], got["contradictions-per-report"]) == pytest.approx((3 / 4, 3 / 3))
    assert got["contradictions-per-reference"] == pytest.approx(1 / 3)
    assert (got["table-precision"], got["table-recall"]) == pytest.approx((1 / 2, 1 / 4))
    assert values(pairs[3:], tables)["contradictions"] == 0


def test_good_values_however_far_out_are_not_abnormal() -> None:
    assert not called_abnormal(table(1.0, 95.0, 30.0), LIMITS)
    assert not called_abnormal(table(4.0, 50.0, 5.0), LIMITS)  # on the line is within
    assert not called_abnormal(table(9.0, 9.0, 1.0), replace(LIMITS, entries={}))


def test_a_silent_report_contradicts_nothing() -> None:
    tables = Tables({"emg-0": table(4.6, 45.0, 9.0)}, LIMITS)
    said = "NCV: left median: distal motor latency prolonged."
    assert values([(said, report(LATENCY))], tables)["contradictions"] == 0


def test_statements_are_read_from_the_findings() -> None:
    findings, impression = report(LATENCY), "Right ulnar motor amplitude reduced."
    assert values([(join_sections(findings, impression), findings)])["statements-precision"] == 1
    assert values([(impression, report(ULNAR))])["statements-recall"] == 1


def test_what_cannot_be_read_is_counted_and_noted() -> None:
    pairs = [("", report(LATENCY)), ("the moon is round", report(LATENCY)), (report(LATENCY), "no report was written"),
             (report(), report(VELOCITY))]
    got = values(pairs)
    assert (got["statements-unread"], got["statements-unread-references"]) == (0.5, 0.25)
    assert (got["statements-precision"], got["statements-recall"], got["statements-exact"]) == (0, 0, 0)
    scores = score_predictions([row(*pair, number) for number, pair in enumerate(pairs)], metrics=["statements"],
                               resamples=20)
    notes = " ".join(scores.notes)
    assert "nothing could be read from 2 of 4 predictions, of which 1 are empty" in notes
    assert "of 4 references 1 could not be read and 0 only in part" in notes and "--store" in notes
    severity = scores.value("statements-severity")
    assert severity.value is None and severity.reason and severity.ci_low is None


def test_reports_of_another_kind_are_left_out() -> None:
    reason = "no reference reports on nerve conduction or needle EMG"
    assert Statements().applicable([row("sinus rhythm", "sinus rhythm. normal ecg")]) == reason
    assert Statements().applicable([row("", "normal ecg"), row("", report())]) is None
    assert Statements().applicable([row("", report(ULNAR, language="zh"))]) is None


def test_aggregate_is_vectorised_over_resamples() -> None:
    tables = Tables({case.record_id: case.case for case in CASES}, LIMITS)
    rows = [replace(row(report_of(CASES[-i]), report_of(case)), record_id=case.record_id)
            for i, case in enumerate(CASES)]
    metric = Statements(tables)
    counts = metric.segment_statistics([one.prediction for one in rows], [one.reference for one in rows], rows)
    draws = np.random.default_rng(0).integers(0, len(rows), (4, 5, len(rows)))
    found = metric.aggregate(counts[draws].sum(axis=2))
    alone = metric.aggregate(counts[draws[2, 3]].sum(axis=0))
    assert {value.shape for value in found.values()} == {(4, 5)}
    assert {name: float(value[2, 3]) for name, value in found.items()} == pytest.approx(
        {name: float(value) for name, value in alone.items()})


def test_scores_have_intervals_by_patient_and_baselines() -> None:
    train = [report_of(case) for case in CASES]
    rows = [replace(row(report_of(case), report_of(case), number), record_id=case.record_id, language=None)
            for number, case in enumerate(CASES)]
    tables = Tables({case.record_id: case.case for case in CASES[:50]}, LIMITS)
    known: Any = SimpleNamespace(tables=lambda ids: tables)
    scores = score_predictions(rows, metrics=["statements", "bleu"], train_reports=train, resamples=50, evidence=known,
                               segmentation="char")
    assert scores.clustered_by == "subject_id" and scores.n_clusters == 30
    f1 = scores.value("statements-F1")
    assert (f1.value, f1.ci_low, f1.ci_high, f1.n) == (1, 1, 1, 60)
    assert scores.value("statements-F1", MOST_FREQUENT).value == 0
    assert scores.value("contradictions", MOST_FREQUENT).value == 1 > (scores.value("contradictions").value or 0)
    assert scores.value("statements-severity", MODEL).value == 1
    assert any("10 of 60 records have no table" in note for note in scores.notes)
    assert {"BLEU-4 (en)", "BLEU-4 (zh, impression)"} <= {value.name for value in scores.systems[0].values}


def test_a_store_of_tables_gives_cases_references_and_sectioned_reports(tmp_path: Path) -> None:
    store = open_store(make_tables(tmp_path, 4)[0])
    ids = store.column("record_id").to_list()
    tables = Evidence(store).tables(["elsewhere", ids[2]])
    assert tables is not None and tables.references == store.references()
    assert dict(tables.cases) == {ids[2]: store.case(2).case} and tables.cases[ids[2]] is not None
    assert store.reports("train")[2] == join_sections(store.case(2).findings, store.case(2).impression,
                                                      store.row(2).language)
    assert Evidence(open_store(make_store(tmp_path / "ecg", 8))).tables(ids) is None


def test_the_signature_names_reader_and_references(monkeypatch: pytest.MonkeyPatch) -> None:
    without = Statements().signature()
    assert f"reader:{module.reader_version()}|" in without and "table:" not in without
    with_tables = Statements(Tables({"emg-0": table(1, 1, 1)}, LIMITS)).signature()
    assert "|table:beyond 2 %@" in with_tables
    assert Statements(Tables({}, LIMITS)).signature() == without
    monkeypatch.setattr(module, "reader_version", lambda: "2@0")
    assert "reader:2@0|" in Statements().signature() != without


def test_case_does_not_count() -> None:
    texts = [report_of(case) for case in CASES if case.language == "en"]
    pairs = [(texts[i - (i % 3 == 0)], text) for i, text in enumerate(texts)]  # every third is another's
    expected = values(pairs)
    assert 0 < expected["statements-F1"] < 1 and 0 < expected["needle-F1"] < 1
    for change in (str.lower, str.upper):
        assert values([(change(one), other) for one, other in pairs]) == expected
        rows = [[row(turn(one), other, i) for i, (one, other) in enumerate(pairs)] for turn in (str, change)]
        plain, changed = (score_predictions(each, resamples=0, metrics=["bleu", "rouge", "cider", "meteor"])
                          for each in rows)
        assert [one.value for one in plain.systems[0].values] == [one.value for one in changed.systems[0].values]
