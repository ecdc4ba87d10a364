"""Whether qualities are ordered on recordings that were not used to choose their limits.

LUDB's records fall into five parts, in five ways. For each part the limits of `grades.LIMITS` are chosen on the other
four, as those that part the errors best there, and the part is graded by them: no record has a share in the limits it
is graded by. The records take part as they are and disturbed. Run as a script, this prints the table of
docs/measurements.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ludb_gold import FS, Gold, read_gold

from emgecg_cli.core.signals import delineation
from emgecg_cli.core.signals.delineation import grades
from emgecg_cli.core.signals.leads import MISSING

FOLDS, REPEATS = 5, 5
NEVER = float("inf")
QUALITIES = ("good", "fair", "poor")
# measure -> limits to choose among, of those in use and their neighbours
GRIDS: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "qt_ms": {"t spread_ms": ((20, 50), (25, 60), (30, 60)), "t late": ((0.22, 0.32), (0.25, 0.32), (0.28, 0.36)),
              "t amplitude_uv": ((-75, -30), (-60, -25)), "t scatter_ms": ((3, 10), (4, 12), (5, 12))},
    "qrs_ms": {"qrs doubt_ms": ((20, 32), (24, 40)), "qrs slack_ms": ((24, 40), (28, 50), (32, 50)),
               "qrs fall": ((-0.07, NEVER), (-0.085, NEVER), (-0.10, NEVER)),
               "qrs noise": ((0.03, 0.08), (0.04, 0.10), (0.05, 0.12))},
    "pr_ms": {"p agreement": ((-0.97, -0.85), (-0.95, -0.82), (-0.93, -0.80)),
              "p amplitude_uv": ((-60, -30), (-50, -30), (-40, -25)),
              "p doubt_ms": ((4.5, 10), (8, 10), (8, 12)), "pr noise": ((0.03, 0.10), (0.04, 0.10))},
}


@dataclass(frozen=True)
class Measured:
    """One measurement: of which record and whether it was disturbed, its error in ms, and what it is graded from."""

    record: int
    clean: bool
    error: float
    regrade: Callable[[], str]


def disturbed(signal: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The recording as it is, and with what happens to recordings."""
    def whole(x: np.ndarray) -> np.ndarray:
        return np.clip(np.rint(x), -32767, 32767).astype(np.int16)

    time = np.arange(signal.shape[1]) / FS
    yield signal
    for size in (20, 50, 100):
        yield whole(signal + rng.normal(0, size, signal.shape))
    yield whole(signal + 500 * np.sin(2 * np.pi * 0.3 * time + rng.uniform(0, 6, (12, 1))))
    yield signal[:, signal.shape[1] // 4:3 * signal.shape[1] // 4]
    alone = np.full_like(signal, MISSING)
    alone[1] = signal[1]
    yield alone


def measure_all(gold: list[Gold]) -> dict[str, list[Measured]]:
    """Every measurement of every record that has a gold value, clean and disturbed, by the name of the measure."""
    found: dict[str, list[Measured]] = {name: [] for name in GRIDS}
    arguments: dict[str, Any] = {}
    kept = delineation.wave_fields

    def noted(*given: Any) -> dict[str, object]:
        arguments["given"] = given
        return kept(*given)

    delineation.wave_fields = noted
    try:
        for number, record in enumerate(gold):
            for kind, signal in enumerate(disturbed(record.signal, np.random.default_rng(number))):
                measurements = delineation.measure(signal, FS)
                for name in GRIDS:
                    own, true = getattr(measurements, name), getattr(record, name)
                    if own is not None and true is not None:
                        regrade = _regrade(name, *arguments["given"])
                        found[name].append(Measured(number, kind == 0, abs(own - true), regrade))
    finally:
        delineation.wave_fields = kept
    return found


def _regrade(name: str, beat: Any, leads: Any, rhythm: Any, qrs: Any, t: Any, p: Any, present: Any,
             pacing: Any) -> Callable[[], str]:
    def of_qrs() -> str:
        return grades.grade_qrs(beat, leads, rhythm, qrs, pacing)

    if name == "qrs_ms":
        return of_qrs
    if name == "qt_ms":
        return lambda: grades.worse(of_qrs(), grades.grade_qt(beat, leads, rhythm, qrs, t, present, pacing))
    return lambda: grades.worse(of_qrs(), grades.grade_p(beat, rhythm, p, present, pacing), grades.grade_pr(qrs, p))


def cross_validate(measured: list[Measured], name: str) -> np.ndarray:
    """The grade of each measurement, 0 good to 2 poor, by limits from the records of other parts; (REPEATS, n), one
    row for each way to part the records."""
    kept = dict(grades.LIMITS)
    error = np.array([one.error for one in measured])
    clean = np.array([one.clean for one in measured])
    record = np.array([one.record for one in measured])
    tried = []
    try:
        for limits in product(*GRIDS[name].values()):
            grades.LIMITS.update(zip(GRIDS[name], limits, strict=True))
            tried.append(np.array([QUALITIES.index(one.regrade()) for one in measured]))
    finally:
        grades.LIMITS.update(kept)
    grade = np.zeros((REPEATS, len(measured)), int)
    for repeat, fold in product(range(REPEATS), range(FOLDS)):
        here = (np.random.default_rng(repeat).permutation(record.max() + 1) % FOLDS)[record] == fold
        worth = [_parted(one[~here], error[~here]) + _parted(one[~here & clean], error[~here & clean]) for one in tried]
        grade[repeat, here] = tried[int(np.argmax(worth))][here]
    return grade


def _parted(grade: np.ndarray, error: np.ndarray) -> float:
    """The share of the (logarithmic) error's variance that lies between the grades; -1 where they are out of order."""
    size = np.log(3 + error)
    groups = [grade == one for one in range(3) if (grade == one).any()]
    means = [error[group].mean() for group in groups]
    if len(groups) < 3 or means != sorted(means):
        return -1.0
    within = sum(float(((size[group] - size[group].mean()) ** 2).sum()) for group in groups)
    return 1 - within / float(((size - size.mean()) ** 2).sum())


def table(grade: np.ndarray, error: np.ndarray) -> list[tuple[float, float, float]]:
    """Count, mean error and the error that 90 % are below, of each grade; `grade` (repeats, n), the count a mean over
    the repeats."""
    rows = []
    for one in range(3):
        errors = np.concatenate([error[row == one] for row in grade])
        rows.append((len(errors) / len(grade), float(errors.mean()), float(np.quantile(errors, 0.9))))
    return rows


def main(root: str) -> None:
    """Print the table."""
    for name, measured in measure_all(read_gold(Path(root))).items():
        error, clean = np.array([one.error for one in measured]), np.array([one.clean for one in measured])
        in_use = np.array([[QUALITIES.index(one.regrade()) for one in measured]])
        held_out = cross_validate(measured, name)
        for said, grade in (("limits in use", in_use), ("held out", held_out)):
            for kind, rows in (("clean", clean), ("all", np.ones(len(clean), bool))):
                cells = [f"{n:.0f}, {mean:.1f}, {high:.0f}" for n, mean, high in table(grade[:, rows], error[rows])]
                print(f"| {name}, {kind}, {said} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1])
