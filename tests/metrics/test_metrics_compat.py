"""Other systems' arithmetic: the published fixture of MEIT, NLTK, and what the package `rouge` gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from metric_corpora import DEGENERATE, columns, random_pairs, rows_of
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu
from score_rows import has_note

from emgecg_cli.commands.app import run
from emgecg_cli.core.artifacts import write_rows
from emgecg_cli.core.config import profiles
from emgecg_cli.core.evaluation.score import score_predictions
from emgecg_cli.core.metrics.compat.ecgbench import EcgBench
from emgecg_cli.core.metrics.compat.heartllm import HeartLLM
from emgecg_cli.core.metrics.compat.meit import TAG, Meit, MeitExact
from emgecg_cli.core.metrics.compat.rouge_package import rouge_f

FIXTURE = [("sinus rhythm. normal ecg", "sinus bradycardia. otherwise normal ecg"),
           ("atrial fibrillation. abnormal ecg", "atrial fibrillation with rapid ventricular response. abnormal ecg")]
PUBLISHED = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D", "ROUGE-1", "ROUGE-2")
CLEAN = (.5459, .4069, .2558, 0, .6974, 2.6712, .6667, .3429)
TAGGED = (.6043, .4889, .3403, 0, .6974, 3.1273, .7208, .4722)
SMOOTH = SmoothingFunction().method1


def values(metric: Meit | MeitExact | EcgBench | HeartLLM, pairs: list[tuple[str, str]]) -> dict[str, float]:
    sums = metric.segment_statistics(*columns(pairs), rows_of(pairs)).sum(axis=0)
    return {name: float(value) for name, value in metric.aggregate(sums).items()}


@pytest.mark.parametrize(("metric", "expected", "meteor"), [
    (Meit(), CLEAN, (.5350 + .5628) / 2), (MeitExact(), TAGGED, (.7556 + .6843) / 2)])
def test_the_published_fixture_of_meit(metric: Meit | MeitExact, expected: tuple[float, ...], meteor: float) -> None:
    found = values(metric, FIXTURE)
    for name, value in zip(PUBLISHED, expected, strict=True):
        assert found[f"{metric.name}-{name}"] == pytest.approx(value, abs=5e-5), name
    assert found[f"{metric.name}-METEOR"] == pytest.approx(meteor, abs=1e-4)
    if isinstance(metric, MeitExact):
        tagged = [(TAG + hypothesis, TAG + reference) for hypothesis, reference in FIXTURE]
        assert values(metric, tagged) == found == pytest.approx(
            {name.replace("meit-", "meit-exact-"): value for name, value in values(Meit(), tagged).items()})


def test_batches_are_of_32_in_file_order_and_the_last_one_counts_like_the_others() -> None:
    pairs = random_pairs(65, 8)
    tagged = [(TAG + hypothesis, TAG + reference) for hypothesis, reference in pairs]
    parts = [values(Meit(), tagged[start:start + 32]) for start in (0, 32, 64)]
    parts[-1]["meit-CIDEr-D"] = 0  # a batch of one
    found = values(MeitExact(), pairs)
    for name in parts[0]:
        assert found[name.replace("meit-", "meit-exact-")] == pytest.approx(np.mean([part[name] for part in parts]))
    # several sets one after the other, as systems are: batches do not reach from one into the next
    double = MeitExact(65).segment_statistics(*columns(pairs + pairs), rows_of(pairs + pairs))
    np.testing.assert_array_equal(double[:65], double[65:])


def test_nothing_is_divided_by_zero() -> None:
    for metric in (Meit(), MeitExact(), EcgBench(), HeartLLM()):
        assert all(0 <= value <= 10 for value in values(metric, DEGENERATE).values())
    assert values(EcgBench(), [("", "sinus rhythm")])["ecgbench-BLEU"] == 0


def test_bleu_is_nltks() -> None:
    pairs = [pair for pair in DEGENERATE + random_pairs(150, 3) if pair[0]]
    cut = [(hypothesis.split(), reference.split()) for hypothesis, reference in pairs]
    found = EcgBench().aggregate(EcgBench().segment_statistics(*columns(pairs), rows_of(pairs)).sum(axis=0))
    theirs = corpus_bleu([[reference] for _, reference in cut], [hypothesis for hypothesis, _ in cut],
                         smoothing_function=SMOOTH)
    assert float(found["ecgbench-BLEU"]) == pytest.approx(theirs, abs=1e-12)

    def effective(hypothesis: list[str], reference: list[str]) -> float:
        n = min(4, len(reference), len(hypothesis))
        return sentence_bleu([reference], hypothesis, weights=(1 / n,) * n, smoothing_function=SMOOTH) if n else 0

    assert float(found["ecgbench-BLEU-sentence"]) == pytest.approx(np.mean([effective(*pair) for pair in cut]))
    mine = values(HeartLLM(), pairs)
    for n, weights in enumerate([(1, 0, 0, 0), (.5, .5, 0, 0), (.33, .33, .33, 0), (.25,) * 4], 1):
        own = [sentence_bleu([reference], hypothesis, weights=weights, smoothing_function=SMOOTH)
               for hypothesis, reference in cut]
        assert mine[f"heartllm-BLEU-{n}"] == pytest.approx(np.mean(own), abs=1e-12)


def test_empty_predictions_are_left_out_by_one_and_count_in_the_other() -> None:
    pairs = [*FIXTURE, ("", "sinus rhythm")]
    assert values(EcgBench(), pairs) == values(EcgBench(), FIXTURE)
    assert values(HeartLLM(), pairs)["heartllm-ROUGE-L"] == pytest.approx(
        values(HeartLLM(), FIXTURE)["heartllm-ROUGE-L"] * 2 / 3)
    scores = score_predictions(rows_of(pairs), metrics=profiles.metrics_of("ecgbench"), resamples=0)
    assert has_note(scores, "ecgbench: 1 of 3 predictions are empty and left out of its values")


def test_rouge_is_that_of_the_package() -> None:
    # the file was written by rouge 1.0.1
    kept = json.loads((Path(__file__).parents[1] / "support/kept/rouge_package.json").read_text("utf-8"))
    found = rouge_f([one["hypothesis"] for one in kept], [one["reference"] for one in kept])
    np.testing.assert_allclose(found, [one["f"] for one in kept], atol=1e-12)
    assert len(kept) > 100 and rouge_f(["...", "", "a"], ["a", "a", "."]).tolist() == [[0, 0, 0]] * 3


def test_they_are_asked_for_by_name_and_have_no_interval_where_the_order_decides(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "p.jsonl", rows_of(random_pairs(40, 1)))
    line = ["score", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "s.json"), "--resamples", "20", "--json"]
    assert run([*line, "--metric", "rouge", "--compat", "meit"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["systems"][0]["values"]}
    assert {"ROUGE-L", "meit-BLEU-4", "meit-exact-BLEU-4"} <= found.keys() and "BLEU-4" not in found
    assert found["meit-BLEU-4"]["ci_low"] is not None and found["meit-exact-BLEU-4"]["ci_low"] is None
    assert run([*line, "--profile", "heartllm"]) == 0
    assert all(one["name"].startswith("heartllm-") for one in
               json.loads(capsys.readouterr().out)["systems"][0]["values"])
    assert not {"meit", "meit-exact", "ecgbench", "heartllm"} & {*profiles.metrics_of("standard")}
    for words, says in ((["--compat", "meet"], "no compat 'meet'; did you mean 'meit'"),
                        (["--profile", "standart"], "did you mean 'standard'"),
                        (["--profile", "text", "--metric", "bleu"], "--metric and --profile are both given")):
        assert run([*line, *words]) == 2
        assert says in capsys.readouterr().err
