"""Reference percentiles from healthy values, including items with few of them.

A 2nd percentile takes about 190 values to know (Wuu, Peng & Benatar's reference data). An item with fewer borrows the
shape of its distribution, not its place: wrist and elbow latencies of one nerve differ by more than any disease does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from emgecg_cli.core.emg.case import Item, item_of
from emgecg_cli.core.emg.cells import unit
from emgecg_cli.core.emg.terms import limb
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.references.covariates import NOTHING, Person, check_covariates, numbers, shifts, slopes_of
from emgecg_cli.core.references.table import (
    ANY,
    PERCENTILES,
    SD_PER_MAD,
    Reference,
    References,
    anywhere,
    is_logarithmic,
    key_of,
)

ENOUGH = 190  # values for percentiles of their own
FEWEST = 50  # values for any reference at all
FEWEST_IN_POOL = 20  # values an item needs to lend its shape
WEIGHT = 50  # n own values count n / (n + 50) beside the pool
SMALL = ("backoff", "parametric")


@dataclass(frozen=True)
class _Values:
    """The values of one item on the scale of its limits (logarithm for amplitudes), adjusted for covariates."""

    key: str
    values: np.ndarray
    slopes: tuple[float, float, float] = NOTHING
    standard: np.ndarray = field(default_factory=lambda: np.zeros(0))


_Pools = dict[str, dict[str, list[_Values]]]  # level -> name of the pool -> its items


def fit(values: Iterable[tuple[Item | str, float, Person | None]], percentiles: Sequence[float] = PERCENTILES,
        covariates: str = "none", *, rule: str = "whole case normal", small: str = "backoff") -> References:
    """References of healthy (item, value, person) triples, both sides together; the order does not matter.

    Type 8 quantiles (Hyndman & Fan 1996), of the logarithm for amplitudes. With 190 values or more an item uses only
    its own. From 50 on it keeps its own median and MAD, and its limits mix its own with a wider pool's, each item of
    the pool standardised: the same stimulation recorded elsewhere, else the nerve, else the limb, the first that has
    190 values; without one, or with `small` "parametric", mean and SD. Below 50, values of the same stimulation
    recorded elsewhere stand in, if they are 50 together; else there is no reference. Raises MedReportError for
    percentiles, covariates, an item or a number that cannot be used.
    """
    chances = check_percentiles(percentiles)
    check_covariates(covariates)
    if small not in SMALL:
        raise MedReportError(f"references: no choice '{small}'", f"available: {', '.join(SMALL)}")
    items, left_out = _grouped(values, covariates)
    grid = np.array([*chances, 50.0, *(100 - p for p in reversed(chances))]) / 100
    pools = _pools(items)
    entries = {}
    for key, found in sorted(items.items()):
        if (entry := _entry(found, grid, pools, small)) is not None:
            entries[key] = entry
    for key, parts in pools["stimulation"].items():
        together = np.concatenate([part.values for part in parts])
        if key not in entries and len(together) >= FEWEST:
            line, level = _own(together, grid)
            entries[key] = _reference(key, together, line, level, _common(parts))
    return References(chances, rule, dict(sorted(entries.items())), covariates, left_out)


def check_percentiles(percentiles: Sequence[float]) -> tuple[float, ...]:
    """The lower percentiles as floats; raises MedReportError unless they rise and lie between 0 and 50."""
    chances = tuple(float(p) for p in percentiles)
    if not chances or not all(0 < a < b for a, b in zip(chances, (*chances[1:], 50.0), strict=True)):
        raise MedReportError(f"percentiles {','.join(f'{p:g}' for p in chances) or 'none'}: they must rise, above 0 "
                             "and below 50", "give for example 2,5,8,11,14,17,20")
    return chances


def _grouped(values: Iterable[tuple[Item | str, float, Person | None]],
             covariates: str) -> tuple[dict[str, _Values], int]:
    numbers_of: dict[str, list[float]] = {}
    people: dict[str, list[tuple[float, float, float]]] = {}
    left_out = 0
    for item, value, person in values:
        key = key_of(item)
        if not math.isfinite(value) or value < 0:
            raise MedReportError(f"references: item {key} has the value {value}", "leave such values out")
        if key not in numbers_of:
            _check_item(key)
        if value == 0 and is_logarithmic(key):
            left_out += 1
            continue
        numbers_of.setdefault(key, []).append(math.log(value) if is_logarithmic(key) else value)
        people.setdefault(key, []).append(numbers(person))
    found: dict[str, _Values] = {}
    common: dict[str, tuple[float, float, float]] = {}  # of the largest item of each stimulation
    for key in sorted(numbers_of, key=lambda name: (-len(numbers_of[name]), name)):
        plain, persons = np.array(numbers_of[key]), np.array(people[key])
        # In an order that does not depend on the input's, since sums and so the last digits depend on it.
        order = np.lexsort((*persons.T, plain))
        plain, persons = plain[order], persons[order]
        slopes = slopes_of(plain, persons, covariates) if len(plain) >= FEWEST else common.get(anywhere(key), NOTHING)
        common.setdefault(anywhere(key), slopes)
        adjusted = np.sort(plain - shifts(slopes, persons) if any(slopes) else plain)
        spread = _spread(adjusted) if len(adjusted) >= FEWEST_IN_POOL else 0.0
        standard = (adjusted - np.median(adjusted)) / spread if spread > 0 else np.zeros(0)
        found[key] = _Values(key, adjusted, slopes, standard)
    return found, left_out


def _check_item(key: str) -> None:
    item = item_of(key)
    if item.rec == ANY or unit(item.measure, item.type) is None:
        raise MedReportError(f"references: item {key} has no unit", "leave it out, or name its type and measure")


def _pools(items: dict[str, _Values]) -> _Pools:
    """The items of each wider pool, by level and by the pool's name."""
    pools: _Pools = {"stimulation": {}, "nerve": {}, "limb": {}}
    for key, found in sorted(items.items()):
        for level, name in _names(key).items():
            pools[level].setdefault(name, []).append(found)
    return pools


def _names(key: str) -> dict[str, str]:
    nerve, kind, _, _, measure = key.split("|")
    names = {"stimulation": anywhere(key), "nerve": f"{nerve}|{kind}|{measure}"}
    where = limb(nerve)
    return names if where is None else names | {"limb": f"{where}|{kind}|{measure}"}


def _entry(found: _Values, grid: np.ndarray, pools: _Pools, small: str) -> Reference | None:
    own = found.values
    if len(own) >= FEWEST:
        line, level = _own(own, grid)
        if level != "item" and small == "backoff":
            line, level = _borrowed(found, grid, pools) or (line, level)
        return _reference(found.key, own, line, level, found.slopes)
    parts = pools["stimulation"][anywhere(found.key)]
    together = np.concatenate([part.values for part in parts])
    if len(together) < FEWEST:
        return None
    share = len(own) / (len(own) + WEIGHT)
    line = share * _quantiles(own, grid) + (1 - share) * _own(together, grid)[0]
    return _reference(found.key, together, line, "stimulation", _common(parts), len(own))


def _own(values: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, str]:
    """Quantiles of the values themselves where they are enough, else of the normal distribution of their mean, SD."""
    if len(values) >= ENOUGH:
        return _quantiles(values, grid), "item"
    from scipy.special import ndtri

    return values.mean() + ndtri(grid) * values.std(ddof=1), "parametric"


def _borrowed(found: _Values, grid: np.ndarray, pools: _Pools) -> tuple[np.ndarray, str] | None:
    """Own median and spread, limits between the item's own and those of the first pool that has enough; or None."""
    for level, name in _names(found.key).items():
        shape = np.concatenate([part.standard for part in pools[level][name]])
        if len(shape) >= ENOUGH and len(found.standard) and len(shape) > len(found.standard):
            share = len(found.values) / (len(found.values) + WEIGHT)
            mixed = share * _quantiles(found.standard, grid) + (1 - share) * _quantiles(shape, grid)
            return np.median(found.values) + _spread(found.values) * mixed, level
    return None


def _reference(key: str, values: np.ndarray, line: np.ndarray, level: str, slopes: tuple[float, float, float],
               n: int | None = None) -> Reference:
    item, count = item_of(key), len(line) // 2
    line = np.sort(line)  # in order already, but for rounding
    shown = [float(v) for v in (np.exp(line) if is_logarithmic(key) else line)]
    mad = float(np.median(np.abs(values - np.median(values))))
    return Reference(key, unit(item.measure, item.type) or "", len(values) if n is None else n, level,
                     tuple(shown[:count]), tuple(shown[:count:-1]), shown[count], mad, slopes)


def _common(parts: list[_Values]) -> tuple[float, float, float]:
    """One set of slopes for several items: those of the one with most values."""
    return max(parts, key=lambda part: len(part.values)).slopes


def _quantiles(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    return np.quantile(values, grid, method="median_unbiased")


def _spread(values: np.ndarray) -> float:
    """Robust SD; the plain one where half the values are equal."""
    mad = float(np.median(np.abs(values - np.median(values))))
    return SD_PER_MAD * mad or float(values.std())
