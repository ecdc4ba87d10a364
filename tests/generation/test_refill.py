"""Chunks written by rows that come and go: the tokens of records one by one, however they are chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from prefix_rows import signal_tokens
from tiny_backbones import make
from torch import Tensor
from transformers import GenerationConfig

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.generation import generate_reports, reports
from emgecg_cli.core.generation.refill import Choice, write_refilled
from emgecg_cli.core.generation.sampling import processors
from emgecg_cli.core.instructions.turns import TurnEnd
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.decoding import Rows, read_prompts
from emgecg_cli.core.models.fusion.prefix_kv import PrefixKV
from emgecg_cli.core.models.report_model import pad_prompts

CPU = torch.device("cpu")
STOP, LIMIT, RECORDS = tuple(range(1, 40, 6)), 12, 36


@pytest.mark.parametrize("settings", [
    {}, {"temperature": 1.5}, {"temperature": 2.0, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.3},
    {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2}])
def test_a_chunk_is_what_its_records_are_one_by_one(settings: dict[str, float]) -> None:
    lm = make("gemma3")
    fusion = PrefixKV(lm)
    tokens = signal_tokens(fusion.dim, batch=RECORDS)
    drawn = torch.Generator().manual_seed(2)
    prompts = [torch.randint(3, 40, (2 + i // 6,), generator=drawn).tolist() for i in range(RECORDS)]
    names = [f"r{i}" for i in range(RECORDS)]
    config = GenerateConfig(batch_size=16, max_new_tokens=LIMIT, **settings)  # type: ignore[arg-type]
    begun: list[int] = []
    heard: list[int] = []

    def begin(numbers: list[int]) -> tuple[Rows, Tensor]:
        begun.append(len(numbers))
        ids, mask = pad_prompts([prompts[n] for n in numbers], 0, "left")
        return read_prompts(fusion, lm, tokens[numbers], None, ids, mask)

    def one(i: int) -> list[int]:
        ids, mask = pad_prompts([prompts[i]], 0, "left")
        given = GenerationConfig(max_new_tokens=LIMIT, do_sample=False, eos_token_id=list(STOP), pad_token_id=0)
        return fusion.generate(tokens[i:i + 1], input_ids=ids, attention_mask=mask, generation_config=given,
                               logits_processor=processors(config, [names[i]], CPU))[0].tolist()

    choice = Choice(config, LIMIT, TurnEnd((1,), STOP), None)
    got = write_refilled(names, begin, choice, max(map(len, prompts)), CPU, heard.append)
    assert got == [one(i) for i in range(RECORDS)]
    assert len({len(ids) for ids in got}) > 4 and len(begun) > 3 and sum(begun) == RECORDS
    assert heard == sorted(heard) and heard[-1] == RECORDS


def test_reports_that_end_with_words_make_room_too(short_run: Path, tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are what some report has in its midst."""
    config = GenerateConfig(max_new_tokens=10, batch_size=3, limit=12)
    generate_reports(short_run, tmp_path / "p.jsonl", config)
    rows = read_rows(tmp_path / "p.jsonl", PredictionRow)
    word = next(text[2] for row in rows if len(text := row.prediction.split()) > 3)
    monkeypatch.setattr("emgecg_cli.core.generation.task.turn_of",
                        lambda details, tokenizer: TurnEnd((1,), (tokenizer.eos_token_id,), word))
    for name, why in (("refilled", None), ("static", "a test")):
        monkeypatch.setattr(reports, "why_not_refilled", lambda backbone, why=why: why)
        out = tmp_path / f"{name}.jsonl"
        assert generate_reports(short_run, out, config, writer=(1, 1)).why_static == why
        assert generate_reports(short_run, out, config).written == 0  # puts together what the writer made
        assert read_manifest(out, "predictions").details.get("static_batches") == why
        generate_reports(short_run, alone := tmp_path / f"{name}-alone.jsonl", config)
        assert read_manifest(alone, "predictions").details.get("static_batches") == why
        assert alone.read_bytes() == out.read_bytes()
    refilled, static = (read_rows(tmp_path / f"{name}.jsonl", PredictionRow) for name in ("refilled", "static"))
    assert refilled == static
    assert [row.prediction for row in refilled] == [row.prediction.split(word)[0].strip() for row in rows]
