"""The scores of single reports: what the records of a page are sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from emgecg_cli.core.evaluation.compute import Block, Computed
from emgecg_cli.core.evaluation.tasks import headlines

_AT_ONCE = 4096  # reports


def report_scores(computed: Computed, systems: Iterable[str], n: int) -> dict[str, dict[str, np.ndarray]]:
    """System -> name of a value -> the value of every report, (n,), NaN where it is not in the slice; the value to
    sort by first. All are better high."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for system in systems:
        values: dict[str, np.ndarray] = {}
        blocks = [block for block in computed.blocks if block.system == system]
        for block in blocks:
            values |= _values(block, n)
        first = {name for block in blocks for name in block.metric.declared.ranked}
        found[system] = dict(sorted(values.items(), key=lambda one: one[0] not in first))
    return found


def _values(block: Block, n: int) -> dict[str, np.ndarray]:
    declared = block.metric.declared
    wanted = {*declared.ranked, *headlines()} - declared.lower_is_better
    if not declared.resampled or "evidence" in declared.needs or declared.judged:
        return {}
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(block.statistics), _AT_ONCE):
        with np.errstate(divide="ignore", invalid="ignore"):
            values = block.metric.aggregate(np.asarray(block.statistics[start:start + _AT_ONCE], np.float64))
        for name in wanted & values.keys():
            own = _both_silent(name, values, declared.ranked)
            whole = found.setdefault(block.slice.named(name), np.full(n, np.nan))
            whole[block.slice.index[start:start + _AT_ONCE]] = own
    return found


def _both_silent(name: str, values: Mapping[str, np.ndarray], ranked: Mapping[str, str]) -> np.ndarray:
    exact = values.get(ranked.get(name, ""))
    own = np.asarray(values[name], np.float64)
    return own if exact is None else np.where(np.asarray(exact) == 1, 1.0, own)
