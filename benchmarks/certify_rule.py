"""How often the rule of `certify` says that a signal is used, or seen, of models to which it means nothing.

    python benchmarks/certify_rule.py [--models 1000] [--resamples 2000] [--smallest]

A null model writes a report that knows nothing of its record, so that the real recording and another patient's are
exchangeable. Records are of patients with one to five each, whose findings and reports are alike; a record has findings
at 5 to 14 % each, as in the simulated cohort, and measured facts; a report states findings of some other record of the
cohort, or, of a model that mostly says the same, that all is normal; the two conditions share a part of their texts,
as those of real models do. Losses differ by heavy-tailed amounts with an effect of the patient. All of it goes through
`differences_of`, `loss_difference` and `verdict_of`. Ends with status 1 where a signal is falsely used, or falsely
seen, in more than 5 %. Below, how often a model is found out that writes the truth for a share of the records.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from emgecg_cli.core.evaluation.compute import Block, evaluate
from emgecg_cli.core.evaluation.slices import Slice
from emgecg_cli.core.metrics import Declared, ratio
from emgecg_cli.core.studies.verdict import (
    OTHER,
    SEES,
    USES,
    differences_of,
    loss_difference,
    verdict_of,
)

FINDINGS, STATEMENTS, FACTS = 12, 20, 6
ALLOWED = 0.05
SHARED = (0.0, 0.5, 0.9)  # of the texts are the same under both conditions
MONOTONOUS = (0.0, 0.7)  # of the reports say that all is normal


@dataclass(frozen=True)
class Counts:
    """A metric of which the statistics are counts: F1 of what is stated, or precision and recall of claims."""

    name: str
    declared: Declared

    def signature(self) -> str:
        return ""

    def aggregate(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        first, second, third, fourth = np.moveaxis(np.asarray(sums, float), -1, 0)
        if self.declared.kind == "facts":
            return {f"{self.name}-precision": ratio(first, first + second), f"{self.name}-recall": ratio(fourth, third)}
        return {f"{self.name}-F1": ratio(2 * first, 2 * first + second + third)}


METRICS = (Counts("findings", Declared(kind="clinical", decisive=frozenset({"findings-F1"}))),
           Counts("labels", Declared(kind="clinical", decisive=frozenset({"labels-F1"}))),
           Counts("facts", Declared(kind="facts", decisive=frozenset({"facts-precision", "facts-recall"}))))


def clusters_of(n: int, rng: np.random.Generator) -> np.ndarray:
    """The patient of each of at least n records: 70 % of the patients have one, the others up to five."""
    sizes = np.where(rng.random(n) < 0.7, 1, rng.integers(2, 6, n))
    return np.repeat(np.arange(n), sizes)


def truth(patients: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What each record has, bool (n, FINDINGS + STATEMENTS), and the category of each fact (n, FACTS)."""
    share = np.concatenate([rng.uniform(0.05, 0.14, FINDINGS), rng.uniform(0.01, 0.2, STATEMENTS)])
    people = int(patients.max()) + 1
    sick = rng.random(people) > 0.36
    of_patient = (rng.random((people, len(share))) < share) & sick[:, None]
    changed = rng.random((len(patients), len(share))) < 0.02
    facts = np.where(rng.random((len(patients), FACTS)) < 0.2, rng.integers(1, 3, (len(patients), FACTS)), 0)
    return of_patient[patients] ^ changed, facts


def texts(patients: np.ndarray, said: np.ndarray, rng: np.random.Generator, same: float) -> np.ndarray:
    """Whose report each record gets, -1 for "all is normal": patients tend to get the same one twice."""
    people = int(patients.max()) + 1
    of_patient = rng.integers(0, len(said), people)[patients]
    own = np.where(rng.random(len(patients)) < 0.5, of_patient, rng.integers(0, len(said), len(patients)))
    return np.where(rng.random(len(patients)) < same, -1, own)


def statistics(has: np.ndarray, facts: np.ndarray, whose: np.ndarray) -> list[np.ndarray]:
    """The counts of each metric, (n, 4): tp, fp, fn, 0, or supported, contradicted, abnormal, mentioned."""
    normal = whose < 0
    stated = has[whose] & ~normal[:, None]
    claimed = np.where(normal[:, None], 0, facts[whose])
    found = []
    for part in (slice(0, FINDINGS), slice(FINDINGS, None)):
        one, true = stated[:, part], has[:, part]
        counts = [(one & true).sum(1), (one & ~true).sum(1), (~one & true).sum(1), np.zeros(len(has))]
        found.append(np.stack(counts, 1).astype(float))
    spoken = np.arange(FACTS) < 3  # of these every report says something, of the others only what is abnormal
    claims = spoken | (claimed > 0)
    right = claims & (claimed == facts)
    found.append(np.stack([right.sum(1), (claims & ~right).sum(1), (facts > 0).sum(1),
                           (right & (facts > 0)).sum(1)], 1).astype(float))
    return found


def verdict(n: int, resamples: int, seed: int, shared: float, same: float, reads: float = 0.0) -> str:
    """What the rule says of one model, which writes the truth for a share `reads` of its records."""
    rng = np.random.default_rng([seed, n, int(10 * shared), int(10 * same), int(100 * reads)])
    patients = clusters_of(n, rng)
    has, facts = truth(patients, rng)
    real, other = (texts(patients, has, rng, same) for _ in range(2))
    other = np.where(rng.random(len(patients)) < shared, real, other)
    real = np.where(rng.random(len(patients)) < reads, np.arange(len(patients)), real)
    blocks: list[Any] = []
    for name, whose in (("real", real), (OTHER, other)):
        blocks += [Block(Slice("", np.arange(len(patients)), "all", ""), metric, name, counts)
                   for metric, counts in zip(METRICS, statistics(has, facts, whose), strict=True)]
    loss = 0.05 * rng.standard_t(3, len(patients)) + rng.normal(0, 0.03, int(patients.max()) + 1)[patients]
    found = differences_of(evaluate(blocks, patients.tolist(), resamples, seed), "real")
    found.append(loss_difference(OTHER, np.zeros(len(patients)), loss, patients.tolist(), resamples, seed))
    return verdict_of(found).verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--smallest", action="store_true")
    asked = parser.parse_args()
    models, resamples = (204, 400) if asked.smallest else (asked.models, asked.resamples)
    worst = 0.0
    print("patients  null models  'uses'  'sees'")
    for n in (20, 60) if asked.smallest else (20, 50, 200, 1000):
        kinds = [(shared, same) for shared in SHARED for same in MONOTONOUS]
        said = Counter(verdict(n, resamples, seed, *kinds[seed % len(kinds)]) for seed in range(models))
        worst = max(worst, said[USES] / models, said[SEES] / models)
        print(f"{n:8}  {models:11}  {said[USES] / models:6.1%}  {said[SEES] / models:6.1%}", flush=True)
    print("\npatients  writes the truth for  'uses'")
    for n in (60,) if asked.smallest else (50, 200, 1000):
        for reads in (0.05, 0.1, 0.3):
            tried = models // 5
            said = Counter(verdict(n, resamples, seed, 0.5, 0.0, reads) for seed in range(tried))
            print(f"{n:8}  {reads:20.0%}  {said[USES] / tried:6.1%}", flush=True)
    print(f"\nfalsely '{USES}' or '{SEES}' in {worst:.1%} at most; allowed are {ALLOWED:.0%}")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
