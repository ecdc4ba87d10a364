"""Where a value lies among its percentiles: classes, ranks, deviations; a whole case beside its references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from emgecg_cli.core.emg.case import Case, NcvRow, values
from emgecg_cli.core.emg.cells import read_cell
from emgecg_cli.core.references import (
    CLASSES,
    Reference,
    abnormality,
    deviation,
    fit,
    is_outside,
    matrix,
    rank,
)

AMP, CV = "median|motor|wrist|apb|amp", "median|motor|wrist|apb|cv"
GRID = np.array([2, 5, 8, 11, 14, 17, 20]) / 100


def normal_reference(key=CV, middle=50.0, sd=5.0):
    z = stats.norm.ppf(GRID)
    return Reference(key, "m/s", 500, "item", tuple(middle + sd * z), tuple(middle - sd * z), middle, sd / 1.4826)


@pytest.mark.parametrize(("z", "expected", "at"), [
    (-5.0, "markedly low", -7), (-3.9, "low", -7), (-2.1, "low", -7), (-2.0, "borderline low", -6),
    (-1.7, "borderline low", -6), (-1.6, "normal", -5), (-0.9, "normal", -1), (0.0, "normal", 0), (1.6, "normal", 5),
    (1.7, "borderline high", 6), (2.1, "high", 7), (4.1, "markedly high", 7)])
def test_classes_and_ranks(z, expected, at):
    reference = normal_reference()
    value = 50 + 5 * z
    assert (abnormality(reference, value), rank(reference, value)) == (expected, at)
    assert is_outside(reference, value) == (expected.removeprefix("markedly ") in ("low", "high"))
    assert deviation(reference, value) == pytest.approx(z)


def test_classes_of_amplitudes_follow_the_logarithm():
    z = stats.norm.ppf(GRID)
    reference = Reference(AMP, "mV", 500, "item", tuple(np.exp(2.3 + 0.3 * z)), tuple(np.exp(2.3 - 0.3 * z)),
                          math.exp(2.3), 0.3 / 1.4826)
    assert deviation(reference, math.exp(2.3 - 0.9)) == pytest.approx(-3)
    assert abnormality(reference, math.exp(2.3 - 0.9)) == "low"
    assert abnormality(reference, math.exp(2.3 - 1.3)) == abnormality(reference, 0.0) == "markedly low"


def test_classes_rise_with_the_value_and_lines_are_within():
    reference = normal_reference()
    order = [CLASSES.index(abnormality(reference, value)) for value in np.linspace(20, 80, 500)]
    assert order == sorted(order) and set(order) == set(range(7))
    assert not is_outside(reference, reference.lower[0]) and not is_outside(reference, reference.upper[0])
    assert abnormality(reference, reference.lower[0]) == "borderline low"
    assert rank(reference, reference.upper[0]) == 6 == -rank(reference, reference.lower[0])
    flat = Reference(CV, "m/s", 60, "item", (50.0,) * 7, (50.0,) * 7, 50.0, 0.0)
    assert [abnormality(flat, v) for v in (49.0, 50.0, 51.0)] == ["markedly low", "normal", "markedly high"]


def case(rng, lat=None):
    cells = {("lat", side): read_cell(f"{lat or rng.normal(3.4, 0.3):.2f}", "lat", "motor")
             for side in ("left", "right")}
    cells["amp", "left"] = read_cell("未引出", "amp", "motor")
    return Case(50.0, "F", 160.0, (), (NcvRow("median", "motor", "wrist", "apb", cells),))


def test_cases_are_what_is_fitted_and_judged():
    rng = np.random.default_rng(1)
    people = [case(rng) for _ in range(120)]
    found = fit(((item, cell.value, one) for one in people for item, _, cell in values(one) if cell.state == "value"),
                covariates="age+height+sex")
    (key,) = (key for key in found.entries if "*" not in key)
    assert key == "median|motor|wrist|apb|lat" and found.entries[key].n == 240
    slow = case(rng, 5.2)
    item, _, cell = next(values(slow))
    reference = found.of(item)
    assert found.abnormality(reference, found.adjusted(reference, cell.value, slow)) == "markedly high"
    assert (matrix(reference, cell.value)[1] > matrix(reference, cell.value)[0]).all()
