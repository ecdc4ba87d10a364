"""The findings metric against a brute-force count, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emgecg_cli.core import names
from emgecg_cli.core.artifacts import PredictionRow
from emgecg_cli.core.datasets.synthetic.findings import BASE, CODES
from emgecg_cli.core.datasets.synthetic.reports import NORMAL, PHRASES
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.evaluation.score import score_predictions
from emgecg_cli.core.metrics.clinical.findings import Findings


def row(codes: list[str] | None, number: int = 0, dataset: str | None = "synthetic") -> PredictionRow:
    return PredictionRow(f"syn-{number:06d}", "", "", dataset=dataset, codes=codes)


def corpus(n: int, seed: int) -> tuple[list[str], list[PredictionRow]]:
    """Random codes, and hypotheses that state random ones, some with words nobody knows."""
    rng = np.random.default_rng(seed)
    hypotheses, rows = [], []
    for i in range(n):
        truth = [code for code in CODES if rng.random() < 0.15]
        stated = [code for code in CODES if rng.random() < (0.7 if code in truth else 0.05)]
        sentences = [PHRASES[code][0] for code in stated] + ["the moon is round"] * int(rng.integers(2))
        hypotheses.append(". ".join(sentences) + ".")
        rows.append(row(truth, i))
    return hypotheses, rows


def scores(hypotheses: list[str], rows: list[PredictionRow]) -> dict[str, float]:
    metric = Findings()
    statistics = metric.segment_statistics(hypotheses, [""] * len(rows), rows)
    return {name: float(value) for name, value in metric.aggregate(statistics.sum(axis=0)).items()}


def micro(hypotheses: list[str], rows: list[PredictionRow], codes: list[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 by walking through every cell (record, code)."""
    hits = claims = truths = 0
    for hypothesis, a_row in zip(hypotheses, rows, strict=True):
        for code in codes:
            claimed = any(phrase in hypothesis.rstrip(".").split(". ") for phrase in PHRASES[code])
            true = code in (a_row.codes or [])
            hits, claims, truths = hits + (claimed and true), claims + claimed, truths + true
    precision, recall = hits / claims, hits / truths
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_brute_force(seed: int) -> None:
    hypotheses, rows = corpus(200, seed)
    got = scores(hypotheses, rows)
    precision, recall, f1 = micro(hypotheses, rows, [code for code in CODES if code not in BASE])
    assert (got["findings-precision"], got["findings-recall"], got["findings-F1"]) == pytest.approx(
        (precision, recall, f1)
    )
    assert got["findings-F1-all"] == pytest.approx(micro(hypotheses, rows, list(CODES))[2])
    assert got["findings-unread"] == sum("moon" in h for h in hypotheses) / 200


def test_golden_case() -> None:
    hypotheses = ["sinus rhythm. lateral st depression.", "Left Axis Deviation.  low voltage", ""]
    rows = [row(["sr", "std_lat"]), row(["sr", "lad", "pvc"]), row(["sr"])]
    assert scores(hypotheses, rows) == pytest.approx(
        {
            "findings-F1": 2 / 3,
            "findings-precision": 2 / 3,
            "findings-recall": 2 / 3,
            "findings-F1-all": 0.6,
            "findings-exact": 1 / 3,
            "findings-unread": 0.0,
        }
    )


def test_saying_normal_for_everything_is_worth_nothing() -> None:
    rows = [row(["sr"]), row(["sr", "lbbb"]), row(["afib"])]
    got = scores([f"sinus rhythm. {NORMAL[0]}."] * 3, rows)
    assert got["findings-F1"] == 0 and got["findings-exact"] == pytest.approx(1 / 3)
    assert got["findings-unread"] == 0


def test_aggregate_is_vectorised_over_resamples() -> None:
    hypotheses, rows = corpus(60, 5)
    metric = Findings()
    statistics = metric.segment_statistics(hypotheses, hypotheses, rows)
    draws = np.random.default_rng(0).integers(0, 60, (4, 5, 60))
    values = metric.aggregate(statistics[draws].sum(axis=2))
    chosen = draws[2, 3]
    alone = scores([hypotheses[i] for i in chosen], [rows[i] for i in chosen])
    for name, value in values.items():
        assert value.shape == (4, 5)
        assert value[2, 3] == pytest.approx(alone[name])


def test_nothing_to_divide_by_is_zero() -> None:
    assert scores(["sinus rhythm."], [row(["sr"])])["findings-F1"] == 0
    assert set(scores([], []).values()) == {0.0}


def table_of(hypotheses: list[str], rows: list[PredictionRow]) -> dict[str, dict[str, float]]:
    """The findings of the table, each with its counts and values."""
    told = [replace(one, prediction=text, reference="a report") for one, text in zip(rows, hypotheses, strict=True)]
    (table,) = score_predictions(told, metrics=["findings"], resamples=40).tables
    assert table.name == "findings"
    for found in table.rows:
        assert all(cell.ci_low <= cell.value <= cell.ci_high for cell in found.values.values() if cell.ci_low)
    return {one.item: one.counts | {name: cell.value for name, cell in one.values.items()} for one in table.rows}


def test_the_table_agrees_with_brute_force() -> None:
    hypotheses, rows = corpus(150, 9)
    table = table_of(hypotheses, rows)
    assert list(table) == [code for code in CODES if code in table]
    for code in ("sr", "lqt", "twi_ant"):
        precision, recall, f1 = micro(hypotheses, rows, [code])
        stated = sum(any(phrase in text.rstrip(".").split(". ") for phrase in PHRASES[code]) for text in hypotheses)
        assert table[code] == pytest.approx({"precision": precision, "recall": recall, "F1": f1, "stated": stated,
                                             "support": sum(code in (r.codes or []) for r in rows)})


def test_the_table_leaves_out_what_never_occurs_and_keeps_unknown_codes() -> None:
    table = table_of(["left axis deviation.", ""], [row(["sr", "martian"]), row([], 1)])
    assert list(table) == ["sr", "lad", "martian"]
    assert table["martian"] == {"precision": 0.0, "recall": 0.0, "F1": 0.0, "support": 1, "stated": 0}
    assert table["lad"] == {"precision": 0.0, "recall": 0.0, "F1": 0.0, "support": 0, "stated": 1}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (row(None, 7), "syn-000007: the row has no codes"),
        (row(["sr"], 7, dataset="ptb-xl"), "no labeler for dataset 'ptb-xl'"),
        (row(["sr"], 7, dataset=None), "no labeler for dataset None"),
    ],
)
def test_rows_that_cannot_be_scored(bad: PredictionRow, says: str) -> None:
    metric = Findings()
    rows = [row(["sr"]), bad]
    assert says in (metric.applicable(rows) or "")
    with pytest.raises(MedReportError, match="findings"):
        metric.segment_statistics(["", ""], ["", ""], rows)
    assert metric.applicable(rows[:1]) is None


def test_every_labeler_of_the_table_keeps_the_protocol() -> None:
    for dataset in names.choices("labeler"):
        labeler = names.resolve("labeler", dataset)
        assert labeler.abnormal < set(labeler.vocabulary)
        assert labeler.read("") == set() and labeler.unread("") == []
        assert labeler.unread("no such sentence anywhere") == ["no such sentence anywhere"]
