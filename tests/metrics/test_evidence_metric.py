"""The evidence score on simulated records: the truth scores, another patient's report does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline import make_store

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.score import Scores, score_predictions
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.grounding import ground
from emgecg_cli.core.signals import delineation
from emgecg_cli.core.signals.delineation import lead_waves as lead_waves_of
from emgecg_cli.core.store import Store, open_store


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return Evidence(open_store(make_store(tmp_path_factory.mktemp("stores") / "cohort", 80, fs=250)))


def scored(evidence: Evidence, shift: int, *more: PredictionRow) -> Scores:
    """Each record with the report of the one so far from it."""
    store: Store = evidence.store
    rows = [store.row(i) for i in range(len(store))]
    own = [PredictionRow(row.record_id, rows[(i + shift) % len(rows)].report or "", row.report, 0, row.subject_id,
                         store.dataset, "en", row.codes) for i, row in enumerate(rows)]
    return score_predictions([*own, *more], metrics=["evidence"], evidence=evidence, resamples=40)


def noting(made: list[str], what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that notes each call."""
    def noted(*given: Any) -> Any:
        made.append(what)
        return function(*given)
    return noted


def test_the_truth_scores_and_another_patients_report_does_not(evidence: Evidence) -> None:
    own, other = scored(evidence, 0), scored(evidence, 7)
    for name, least in (("score", 0.85), ("precision", 0.9), ("recall", 0.85)):
        true, wrong = own.value(f"evidence-{name}"), other.value(f"evidence-{name}")
        assert true.value > least and true.ci_low is not None and wrong.ci_high is not None
        assert wrong.ci_high < true.ci_low
        assert other.value(f"evidence-reference-{name}").value == true.value
    assert own.clustered_by == "subject_id"
    claims, named = own.tables
    assert {"rate", "axis"} <= {row.item for row in claims.rows}
    block = next(row for row in named.rows if row.item == "right bundle branch block")
    assert block.values["criteria met"].value == 1 and block.counts["there"] >= block.counts["stated"] - 1
    ectopy = next(row for row in named.rows if row.item == "premature ventricular complexes")
    assert ectopy.values["criteria met"].value >= 0.8 and ectopy.counts["there"] >= 0.8 * ectopy.counts["stated"] > 4


def test_no_recording_is_measured_twice_and_no_waves_for_facts_alone(evidence: Evidence,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(delineation, "find_waves", noting(made, "measured", delineation.find_waves))
    monkeypatch.setattr(lead_waves_of, "lead_waves", noting(made, "waves", lead_waves_of.lead_waves))
    fresh = Evidence(evidence.store)
    row = evidence.store.row(0)
    assert row.measurements is None
    rows = [PredictionRow(row.record_id, "rate of 70", "rate of 70", language="en")]
    alone = score_predictions(rows, metrics=["facts"], evidence=fresh, resamples=0)
    assert made == ["measured"]
    fresh, made[:] = Evidence(evidence.store), []
    both = score_predictions(rows, metrics=["evidence", "facts"], evidence=fresh, resamples=0)
    assert made == ["measured", "waves"]
    assert both.value("facts-precision").value == alone.value("facts-precision").value


def test_the_corpus_value_is_the_mean_of_the_texts_and_missing_recordings_count(evidence: Evidence, tmp_path: Path
                                                                                ) -> None:
    elsewhere = PredictionRow("elsewhere", "rate of 70", "rate of 70", language="en", subject_id="x")
    found = scored(evidence, 3, elsewhere)
    rows = [evidence.store.row(i) for i in range(len(evidence.store))]
    each = [ground(rows[(i + 3) % len(rows)].report or "", "en", evidence.at(i).waveform).score
            for i in range(len(rows))]
    assert found.value("evidence-score").value == pytest.approx(np.sum(each) / 81)
    assert any("1 of 81 records have no recording" in note for note in found.notes)
