"""The report of the train recording that an encoder finds most alike: what retrieval does without any language model.
"""

from __future__ import annotations

import numpy as np

from emgecg_cli.core.evaluation.baselines import Baseline, Given, Lacks

_ROWS_AT_ONCE = 512


def nearest(features: np.ndarray, train: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The row of `train` (T, E) with the largest cosine to each of `features` (n, E), the first of equal ones; `own`
    (n,) is a row that does not count, as it is the record itself, -1 for none."""
    found = np.zeros(len(features), np.int64)
    unit = _unit(train).T
    for start in range(0, len(features), _ROWS_AT_ONCE):
        cosines = _unit(features[start:start + _ROWS_AT_ONCE]) @ unit
        itself = own[start:start + _ROWS_AT_ONCE]
        at = np.flatnonzero(itself >= 0)
        cosines[at, itself[at]] = -np.inf
        found[start:start + len(cosines)] = cosines.argmax(axis=1)
    return found


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _write(given: Given) -> list[str]:
    if not len(given.train.features) or not given.features:
        raise Lacks("it needs an encoder, --baseline-encoder RUN|ENCODER")
    if missing := [row.record_id for row in given.rows if row.record_id not in given.features]:
        raise Lacks(f"the store has no recording of {len(missing)} records, such as {missing[0]}")
    place = {record_id: i for i, record_id in enumerate(given.train.record_ids)}
    own = np.array([place.get(row.record_id, -1) for row in given.rows], np.int64)
    features = np.stack([given.features[row.record_id] for row in given.rows])
    return [given.train.reports[i] for i in nearest(features, given.train.features, own).tolist()]


BASELINE = Baseline("baseline: report of the nearest train recording", _write)
