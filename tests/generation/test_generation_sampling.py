"""Sampling: the right distribution, the same report in whatever company; penalties that see the report alone."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.generation.sampling import processors

CPU = torch.device("cpu")
SAMPLING = dict(temperature=0.8, top_p=0.95)


def texts(run: Path, out: Path, **changes: object) -> dict[str, str]:
    generate_reports(run, out, GenerateConfig(**{"max_new_tokens": 12, **changes}))  # type: ignore[arg-type]
    return {row.record_id: row.prediction for row in read_rows(out, PredictionRow)}


def draws(logits: torch.Tensor, rows: int, steps: int, **settings: object) -> Counter[int]:
    """The tokens taken at every step of many rows that all see the same logits."""
    process = processors(GenerateConfig(**settings), [f"record-{i}" for i in range(rows)], CPU)  # type: ignore[arg-type]
    ids = torch.zeros(rows, 1, dtype=torch.long)
    return Counter(token for _ in range(steps)
                   for token in process(ids, logits.expand(rows, -1).clone()).argmax(-1).tolist())


def distance(counts: Counter[int], probabilities: torch.Tensor) -> tuple[float, int]:
    """Pearson's chi-square and its degrees of freedom; a token that must not be drawn makes it infinite."""
    total = sum(counts.values())
    if any(probabilities[token] == 0 for token in counts):
        return math.inf, 0
    expected = {i: total * float(p) for i, p in enumerate(probabilities) if p > 0}
    return sum((counts[i] - n) ** 2 / n for i, n in expected.items()), len(expected) - 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_softmax(temperature: float) -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0, 0.3, -2.0]])
    counts = draws(logits, rows=200, steps=100, temperature=temperature)
    chi, free = distance(counts, (logits[0] / temperature).softmax(-1))
    assert chi < free + 5 * math.sqrt(2 * free), (chi, free)  # five standard deviations
    assert distance(counts, (logits[0] / (temperature * 1.2)).softmax(-1))[0] > free + 5 * math.sqrt(2 * free)


def test_top_k_and_top_p_rule_tokens_out() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    for settings, kept in ((dict(top_k=2), 2), (dict(top_p=0.9), 3), (dict(top_k=3, top_p=0.5), 1)):
        probabilities = logits[0].clone()
        probabilities[kept:] = -math.inf
        chi, free = distance(draws(logits, 100, 50, **settings), probabilities.softmax(-1))
        assert chi <= free + 5 * math.sqrt(2 * free), settings


def test_steps_and_records_are_independent_draws() -> None:
    logits = torch.zeros(1, 2)
    process = processors(GenerateConfig(temperature=1.0), [f"r{i}" for i in range(400)], CPU)
    ids = torch.zeros(400, 1, dtype=torch.long)
    first, second = (process(ids, logits.expand(400, -1)).argmax(-1) for _ in range(2))
    for same in ((first == second).float().mean(), (first[:200] == first[200:]).float().mean()):
        assert 0.35 < same < 0.65
    other = processors(GenerateConfig(temperature=1.0, seed=1), [f"r{i}" for i in range(400)], CPU)
    assert 0.35 < (other(ids, logits.expand(400, -1)).argmax(-1) == first).float().mean() < 0.65


def test_a_sampled_report_does_not_depend_on_its_company(short_run: Path, tmp_path: Path) -> None:
    alone, five, sixteen = (texts(short_run, tmp_path / f"{size}.jsonl", batch_size=size, **SAMPLING)
                            for size in (1, 5, 16))
    assert alone == five == sixteen
    few = texts(short_run, tmp_path / "few.jsonl", batch_size=3, limit=4, **SAMPLING)
    assert few == {key: alone[key] for key in few}
    assert alone != texts(short_run, tmp_path / "seed.jsonl", seed=1, **SAMPLING)
    assert alone != texts(short_run, tmp_path / "greedy.jsonl")


@pytest.mark.parametrize("changes", [dict(repetition_penalty=1.5), dict(no_repeat_ngram_size=2),
                                     dict(num_beams=3, length_penalty=2.0, no_repeat_ngram_size=2)])
def test_penalties_do_not_depend_on_padding(short_run: Path, tmp_path: Path, changes: dict[str, float]) -> None:
    alone, together = (texts(short_run, tmp_path / f"{size}.jsonl", batch_size=size, **changes) for size in (1, 16))
    assert alone == together


def test_penalties_see_the_report_alone() -> None:
    ids = torch.tensor([[7, 7, 7, 3, 5], [1, 1, 1, 3, 5]])
    process = processors(GenerateConfig(repetition_penalty=2.0, no_repeat_ngram_size=2), ["a", "b"], CPU)
    scores = torch.ones(2, 8)
    assert process(ids, scores).equal(scores)
    assert process(torch.cat([ids, torch.tensor([[3], [2]])], 1), scores)[:, 2:4].tolist() == [[1, 0.5], [0.5, 1]]
    then = process(torch.cat([ids, torch.tensor([[3, 4, 3], [2, 2, 6]])], 1), scores)
    assert then[0, 4] == -math.inf and then[0, 5] == then[0, 7] == 1 and then[1, 2] == 0.5


@pytest.mark.parametrize(("wrong", "message"), [
    (dict(temperature=0.0), "--temperature is 0"), (dict(temperature=math.inf), "--temperature"),
    (dict(top_p=1.0), "--top-p is 1"), (dict(top_k=0), "--top-k is 0"),
    (dict(max_new_tokens=0), "--max-new-tokens is 0"), (dict(repetition_penalty=-1.0), "--repetition"),
    (dict(no_repeat_ngram_size=1), "--no-repeat-ngram-size is 1"), (dict(length_penalty=1.0), "without beams"),
    (dict(temperature=1.0, num_beams=2), "does not sample"), (dict(top_k=5, num_beams=2), "does not sample")])
def test_what_is_wrong_or_changes_nothing_is_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(MedReportError, match=message):
        GenerateConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 8])
def test_running_out_of_memory_says_what_to_try(short_run: Path, tmp_path: Path, size: int,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    out = tmp_path / "p.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr("emgecg_cli.core.models.report_model.ReportModel.read_prompts", greedy)
        with pytest.raises(MedReportError, match=f"--batch-size {size}") as caught:
            texts(short_run, out, batch_size=size)
    assert ("--batch-size 4" if size == 8 else "--max-new-tokens") in str(caught.value.hint)
    assert texts(short_run, out, batch_size=4)  # nothing had been written, so the place is free
