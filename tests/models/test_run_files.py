"""Runs on disk: what is loaded gives the logits of what was saved, for every tuning, fusion and kind of backbone."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
from made_runs import TOKENS, logits, make_folder, make_run
from safetensors.torch import load_file

from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.backbones import add_tokens, load_backbone
from emgecg_cli.core.models.run_files import load_run, load_run_backbone, save_run_files
from emgecg_cli.core.models.tuning import count_parameters

FOUR_BIT = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not here")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("backbone") / "llama")


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("tuning", ["lora", pytest.param("qlora", marks=FOUR_BIT), "full", "frozen"])
def test_a_loaded_run_gives_the_logits_of_the_saved_model(tuning: str, tokens: bool, folder: Path,
                                                          tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", folder, tuning, tokens=tokens)
    loaded, tokenizer, _ = load_run(made.path, CPU)
    assert torch.equal(logits(loaded), logits(made.model))
    assert tokenizer.get_vocab() == made.tokenizer.get_vocab() and ("<signal>" in tokenizer.get_vocab()) == tokens
    names = {path.name for path in made.path.iterdir()}
    own = {"lora": {"adapter"}, "qlora": {"adapter"}, "full": {"backbone"}, "frozen": set()}[tuning]
    assert names - {"embeddings.safetensors"} == own | {"manifest.json", "metrics.jsonl", "signal.safetensors",
                                                        "tokenizer", "train_subjects.txt"}
    assert ("embeddings.safetensors" in names) == (tokens and tuning != "full")


@pytest.mark.parametrize("family", ["t5", "bart", "gpt2", "opt", "bloom", "gptj"])
def test_families_with_ties_of_their_own_come_back_whole(family: str, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", make_folder(tmp_path / "backbone", family), "lora", tokens=True)
    loaded, _, _ = load_run(made.path, CPU)
    torch.testing.assert_close(logits(loaded), logits(made.model), atol=1e-5, rtol=1e-5)
    assert count_parameters(loaded) == count_parameters(made.model)


def test_new_tokens_that_do_not_train_start_the_same_again(folder: Path, tmp_path: Path) -> None:
    backbone, tokenizer = load_backbone(str(folder), torch.float32)
    add_tokens(backbone, tokenizer, TOKENS)
    row = backbone.get_input_embeddings().weight[-1].clone()
    made = make_run(tmp_path / "run", folder, "lora", tokens=True)
    (made.path / "embeddings.safetensors").unlink()
    loaded = load_run_backbone(made.path, read_manifest(made.path, "run"), made.tokenizer, torch.float32)
    assert torch.equal(loaded.get_input_embeddings().weight[-1], row)


def test_a_fusion_with_weights_of_its_own_is_saved_with_the_signal_side(folder: Path, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", folder, "frozen", fusion="cross-attention")
    saved = load_file(made.path / "signal.safetensors")
    assert {name.split(".")[0] for name in saved} == {"towers", "fusion"}
    assert torch.equal(logits(load_run(made.path, CPU)[0]), logits(made.model))


def test_gathered_weights_are_saved_in_place_of_the_models_own(folder: Path, tmp_path: Path) -> None:
    for tuning in ("lora", "full"):
        made = make_run(tmp_path / tuning, folder, tuning, tokens=True)
        weights = {name: p.detach().clone() for name, p in made.model.named_parameters() if p.requires_grad}
        weights |= {name: buffer.clone() for name, buffer in made.model.named_buffers()
                    if name in made.model.state_dict()}
        expected = logits(made.model)
        with torch.no_grad():
            for parameter in made.model.parameters():
                if parameter.requires_grad:
                    parameter.zero_()  # what a process of several holds is not the whole
        other = tmp_path / f"{tuning}-gathered"
        shutil.copytree(made.path, other)
        save_run_files(other, made.model, made.tokenizer, tuning, ["0123456789abcdef"], weights)
        torch.testing.assert_close(logits(load_run(other, CPU)[0]), expected)


def test_the_dtype_asked_for_is_the_backbones(folder: Path, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", folder, "lora", tokens=True)
    loaded, _, _ = load_run(made.path, CPU, torch.bfloat16)
    assert loaded.backbone.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.bfloat16
    torch.testing.assert_close(logits(loaded).float(), logits(made.model), atol=0.5, rtol=0.1)


@pytest.mark.parametrize("file", ["adapter/adapter_model.safetensors", "signal.safetensors", "tokenizer/tokenizer.json",
                                  "embeddings.safetensors"])
def test_a_run_that_lacks_a_file_says_which(file: str, folder: Path, tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", folder, "lora", tokens=True)
    (made.path / file).unlink()
    with pytest.raises(MedReportError, match=Path(file).name):
        load_run(made.path, CPU)
