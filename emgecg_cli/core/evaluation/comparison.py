"""Whether one system is better than another on the same records: paired tests on the statistics of each report.

Two tests, both by patient, both against the first system: approximate randomisation (Riezler and Maxwell 2005), which
swaps the two systems' reports of a patient at random and asks how often a difference as large comes about; and the
paired bootstrap, which draws the same patients for both and gives the difference an interval. Holm's correction is over
all values and systems that are tested. A difference is supported where the corrected p value of the randomisation is
below ALPHA; nothing else is printed bold.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emgecg_cli.core.evaluation.bootstrap import Sums, cluster_sums, percentile_interval
from emgecg_cli.core.evaluation.compute import Block, Computed

ALPHA = 0.05
_AT_ONCE = 4_000_000  # swaps that are in memory together
_DIGITS = 10
# Sums of floats in another order differ in their last bits: such a difference is as large.
_SLACK = 1e-9


@dataclass(frozen=True)
class PairedTest:
    """A system against the first one in one value: the difference (system minus first) with its 95 % interval by the
    paired bootstrap, the p values of both tests, that of the randomisation after Holm's correction, and whether the
    system is better, None where the tests do not say."""

    system: str
    name: str
    difference: float
    ci_low: float | None
    ci_high: float | None
    p_bootstrap: float | None
    p: float
    p_holm: float
    better: bool | None


@dataclass(frozen=True)
class Comparison:
    """Paired tests of several systems `against` the first; `seed` and `randomisations` give the same p values again."""

    against: str
    randomisations: int
    seed: int
    alpha: float
    tests: list[PairedTest]


def compare(computed: Computed, systems: Sequence[str], clusters: Sequence[Hashable], randomisations: int, seed: int,
            ) -> Comparison:
    """Test every system but the first against the first, in every value that says which is better.

    `clusters` has the patient of each row; the statistics and the bootstrap draws are those of `computed`.
    """
    p_values = _randomised(computed.blocks, systems, clusters, randomisations, seed)
    corrected = holm([p_values[key] for key in p_values])
    tests = []
    for (system, name), p_holm in zip(p_values, corrected, strict=True):
        own, first = (_value(computed, one, name) for one in (system, systems[0]))
        drawn = _difference_draws(computed, system, systems[0], name)
        difference = own.value - first.value
        low, high = (percentile_interval(drawn) if drawn is not None else None) or (None, None)
        better = None if p_holm >= ALPHA or not difference else (difference < 0) == own.lower_is_better
        tests.append(PairedTest(system, name, round(difference, _DIGITS), _rounded(low), _rounded(high),
                                _bootstrap_p(drawn, difference), round(p_values[system, name], _DIGITS),
                                round(p_holm, _DIGITS), better))
    return Comparison(systems[0], randomisations, seed, ALPHA, tests)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) of m p values, in their order; each is at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        found[i] = largest
    return found


def best_of(scores: Mapping[str, Any]) -> dict[str, set[str]]:
    """Value name -> the systems whose value is to be bold, of scores as `scores.json` holds them: those that are better
    than the first, or the first where it is better than each of the others."""
    comparison = scores.get("comparison")
    if not comparison:
        return {}
    found: dict[str, set[str]] = {}
    tests: dict[str, list[Mapping[str, Any]]] = {}
    for test in comparison["tests"]:
        tests.setdefault(test["name"], []).append(test)
    for name, own in tests.items():
        found[name] = {test["system"] for test in own if test["better"]}
        if all(test["better"] is False for test in own):
            found[name] = {comparison["against"]}
    return found


def p_value(p: float | None) -> str:
    """A p value to be read: 0.041, < 0.001, - where there is none."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def comparison_notes(comparison: Comparison, unit: str) -> list[str]:
    """How the tests were made, and whether they could find anything at all."""
    m = len(comparison.tests)
    notes = [f"paired tests against {comparison.against}: approximate randomisation, {comparison.randomisations} swaps "
             f"by {unit}, seed {comparison.seed}, Holm-corrected over {m} tests; differences with 95 % intervals by "
             f"paired bootstrap; supported where the corrected p is below {comparison.alpha:g}"]
    if m and m / (comparison.randomisations + 1) >= comparison.alpha:
        notes.append(f"with {comparison.randomisations} randomisations no corrected p of {m} tests can be below "
                     f"{comparison.alpha:g}: raise --randomisations, or ask for fewer metrics")
    return notes


def _value(computed: Computed, system: str, name: str) -> Any:
    return next(value for value in computed.values[system] if value.name == name)


def _difference_draws(computed: Computed, system: str, first: str, name: str) -> np.ndarray | None:
    if (system, name) not in computed.draws:
        return None
    return computed.draws[system, name] - computed.draws[first, name]


def _bootstrap_p(drawn: np.ndarray | None, difference: float) -> float | None:
    """How often a draw is as far from the difference as the difference is from none."""
    if drawn is None:
        return None
    far = ~(np.abs(drawn - difference) < abs(difference) - _SLACK * max(1.0, abs(difference)))
    return round((int(far.sum()) + 1) / (len(drawn) + 1), _DIGITS)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _randomised(blocks: Sequence[Block], systems: Sequence[str], clusters: Sequence[Hashable], randomisations: int,
                seed: int) -> dict[tuple[str, str], float]:
    """The p value of each system and value, by the slices and metrics of the first."""
    tested = {(block.system, block.slice.named(block.metric.name)): block for block in blocks
              if block.system in systems and block.metric.declared.resampled}
    sums = {key: cluster_sums(block.statistics, clusters, block.slice.index) for key, block in tested.items()}
    pairs = [_Pair(tested[key], key[0], _total(sums[systems[0], key[1]]), _total(own), own - sums[systems[0], key[1]])
             for key, own in sums.items() if key[0] != systems[0] and (systems[0], key[1]) in sums]
    for swapped in _swaps(len(set(clusters)), randomisations, seed):
        for pair in pairs:
            pair.count(swapped)
    return {(pair.system, pair.block.slice.named(name)): (count + 1) / (randomisations + 1)
            for pair in pairs for name, count in pair.counts.items()}


class _Pair:
    """One system against the first in the values of one metric and slice, and how often chance does as much."""

    def __init__(self, block: Block, system: str, first: np.ndarray, own: np.ndarray, between: Sums) -> None:
        self.block, self.system = block, system
        self._first, self._own, self._between = first, own, between
        left_out = block.metric.declared.descriptive
        self._observed = {name: abs(float(value)) for name, value in self._differences(first, own).items()
                          if name not in left_out and math.isfinite(value)}
        self.counts = dict.fromkeys(self._observed, 0)

    def count(self, swapped: np.ndarray) -> None:
        """Count those of some randomisations, (R, C) of 0 and 1, whose difference is as large; one that is undefined
        counts as such."""
        moved = swapped @ self._between
        drawn = self._differences(self._first + moved, self._own - moved)
        for name, observed in self._observed.items():
            self.counts[name] += int((~(np.abs(drawn[name]) < observed - _SLACK * max(1.0, observed))).sum())

    def _differences(self, first: np.ndarray, own: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            before, after = self.block.metric.aggregate(first), self.block.metric.aggregate(own)
        return {name: np.asarray(after[name]) - np.asarray(before[name]) for name in before}


def _total(sums: Sums) -> np.ndarray:
    return np.asarray(sums.sum(axis=0), dtype=np.float64).ravel()


def _swaps(n_clusters: int, randomisations: int, seed: int) -> Iterator[np.ndarray]:
    """Which clusters are swapped, (a few randomisations, C) of 0 and 1, until there are `randomisations`."""
    rng = np.random.default_rng([seed, 1])
    at_once = max(1, _AT_ONCE // max(n_clusters, 1))
    for start in range(0, randomisations, at_once):
        rows = min(at_once, randomisations - start)
        drawn = rng.integers(0, 256, size=(rows, -(-n_clusters // 8)), dtype=np.uint8)
        yield np.unpackbits(drawn, axis=1)[:, :n_clusters].astype(np.float64)
