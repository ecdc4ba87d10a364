"""What age, height and sex explain of a healthy value: median regression, and the value of a reference person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from emgecg_cli.core.errors import MedReportError

CHOICES = ("none", "age", "age+height+sex")
NAMES = ("age", "height", "sex")  # years, cm, 1 for a woman and 0 for a man
REFERENCE_PERSON = (40.0, 165.0, 0.0)
NOTHING = (0.0, 0.0, 0.0)
FEWEST = 50  # persons whose age, and height and sex where asked for, are known


def check_covariates(covariates: str) -> None:
    """Raise MedReportError unless this is one of CHOICES."""
    if covariates not in CHOICES:
        raise MedReportError(f"--covariates is '{covariates}'", f"available: {', '.join(CHOICES)}")


class Person(Protocol):
    """Anything with these attributes, such as a `Case`. `age` in years, `height` in cm, `sex` "F" or "M"; None is
    unknown."""

    @property
    def age(self) -> float | None: ...
    @property
    def height(self) -> float | None: ...
    @property
    def sex(self) -> str | None: ...


def numbers(person: Person | None) -> tuple[float, float, float]:
    """Age, height and sex as numbers; NaN where unknown."""
    if person is None:
        return (np.nan, np.nan, np.nan)
    age, height = (np.nan if value is None else float(value) for value in (person.age, person.height))
    return age, height, {"F": 1.0, "M": 0.0}.get(person.sex or "", np.nan)


def shift(slopes: Sequence[float], person: Person | None) -> float:
    """How far this person's healthy value lies from the reference person's; an unknown covariate counts as theirs."""
    return float(shifts(slopes, np.array([numbers(person)]))[0])


def shifts(slopes: Sequence[float], people: np.ndarray) -> np.ndarray:
    """`shift` of each row of (n, 3)."""
    return np.nan_to_num(people - np.array(REFERENCE_PERSON), nan=0.0) @ np.array(slopes)


def slopes_of(values: np.ndarray, people: np.ndarray, covariates: str) -> tuple[float, float, float]:
    """Slopes of the median of `values` (n,) in age, height and sex (n, 3); a covariate that does not vary gets 0.

    Zeros when fewer than FEWEST persons are known completely.
    """
    wanted = {"none": [], "age": [0], "age+height+sex": [0, 1, 2]}[covariates]
    known = np.isfinite(people[:, wanted]).all(1)
    if not wanted or known.sum() < FEWEST:
        return NOTHING
    people, values = people[known], values[known]
    used = [column for column in wanted if np.ptp(people[:, column]) > 0]
    if not used:
        return NOTHING
    x = people[:, used] - np.array(REFERENCE_PERSON)[used]
    slopes = np.zeros(3)
    slopes[used] = median_regression(x, values)[1:]
    return float(slopes[0]), float(slopes[1]), float(slopes[2])


def median_regression(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Intercept and slopes (1 + k,) of the line with the least sum of absolute residuals; x (n, k), y (n,).

    Solved as a linear programme in its dual form, which has n bounded variables and 1 + k equations (Koenker & Bassett,
    Econometrica 1978;46:33).
    """
    from scipy.optimize import linprog

    design = np.column_stack([np.ones(len(y)), x])
    size = np.maximum(np.abs(design).max(0), 1e-12)
    found = linprog(-y, A_eq=(design / size).T, b_eq=np.zeros(design.shape[1]), bounds=(-1, 1), method="highs")
    if not found.success:
        raise RuntimeError(f"median regression of {len(y)} values: {found.message}")
    return -np.asarray(found.eqlin.marginals) / size
