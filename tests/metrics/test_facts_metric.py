"""The facts metric on simulated records: the truth holds, another patient's report does not, rates are compared."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pipeline import make_store

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.score import Scores, score_predictions
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.claims import measured
from emgecg_cli.core.reports.ecg.facts import read_claims, stated_rate
from emgecg_cli.core.store import Store, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(make_store(tmp_path_factory.mktemp("stores") / "cohort", 80, fs=250))


@cache
def known(store: Store) -> Evidence:
    return Evidence(store)


def rows_of(store: Store, shift: int) -> list[PredictionRow]:
    """Each record with the report of the one so far from it."""
    rows = [store.row(i) for i in range(len(store))]
    return [PredictionRow(row.record_id, rows[(i + shift) % len(rows)].report or "", row.report, 0, row.subject_id,
                          store.dataset, "en", row.codes) for i, row in enumerate(rows)]


def scored(store: Store, rows: list[PredictionRow]) -> Scores:
    return score_predictions(rows, metrics=["facts"], evidence=known(store), resamples=40)


def test_the_truth_is_supported_and_another_patients_report_is_not(store: Store) -> None:
    own, other = scored(store, rows_of(store, 0)), scored(store, rows_of(store, 7))
    true, wrong = own.value("facts-precision"), other.value("facts-precision")
    assert true.value > 0.93 and true.ci_low is not None and wrong.ci_high < true.ci_low
    assert own.value("facts-recall").value > other.value("facts-recall").value
    assert own.value("facts-reference-precision").value == other.value("facts-reference-precision").value == true.value
    (table,) = own.tables
    assert {"rate", "p", "axis"} <= {row.item for row in table.rows}
    rate = next(row for row in table.rows if row.item == "rate")
    assert rate.meaning == "heart rate" and rate.counts["claimed"] >= len(store)
    assert rate.values["precision"].ci_low <= rate.values["precision"].value <= 1


def test_error_and_correlation_of_the_stated_rate(store: Store) -> None:
    rows = rows_of(store, 3)
    rows[5] = replace(rows[5], prediction="no number here")
    found = [known(store).of(row.record_id) for row in rows]
    pairs = [(stated_rate(read_claims(row.prediction)), measured("rate", one.measurements))
             for row, one in zip(rows, found, strict=True)]
    stated, true = np.array([(said, found[0]) for said, found in pairs if said is not None and found]).T
    scores = scored(store, rows)
    assert scores.value("facts-rate-error").value == pytest.approx(np.abs(stated - true).mean())
    assert scores.value("facts-rate-correlation").value == pytest.approx(np.corrcoef(stated, true)[0, 1])
    assert scores.value("facts-rate-stated").value == pytest.approx(len(stated) / len(rows)) and len(stated) < len(rows)
    assert scores.value("facts-rate-error").lower_is_better
    assert scored(store, rows_of(store, 0)).value("facts-rate-correlation").value > 0.8
    constant = scored(store, [replace(row, prediction="rate of 70") for row in rows])
    assert constant.value("facts-rate-correlation").value is None


def test_records_without_a_recording_are_counted(store: Store, tmp_path: Path) -> None:
    rows = [*rows_of(store, 0)[:6], PredictionRow("elsewhere", "rate of 70", "rate of 70", language="en")]
    scores = scored(store, rows)
    assert any("1 of 7 records have no recording in the store" in note for note in scores.notes)
    assert "facts not computed: needs the recordings" in " ".join(
        score_predictions(rows, metrics=["facts", "bleu"], resamples=0).notes)
