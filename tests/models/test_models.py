"""Projector, network input, padding, tokenizer, tuning and backbones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.models.backbones import load_backbone
from emgecg_cli.core.models.builders import build_report_model
from emgecg_cli.core.models.preprocessing import preprocessing_of
from emgecg_cli.core.models.projector import linear_projector, mlp_projector
from emgecg_cli.core.models.report_model import pad_prompts
from emgecg_cli.core.models.tiny_backbone import build_tiny_llama, train_tokenizer
from emgecg_cli.core.models.tuning import table_of_what_trains, tune_backbone
from emgecg_cli.core.signals.leads import MISSING


@pytest.mark.parametrize("build", [mlp_projector, linear_projector])
@pytest.mark.parametrize(("norm", "length"), [("unit", 1.0), ("rms", math.sqrt(32))])
def test_signal_tokens_have_one_length(build, norm: str, length: float) -> None:
    tokens = build(64, 8, 32, norm)(torch.randn(5, 3, 64))  # of three stretches of time, eight each
    assert tokens.shape == (5, 24, 32)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.full((5, 24), length))
    assert build(64, 8, 32, "none")(torch.randn(5, 1, 64)).norm(dim=-1).std() > 0.1


def test_network_input_is_in_quarter_millivolts_and_missing_is_the_baseline() -> None:
    signal = torch.tensor([[[1000, -250, int(MISSING), 0]]], dtype=torch.int16)
    assert preprocessing_of("resnet50")(signal).tolist() == [[[4.0, -1.0, 0.0, 0.0]]]


def test_padding_on_either_side() -> None:
    ids, mask = pad_prompts([[1, 2, 3], [4]], 9, "left")
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]] and mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    ids, mask = pad_prompts([[1, 2, 3], [4]], 9, "right")
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_the_tokenizer_is_deterministic_and_reads_back_any_text() -> None:
    texts = ["sinus rhythm. normal ecg.", "vorhofflimmern, überleitung"] * 20
    one, other = train_tokenizer(texts), train_tokenizer(texts)
    assert one.get_vocab() == other.get_vocab()
    for text in (*texts, "ünseen 中文 <|user|> \n tabs\t", ""):
        ids = one(text, add_special_tokens=False)["input_ids"]
        assert one.decode(ids, clean_up_tokenization_spaces=False) == text
    assert len(one("<|assistant|>")["input_ids"]) == 1


def test_new_weights_depend_on_the_seed_alone() -> None:
    tokenizer = train_tokenizer(["normal ecg"] * 5)

    def weights(seed: int, noise: int) -> torch.Tensor:
        torch.manual_seed(noise)
        model = build_report_model(build_tiny_llama(tokenizer, seed), encoder="resnet18-tiny",
                                   projector="linear", fusion="prefix-kv", signal_tokens=2, token_norm="unit",
                                   seed=seed)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(weights(0, 1), weights(0, 2)) and not torch.equal(weights(0, 1), weights(3, 1))


@pytest.mark.parametrize(("tuning", "trains"), [("full", True), ("frozen", False)])
def test_the_table_of_what_trains(tuning: str, trains: bool) -> None:
    backbone = tune_backbone(build_tiny_llama(train_tokenizer(["a b c"]), 0), tuning, rank=4, alpha=8, dropout=0.0)
    row, total = table_of_what_trains({"backbone": (backbone, tuning)})
    assert row.trainable == (row.parameters if trains else 0) and total.parameters == row.parameters
    assert row.parameters == sum(p.numel() for p in backbone.parameters())  # the tied head is counted once
    with pytest.raises(MedReportError, match="no tuning 'half'"):
        tune_backbone(backbone, "half", rank=4, alpha=8, dropout=0.0)


def test_a_local_folder_needs_no_name(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b c"])
    build_tiny_llama(tokenizer, 0).save_pretrained(tmp_path)
    with pytest.raises(MedReportError, match="cannot load"):
        load_backbone(str(tmp_path), torch.float32)
    tokenizer.save_pretrained(tmp_path)
    model, loaded = load_backbone(str(tmp_path), torch.float32)
    assert loaded.eos_token_id == tokenizer.eos_token_id and model.config.model_type == "llama"


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b c"])
    model = build_tiny_llama(tokenizer, 0)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(MedReportError, match="only pickled weights"):
        load_backbone(str(tmp_path), torch.float32)




def test_chinese_is_cut_into_words_that_are_given_and_characters() -> None:
    texts = ["左侧正中神经运动波幅轻度降低"] * 50 + ["left median nerve"] * 50
    tokenizer = train_tokenizer(texts, 400, ["正中神经", "轻度", "正中"])
    cut = [tokenizer.decode([i]) for i in tokenizer("左侧正中神经波幅轻度降低", add_special_tokens=False).input_ids]
    assert cut == ["左", "侧", "正中神经", "波", "幅", "轻度", "降", "低"]
    assert tokenizer.decode(tokenizer("left 左侧", add_special_tokens=False).input_ids) == "left 左侧"
