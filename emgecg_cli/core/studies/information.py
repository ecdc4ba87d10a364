"""What statements of reports know of the facts that are measured on the same records: mutual information.

Scores compare texts with texts. Here the text of a record is held against what its own recording, or table, shows, as
pairs of categories: a heart rate that is slow, normal or fast against what the report says of the rate, if anything.
Reports that are written without the signal know nothing of it, however well they are worded.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emgecg_cli.core.artifacts import Measurements, PredictionRow
from emgecg_cli.core.evidence import Evidence
from emgecg_cli.core.evidence.claims import measured
from emgecg_cli.core.evidence.tables import called_abnormal
from emgecg_cli.core.metrics.clinical.statements import read_findings
from emgecg_cli.core.reports.ecg import criteria
from emgecg_cli.core.reports.ecg.criteria import Claim
from emgecg_cli.core.reports.ecg.facts import read_claims

PERMUTATIONS = 999
FEWEST = 20  # records in which a fact could be measured
_SAID = 8  # more than there are categories of a statement
_DIGITS = 10
_JUST = 1e-6


@dataclass(frozen=True)
class Information:
    """Mutual information, in nats, of a fact of `n` records and what their reports state of it: as it is, and without
    what chance gives on average when reports go to other patients. `p` says how often chance gives as much, times the
    number of facts looked at (Bonferroni)."""

    fact: str
    n: int
    nats: float
    corrected: float
    p: float


@dataclass(frozen=True)
class Facts:
    """Of each fact, by name: its category in each record, -1 where it was not measured well."""

    of: Mapping[str, np.ndarray]


def information(facts: Facts, said: Mapping[str, np.ndarray], patients: Sequence[Hashable], seed: int) \
        -> list[Information]:
    """What statements `said` (n), by the name of the fact they are about, know of the facts (n)."""
    known = {name: index for name, values in facts.of.items() if len(index := np.flatnonzero(values >= 0)) >= FEWEST
             and len(set(values[index].tolist())) > 1}
    found = []
    for name, index in known.items():
        values, stated = facts.of[name][index], said[name][index]
        order = _permutations(tuple(patients[i] for i in index.tolist()), seed)
        own, chance = _nats(values, stated), np.array([_nats(values, stated[one]) for one in order])
        p = (1 + int((chance >= own - 1e-12).sum())) / (len(chance) + 1)
        found.append(Information(name, len(index), round(own, _DIGITS), round(own - float(chance.mean()), _DIGITS),
                                 round(min(1.0, p * len(known)), _DIGITS)))
    return found


def facts_of(rows: Sequence[PredictionRow], evidence: Evidence) -> Facts:
    """The facts of the recordings of some rows, or of their tables: which measures are abnormal in them."""
    tables = evidence.tables(row.record_id for row in rows)
    if tables is not None and tables.references is not None:
        called = [called_abnormal(tables.cases[row.record_id], tables.references) if row.record_id in tables.cases
                  else None for row in rows]
        measures = sorted({one.measure for found in called for one in found or ()})
        return Facts({measure: np.array([-1 if found is None else any(one.measure == measure for one in found)
                                         for found in called], int) for measure in measures})
    found = [evidence.of(row.record_id) for row in rows]
    return Facts({kind: np.array([-1 if one is None else _measured(kind, one.measurements, one.row.sex)
                                  for one in found], int) for kind in _LIMITS})


def said_of(facts: Facts, rows: Sequence[PredictionRow]) -> dict[str, np.ndarray]:
    """What the reports of some rows state of each fact, 0 where they state nothing."""
    if set(facts.of) <= set(_LIMITS):
        claims = [read_claims(row.prediction, row.language) for row in rows]
        return {kind: np.array([_claimed(kind, of) for of in claims], int) for kind in facts.of}
    stated = [{one.measure for one in read_findings(row.prediction).abnormal} for row in rows]
    return {measure: np.array([measure in one for one in stated], int) for measure in facts.of}


# Where the categories of a fact begin; a QTc is long beyond the limit of the patient's sex.
_LIMITS: dict[str, tuple[float, ...]] = {
    "rate": (criteria.SLOW, criteria.FAST + _JUST), "pr": (criteria.SHORT_PR, criteria.LONG_PR + _JUST),
    "qrs": (criteria.WIDE_QRS,), "qtc": (), "axis": (criteria.LEFT_AXIS, criteria.RIGHT_AXIS + _JUST),
    "regular": (0.5,), "p": (0.5,)}


def _category(kind: str, value: float, sex: str | None) -> int:
    limits = _LIMITS[kind] or (criteria.long_qtc(sex) + _JUST,)
    return sum(value >= limit for limit in limits)


def _measured(kind: str, found: Measurements | None, sex: str | None) -> int:
    values = measured(kind, found) if found is not None else []
    return _category(kind, values[0], sex) if values else -1


def _claimed(kind: str, claims: Sequence[Claim]) -> int:
    """The category of the first claim of a kind, from 1 on."""
    for claim in claims:
        if claim.kind == kind:
            low, high = claim.low, claim.high
            value = high - _JUST if low == -np.inf else low + 2 * _JUST if high == np.inf else (low + high) / 2
            return 1 + _category(kind, value, None)
    return 0


def _nats(values: np.ndarray, stated: np.ndarray) -> float:
    joint = np.bincount(values * _SAID + stated, minlength=_SAID * (int(values.max()) + 1)).reshape(-1, _SAID)
    share = joint / len(values)
    alone = share.sum(axis=1, keepdims=True) @ share.sum(axis=0, keepdims=True)
    there = share > 0
    return float((share[there] * np.log(share[there] / alone[there])).sum())


@lru_cache(maxsize=16)  # each condition asks for those of the same facts
def _permutations(patients: tuple[Hashable, ...], seed: int) -> list[np.ndarray]:
    """Orders of records in which those of one patient stay together, since they are alike."""
    rng = np.random.default_rng([seed, 2])
    of: dict[Hashable, list[int]] = {}
    for i, patient in enumerate(patients):
        of.setdefault(patient, []).append(i)
    blocks = [np.array(block) for block in of.values()]
    grouped = np.concatenate(blocks)
    back = np.empty(len(grouped), np.int64)
    back[grouped] = np.arange(len(grouped))  # where a record stands when patients are side by side
    return [np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])[back] for _ in range(PERMUTATIONS)]
