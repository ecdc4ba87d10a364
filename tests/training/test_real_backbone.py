"""A real language model and a real BERT: the recipe for pretrained backbones, a kill, an export, BERTScore."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuse import Fuse
from peft import PeftModel
from pipeline import contents, short_config
from real_weights import OutOfReachError, minilm, smollm2
from transformers import AutoModelForCausalLM, AutoTokenizer

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.export import export_run
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import open_instructions
from emgecg_cli.core.instructions.render import render_prompt
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.metrics.text.bertscore import BertScore
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.store import open_store
from emgecg_cli.core.training.run import train

pytestmark = pytest.mark.long
SHORT: dict[str, Any] = dict(recipe=None, encoder="resnet18-tiny", word_steps=4, steps=3, batch_size=2,
                             checkpoint_every=2, evaluate_every=3, val_limit=4, paired_loss=True)


def or_skip(make: Callable[[Path], Path], folder: Path) -> Path:
    try:
        return make(folder)
    except OutOfReachError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return or_skip(smollm2, tmp_path_factory.mktemp("real") / "smollm2-135m")


def test_a_killed_run_and_its_export_in_plain_libraries_write_the_same_texts(
        inputs: tuple[Path, Path], backbone: Path, tmp_path: Path, fuse: Fuse) -> None:
    config = short_config(**SHORT | dict(backbone=str(backbone)))
    assert config.recipe == "pretrained" and config.fusion == "splice"
    operations = fuse.burn(lambda: train(inputs[1], tmp_path / "whole", config), tmp_path / "whole", -1)
    fuse.burn(lambda: train(inputs[1], tmp_path / "killed", config), tmp_path / "killed", operations // 2)
    assert not (tmp_path / "killed/manifest.json").exists()
    train(inputs[1], tmp_path / "killed", config)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    (row,) = [json.loads(line) for line in (tmp_path / "whole/validation.jsonl").read_text().splitlines()]
    assert row["paired_error"] > 0
    (length,) = read_manifest(tmp_path / "whole", "run").details["model"]["token_lengths"]
    words = plain(backbone).get_input_embeddings().weight.detach().norm(dim=-1)
    assert 0.8 < length / float(words.mean()) < 1.25
    assert AutoTokenizer.from_pretrained(tmp_path / "whole/tokenizer").eos_token == "<|im_end|>"

    texts, rows = exported(tmp_path, "whole")
    assert written_by(plain(tmp_path / "whole-export"), tmp_path / "whole", inputs, rows) == texts
    assert written_by(adapted(backbone, tmp_path / "whole"), tmp_path / "whole", inputs, rows) == texts


def test_the_papers_way_trains_and_is_exported(inputs: tuple[Path, Path], backbone: Path, tmp_path: Path) -> None:
    train(inputs[1], tmp_path / "paper", short_config(**SHORT | dict(
        backbone=str(backbone), recipe="meit-paper", lora_rank=4, gradient_accumulation=1, word_steps=None, steps=1,
        evaluate_every=1)))
    exported(tmp_path, "paper")


def exported(folder: Path, run: str) -> tuple[list[str], list[PredictionRow]]:
    """The texts of a run, which those of its export must be, and their rows."""
    export_run(folder / run, folder / f"{run}-export")
    rows = []
    for name in (run, f"{run}-export"):
        generate_reports(folder / name, folder / f"{name}.jsonl", GenerateConfig(limit=3, max_new_tokens=8,
                                                                                 batch_size=3))
        rows.append(list(read_rows(folder / f"{name}.jsonl", PredictionRow)))
    texts = [[row.prediction for row in some] for some in rows]
    assert texts[0] == texts[1] and all(texts[0])
    return texts[0], rows[0]


def plain(folder: Path) -> Any:
    """An export, by transformers alone."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def adapted(backbone: Path, run: Path) -> Any:
    """The backbone with a run's adapter, by peft alone."""
    return PeftModel.from_pretrained(plain(backbone), run / "adapter").eval()


@torch.no_grad()
def written_by(model: Any, run: Path, inputs: tuple[Path, Path], rows: list[PredictionRow]) -> list[str]:
    """What a plain model writes after the embedded prompt, a run's signal tokens in their places."""
    towers, tokenizer, _ = load_run(run, torch.device("cpu"))
    store, instructions = open_store(inputs[0]), open_instructions(inputs[1])
    ids_of, texts = store.column("record_id").to_list(), []
    for row in rows:
        prompt = torch.tensor(render_prompt(instructions.of([row.record_id])[0].messages, tokenizer,
                                            towers.placeholders))
        signal = torch.tensor(store.signal(ids_of.index(row.record_id)))[None]
        embedded = model.get_input_embeddings()(prompt.clamp(min=0))[None]
        embedded[0, prompt < 0] = towers.see({"ecg": towers.preprocessing["ecg"](signal)}).tokens[0]
        ids = model.generate(inputs_embeds=embedded, attention_mask=torch.ones(1, len(prompt)), max_new_tokens=8,
                             do_sample=False, pad_token_id=tokenizer.eos_token_id)
        texts.append(tokenizer.decode(ids[0], skip_special_tokens=True).strip())
    return texts


def test_bertscore_with_a_real_bert_is_that_of_its_own_package(tmp_path: Path) -> None:
    from bert_score import BERTScorer

    folder = or_skip(minilm, tmp_path / "minilm")
    said = ["sinus rhythm. normal ecg.", "atrial fibrillation with rapid response.", "left bundle branch block."]
    true = ["sinus rhythm. normal electrocardiogram.", "sinus bradycardia, left axis deviation.",
            "complete left bundle branch block. prolonged qt."]
    found = BertScore(model=folder, layers=6).segment_statistics(said, true, [])
    theirs = torch.stack(BERTScorer(model_type=str(folder), num_layers=6, device="cpu").score(said, true), 1)
    np.testing.assert_allclose(found[:, :3], theirs.numpy(), atol=1e-5)
    assert len(set(found[:, 2].round(3))) == 3
