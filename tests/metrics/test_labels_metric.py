"""The labels metric against counts by hand and by brute force, and codes of several data sets."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from metric_corpora import rows_of

from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.datasets.synthetic_emg import draw_case
from emgecg_cli.core.evaluation.score import score_predictions
from emgecg_cli.core.metrics import Given
from emgecg_cli.core.metrics.clinical.labels import FEWEST, Labels
from emgecg_cli.core.reports.ecg.labels import codes, label
from emgecg_cli.core.reports.ecg.rules import rules_of
from emgecg_cli.core.reports.ecg.statements import statements, superclasses_of
from emgecg_cli.core.reports.sections import join_sections


def values(rows: list[PredictionRow]) -> dict[str, float]:
    metric = Labels.of(Given(rows))
    counts = metric.segment_statistics([row.prediction for row in rows], [row.reference or "" for row in rows], rows)
    return {name: float(value) for name, value in metric.aggregate(counts.sum(axis=0)).items()}


def corpus(n: int) -> list[PredictionRow]:
    """Reports of the examples of the English rules, predictions that share some of their sentences."""
    draw = random.Random(1)
    examples = [text for rule in rules_of("en").rules for kind in ("present", "possible", "absent")
                for text in rule.examples[kind]]
    pairs = []
    for _ in range(n):
        true = draw.choices(examples, k=3)
        said = [text if draw.random() < 0.6 else draw.choice(examples) for text in true]
        pairs.append((". ".join(said) + ".", ". ".join(true) + "."))
    return rows_of(pairs)


def test_counted_by_hand() -> None:
    rows = rows_of([("Atrial fibrillation. Possible LVH.", "Atrial fibrillation. LVH."),
                    ("Sinus rhythm, no evidence of left bundle branch block.", "Sinus rhythm. Inferior infarct."),
                    ("the moon is round", "Normal ECG.")])
    got = values(rows)
    # AFIB and LVH and SR of AFIB, LVH, SR, IMI and NORM; LVH is less sure than it should be
    assert (got["labels-precision"], got["labels-recall"]) == pytest.approx((1, 3 / 5))
    assert (got["labels-strict-precision"], got["labels-strict-recall"]) == pytest.approx((2 / 3, 2 / 5))
    assert got["labels-abnormal-F1"] == pytest.approx(2 * 2 / (2 + 3))
    assert (got["labels-exact"], got["labels-strict-exact"], got["labels-unread"]) == pytest.approx((1 / 3, 0, 1 / 3))
    assert got["superclass-F1"] == pytest.approx(2 * 1 / (1 + 3))  # HYP of HYP, MI and NORM
    assert np.isnan(got["labels-macro-F1"]) and "codes-F1" not in got


def test_agrees_with_brute_force() -> None:
    rows = corpus(200)
    counts: dict[str, list[int]] = {}
    exact = 0
    for row in rows:
        said, true = (label(text, "en") for text in (row.prediction, row.reference or ""))
        exact += codes(said) == codes(true)
        for kind, stated, known in (("", codes(said), codes(true)), ("class ", superclasses_of(codes(said)),
                                                                   superclasses_of(codes(true)))):
            for code in stated | known:
                cell = counts.setdefault(kind + code, [0, 0, 0])
                cell[0 if code in stated & known else 1 if code in stated else 2] += 1

    def f1(cells: list[list[int]]) -> float:
        tp, fp, fn = np.sum(cells, axis=0)
        return float(2 * tp / (2 * tp + fp + fn))

    of_codes = [cell for code, cell in counts.items() if code in statements()]
    counted = [f1([cell]) for cell in of_codes if cell[0] + cell[2] >= FEWEST]
    assert 5 < len(counted) < len(of_codes)
    got = values(rows)
    assert got["labels-F1"] == pytest.approx(f1(of_codes)) and 0.3 < got["labels-F1"] < 0.95
    assert got["labels-macro-F1"] == pytest.approx(np.mean(counted))
    assert got["superclass-F1"] == pytest.approx(f1([cell for code, cell in counts.items() if code[:5] == "class"]))
    assert got["labels-exact"] == pytest.approx(exact / len(rows))
    (table, classes) = score_predictions(rows, metrics=["labels"], resamples=30).tables
    found = {row.item: row for row in table.rows}
    assert {code: row.values["F1"].value for code, row in found.items()} == pytest.approx(
        {code: f1([counts[code]]) for code in statements() if code in counts})
    assert found["AFIB"].meaning == "atrial fibrillation" and found["AFIB"].values["F1"].ci_low is not None
    assert [row.item for row in classes.rows] == [code for code in ("NORM", "MI", "STTC", "CD", "HYP")
                                                  if f"class {code}" in counts]


@pytest.mark.parametrize(("dataset", "own"), [("ptb-xl", ["AFIB"]), ("georgia", ["164889003"]), ("code15", ["af"]),
                                              ("cpsc2018", ["AF"]), ("synthetic", ["afib"])])
def test_codes_of_every_data_set_beside_the_ceiling(dataset: str, own: list[str]) -> None:
    right = PredictionRow("1", "Atrial fibrillation.", "Atrial fibrillation.", dataset=dataset, codes=own,
                          language="en")
    wrong = replace(right, record_id="2", prediction="Sinus rhythm.")
    got = values([right, wrong])
    assert got["codes-recall"] == 0.5 and got["codes-ceiling-F1"] == 1
    # sinus rhythm is not among the labels of CODE-15%
    assert got["codes-precision"] == (1 if dataset == "code15" else 0.5)
    assert "codes-F1" not in values([right, replace(wrong, codes=None)])
    assert "codes-F1" not in values([replace(one, dataset="mimic-iv-ecg") for one in (right, wrong)])


def test_german_is_read_as_german_and_emg_reports_are_left_alone() -> None:
    german = rows_of([("Vorhofflimmern, V.a. LVH", "Vorhofflimmern, LVH")], "de")
    assert values(german)["labels-F1"] == 1 > values(german)["labels-strict-F1"]
    cases = [draw_case(3, number, language) for number in range(20) for language in ("en", "zh")]
    texts = [join_sections(case.findings, case.impression, case.language) for case in cases]
    rows: list[Any] = [PredictionRow(str(i), text, text, language=case.language)
                       for i, (text, case) in enumerate(zip(texts, cases, strict=True))]
    assert Labels().applicable(rows) == "the references state nothing of an ECG"
