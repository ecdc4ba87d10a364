"""Confidence intervals and the baselines, on numbers that can be worked out another way."""

from __future__ import annotations

import numpy as np
import pytest

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.evaluation.baselines import TrainReports, write_baselines
from emgecg_cli.core.evaluation.baselines.most_frequent import most_frequent
from emgecg_cli.core.evaluation.baselines.random_report import random_report
from emgecg_cli.core.evaluation.bootstrap import cluster_sums, percentile_interval, resample_all, resample_sums


def test_rows_are_summed_within_their_cluster() -> None:
    statistics = np.array([[1.0, 10], [2, 20], [4, 40], [8, 80]])
    assert cluster_sums(statistics, ["b", "a", "b", "c"]).tolist() == [[5, 50], [2, 20], [8, 80]]


def test_rows_of_a_slice_are_summed_in_their_own_cluster_dense_or_sparse() -> None:
    clusters, index = ["b", "a", "b", "c", "d"], np.array([2, 3])
    dense = cluster_sums(np.array([[4.0, 40], [8, 80]]), clusters, index)
    assert dense.tolist() == [[4, 40], [0, 0], [8, 80], [0, 0]]
    sparse = cluster_sums(np.array([[4, 40], [8, 80]], np.uint8), clusters, index)
    assert sparse.toarray().tolist() == dense.tolist()
    other = np.arange(12.0).reshape(4, 3)
    for found, alone in zip(resample_all([dense, sparse, other], 120, 5), (dense, dense, other), strict=True):
        np.testing.assert_allclose(found, resample_sums(alone, 120, 5))


def test_draws_are_sums_of_as_many_clusters_with_replacement() -> None:
    sums = np.diag([1.0, 100, 10_000])
    drawn = resample_sums(sums, 200, seed=4)
    counts = drawn / [1, 100, 10_000]
    assert counts.shape == (200, 3)
    assert (counts.sum(axis=1) == 3).all()
    assert set(np.unique(counts)) == {0, 1, 2, 3}


def test_draws_depend_on_the_seed_alone() -> None:
    sums = np.arange(30.0).reshape(10, 3)
    assert (resample_sums(sums, 120, 1) == resample_sums(sums, 120, 1)).all()
    assert (resample_sums(sums, 120, 1) != resample_sums(sums, 120, 2)).any()
    assert (resample_sums(sums[:, :1], 120, 1) == resample_sums(sums, 120, 1)[:, :1]).all()


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=400)
    statistics = np.stack([values, np.ones(400)], axis=1)
    drawn = resample_sums(statistics, 4000, 0)
    low, high = percentile_interval(drawn[:, 0] / drawn[:, 1]) or (0, 0)
    half = 1.96 * values.std() / 20
    assert [low, high] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.015)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        statistics = np.stack([rng.normal(size=80), np.ones(80)], axis=1)
        drawn = resample_sums(statistics, 400, 0)
        low, high = percentile_interval(drawn[:, 0] / drawn[:, 1]) or (0, 0)
        held += low <= 0 <= high
    assert 0.91 <= held / 400 <= 0.98


def test_copies_of_a_patient_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(1).normal(size=50)
    statistics = np.stack([values, np.ones(50)], axis=1)
    copied = np.repeat(statistics, 4, axis=0)
    patients = np.repeat(np.arange(50), 4).tolist()

    def width(sums: np.ndarray) -> float:
        drawn = resample_sums(sums, 2000, 0)
        low, high = percentile_interval(drawn[:, 0] / drawn[:, 1]) or (0, 0)
        return high - low

    assert width(cluster_sums(copied, patients)) == pytest.approx(width(statistics), rel=1e-9)
    assert width(copied) < 0.6 * width(statistics)


def test_undefined_draws_are_left_out() -> None:
    assert percentile_interval(np.array([np.nan, 1, 1, np.inf])) == (1, 1)
    assert percentile_interval(np.array([np.nan])) is None


def test_the_commonest_report_and_ties() -> None:
    assert most_frequent(["b", "a", "b"]) == "b"
    assert most_frequent(["b", "a"]) == most_frequent(["a", "b"]) == "a"


def test_a_random_report_depends_on_seed_and_record_alone() -> None:
    reports = [f"report {number}" for number in range(50)]
    rows = [PredictionRow(str(number), "", "r") for number in range(400)]
    title = "baseline: random train report"
    drawn = write_baselines(rows, [TrainReports(reports)], 0).texts[title]
    assert drawn[7:9] == write_baselines(rows[7:9], [TrainReports(reports)], 0).texts[title]
    assert drawn != [random_report(reports, row.record_id, 1) for row in rows]
    assert len(set(drawn)) > 45
    # Frozen: another draw would change every published baseline.
    assert [random_report(reports, name, 0) for name in ("1", "2", "\ud800")] == ["report 30", "report 49", "report 8"]
