"""The evidence score on simulated records: the truth scores, another patient's report does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pipeline import make_store

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.score import Scores, score_predictions
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.grounding import ground
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


def test_the_corpus_value_is_the_mean_of_the_texts_and_missing_recordings_count(evidence: Evidence, tmp_path: Path
                                                                                ) -> None:
    elsewhere = PredictionRow("elsewhere", "rate of 70", "rate of 70", language="en", subject_id="x")
    found = scored(evidence, 3, elsewhere)
    rows = [evidence.store.row(i) for i in range(len(evidence.store))]
    each = [ground(rows[(i + 3) % len(rows)].report or "", "en", evidence.at(i).waveform).score
            for i in range(len(rows))]
    assert found.value("evidence-score").value == pytest.approx(np.sum(each) / 81)
    assert any("1 of 81 records have no recording" in note for note in found.notes)
