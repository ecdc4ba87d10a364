"""Nothing at all: what a score gives for an empty report."""

from __future__ import annotations

from emgecg_cli.core.evaluation.baselines import Baseline, Given


def _write(given: Given) -> list[str]:
    return [""] * len(given.rows)


BASELINE = Baseline("baseline: empty report", _write, of_train=False, judged=False)
