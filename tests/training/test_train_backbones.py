"""Other backbones and encoders through `train` and `generate`: encoder-decoders, new tokens, 4 bits, pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline import make_store, short_config
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from emgecg_cli.core.artifacts import PredictionRow, read_rows
from emgecg_cli.core.config import GenerateConfig
from emgecg_cli.core.errors import MedReportError
from emgecg_cli.core.generation import generate_reports
from emgecg_cli.core.instructions.build import build_instructions
from emgecg_cli.core.manifest import read_manifest
from emgecg_cli.core.models.run_files import load_run
from emgecg_cli.core.recipes import resolve_pretrain_config, resolve_train_config
from emgecg_cli.core.training.pretrain import pretrain
from emgecg_cli.core.training.run import train


def folder_of(kind: str, short_run: Path, folder: Path, **sizes: int) -> Path:
    """A tiny random model of this kind with the tokenizer of a run, as a folder."""
    tokenizer = AutoTokenizer.from_pretrained(short_run / "tokenizer", trust_remote_code=False)
    size = len(tokenizer)
    special: dict[str, Any] = dict(vocab_size=size, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    built = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(
            intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, **special, **sizes)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **special)),
        "bloom": lambda: BloomForCausalLM(BloomConfig(hidden_size=36, n_layer=2, n_head=6, **special)),
        "t5": lambda: T5ForConditionalGeneration(T5Config(
            d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0, **special)),
        "bart": lambda: BartForConditionalGeneration(BartConfig(
            d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=256, decoder_start_token_id=2,
            forced_eos_token_id=None, **special)),
    }[kind]()
    built.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(backbone: Path, **changes: Any) -> Any:
    return resolve_train_config(**dict(backbone=str(backbone), recipe="meit-paper", encoder="resnet18-tiny", steps=2,
                                       batch_size=4, gradient_accumulation=1, learning_rate=1e-2,
                                       select="last") | changes)


@pytest.mark.parametrize(("kind", "changes"), [
    ("gpt2", dict(lora_rank=2)), ("bloom", dict(lora_rank=2, lora_targets="meit-code")),
    ("t5", dict(lora_rank=2, signal_tokens=3)), ("bart", dict(tuning="full", signal_tokens=3)),
    ("gpt2", dict(lora_rank=2, new_tokens="<a>,<b>", fusion="splice", signal_tokens=2, tokens_from="temporal")),
    ("gpt2", dict(tuning="frozen", fusion="cross-attention", gradient_checkpointing=True))])
def test_from_folder_to_reports(inputs: tuple[Path, Path], tmp_path: Path, short_run: Path, kind: str,
                                changes: dict[str, Any]) -> None:
    backbone = folder_of(kind, short_run, tmp_path / kind)
    train(inputs[1], tmp_path / "run", settings(backbone, **changes))
    texts = {}
    for size in (1, 5):
        out = tmp_path / f"{size}.jsonl"
        generate_reports(tmp_path / "run", out, GenerateConfig(max_new_tokens=6, batch_size=size))
        texts[size] = {row.record_id: row.prediction for row in read_rows(out, PredictionRow)}
    assert texts[1] == texts[5] and len(texts[1]) > 5
    _, tokenizer, _ = load_run(tmp_path / "run", torch.device("cpu"))
    assert ("<a>" in tokenizer.get_vocab()) == ("new_tokens" in changes)


def test_new_tokens_train_their_embeddings(inputs: tuple[Path, Path], tmp_path: Path, short_run: Path) -> None:
    backbone = folder_of("gpt2", short_run, tmp_path / "gpt2")
    before = GPT2LMHeadModel.from_pretrained(backbone, trust_remote_code=False).transformer.wte.weight
    train(inputs[1], tmp_path / "run", settings(backbone, lora_rank=2, new_tokens="<a>"))
    model, _, _ = load_run(tmp_path / "run", torch.device("cpu"))
    after = model.backbone.get_input_embeddings().weight  # type: ignore[operator]
    assert len(after) == len(before) + 1 and (after[:len(before)] - before).abs().max() > 1e-4


def test_four_bit_weights(inputs: tuple[Path, Path], tmp_path: Path, short_run: Path) -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(MedReportError, match="multiples of 64"):
        narrow = folder_of("llama", short_run, tmp_path / "narrow", hidden_size=32)
        train(inputs[1], tmp_path / "run", settings(narrow, tuning="qlora", lora_rank=2))
    folder = folder_of("llama", short_run, tmp_path / "llama", hidden_size=64)
    result = train(inputs[1], tmp_path / "run", settings(folder, tuning="qlora", lora_rank=2))
    assert {row.part: row.tuning for row in result.trains}["backbone"] == "qlora"
    assert read_manifest(tmp_path / "run", "run").details["model"]["tuning"] == "qlora"
    out = tmp_path / "p.jsonl"
    generate_reports(tmp_path / "run", out, GenerateConfig(max_new_tokens=4))
    assert len(read_rows(out, PredictionRow)) > 5


@pytest.mark.parametrize(("fusion", "why"), [("splice", "use prefix-kv"), ("cross-attention", "use prefix-kv")])
def test_fusions_an_encoder_decoder_cannot_have_are_refused(inputs: tuple[Path, Path], tmp_path: Path, short_run: Path,
                                                            fusion: str, why: str) -> None:
    backbone = folder_of("t5", short_run, tmp_path / "t5")
    with pytest.raises(MedReportError, match="encoder-decoder") as raised:
        train(inputs[1], tmp_path / "run", settings(backbone, lora_rank=2, fusion=fusion))
    assert why in str(raised.value.hint) and not (tmp_path / "run").exists()


def test_compiled_layers_train_as_others(inputs: tuple[Path, Path], tmp_path: Path, short_run: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **given: (
        compiled.append(self), original(self, **given, backend="eager")))
    backbone = folder_of("gpt2", short_run, tmp_path / "gpt2")
    for name, compile_ in (("plain", False), ("compiled", True)):
        train(inputs[1], tmp_path / name, settings(backbone, tuning="full", compile=compile_))
    assert len(compiled) == 2
    plain, other = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("plain", "compiled"))
    assert plain[0] == other[0] and len(other) == 2



def test_a_training_starts_from_the_encoder_and_remembers_its_patients(inputs: tuple[Path, Path], tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    from emgecg_cli.core.training import run as module
    from emgecg_cli.core.training.loop import run_loop

    encoder = tmp_path / "encoder"
    pretrain(inputs[0], encoder, resolve_pretrain_config(encoder="resnet18-tiny", steps=2, batch_size=8))
    started: list[dict[str, torch.Tensor]] = []

    def spy(parallel: Any, objective: Any, *args: Any, **kwargs: Any) -> Any:
        started.append({name: t.clone() for name, t in objective.model.towers["ecg"].encoder.state_dict().items()})
        return run_loop(parallel, objective, *args, **kwargs)

    monkeypatch.setattr(module, "run_loop", spy)
    config = short_config(steps=1, encoder_weights=str(encoder))
    train(inputs[1], tmp_path / "run", config)
    saved = load_file(encoder / "encoder.safetensors")
    assert saved.keys() == started[0].keys() and all(torch.equal(saved[name], t) for name, t in started[0].items())
    with pytest.raises(MedReportError, match="weights of encoder resnet18-tiny"):
        train(inputs[1], tmp_path / "other", short_config(encoder="vit1d-tiny", encoder_weights=str(encoder)))
    elsewhere = make_store(tmp_path / "elsewhere", 60, split="20/30/50")
    build_instructions(elsewhere, tmp_path / "instructions", pool_size=32)
    with pytest.raises(MedReportError, match=r"was pretrained on .* patients of the val split"):
        train(tmp_path / "instructions", tmp_path / "leak", config)


def test_more_tokens_than_positions_are_refused_before_they_run(inputs: tuple[Path, Path], tmp_path: Path,
                                                                short_run: Path) -> None:
    backbone = folder_of("gpt2", short_run, tmp_path / "gpt2")  # 256 positions
    with pytest.raises(MedReportError, match=r"conversation of the train split has .* tokens, the backbone takes 256"):
        train(inputs[1], tmp_path / "run", settings(backbone, lora_rank=2, fusion="splice", signal_tokens=250,
                                                    max_length=700))
    assert not (tmp_path / "run").exists()
    train(inputs[1], tmp_path / "run", settings(backbone, lora_rank=2))
    with pytest.raises(MedReportError, match="the backbone takes 256"):
        generate_reports(tmp_path / "run", tmp_path / "p.jsonl", GenerateConfig(max_new_tokens=250))
