"""Qualities are ordered: the better the word, the smaller the error, on records that had no share in the limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from grade_cross_validation import GRIDS, QUALITIES, Measured, cross_validate, measure_all, table
from ludb_gold import read_gold

from emgecg_cli.core.signals.delineation import grades


@pytest.fixture(scope="module")
def measured(shared_data: Path) -> dict[str, list[Measured]]:
    return measure_all(read_gold(shared_data / "ludb"))


@pytest.mark.parametrize("name", GRIDS)
def test_the_error_grows_as_the_quality_falls_on_records_not_used_to_choose_the_limits(measured, name):
    found = measured[name]
    error = np.array([one.error for one in found])
    grade = cross_validate(found, name)
    for rows in (np.array([one.clean for one in found]), np.ones(len(found), bool)):
        good, fair, poor = (mean for _, mean, _ in table(grade[:, rows], error[rows]))
        assert good < fair < poor
    n_good, n_fair, n_poor = (n for n, _, _ in table(grade, error))
    assert n_good > 0.25 * len(found) and n_fair > 20 and n_poor >= 10


@pytest.mark.parametrize("name", GRIDS)
def test_the_limits_in_use_order_the_errors_of_clean_records(measured, name):
    found = [one for one in measured[name] if one.clean]
    error = np.array([one.error for one in found])
    grade = np.array([[QUALITIES.index(one.regrade()) for one in found]])
    good, fair, poor = (mean for _, mean, _ in table(grade, error))
    assert good < fair < poor


def test_a_grade_is_the_worst_of_its_checks():
    assert grades.grade((5, 4, 2), (3, 3, 1)) == "good"
    assert grades.grade((5, 4, 2), (2, 3, 1)) == "fair"
    assert grades.grade((1, 4, 2), (2, 3, 1)) == "poor"
    assert grades.worse("good", "poor", "fair") == "poor" and grades.worse("good", "good") == "good"
